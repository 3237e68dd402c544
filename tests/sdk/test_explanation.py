from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from dmcl_sdk import Detector, JudgementRule, VideoError
from dmcl_sdk.explanation import most_probable
from dmcl_sdk.testing import KnownFaces, ScriptedNetwork, scripted_spec
from tests.made import Pipe
from tests.sdk.scenes import known_face, red_detector, red_video, redness


def test_an_explanation_carries_the_very_verdict_of_score() -> None:
    video = red_video(100, 40, 60)
    explanation = red_detector().explain(video)
    assert explanation.verdict.without_timings() == red_detector().score(video).without_timings()
    (curve,) = explanation.curves
    assert len(curve.sightings) == len(curve.logits) == 100


def test_what_is_shown_of_a_peak_is_what_was_judged() -> None:
    explanation = red_detector().explain(red_video(100, 40, 60))
    (span,), (peak,) = explanation.verdict.spans, explanation.peaks
    assert round(peak.at_s * 1000) == span.peak_ms
    assert peak.span_id == span.span_id
    assert peak.crop.shape == (64, 64, 3)
    # red inside the span only: the crop, cut again, is one of its frames
    assert peak.crop[..., 0].mean() > peak.crop[..., 1].mean() + 20
    assert peak.motion.shape == (2, 32, 32)
    assert {removal.before for removal in peak.removals} == {peak.removals[0].before}
    assert peak.rgb_places is None  # this network says nothing of places


def test_a_peak_is_shown_as_fine_as_the_network_looks() -> None:
    spec = scripted_spec(size_px=64, motion_shrink=4, rgb_stride=4)
    detector, video = (
        Detector(
            ScriptedNetwork(redness, spec),
            face_model=KnownFaces((known_face(),)),
            judgement=JudgementRule(max_noise=255),  # a crop of 32 px has texture where one of 128 is smooth
        ),
        red_video(100, 40, 60),
    )
    explanation = detector.explain(video)
    (span,), (peak,) = explanation.verdict.spans, explanation.peaks
    assert (span.start_ms, span.end_ms) == (1600, 2400)
    assert round(peak.at_s * 1000) == span.peak_ms
    assert peak.crop.shape == (64, 64, 3)
    assert peak.crop[..., 0].mean() > peak.crop[..., 1].mean() + 20
    (every_crop,) = (
        red_detector().explain(video).peaks
    )  # a network of the same size that looks at every frame
    assert (every_crop.at_s, every_crop.crop.shape) == (peak.at_s, peak.crop.shape)
    assert np.abs(every_crop.crop.astype(int) - peak.crop).max() <= 1
    assert peak.motion.shape == (2, 16, 16)
    assert peak.removals[0].before > 0


def test_only_the_most_probable_spans_are_looked_at_again() -> None:
    explanation = red_detector().explain(red_video(100, 40, 60), most_peaks=0)
    assert explanation.peaks == ()
    spans = explanation.verdict.spans
    assert most_probable(spans, 1) == list(spans)


def test_a_clip_without_a_span_is_read_once_and_has_its_curves() -> None:
    explanation = red_detector().explain(red_video(60, 0, 0))
    assert explanation.peaks == ()
    assert not np.isnan(explanation.curves[0].logits).any()


def test_what_can_be_read_only_once_is_refused_with_the_reason() -> None:
    with pytest.raises(VideoError, match="read twice"):
        red_detector().explain(Pipe(red_video(20, 0, 0)))  # type: ignore[arg-type]
    assert red_detector().explain(io.BytesIO(red_video(60, 20, 40))).peaks


def test_progress_goes_through_both_readings(tmp_path: Path) -> None:
    told: list[tuple[float, float | None]] = []
    path = tmp_path / "clip.mp4"
    path.write_bytes(red_video(100, 40, 60))
    red_detector().explain(path, on_progress=lambda seconds, total: told.append((seconds, total)))
    assert [seconds for seconds, _ in told] == sorted(seconds for seconds, _ in told)
    assert told[-1][0] > 4  # of a video of four seconds
    assert told[-1][1] == pytest.approx(8, abs=0.1)
