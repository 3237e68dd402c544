"""`dmcl verify`, `dmcl report` and `dmcl evidence` on a real face, by the real model."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dmcl_sdk import Detector, VideoError
from dmcl_sdk.cli import app
from dmcl_sdk.detector import failed_verdict
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


VENDOR = """
import hashlib
from dmcl_sdk import VideoError, Verdict
from dmcl_sdk.verdict import Asset, Reason, Summary, Track

class Vendor:
    "Somebody else's detector: it knows one number, and where the face was."
    def __init__(self, probability=0.9):
        self.probability = probability
    def score(self, video):
        if not video.exists() or video.suffix == ".txt":
            raise VideoError(str(video), "not_a_video", "the vendor cannot read it")
        asset = Asset(uri=video.absolute().as_uri(), sha256=hashlib.sha256(video.read_bytes()).hexdigest())
        track = Track(track_id=0, start_ms=0, end_ms=4000, label="manipulated", probability=self.probability)
        why = Reason(code="appearance_anomaly", message="the vendor does not like the mouth", track_id=0)
        summary = Summary(label="manipulated", probability=self.probability, faces=1, worst_track_id=0)
        return Verdict(status="scored", asset=asset, reasons=(why,), summary=summary, tracks=(track,))

class Unsteady(Vendor):
    "The same, of another opinion."
    def __init__(self):
        super().__init__(0.7)
"""


def dmcl(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, check=False)


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


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clip and a detector that is no package of ours."""
    shutil.copy(carphone(), tmp_path / "clip.mp4")
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / "vendor.py").write_text(VENDOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delitem(sys.modules, "vendor", raising=False)
    return tmp_path


def typed(line: str) -> Any:  # noqa: ANN401 - the result of click, or of the copy of it that typer has
    """The command line in this process: half of the time of a new one is imports."""
    return CliRunner().invoke(app, shlex.split(line))


def test_another_detector_s_verdicts_have_pages_and_hold_by_that_detector(shop: Path) -> None:
    made = typed("score --detector vendor:Vendor --report pages clip.mp4 notes.txt")
    assert made.exit_code == 3, made.output  # the notes are no video, and have a page all the same
    html = (shop / "pages" / "clip.mp4.html").read_text(encoding="utf-8")
    assert "neither curves nor pictures" in html
    assert "The vendor does not like the mouth." in html
    assert "2 videos" in (shop / "pages" / "index.html").read_text(encoding="utf-8")

    about = "pages/clip.mp4.verdict.json clip.mp4"
    held = typed(f"verify {about} --detector vendor:Vendor")
    assert "the same in every number" in held.stdout
    assert held.exit_code == 2  # which model it was cannot be told
    assert typed(f"report {about} --detector vendor:Vendor -o one.html").exit_code == 0
    assert "./clip.mp4" in (shop / "one.html").read_text(encoding="utf-8")

    other = typed(f"verify {about} --detector vendor:Unsteady")
    assert other.exit_code == 1
    assert "summary.probability: 0.9000 in the verdict, 0.7000" in other.stdout


def keep_a_vendors_verdict(shop: Path) -> None:
    """The other detector's verdict on the clip, as verdict.json."""
    (shop / "verdict.json").write_text(typed("score --detector vendor:Vendor --json clip.mp4").stdout)


def test_a_verdict_of_another_detector_says_which_option_is_missing(shop: Path) -> None:
    keep_a_vendors_verdict(shop)
    unnamed = typed("verify verdict.json clip.mp4")
    assert unnamed.exit_code == 2
    assert "name its detector with --detector" in unnamed.stdout
    page = typed("report verdict.json clip.mp4")
    assert page.exit_code == 2
    assert "nothing was written" in page.stderr
    redacted = typed("report verdict.json clip.mp4 --detector vendor:Vendor --redact")
    assert redacted.exit_code == 2
    assert "does not say where every face is" in redacted.stderr


def test_a_file_of_several_verdicts_is_told_from_one_that_is_none(shop: Path) -> None:
    line = failed_verdict(VideoError("clip.mp4", "not_a_video", "it is none")).to_json()
    (shop / "verdicts.jsonl").write_text(f"{line}\n{line}\n")
    found = typed("verify verdicts.jsonl clip.mp4")
    assert found.exit_code == 2
    assert "several lines, a verdict each" in found.stderr


def test_a_video_that_is_not_there_is_named(shop: Path) -> None:
    keep_a_vendors_verdict(shop)
    found = typed("report verdict.json gone.mp4 --detector vendor:Vendor")
    assert found.exit_code == 2
    assert "video: gone.mp4: there is no such file" in found.stderr


@pytest.mark.parametrize("name", ["verdict.json", "clip.mp4"])
def test_nothing_that_is_read_is_written_over(shop: Path, name: str) -> None:
    failed = failed_verdict(VideoError("clip.mp4", "not_a_video", "it is none"))
    (shop / "verdict.json").write_text(failed.to_json())
    before = (shop / name).read_bytes()
    for command in ("report", "evidence"):
        refused = typed(f"{command} verdict.json clip.mp4 -o {name}")
        assert refused.exit_code == 2
        assert "would be written over" in refused.stderr
    assert (shop / name).read_bytes() == before
