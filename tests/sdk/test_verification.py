from __future__ import annotations

import pytest

from dmcl_sdk.verdict import Decision, Verdict
from dmcl_sdk.verification import check_decision, check_findings, check_setup, check_video
from tests.sdk.scenes import red_detector, red_video


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return red_detector().score(red_video(100, 40, 60))


def changed(verdict: Verdict, **summary: object) -> Verdict:
    return verdict.model_copy(update={"summary": verdict.summary.model_copy(update=summary)})


def test_a_verdict_that_is_the_same_again_holds(verdict: Verdict) -> None:
    check = check_findings(verdict, red_detector().score(red_video(100, 40, 60)))
    assert (check.outcome, check.message) == ("holds", "scored again, it is the same in every number")


def test_rounding_is_no_difference_and_a_changed_probability_is(verdict: Verdict) -> None:
    probability = verdict.summary.probability or 0.0
    assert check_findings(changed(verdict, probability=probability - 1e-4), verdict).outcome == "holds"
    check = check_findings(changed(verdict, probability=probability - 0.1), verdict)
    assert check.outcome == "differs"
    assert check.message.startswith("summary.probability: ")


def test_a_moved_or_missing_span_is_named(verdict: Verdict) -> None:
    span = verdict.spans[0]
    moved = verdict.model_copy(update={"spans": (span.model_copy(update={"end_ms": span.end_ms + 40}),)})
    assert f"spans[0].end_ms: {span.end_ms + 40} in the verdict" in check_findings(moved, verdict).message
    without = verdict.model_copy(update={"spans": ()})
    assert "spans: 0 in the verdict, 1 scored again" in check_findings(without, verdict).message


def test_another_file_and_one_that_is_not_named_are_told_apart(verdict: Verdict) -> None:
    assert check_video(verdict, verdict.asset.sha256 or "").outcome == "holds"
    assert check_video(verdict, "0" * 64).outcome == "differs"
    unnamed = verdict.model_copy(update={"asset": verdict.asset.model_copy(update={"sha256": None})})
    assert check_video(unnamed, "0" * 64).outcome == "unchecked"


@pytest.mark.parametrize(
    ("part", "words"), [("model", "--model"), ("preprocessing", "faces by"), ("settings", "--max-seconds")]
)
def test_what_is_not_here_cannot_be_told_and_the_way_out_is(verdict: Verdict, part: str, words: str) -> None:
    detector = red_detector()
    assert {check.outcome for check in check_setup(verdict, detector.model, detector.runtime)} == {"holds"}
    assert verdict.model is not None
    assert verdict.runtime is not None
    model, runtime = verdict.model, verdict.runtime
    if part == "model":
        model = model.model_copy(update={"sha256": "0" * 64})
    else:
        field = "preprocess_sha256" if part == "preprocessing" else "config_sha256"
        runtime = runtime.model_copy(update={field: "0" * 64})
    claimed = verdict.model_copy(update={"model": model, "runtime": runtime})
    checks = {check.what: check for check in check_setup(claimed, detector.model, detector.runtime)}
    assert checks[part].outcome == "unchecked"
    assert words in checks[part].message


def test_a_decision_is_held_against_its_policy_and_against_no_other() -> None:
    decision = Decision(policy_id="p", version="1", sha256="1" * 64, mode="enforce", action="review")
    assert check_decision(decision, decision).outcome == "holds"
    other = decision.model_copy(update={"action": "remove"})
    assert "decision.action: 'review' in the verdict, 'remove'" in check_decision(decision, other).message
    assert check_decision(decision, decision.model_copy(update={"sha256": "2" * 64})).outcome == "unchecked"
