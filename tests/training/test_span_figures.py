"""Span figures on curves with a known span, and splices that are made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmcl_sdk.segment import Segment
from tests.made import make_video, smooth
from tests.training.made_scores import face_of, plain_spec
from tests.training.test_splices import darkened
from training.data.manifest import Clip
from training.scores import Scored
from training.span_figures import Localised, proposals, remembered_splices, span_figures


def edited(start: int, end: int, frames: int = 150) -> Scored:
    """A face whose logit rises from -3 to 3 in the frames [start, end)."""
    logits = np.full(frames, -3.0)
    logits[start:end] = 3.0
    return Scored(3.0, (face_of(logits),))


def localised(*, seed: int = 0, videos: int = 8) -> Localised:
    rng = np.random.default_rng(seed)
    starts = rng.integers(10, 100, videos).tolist()
    scored = [edited(start, start + 25) for start in starts]
    true = [[Segment(start / 25, (start + 25) / 25)] for start in starts]
    return Localised.of(scored, true, list(range(videos)), plain_spec())


def test_clean_spans_are_found_to_the_frame() -> None:
    figures = span_figures(localised(), resamples=20)

    assert figures["ap@0.95"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert figures["ar@1"]["value"] == 1.0
    assert figures["boundary_error_ms"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert (figures["videos"], figures["spans"], figures["groups"]) == (8, 8, 8)


def test_what_a_verdict_would_show_is_counted_too() -> None:
    figures = span_figures(localised(), resamples=20)

    assert figures["shown_recall@0.5"]["value"] == figures["shown_precision@0.5"]["value"] == 1.0
    assert figures["shown"] == 1.0


def test_spans_shown_in_vain_cost_precision_and_no_recall() -> None:
    one = localised(videos=2)
    vain = [[*spans, Segment(5.5, 5.9)] for spans in one.shown]
    figures = span_figures(Localised(one.found, vain, one.true, one.groups, one.end_s), resamples=20)

    assert (figures["shown_recall@0.5"]["value"], figures["shown_precision@0.5"]["value"]) == (1.0, 0.5)


def test_real_videos_beside_spans_are_resampled_without_any_too() -> None:
    one = localised(videos=1)
    data = Localised(
        one.found + [[]] * 5, one.shown + [[]] * 5, one.true + [[]] * 5, list(range(6)), [6.0] * 6
    )

    assert span_figures(data, resamples=50)["shown_recall@0.5"]["value"] == 1.0


def test_the_same_proposals_misplaced_earn_little() -> None:
    figures = span_figures(localised(), resamples=20)

    assert figures["ap@0.5_misplaced"]["value"] < 0.4
    assert figures["ap@0.5_misplaced"]["highest_of_20"] < 1.0


def test_ap_falls_with_the_iou_that_is_asked_for() -> None:
    off = localised()
    late = [[Segment(span.start_s + 0.2, span.end_s + 0.2, span.score) for span in row] for row in off.found]
    curve = span_figures(Localised(late, off.shown, off.true, off.groups, off.end_s), resamples=20)[
        "ap_over_iou"
    ]
    values = list(curve.values())

    assert values == sorted(values, reverse=True)
    assert (curve["0.5"], curve["0.9"]) == (1.0, 0.0)


def test_a_span_of_the_second_face_is_found_too() -> None:
    flat, spliced = face_of(np.full(150, -3.0), 0), edited(50, 75).faces[0]
    found = proposals(Scored(3.0, (flat, spliced)), plain_spec())

    assert (found[0].start_s, found[0].end_s) == (2.0, 3.0)
    assert [span.score for span in found] == sorted((span.score for span in found), reverse=True)


def test_a_video_without_a_face_misses_its_span() -> None:
    whole = localised(videos=4)
    scored = [edited(50, 75), Scored(None)]
    half = Localised.of(scored, [[Segment(2.0, 3.0)], [Segment(1.0, 2.0)]], [0, 1], plain_spec())

    assert span_figures(whole, resamples=20)["ar@1"]["value"] == 1.0
    assert span_figures(half, resamples=20)["ar@1"]["value"] == 0.5


def test_without_a_true_span_there_are_no_figures() -> None:
    real = Localised.of([Scored(None)], [[]], [0], plain_spec())

    assert span_figures(real) == {"spans": 0}


def test_splices_are_made_once_and_found_again(tmp_path: Path) -> None:
    real, fake = tmp_path / "real.mp4", tmp_path / "fake.mp4"
    real.write_bytes(make_video(120, painter=smooth))
    fake.write_bytes(make_video(120, painter=darkened))
    clips = [Clip(real, "val", fake=False), Clip(fake, "val", fake=True, generator="darkener", pair=real)]
    made = remembered_splices(clips, tmp_path / "splices")
    states = [one.path.stat().st_mtime_ns for one in made]
    again = remembered_splices(clips, tmp_path / "splices")

    assert len(made) == 3
    assert again == made
    assert [one.path.stat().st_mtime_ns for one in again] == states
    assert len(remembered_splices(clips, tmp_path / "splices", seed=1)) == 3
    assert len(list((tmp_path / "splices").iterdir())) == 2


def test_a_fake_whose_spans_are_known_is_not_spliced(tmp_path: Path) -> None:
    real = tmp_path / "real.mp4"
    real.write_bytes(b"")
    known = Clip(real, "val", fake=True, pair=real, spans=(Segment(0.0, 1.0),))

    assert remembered_splices([known], tmp_path / "splices") == []
