"""The plug-in package of the examples, installed as a user installs it, on real input."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
import pytest

from dmcl_sdk import DeploymentError, Verdict
from dmcl_sdk.plugins import open_detector
from dmcl_sdk.testing import DETECTOR_CHECKS, DetectorBench
from tests.connectors.conftest import broker
from tests.connectors.daemons import daemon
from tests.connectors.topics import Topics
from tests.made import make_video
from tests.sdk.footage import carphone_images

__all__ = ["broker"]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "plugin"
FRAMES = 40


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package is installed in, without a network."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(PACKAGE)], check=True)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, on the path of this process and of those that it starts."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{ROOT}")
    importlib.invalidate_caches()
    return site


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real face, for 1.6 s."""
    images = carphone_images()
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    path.write_bytes(make_video(FRAMES, width=176, height=144, painter=lambda index, *_: images[index]))
    return path


def scored(clip: Path, *options: str) -> Verdict:
    code = "from dmcl_sdk.cli import main; main()"
    command = [sys.executable, "-c", code, "score", "--json", *options, str(clip)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return Verdict.model_validate_json(run.stdout)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_it_passes_the_published_checks(check: Callable[[DetectorBench], None], clip: Path) -> None:
    check(DetectorBench(open=lambda: open_detector("residue", {}), video=clip))


@pytest.mark.usefixtures("installed")
def test_the_command_line_scores_with_it_beside_ours(clip: Path) -> None:
    verdict = scored(clip, "--detector", "with-residue")
    assert verdict.model is not None
    assert verdict.model.name == "dmcl-small+residue"
    assert len(verdict.tracks) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_the_command_line_scores_with_it_alone_and_writes_a_page(clip: Path, tmp_path: Path) -> None:
    verdict = scored(clip, "--detector", "residue", "--report", str(tmp_path / "pages"))
    assert verdict.model is not None
    assert verdict.model.name == "residue"
    assert "residue" in (tmp_path / "pages" / "clip.mp4.html").read_text()


@pytest.mark.usefixtures("installed")
def test_a_face_that_has_lost_its_detail_is_more_suspect() -> None:
    residue = importlib.import_module("dmcl_residue")
    size = (residue.SIZE_PX, residue.SIZE_PX)
    images = np.stack([cv2.resize(image, size) for image in carphone_images()[:16]])
    middle, _ = residue.rings()
    smooth = np.where(middle[..., None], images.mean((1, 2), keepdims=True), images).astype(np.uint8)
    assert (residue.loss_of_detail(smooth) > residue.loss_of_detail(images)).all()


@pytest.mark.usefixtures("installed")
def test_an_option_that_it_does_not_have_is_an_error() -> None:
    with pytest.raises(DeploymentError, match=r"the detector residue does not start: .*'model'"):
        open_detector("residue", {"model": "other.onnx"})


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_daemon_scores_with_it(broker: str, clip: Path, tmp_path: Path) -> None:
    topics = Topics(broker, f"t{uuid4().hex[:8]}", tmp_path)
    settings = topics.settings()
    media = settings["media"] | {"file_roots": [str(clip.parent)]}
    topics.send({"uri": clip.as_uri()})
    with daemon(
        tmp_path, "kafka run", {**settings, "media": media, "scoring": {"detector": "residue"}}
    ) as process:
        process.wait_for(lambda: process.events("delivered"), "delivered", 300)
        assert process.stop() == 0
    (record,) = topics.records(topics.verdicts)
    assert json.loads(record.value)["model"]["name"] == "residue"


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_what_it_says_of_its_figures_is_what_is_measured() -> None:
    run = subprocess.run(
        [sys.executable, str(PACKAGE / "measure.py")], capture_output=True, text=True, check=True
    )
    table, _, fit = run.stdout.partition("\n\n")
    assert table in (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert fit.startswith("Platt(9.57, -3.67)")
