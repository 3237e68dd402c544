"""Frame curves to spans, and chunks to one curve."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dmcl_sdk.localization import SpanRule, find_spans, stitch
from dmcl_sdk.proposals import propose_spans
from dmcl_sdk.segment import Segment, covered_s
from tests.sdk.curves import NAN, Curve, at_25_fps, bounds, peak_memory, some_curves, two_hours

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@st.composite
def some_rules(draw: st.DrawFn) -> SpanRule:
    return SpanRule(draw(st.floats(0, 1)), draw(st.floats(0, 0.5)), draw(st.floats(0, 0.5)))


class TestSpans:
    @pytest.mark.parametrize("level", [0.02, 0.1, 0.3, 0.6])
    def test_a_stretch_stands_out_of_its_own_face_whatever_that_face_scores(self, level: float) -> None:
        odds = level / (1 - level) * math.exp(3)
        curve = at_25_fps([level] * 50 + [odds / (1 + odds)] * 25 + [level] * 50)

        assert bounds(find_spans(*curve)) == [(2.0, 3.0)]

    def test_a_face_that_is_high_throughout_is_one_span(self) -> None:
        assert bounds(find_spans(*at_25_fps([0.9, 0.95] * 50))) == [(0.0, 4.0)]

    def test_a_face_that_is_low_throughout_has_none(self) -> None:
        assert find_spans(*at_25_fps([0.2, 0.25] * 50)) == []

    def test_ripples_that_stand_out_too_little_are_no_spans(self) -> None:
        ripples = at_25_fps([0.4] * 50 + [0.45] * 10 + [0.4] * 50)

        assert find_spans(*ripples) == []
        assert bounds(find_spans(*ripples, SpanRule(min_contrast=0.0)))

    def test_two_stretches_are_two_spans_in_order_of_time(self) -> None:
        curve = at_25_fps([0.1] * 50 + [0.7] * 25 + [0.1] * 50 + [0.9] * 25 + [0.1] * 50)

        assert bounds(find_spans(*curve)) == [(2.0, 3.0), (5.0, 6.0)]

    def test_none_of_many_is_left_out(self) -> None:
        scores = np.tile(np.repeat([0.05, 0.95, 0.05], [40, 20, 40]), 150)
        spans = find_spans(scores, np.arange(len(scores) + 1) / 25)

        assert [span.start_s for span in spans] == pytest.approx([4 * n + 1.6 for n in range(150)], abs=0.05)

    def test_time_is_presentation_time_whatever_the_frame_rate(self) -> None:
        edges_s = [0.0, 1.0, 2.0, 2.1, 3.3, 4.0, 5.0]

        assert bounds(find_spans([0.1, 0.1, 0.9, 0.9, 0.1, 0.1], edges_s)) == [(2.0, 3.3)]

    def test_a_flash_too_short_is_dropped(self) -> None:
        curve = at_25_fps([0.1] * 50 + [0.99] * 8 + [0.1] * 50)

        assert bounds(find_spans(*curve, SpanRule(min_duration_s=0.1))) == [(2.0, 2.32)]
        assert all(span.duration_s >= 0.6 for span in find_spans(*curve, SpanRule(min_duration_s=0.6)))

    def test_a_short_unjudged_gap_does_not_break_a_span_and_a_long_one_does(self) -> None:
        whole = at_25_fps([0.9] * 25 + [NAN] * 5 + [0.9] * 25)
        broken = at_25_fps([0.9] * 25 + [NAN] * 6 + [0.9] * 25)

        assert bounds(find_spans(*whole)) == [(0.0, 2.2)]
        assert bounds(find_spans(*broken)) == [(0.0, 1.0), (1.24, 2.24)]

    def test_a_span_ends_with_its_last_judged_frame(self) -> None:
        assert bounds(find_spans(*at_25_fps([NAN, 0.9, 0.9, 0.9, NAN]))) == [(1 / 25, 4 / 25)]

    def test_the_score_is_the_mean_of_the_higher_half_of_the_judged_time(self) -> None:
        (span,) = find_spans([0.05, 0.7, 0.9, NAN, 0.8, 0.05], [0.0, 2.0, 3.0, 4.0, 4.1, 6.1, 8.1])

        # Judged: 4 s. The higher half: 1 s of .9 and 1 s of .8.
        assert span.score == pytest.approx(0.85)

    @pytest.mark.parametrize("scores", [[], [NAN] * 50])
    def test_nothing_comes_of_a_curve_that_was_not_judged(self, scores: list[float]) -> None:
        assert find_spans(*at_25_fps(scores), at_least_one=True) == []

    def test_where_one_is_asked_for_the_most_outstanding_is_given(self) -> None:
        ripples = at_25_fps([0.4] * 50 + [0.45] * 10 + [0.4] * 30 + [0.43] * 10 + [0.4] * 10)

        (span,) = find_spans(*ripples, at_least_one=True)
        assert (span.start_s, span.end_s) == pytest.approx((2.0, 2.4), abs=0.1)

    def test_where_nothing_stands_out_at_all_it_is_what_was_judged(self) -> None:
        assert bounds(find_spans(*at_25_fps([NAN] * 5 + [0.3] * 50), at_least_one=True)) == [(0.2, 2.2)]

    @given(some_curves(), some_rules())
    def test_spans_lie_on_the_edges_last_long_enough_and_do_not_overlap(
        self, curve: Curve, rule: SpanRule
    ) -> None:
        scores, edges_s = curve
        spans = find_spans(scores, edges_s, rule)

        assert {time_s for bound in bounds(spans) for time_s in bound} <= set(edges_s.tolist())
        assert all(span.duration_s >= rule.min_duration_s - 1e-6 for span in spans)
        assert all(b.start_s >= a.end_s for a, b in itertools.pairwise(spans))

    @given(some_curves(), some_rules())
    def test_a_span_is_judged_at_both_ends_and_passes_over_short_gaps_only(
        self, curve: Curve, rule: SpanRule
    ) -> None:
        scores, edges_s = curve
        for span in find_spans(scores, edges_s, rule, at_least_one=True):
            first, end = np.searchsorted(edges_s, (span.start_s, span.end_s))
            judged = first + np.flatnonzero(~np.isnan(scores[first:end]))
            assert (judged[0], judged[-1]) == (first, end - 1)
            assert all(
                edges_s[b] - edges_s[a + 1] <= rule.max_gap_s + 1e-6 for a, b in itertools.pairwise(judged)
            )

    @given(some_curves(), some_rules(), st.floats(0, 1))
    def test_a_higher_contrast_never_adds_covered_time(
        self, curve: Curve, rule: SpanRule, higher: float
    ) -> None:
        stricter = replace(rule, min_contrast=max(rule.min_contrast, higher))
        wide, narrow = find_spans(*curve, rule), find_spans(*curve, stricter)

        assert covered_s([*wide, *narrow]) == covered_s(wide)

    @given(some_curves(), some_rules())
    def test_one_that_is_asked_for_is_found_wherever_anything_was_judged(
        self, curve: Curve, rule: SpanRule
    ) -> None:
        scores, _ = curve

        assert bool(find_spans(*curve, rule, at_least_one=True)) == bool((~np.isnan(scores)).any())


class TestWhatIsNoCurve:
    @pytest.mark.parametrize("find", [find_spans, propose_spans])
    @pytest.mark.parametrize(
        ("scores", "edges_s", "rule"),
        [
            ([0.5, 0.5], [0.0, 1.0], "N \\+ 1 edges"),
            ([[0.5]], [0.0, 1.0], "N \\+ 1 edges"),
            ([0.5, 0.5], [0.0, 1.0, 1.0], "strictly rising"),
            ([0.5], [-1.0, 1.0], "not negative"),
            ([0.5], [0.0, math.inf], "finite"),
            ([1.5], [0.0, 1.0], "0..1"),
            ([-0.1], [0.0, 1.0], "0..1"),
        ],
    )
    def test_is_refused(
        self, find: Callable[..., list[Segment]], scores: list[float], edges_s: list[float], rule: str
    ) -> None:
        with pytest.raises(ValueError, match=rule):
            find(scores, edges_s)


class TestRules:
    @pytest.mark.parametrize("bad", [-0.1, 1.1, NAN])
    def test_a_contrast_lies_between_zero_and_one(self, bad: float) -> None:
        with pytest.raises(ValueError, match="0 <= min_contrast <= 1"):
            SpanRule(min_contrast=bad)

    @pytest.mark.parametrize("bad", [{"min_duration_s": -1.0}, {"max_gap_s": math.inf}, {"max_gap_s": NAN}])
    def test_lengths_of_time_are_finite_and_not_negative(self, bad: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="lengths of time"):
            SpanRule(**bad)


@st.composite
def some_chunkings(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A length, and `[start, end)` of chunks in any order that cover it and overlap as they like."""
    length = draw(st.integers(1, 80))
    chunks: list[tuple[int, int]] = []
    done = 0
    while done < length:
        start = draw(st.integers(max(0, done - 20), done))
        done = draw(st.integers(done + 1, length))
        chunks.append((start, done))
    return length, draw(st.permutations(chunks))


class TestStitching:
    @given(some_chunkings(), st.sampled_from([np.float32, np.float64]), st.floats(-5, 5), st.floats(-1, 1))
    def test_chunks_of_one_line_give_the_line_back_exactly(
        self,
        chunking: tuple[int, list[tuple[int, int]]],
        dtype: type[np.floating[Any]],
        height: float,
        slope: float,
    ) -> None:
        length, chunks = chunking
        line = (height + slope * np.arange(length)).astype(dtype)
        whole = stitch(length, [(start, line[start:end]) for start, end in chunks])

        assert whole.dtype == dtype
        assert whole.tolist() == line.tolist()

    def test_two_chunks_that_disagree_are_cross_faded_linearly(self) -> None:
        whole = stitch(7, [(0, np.zeros(5)), (2, np.ones(5))])

        assert whole.tolist() == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1])

    def test_curves_of_several_streams_are_stitched_together(self) -> None:
        streams = np.arange(24.0).reshape(8, 3)

        assert stitch(8, [(0, streams[:5]), (3, streams[3:])]).tolist() == streams.tolist()

    @pytest.mark.parametrize("start", [0, 2, 4])
    def test_a_chunk_inside_another_adds_nothing(self, start: int) -> None:
        assert stitch(6, [(start, np.ones(2)), (0, np.zeros(6))]).tolist() == [0.0] * 6

    @given(some_chunkings())
    def test_the_chunks_given_are_left_alone(self, chunking: tuple[int, list[tuple[int, int]]]) -> None:
        length, chunks = chunking
        values = [(start, np.full(end - start, float(end))) for start, end in chunks]
        stitch(length, values)

        assert all((chunk == start + len(chunk)).all() for start, chunk in values)

    @given(st.integers(30, 60), st.integers(5, 20), st.integers(0, 19))
    def test_a_bump_comes_back_within_one_frame_of_chunks_that_disagree(
        self, start: int, length: int, shift: int
    ) -> None:
        scores = np.repeat([0.05, 0.95, 0.05], [start, length, 120 - start - length])
        firsts = [max(0, first) for first in range(-shift, 120, 20)]
        gains = itertools.cycle((0.8, 1.0))
        chunks = [
            (first, scores[first : first + 32] * gain) for first, gain in zip(firsts, gains, strict=False)
        ]
        (span,) = find_spans(stitch(120, chunks), np.arange(121) / 25, SpanRule(max_gap_s=0.0))

        assert abs(span.start_s - start / 25) <= 1 / 25 + 1e-9
        assert abs(span.end_s - (start + length) / 25) <= 1 / 25 + 1e-9

    @pytest.mark.parametrize(
        ("chunks", "message"),
        [
            ([], "at least one chunk"),
            ([(0, np.zeros(4)), (5, np.zeros(5))], r"no chunk covers the frames \[4, 5\)"),
            ([(0, np.zeros(9))], r"no chunk covers the frames \[9, 10\)"),
            ([(1, np.zeros(9))], r"no chunk covers the frames \[0, 1\)"),
            ([(0, np.zeros(11))], r"reaches outside \[0, 10\)"),
            ([(-1, np.zeros(11))], r"reaches outside \[0, 10\)"),
        ],
    )
    def test_chunks_that_do_not_cover_the_whole_are_refused(
        self, chunks: list[tuple[int, NDArray[np.float64]]], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            stitch(10, chunks)


@pytest.mark.parametrize("shape", sorted(two_hours()))
def test_a_curve_of_two_hours_needs_memory_for_its_frames_and_no_more(shape: str) -> None:
    scores, edges_s = two_hours()[shape]
    with peak_memory() as peak:
        find_spans(scores, edges_s)

    assert peak.bytes < 300 * len(scores)
