from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from typer.testing import CliRunner, Result

from connectors import policy as policies
from connectors.errors import SettingsError
from connectors.policy import Policy, Then, diff, read_policy
from connectors.policy_cli import app
from dmcl_sdk.verdict import Asset, Decision, Summary, Verdict
from tests.sdk.verdicts import some_verdicts

HEAD = 'id = "uploads"\nversion = "3"\nmode = "enforce"\n'
DEFAULT = '[default]\naction = "allow"\n'
EXAMPLE = str(policies.__doc__).split("\n\n")


def verdict(probability: float | None = 0.97, **summary: Any) -> Verdict:  # noqa: ANN401 - any field of a summary
    label = summary.pop("label", "manipulated")
    said = Summary(label=label, probability=probability, **summary)
    return Verdict(status="scored", asset=Asset(uri=f"s3://uploads/{probability}.mp4"), summary=said)


def unjudged(status: str, *codes: str) -> Verdict:
    return Verdict.model_validate(
        {
            "status": status,
            "asset": {"uri": f"s3://uploads/{status}.mp4"},
            "reasons": [{"code": code, "message": code} for code in codes],
        }
    )


def written(folder: Path, text: str, name: str = "policy.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def with_rule(when: str, then: str = 'action = "review"') -> str:
    return f'{HEAD}[[rules]]\nname = "only"\nwhen = {{ {when} }}\nthen = {{ {then} }}\n{DEFAULT}'


def read(folder: Path, text: str) -> Policy:
    found = read_policy(written(folder, text))
    assert isinstance(found, Policy)
    return found


@pytest.fixture
def example(tmp_path: Path) -> Policy:
    """The policy that the module's own documentation shows."""
    blocks = [block for block in EXAMPLE if block.startswith("    ")]
    return read(tmp_path, "\n".join(line.strip() for line in "\n".join(blocks).splitlines()))


def test_the_example_in_the_documentation_works(example: Policy) -> None:
    sure = verdict(interval=(0.95, 0.99), flagged_ms=1000, scanned_ms=4000, coverage=0.5)
    decisions = [
        example.decide(one)
        for one in (sure, verdict(), verdict(0.1, label="not_manipulated"), unjudged("failed", "not_a_video"))
    ]
    assert [(decision.rule, decision.action, decision.queue) for decision in decisions] == [
        ("certain", "remove", "removed"),
        ("likely", "review", "faces"),
        ("default", "allow", None),
        ("unjudged", "review", "unjudged"),
    ]
    assert decisions[0].thresholds == {"min_lower_bound": 0.9, "min_flagged_ms": 1000, "min_coverage": 0.5}
    assert {decision.mode for decision in decisions} == {"shadow"}


@pytest.mark.parametrize(
    ("when", "holds", "fails"),
    [
        ("min_probability = 0.97", verdict(0.97), verdict(0.9699)),
        ("min_probability = 0", verdict(0.0), unjudged("abstained", "too_dark")),
        ("min_lower_bound = 0.9", verdict(interval=(0.9, 1)), verdict(interval=(0.8, 1))),
        ("min_lower_bound = 0", verdict(interval=(0, 1)), verdict()),
        ("min_flagged_ms = 1000", verdict(flagged_ms=1000), verdict(flagged_ms=999)),
        (
            "min_flagged_share = 0.5",
            verdict(flagged_ms=2000, scanned_ms=4000),
            verdict(flagged_ms=1999, scanned_ms=4000),
        ),
        ("min_flagged_share = 0.5", verdict(flagged_ms=1, scanned_ms=1), verdict(flagged_ms=0, scanned_ms=0)),
        ("min_coverage = 0.3", verdict(coverage=0.3), verdict(coverage=0.2)),
        ('label = "manipulated"', verdict(), verdict(label="uncertain")),
        ('label = ["uncertain", "manipulated"]', verdict(), verdict(label="not_manipulated")),
        ('label = "manipulated"', verdict(), unjudged("not_applicable", "no_face")),
        ('status = "failed"', unjudged("failed", "not_a_video"), verdict()),
        (
            'reasons = ["too_dark", "no_face"]',
            unjudged("abstained", "gap", "no_face"),
            unjudged("abstained", "gap"),
        ),
        (
            'label = "manipulated", min_coverage = 0.3',
            verdict(coverage=0.3),
            verdict(coverage=0.3, label="uncertain"),
        ),
    ],
)
def test_a_condition_holds_from_its_threshold_on(
    tmp_path: Path, when: str, holds: Verdict, fails: Verdict
) -> None:
    policy = read(tmp_path, with_rule(when))
    assert policy.decide(holds).rule == "only"
    assert policy.decide(fails).rule == "default"


def test_the_first_rule_that_holds_decides(tmp_path: Path) -> None:
    rule = '[[rules]]\nname = "{}"\nwhen = {{ min_probability = {} }}\nthen = {{ action = "{}" }}\n'
    policy = read(tmp_path, HEAD + rule.format("a", 0.5, "review") + rule.format("b", 0.1, "tag") + DEFAULT)
    assert [policy.decide(verdict(p)).action for p in (0.9, 0.3, 0.0)] == ["review", "tag", "allow"]


@given(verdict=some_verdicts())
@settings(max_examples=10)
def test_every_verdict_has_a_decision(verdict: Verdict) -> None:
    policy = Policy.model_validate(
        {
            "id": "p",
            "version": "1",
            "mode": "shadow",
            "rules": [{"name": "r", "when": {"min_flagged_share": 0.1}, "then": {"action": "review"}}],
            "default": {"action": "allow"},
        }
    )
    assert policy.decide(verdict).action in {"review", "allow"}


def test_the_digest_is_of_what_the_policy_says_and_not_of_how(tmp_path: Path) -> None:
    plain = read(tmp_path, with_rule('label = "manipulated"'))
    spelt_out = read(tmp_path, "# a comment\n" + with_rule('label = ["manipulated"], reasons = []'))
    other = read(tmp_path, with_rule('label = "uncertain"'))
    shadow = read(tmp_path, with_rule('label = "manipulated"').replace("enforce", "shadow"))
    assert plain.sha256 == spelt_out.sha256 == plain.decide(verdict()).sha256
    assert len({plain.sha256, other.sha256, shadow.sha256}) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            with_rule("min_probabilty = 0.5"),
            "rule 'only', when.min_probabilty: there is no such key; did you mean min_probability?",
        ),
        (
            with_rule("min_probability = 97"),
            "rule 'only', when.min_probability: Input should be less than or equal to 1, not 97",
        ),
        (
            with_rule('label = "fake"'),
            "rule 'only', when.label.0: Input should be 'manipulated', 'not_manipulated' or 'uncertain'",
        ),
        (with_rule(""), "rule 'only', when: a rule needs a condition"),
        (
            with_rule("min_coverage = 0.1", 'acton = "x"'),
            "rule 'only', then.acton: there is no such key; did you mean action?",
        ),
        (with_rule("min_coverage = 0.1").replace('name = "only"', ""), "rule 1, name: Field required"),
        (with_rule("min_coverage = 0.1").replace('"only"', '"default"'), "no rule may be called 'default'"),
        (HEAD, "default: Field required"),
        (HEAD.replace("enforce", "dry") + DEFAULT, "mode: Input should be 'enforce' or 'shadow', not 'dry'"),
        (HEAD.replace("mode", "mod") + DEFAULT, "mod: there is no such key; did you mean mode?"),
        (HEAD + "rules = 3\n" + DEFAULT, "rules: Input should be a valid tuple, not 3"),
        (HEAD + "rules = [3]\n" + DEFAULT, "rule 1: Input should be"),
        (HEAD + "=", "not TOML"),
        (
            with_rule("min_coverage = 0.1")
            + with_rule("min_coverage = 0.1").removeprefix(HEAD).removesuffix(DEFAULT),
            "two rules are called 'only'",
        ),
    ],
)
def test_what_is_wrong_with_a_policy_is_said_by_file_rule_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_policy(written(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path / 'policy.toml'}: ")
    assert message in str(caught.value)


class Cautious:
    """Somebody's own policy: whatever is not clean is looked at."""

    def decide(self, verdict: Verdict) -> Decision:
        action = "allow" if verdict.summary.label == "not_manipulated" else "review"
        return Decision(policy_id="cautious", version="1", sha256="0" * 64, mode="enforce", action=action)


CAUTIOUS = Cautious()


def test_a_policy_may_be_python() -> None:
    found = read_policy("tests.connectors.test_policy:CAUTIOUS")
    assert found is CAUTIOUS
    assert found.decide(verdict()).action == "review"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("tests.connectors.test_policy:Cautious", "an object with decide"),
        ("tests.connectors.test_policy:HEAD", "is a str"),
        ("tests.connectors.test_policy:NOTHING", "NOTHING"),
        ("tests.connectors.no_such_module:POLICY", "no_such_module"),
        ("policy", "neither a TOML file nor package.module:object"),
        ("missing.toml", "No such file"),
    ],
)
def test_a_policy_that_is_not_there_is_said(reference: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_policy(reference)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Two policies, and verdicts of which they make different things."""
    verdicts = [verdict(0.9), verdict(0.6), verdict(0.55), verdict(0.1, label="not_manipulated")]
    lines = "".join(one.to_json() + "\n" for one in [*verdicts, unjudged("failed", "not_a_video")])
    return {
        "old": str(written(tmp_path, with_rule("min_probability = 0.8"), "old.toml")),
        "new": str(
            written(
                tmp_path, with_rule("min_probability = 0.5", 'action = "review", queue = "faces"'), "new.toml"
            )
        ),
        "verdicts": str(written(tmp_path, lines + "\n", "verdicts.jsonl")),
    }


def test_a_diff_counts_what_would_move_where(files: dict[str, str]) -> None:
    verdicts = [
        Verdict.model_validate_json(line) for line in Path(files["verdicts"]).read_text().split("\n") if line
    ]
    found = diff(read_policy(files["old"]), read_policy(files["new"]), verdicts)
    allow, review, queued = Then(action="allow"), Then(action="review"), Then(action="review", queue="faces")
    assert found.verdicts == 5
    assert set(found.moves) == {(allow, allow, 2), (allow, queued, 2), (review, queued, 1)}
    assert found.moves[-1] == (review, queued, 1)
    assert [change.uri for change in found.changes] == [f"s3://uploads/{p}.mp4" for p in (0.9, 0.6, 0.55)]
    same = diff(read_policy(files["old"]), read_policy(files["old"]), verdicts)
    assert same.changes == ()
    assert diff(CAUTIOUS, CAUTIOUS, []).moves == ()


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=stdin, env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_the_command_shows_what_would_change(files: dict[str, str]) -> None:
    result = run("diff", files["old"], files["new"], "--on", files["verdicts"], "--limit", "2")
    assert result.exit_code == 0
    assert "3 of 5 verdicts change" in result.output
    assert "40.0 %" in result.output
    assert "s3://uploads/0.6.mp4" in result.output
    assert "s3://uploads/0.55.mp4" not in result.output
    assert "and 1 more" in result.output


def test_the_command_writes_changes_as_json_lines_and_reads_standard_input(files: dict[str, str]) -> None:
    lines = Path(files["verdicts"]).read_text()
    result = run("diff", files["old"], files["new"], "--on", "-", "--json", stdin=lines)
    assert len(result.stdout.splitlines()) == 3
    assert json.loads(result.stdout.splitlines()[0]) == {
        "uri": "s3://uploads/0.9.mp4",
        "before": {"action": "review", "queue": None, "rule": "only"},
        "after": {"action": "review", "queue": "faces", "rule": "only"},
    }


def test_what_a_stranger_named_is_shown_as_it_stands_and_cannot_reach_the_terminal(
    files: dict[str, str],
) -> None:
    line = verdict(0.6).model_copy(update={"asset": Asset(uri="s3://b/[/red]:smile:\x1b[2J.mp4")}).to_json()
    result = run("diff", files["old"], files["new"], "--on", "-", stdin=line)
    assert "s3://b/[/red]:smile:?[2J.mp4" in result.output


def test_a_line_that_is_no_verdict_is_named(files: dict[str, str]) -> None:
    result = run("diff", files["old"], files["new"], "--on", "-", stdin='\n{"status": "scored"}\n')
    assert result.exit_code == 2
    assert "line 2: not a verdict: asset: Field required" in " ".join(result.output.replace("│", " ").split())


def test_a_policy_can_be_looked_at(files: dict[str, str]) -> None:
    result = run("check", files["new"])
    assert result.exit_code == 0
    assert "min_probability = 0.5" in result.output
    assert "review -> faces" in result.output
    assert str(getattr(read_policy(files["new"]), "sha256", None)) in result.output
    assert run("check", "tests.connectors.test_policy:CAUTIOUS").exit_code == 0
    assert run("check", "missing.toml").exit_code == 2
