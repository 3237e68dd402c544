"""Frame curves to spans by hysteresis, and chunks to one curve."""

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
from dmcl_sdk.segment import Segment, covered_s, merge
from tests.sdk.curves import NAN, Curve, at_25_fps, bounds, peak_memory, some_curves, two_hours

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@st.composite
def some_rules(draw: st.DrawFn) -> SpanRule:
    offset, onset = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    return SpanRule(onset, offset, draw(st.floats(0, 0.5)), draw(st.floats(0, 0.5)))


class TestSpans:
    def test_a_span_opens_at_onset_and_lasts_until_it_falls_below_offset(self) -> None:
        curve = at_25_fps([0.5, 0.6, 0.5, 0.4, 0.39, 0.5, 0.5])

        assert bounds(find_spans(*curve, SpanRule(max_gap_s=0.0))) == [(0.0, 4 / 25)]

    def test_what_never_reaches_onset_is_no_span(self) -> None:
        assert find_spans(*at_25_fps([0.59] * 50)) == []

    def test_an_offset_of_zero_is_obeyed(self) -> None:
        curve = at_25_fps([0.0, 0.0, 0.9, 0.0, 0.0])

        assert bounds(find_spans(*curve, SpanRule(offset=0.0))) == [(0.0, 0.2)]

    def test_time_is_presentation_time_whatever_the_frame_rate(self) -> None:
        edges_s = [0.0, 0.5, 0.51, 0.7, 1.9, 2.0]

        assert bounds(find_spans([0.1, 0.9, 0.9, 0.9, 0.1], edges_s)) == [(0.5, 1.9)]

    def test_spans_exactly_as_far_apart_as_the_gap_are_joined(self) -> None:
        # 5 frames at 25 fps are .2 s, but 10 / 25 - 5 / 25 is more than .2 in floats of some videos.
        for shift in range(50):
            scores = [0.0] * shift + [0.9] * 5 + [0.0] * 5 + [0.9] * 5
            assert len(find_spans(*at_25_fps(scores))) == 1

    def test_spans_farther_apart_than_the_gap_stay_apart(self) -> None:
        assert len(find_spans(*at_25_fps([0.9] * 5 + [0.0] * 6 + [0.9] * 5))) == 2

    def test_a_flash_too_short_is_dropped_but_two_that_join_are_kept(self) -> None:
        rule = SpanRule(min_duration_s=0.1)

        assert find_spans(*at_25_fps([0.9] * 2 + [0.0] * 9), rule) == []
        assert bounds(find_spans(*at_25_fps([0.9, 0.0, 0.9]), rule)) == [(0.0, 3 / 25)]

    def test_a_span_of_exactly_the_minimum_is_kept(self) -> None:
        assert all(
            len(find_spans(*at_25_fps([0.0] * shift + [0.9] * 5), SpanRule(min_duration_s=0.2))) == 1
            for shift in range(50)
        )

    def test_unjudged_frames_never_open_a_span(self) -> None:
        assert find_spans(*at_25_fps([NAN] * 50)) == []

    def test_a_short_unjudged_gap_does_not_close_a_span(self) -> None:
        # Without the bridge the second stretch, which never reaches onset, would be lost.
        curve = at_25_fps([0.9] * 5 + [NAN] * 5 + [0.5] * 5)

        assert bounds(find_spans(*curve)) == [(0.0, 15 / 25)]

    def test_a_long_unjudged_gap_closes_a_span(self) -> None:
        curve = at_25_fps([0.9] * 5 + [NAN] * 6 + [0.5] * 5)

        assert bounds(find_spans(*curve)) == [(0.0, 5 / 25)]

    def test_a_judged_dip_closes_a_span_however_short(self) -> None:
        # What follows never reaches onset: there is no second span to join the first with.
        curve = at_25_fps([0.9] * 5 + [0.1] + [0.5] * 5)

        assert bounds(find_spans(*curve)) == [(0.0, 5 / 25)]

    def test_a_span_ends_with_its_last_judged_frame(self) -> None:
        assert bounds(find_spans(*at_25_fps([NAN, 0.9, 0.9, 0.9, NAN, 0.1, NAN]))) == [(1 / 25, 4 / 25)]

    def test_the_score_is_the_mean_of_the_higher_half_of_the_judged_time(self) -> None:
        (span,) = find_spans([0.5, 0.9, NAN, 0.7], [0.0, 1.0, 2.0, 2.1, 4.1])

        # Judged: 4 s. The higher half: 1 s of .9 and 1 s of .7.
        assert span.score == pytest.approx(0.8)

    def test_nothing_comes_of_a_curve_without_frames(self) -> None:
        assert find_spans([], [0.0]) == []

    @given(some_curves(), some_rules())
    def test_every_span_lies_on_the_edges_and_lasts_long_enough(self, curve: Curve, rule: SpanRule) -> None:
        scores, edges_s = curve
        spans = find_spans(scores, edges_s, rule)

        assert {time_s for bound in bounds(spans) for time_s in bound} <= set(edges_s.tolist())
        assert all(span.duration_s >= rule.min_duration_s - 1e-6 for span in spans)
        assert all(span.score >= rule.offset - 1e-9 for span in spans)
        assert all(b.start_s - a.end_s > rule.max_gap_s for a, b in itertools.pairwise(spans))

    @given(some_curves(), some_rules())
    def test_every_span_holds_a_frame_at_onset_and_begins_and_ends_at_offset(
        self, curve: Curve, rule: SpanRule
    ) -> None:
        scores, edges_s = curve
        for span in find_spans(scores, edges_s, rule):
            inside = scores[np.searchsorted(edges_s, span.start_s) : np.searchsorted(edges_s, span.end_s)]
            assert np.nanmax(inside) >= rule.onset
            assert inside[0] >= rule.offset
            assert inside[-1] >= rule.offset

    @given(some_curves(), some_rules(), st.floats(0, 1))
    def test_a_higher_onset_never_adds_covered_time(
        self, curve: Curve, rule: SpanRule, higher: float
    ) -> None:
        stricter = replace(rule, onset=max(rule.onset, higher))
        wide, narrow = find_spans(*curve, rule), find_spans(*curve, stricter)

        assert covered_s([*wide, *narrow]) == covered_s(wide)

    @given(some_curves(), some_rules(), st.floats(0, 1))
    def test_a_higher_offset_never_adds_covered_time(
        self, curve: Curve, rule: SpanRule, share: float
    ) -> None:
        stricter = replace(rule, offset=rule.offset + (rule.onset - rule.offset) * share)
        wide, narrow = find_spans(*curve, rule), find_spans(*curve, stricter)

        assert covered_s([*wide, *narrow]) == pytest.approx(covered_s(wide))

    @given(some_curves(), some_rules())
    def test_spans_are_merged_already(self, curve: Curve, rule: SpanRule) -> None:
        spans = find_spans(*curve, rule)

        assert merge(spans, max_gap_s=rule.max_gap_s) == spans

    @given(some_curves(), some_rules(), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
    def test_a_video_played_slower_has_the_same_spans_slower(
        self, curve: Curve, rule: SpanRule, pace: float
    ) -> None:
        scores, edges_s = curve
        times_s = {"min_duration_s": rule.min_duration_s * pace, "max_gap_s": rule.max_gap_s * pace}
        slower = find_spans(scores, edges_s * pace, replace(rule, **times_s))

        assert bounds(slower) == [
            (span.start_s * pace, span.end_s * pace) for span in find_spans(scores, edges_s, rule)
        ]

    @given(some_curves(holes=False), some_rules(), st.integers(2, 4))
    def test_a_frame_shown_as_several_shorter_ones_changes_nothing(
        self, curve: Curve, rule: SpanRule, times: int
    ) -> None:
        scores, edges_s = curve
        parts = np.linspace(edges_s[:-1], edges_s[1:], times, endpoint=False).T.ravel()
        finer = find_spans(np.repeat(scores, times), np.append(parts, edges_s[-1]), rule)
        whole = find_spans(scores, edges_s, rule)

        assert bounds(finer) == bounds(whole)
        assert [span.score for span in finer] == pytest.approx([span.score for span in whole])


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
    @pytest.mark.parametrize("bad", [{"onset": 0.3}, {"offset": -0.1}, {"onset": 1.1}, {"onset": NAN}])
    def test_offset_lies_between_zero_and_onset(self, bad: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="0 <= offset <= onset <= 1"):
            SpanRule(**bad)

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

        assert abs(span.start_s - start / 25) <= 1 / 25
        assert abs(span.end_s - (start + length) / 25) <= 1 / 25

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

    assert peak.bytes < 200 * len(scores)
