from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dmcl_sdk import Detector
from dmcl_sdk.judging import CHUNK_FRAMES, OVERLAP_FRAMES
from dmcl_sdk.motion import motion_fields
from dmcl_sdk.network import FrameCurves, ModelSpec
from dmcl_sdk.testing import ScriptedNetwork, scripted_spec
from tests.sdk.footage import carphone
from training.data.runs import cache_runs, read_runs, without_margin

SIZE = 128


class Recorder(ScriptedNetwork):
    """Keeps every crop and motion field that it is asked about."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(lambda _: (0.0, 0.0, 0.0), spec)
        object.__setattr__(self, "asked", [])

    def run(self, rgb: npt.NDArray[np.uint8], motion: npt.NDArray[np.int8]) -> FrameCurves:
        self.asked.append((rgb[0], motion[0]))  # type: ignore[attr-defined]
        return super().run(rgb, motion)


def test_what_is_trained_on_is_bit_for_bit_what_is_served() -> None:
    recorder = Recorder(scripted_spec(size_px=SIZE))
    Detector(recorder).score(carphone())
    (crops,) = read_runs(carphone(), SIZE, margin_px=0).values()
    cut = np.stack([crop.image for crop in crops])
    motion = motion_fields(cut, recorder.spec.motion)
    end = 0
    for number, (served_rgb, served_motion) in enumerate(recorder.asked):  # type: ignore[attr-defined]
        start = number * (CHUNK_FRAMES - OVERLAP_FRAMES)
        end = start + len(served_rgb)
        assert np.array_equal(cut[start:end], served_rgb)
        assert np.array_equal(motion[start:end], served_motion)
    assert end == len(cut) == 120


def test_finer_crops_are_served_as_trained_on_and_their_motion_but_for_rounding() -> None:
    spec = scripted_spec(size_px=2 * SIZE, motion_shrink=4, rgb_stride=4)
    recorder = Recorder(spec)
    Detector(recorder).score(carphone())
    (crops,) = read_runs(carphone(), 2 * SIZE, margin_px=0).values()
    cut = np.stack([crop.image for crop in crops])
    ((served_rgb, served_motion),) = recorder.asked  # type: ignore[attr-defined]
    assert np.array_equal(cut[2::4], served_rgb)
    trained = motion_fields(cut, spec.motion).reshape(120, 3, 4, 64, 64)
    served = served_motion.reshape(120, 3, 4, 64, 64)
    for baseline, least in enumerate((0.985, 0.985, 0.97)):
        after = spec.baselines[baseline]
        one, other = trained[after:, baseline, :2].ravel(), served[after:, baseline, :2].ravel()
        assert np.corrcoef(one, other)[0, 1] > least


def test_a_margin_leaves_the_middle_as_it_was_but_for_rounding() -> None:
    (plain,) = read_runs(carphone(), SIZE, margin_px=0).values()
    (wide,) = read_runs(carphone(), SIZE).values()
    (middle,) = without_margin(wide[60].image[None])
    assert np.abs(middle.astype(int) - plain[60].image).mean() < 0.5


def test_cached_runs_are_read_back_and_not_made_again(tmp_path: Path) -> None:
    (first,) = cache_runs([carphone()], tmp_path, size_px=SIZE, workers=1)
    written = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (second,) = cache_runs([carphone()], tmp_path, size_px=SIZE, workers=1)
    assert first == second
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == written
    assert first[0].crops().shape == (first[0].frames, SIZE + 32, SIZE + 32, 3)


def test_a_cache_may_be_moved_and_read_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (made,) = cache_runs([carphone()], Path("cache"), size_px=SIZE, workers=1)
    Path("cache").rename("elsewhere")
    (found,) = cache_runs([carphone()], tmp_path / "elsewhere", size_px=SIZE, workers=1)
    monkeypatch.chdir("/")
    assert [run.frames for run in found] == [run.frames for run in made]
    assert found[0].crops().shape == (found[0].frames, SIZE + 32, SIZE + 32, 3)


AFTER_THREADS = """
import sys
from pathlib import Path
import cv2
import numpy as np
import pytest
from training.data.runs import cache_runs

cv2.setNumThreads(2)
cv2.resize(np.zeros((3000, 3000, 3), np.uint8), (320, 320), interpolation=cv2.INTER_AREA)  # as a photograph is
(runs,) = cache_runs([Path(sys.argv[1])], Path(sys.argv[2]), size_px=128, workers=1)
print(runs[0].frames)
"""


def test_crops_are_cut_after_photographs_were_read_with_threads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AFTER_THREADS, str(carphone()), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "120\n"
