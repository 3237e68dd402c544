"""`dmcl verify`, `dmcl report` and `dmcl evidence` on a real face, by the real model."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dmcl_sdk import Detector
from dmcl_sdk.verdict import Decision, Verdict
from tests.sdk.footage import carphone

COMMAND = [sys.executable, "-c", "from dmcl_sdk.cli import main; main()"]
POLICY = """
id = "uploads"
version = "1"
mode = "enforce"
[[rules]]
name = "likely"
when = { min_probability = 0.0001 }
then = { action = "review" }
[default]
action = "allow"
"""


def dmcl(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return Detector(providers=["cpu"]).score(carphone())


def written(verdict: Verdict, folder: Path) -> Path:
    path = folder / "verdict.json"
    path.write_text(verdict.to_json(), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_verdict_is_proved_and_a_changed_one_refuted(verdict: Verdict, tmp_path: Path) -> None:
    proved = dmcl("verify", written(verdict, tmp_path), carphone())
    assert (proved.returncode, proved.stderr) == (0, "")
    assert "the same in every number" in proved.stdout
    summary = verdict.summary.model_copy(update={"probability": 0.999})
    forged = written(verdict.model_copy(update={"summary": summary}), tmp_path)
    refuted = dmcl("verify", "--json", forged, carphone())
    assert refuted.returncode == 1
    (differs,) = [check for check in json.loads(refuted.stdout) if check["outcome"] == "differs"]
    assert differs["message"].startswith("summary.probability: 0.9990 in the verdict")


@pytest.mark.slow
def test_a_decision_is_proved_by_its_policy_alone(verdict: Verdict, tmp_path: Path) -> None:
    from connectors.policy import read_policy

    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    decision: Decision = read_policy(policy).decide(verdict)
    path = written(verdict.model_copy(update={"decision": decision}), tmp_path)
    without = dmcl("verify", path, carphone())
    assert without.returncode == 2
    assert "name its file with --policy" in without.stdout
    assert dmcl("verify", path, carphone(), "--policy", policy).returncode == 0


@pytest.mark.slow
def test_another_video_refutes_without_being_scored(verdict: Verdict, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(carphone().read_bytes() + b"\0")
    found = dmcl("verify", written(verdict, tmp_path), other)
    assert found.returncode == 1
    assert "another file" in found.stdout
    report = dmcl("report", written(verdict, tmp_path), other, "-o", tmp_path / "page.html")
    assert report.returncode == 1
    assert not (tmp_path / "page.html").exists()


@pytest.mark.slow
def test_other_settings_cannot_be_told_and_the_same_ones_can(tmp_path: Path) -> None:
    from dmcl_sdk import VideoLimits

    limits = VideoLimits(max_duration_s=1.0)
    path = written(Detector(providers=["cpu"], limits=limits).score(carphone()), tmp_path)
    unknown = dmcl("verify", path, carphone())
    assert unknown.returncode == 2
    assert "--max-seconds" in unknown.stdout
    assert dmcl("verify", path, carphone(), "--max-seconds", "1").returncode == 0


@pytest.mark.slow
def test_a_page_and_a_bundle_are_written_of_a_verdict_that_holds(verdict: Verdict, tmp_path: Path) -> None:
    path = written(verdict, tmp_path)
    page, zipped = tmp_path / "page.html", tmp_path / "bundle.zip"
    assert dmcl("report", path, carphone(), "-o", page, "--redact").returncode == 0
    assert (tmp_path / "page.redacted.mp4").exists()
    assert "page.redacted.mp4" in page.read_text(encoding="utf-8")
    assert dmcl("evidence", path, carphone(), "-o", zipped).returncode == 0
    with zipfile.ZipFile(zipped) as archive:
        assert archive.read("verdict.json") == path.read_bytes()


def test_what_is_not_a_verdict_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text('{"schema": "dmcl.verdict/9"}')
    found = dmcl("verify", tmp_path / "no.json", carphone())
    assert found.returncode == 2
    assert "not one verdict of dmcl.verdict/1" in " ".join(found.stderr.replace("│", " ").split())
