from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmcl_sdk.assembly import JudgementRule, assemble, face_curves, pool, pool_face
from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.judging import JudgedRun
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.sighting import Sighting, Sightings
from dmcl_sdk.testing import scripted_spec
from dmcl_sdk.verdict import Asset, Reason, Verdict

SPEC = scripted_spec()
Changes = dict[str, float]


def run(
    logits: list[float], *, track: int = 0, start_s: float = 0.0, fps: float = 25.0, **changes: float
) -> JudgedRun:
    """A run whose streams agree."""
    measures = {
        "face_px": 90.0,
        "sharpness": 0.5,
        "brightness": 0.5,
        "noise": 0.5,
        "yaw": 0.0,
        "visible": 1.0,
    } | changes
    sightings = [
        Sighting(n, start_s + n / fps, start_s + (n + 1) / fps, (0.1, 0.1, 0.5, 0.5), **measures)
        for n in range(len(logits))
    ]
    return JudgedRun(track, Sightings.of(sightings), np.repeat(np.array(logits, np.float32)[:, None], 3, 1))


def verdict(
    *runs: JudgedRun, spec: object = SPEC, seconds: float = 4.0, reasons: tuple[Reason, ...] = ()
) -> Verdict:
    asset = Asset(uri="file:///clip.mp4", duration_ms=round(seconds * 1000))
    return assemble(asset, runs, reasons, spec=spec, rule=SpanRule(), judgement=JudgementRule())  # type: ignore[arg-type]


def codes(found: Verdict) -> list[str]:
    return [reason.code for reason in found.reasons]


def test_a_probability_near_the_threshold_is_withheld_and_still_told() -> None:
    found = verdict(run([0.0] * 100))
    assert (found.status, found.summary.label, codes(found)) == ("abstained", "uncertain", ["near_threshold"])
    assert found.summary.probability == pytest.approx(0.5)


def test_a_face_that_is_called_manipulated_always_has_a_span() -> None:
    spec = SPEC.model_copy(update={"abstention": AbstentionRule(0.5, 0.4)})
    found = verdict(run([0.1] * 100), spec=spec)
    assert found.summary.label == "manipulated"
    assert [(span.start_ms, span.end_ms) for span in found.spans] == [(0, 4000)]


def test_a_span_whose_streams_are_not_suspect_by_themselves_says_so() -> None:
    low = Platt(1.0, -3.0, ((0.0, 0.0), (0.0, 0.0)))
    streams = {"frame_calibration": low, "rgb_calibration": low, "flow_calibration": low}
    found = verdict(run([1.0] * 100), spec=SPEC.model_copy(update=streams))
    assert found.summary.label == found.spans[0].label == "manipulated"
    assert not found.spans[0].is_suspect
    assert found.reasons[-1].message.endswith(
        "its picture stands out more, and yet is not suspect by itself (12 %)"
    )


def test_a_face_that_is_cleared_has_no_spans() -> None:
    found = verdict(run([-6.0] * 95 + [1.0] * 5))
    assert (found.summary.label, found.spans) == ("not_manipulated", ())


def test_a_face_judged_for_a_small_share_of_its_time_is_not_cleared() -> None:
    hidden = run([-5.0] * 80, start_s=2.0, visible=0.2)
    found = verdict(run([-5.0] * 40), hidden)
    assert (found.status, found.summary.label) == ("abstained", "uncertain")
    assert {"low_coverage", "face_partly_visible"} <= set(codes(found))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"face_px": 10.0}, "face_too_small"),
        ({"sharpness": 0.0}, "face_too_blurred"),
        ({"brightness": 0.0}, "too_dark"),
        ({"noise": 4.0}, "too_noisy"),
        ({"yaw": -1.0}, "face_in_profile"),
        ({"visible": 0.1}, "face_partly_visible"),
    ],
)
def test_a_face_that_cannot_be_judged_says_why(change: Changes, code: str) -> None:
    found = verdict(run([5.0] * 50, **change))  # type: ignore[arg-type]
    assert (found.status, found.tracks[0].label, codes(found)) == ("abstained", None, [code])


def test_a_gap_between_runs_is_not_part_of_a_span() -> None:
    found = verdict(run([4.0] * 50), run([4.0] * 50, start_s=10.0), seconds=12.0)
    assert [(span.start_ms, span.end_ms) for span in found.spans] == [(0, 2000), (10000, 12000)]
    assert found.summary.flagged_ms == found.summary.scanned_ms == 4000
    assert found.summary.coverage == pytest.approx(1 / 3)


def test_what_was_said_of_the_file_comes_first() -> None:
    truncated = Reason(code="truncated", message="cut off")
    assert codes(verdict(run([4.0] * 50), reasons=(truncated,)))[0] == "truncated"


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=300), st.floats(0.1, 8))
def test_a_pooled_logit_lies_between_the_mean_and_the_highest_frame(
    logits: list[float], sharpness: float
) -> None:
    values = np.array(logits)
    pooled = pool(values, np.arange(len(values)) / 25, sharpness)
    assert values.min() - 1e-9 <= pooled <= values.max() + 1e-9
    if len(values) <= 50:  # a single window
        assert pooled >= values.mean() - 1e-9


def test_a_forged_second_weighs_the_same_in_an_hour_as_in_a_minute() -> None:
    def pooled(seconds: int) -> float:
        logits = np.full(25 * seconds, -4.0)
        logits[500:525] = 4.0
        return pool(logits, np.arange(len(logits)) / 25, 2.0)

    assert pooled(60) == pytest.approx(pooled(3600))
    assert pooled(60) > 3


def test_what_rgb_says_in_every_frame_can_count_less_for_a_face_and_as_much_for_its_spans() -> None:
    logits = np.zeros((200, 3))
    logits[:, 1] = 2.0
    logits[100:140, :2] += 4.0
    times = np.arange(200) / 25
    discounted, plain = scripted_spec(rgb_discount=0.5), scripted_spec()

    assert pool_face(logits, times, plain) == pool(logits[:, 0], times, plain.pooling_sharpness)
    assert pool_face(logits, times, discounted) < pool_face(logits, times, plain) - 1
    forged = run([0.0] * 100 + [5.0] * 50 + [0.0] * 100)
    found = [verdict(forged, spec=spec, seconds=10.0) for spec in (plain, discounted)]
    spans = [[(span.start_ms, span.end_ms) for span in one.spans] for one in found]
    assert spans[0] == spans[1] != []
    judged = [one.tracks[0].score_raw or 0.0 for one in found]
    assert judged[1] < judged[0] - 1


@given(st.permutations([0, 1, 2]))
def test_the_order_of_runs_does_not_matter(order: list[int]) -> None:
    runs = [run([1.0] * 20), run([2.0] * 20, start_s=5.0), run([3.0] * 20, track=1)]
    curves = face_curves([runs[n] for n in order], JudgementRule())
    assert [curve.track_id for curve in curves] == [0, 1]
    assert curves[0].logits[:, 0].tolist() == [1.0] * 20 + [2.0] * 20


@given(
    logits=st.lists(st.floats(-6, 6), min_size=16, max_size=120),
    faces=st.integers(1, 3),
    above=st.floats(0.5, 1),
    below=st.floats(0, 0.5),
)
def test_whatever_the_curves_the_verdict_holds_together(
    logits: list[float], faces: int, above: float, below: float
) -> None:
    spec = SPEC.model_copy(update={"abstention": AbstentionRule(above, below)})
    found = verdict(*(run(logits, track=n) for n in range(faces)), spec=spec, seconds=len(logits) / 25)
    assert Verdict.model_validate_json(found.to_json()) == found
    assert found.summary.flagged_ms <= found.summary.scanned_ms
    assert len({span.span_id for span in found.spans}) == len(found.spans)
    for span in found.spans:
        assert span.start_ms <= span.peak_ms < span.end_ms
        assert span.start_frame < span.end_frame
    if found.summary.label == "manipulated":
        assert found.summary.worst_span_id is not None


def test_a_spike_of_a_few_frames_decides_nothing_and_a_stretch_keeps_its_bounds() -> None:
    spike, stretch = [-4.0] * 50 + [6.0] * 5 + [-4.0] * 45, [-4.0] * 50 + [6.0] * 10 + [-4.0] * 40
    assert verdict(run(spike)).summary == verdict(run([-4.0] * 100)).summary
    found = verdict(run(stretch))
    assert [(span.start_ms, span.end_ms) for span in found.spans] == [(2000, 2400)]


def test_what_a_verdict_does_not_judge_is_not_in_the_curve() -> None:
    dark = run([9.0] * 10, start_s=2.0, brightness=0.0)
    (curve,) = face_curves([run([-4.0] * 50), dark], JudgementRule())
    assert curve.judged.tolist() == [True] * 50 + [False] * 10
    assert curve.judged_s == pytest.approx(2.0)
    assert verdict(run([-4.0] * 50), dark).tracks[0].judged_ms == 2000


def test_what_is_on_the_other_side_of_a_cut_steadies_nothing() -> None:
    (curve,) = face_curves([run([-4.0] * 50), run([6.0] * 5, start_s=2.0)], JudgementRule())
    assert curve.logits[:, 0].tolist() == [-4.0] * 50 + [6.0] * 5
