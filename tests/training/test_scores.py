"""What was scored is remembered, exactly, for as long as neither model nor video changes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmcl_sdk import Detector
from dmcl_sdk.assembly import JudgementRule
from dmcl_sdk.network import default_model
from tests.made import make_video
from tests.training.made_scores import face_of
from training.export import respecify
from training.scores import Scored, Scorer, _read, _write, face_logit


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(providers=["cpu"])


@pytest.fixture
def faceless(tmp_path: Path) -> Path:
    path = tmp_path / "faceless.mp4"
    path.write_bytes(make_video(20))
    return path


def of_face(logit: float, detector: Detector) -> float:
    """What a model makes of a face whose three curves are this logit."""
    return logit * (1 - detector.spec.rgb_discount)


def test_a_face_is_remembered_to_the_last_bit(detector: Detector, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=40)
    logits[7:12] = np.nan
    face = face_of(logits, 3)
    _write(tmp_path / "one.npz", Scored(0.0, (face,)))
    read = _read(tmp_path / "one.npz", detector)

    assert read.logit == face_logit(face, detector)
    assert read.face_px == 120.0
    (back,) = read.faces
    assert (back.track_id, back.sightings) == (3, face.sightings)
    assert np.array_equal(back.logits, face.logits, equal_nan=True)
    assert np.array_equal(back.times, face.times)


def test_what_is_remembered_is_not_scored_again(detector: Detector, faceless: Path, tmp_path: Path) -> None:
    scorer = Scorer(detector, tmp_path / "scores")
    scorer.score(faceless)
    (file,) = (tmp_path / "scores").iterdir()
    _write(file, Scored(0.0, (face_of(np.full(20, 5.0)),)))

    assert scorer.score(faceless).logit == pytest.approx(of_face(5.0, detector))


def test_a_new_calibration_needs_no_new_scores(detector: Detector, faceless: Path, tmp_path: Path) -> None:
    Scorer(detector, tmp_path / "scores").score(faceless)
    (file,) = (tmp_path / "scores").iterdir()
    _write(file, Scored(0.0, (face_of(np.full(20, 5.0)),)))
    model = tmp_path / "recalibrated.onnx"
    shutil.copy(default_model(), model)
    steeper = replace(detector.spec.calibration, slope=9.0)
    respecify(model, detector.spec.model_copy(update={"calibration": steeper}))
    again = Detector(model, providers=["cpu"])

    assert again.spec.calibration.slope == 9.0
    assert Scorer(again, tmp_path / "scores").score(faceless).logit == pytest.approx(of_face(5.0, again))


def test_another_idea_of_what_can_be_judged_needs_new_scores(faceless: Path, tmp_path: Path) -> None:
    for least_px in (32.0, 64.0):
        judging = Detector(providers=["cpu"], judgement=JudgementRule(min_face_px=least_px))
        Scorer(judging, tmp_path / "scores").score(faceless)

    assert len(list((tmp_path / "scores").iterdir())) == 2


def test_a_face_that_a_verdict_finds_too_short_to_judge_has_no_score(
    detector: Detector, tmp_path: Path
) -> None:
    long, short = (np.full(frames, 3.0) for frames in (20, 10))
    _write(tmp_path / "one.npz", Scored(None, (face_of(short), face_of(long, 1))))
    read = _read(tmp_path / "one.npz", detector)

    assert [face.track_id for face in read.faces] == [1]
    assert read.logit == pytest.approx(of_face(3.0, detector))


def test_a_video_that_changed_is_scored_anew(detector: Detector, faceless: Path, tmp_path: Path) -> None:
    scorer = Scorer(detector, tmp_path / "scores")
    scorer.score(faceless)
    os.utime(faceless, ns=(0, 0))
    scorer.score(faceless)

    assert len(list((tmp_path / "scores").iterdir())) == 2


def test_a_video_without_a_face_and_a_file_that_is_none_are_told_apart(
    detector: Detector, faceless: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    scorer = Scorer(detector, tmp_path / "scores")

    for _ in range(2):
        assert (scorer.score(faceless).logit, scorer.score(faceless).problem) == (None, "")
        assert scorer.score(text).logit is None
        assert scorer.score(text).problem
    assert np.isnan(scorer.score(faceless).face_px)


def test_what_is_derived_is_made_once_for_each_recipe(
    detector: Detector, faceless: Path, tmp_path: Path
) -> None:
    made: list[str] = []
    scorer = Scorer(detector, tmp_path / "scores")
    for recipe in ("blur", "noise", "blur"):

        def make(origin: Path, target: Path, recipe: str = recipe) -> None:
            made.append(recipe)
            target.write_bytes(origin.read_bytes())

        scorer.derived(recipe, faceless, make)
    assert made == ["blur", "noise"]


def test_nothing_is_kept_where_nobody_asked(detector: Detector, faceless: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert Scorer(detector).score(faceless).logit is None
    assert set(tmp_path.iterdir()) == before


def test_the_worst_face_comes_first_whatever_the_order(detector: Detector, tmp_path: Path) -> None:
    calm, wild = face_of(np.full(30, -2.0), 0), face_of(np.full(30, 2.0), 1)
    _write(tmp_path / "one.npz", Scored(2.0, (calm, wild)))
    read = _read(tmp_path / "one.npz", detector)

    assert [face.track_id for face in read.faces] == [1, 0]
    assert read.curve is not None
    assert read.curve.track_id == 1
    assert read.logit == pytest.approx(of_face(2.0, detector))
