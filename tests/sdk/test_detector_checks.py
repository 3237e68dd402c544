"""The published checks find detectors that misbehave, and none in what is ours."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from dmcl_sdk import Detector, Verdict
from dmcl_sdk.detector import failed_verdict
from dmcl_sdk.errors import VideoError
from dmcl_sdk.plugins import Scorer
from dmcl_sdk.testing import (
    DETECTOR_CHECKS,
    DetectorBench,
    a_file_that_is_no_video_is_refused,
    a_verdict_is_about_the_very_file,
    a_video_without_a_face_is_not_called_clean,
    the_same_video_has_the_same_verdict,
    what_it_finds_lies_inside_the_video,
)
from tests.sdk.footage import carphone
from tests.sdk.scenes import red_detector, red_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("red") / "red.mp4"
    path.write_bytes(red_video(40, 10, 30))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_our_own_detector_passes(check: Callable[[DetectorBench], None]) -> None:
    check(DetectorBench(open=Detector, video=carphone()))


class Changed:
    """The verdicts of a detector that is right, changed."""

    def __init__(self, change: Callable[[Verdict], Verdict]) -> None:
        self._change = change

    def score(self, video: Path) -> Verdict:
        return self._change(red_detector().score(video))


class Lenient:
    """Answers for what is no video, in place of refusing it."""

    def score(self, video: Path) -> Verdict:
        try:
            return red_detector().score(video)
        except VideoError as error:
            return failed_verdict(error)


_numbers = count()


def counted(verdict: Verdict) -> Verdict:
    """A probability that is another each time."""
    summary = verdict.summary.model_copy(update={"probability": 1 - 1e-6 * next(_numbers)})
    return verdict.model_copy(update={"summary": summary})


def calmed(verdict: Verdict) -> Verdict:
    summary = verdict.summary.model_copy(update={"probability": 0.1, "label": "not_manipulated"})
    return verdict.model_copy(update={"summary": summary})


def cleared(verdict: Verdict) -> Verdict:
    return calmed(verdict).model_copy(update={"status": "scored"})


def of_another_file(verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"asset": verdict.asset.model_copy(update={"sha256": "0" * 64})})


@pytest.mark.parametrize(
    ("check", "detector"),
    [
        (a_verdict_is_about_the_very_file, Changed(of_another_file)),
        (the_same_video_has_the_same_verdict, Changed(counted)),
        (what_it_finds_lies_inside_the_video, Changed(calmed)),
        (a_video_without_a_face_is_not_called_clean, Changed(cleared)),
        (a_file_that_is_no_video_is_refused, Lenient()),
    ],
)
def test_each_check_finds_what_it_is_for(
    check: Callable[[DetectorBench], None], detector: Scorer, video: Path
) -> None:
    with pytest.raises(AssertionError):
        check(DetectorBench(open=lambda: detector, video=video))


def test_the_checks_are_all_published() -> None:
    assert {check.__name__ for check in DETECTOR_CHECKS} == {
        name for name, value in globals().items() if value in DETECTOR_CHECKS and name == value.__name__
    }
