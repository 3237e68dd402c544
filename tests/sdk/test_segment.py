"""Stretches of time: what may exist, how two agree, how many become one."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmcl_sdk.segment import Segment, covered_s, merge, temporal_iou

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@st.composite
def some_segments(draw: st.DrawFn) -> Segment:
    start_s = draw(st.floats(0, 1e5))
    end_s = start_s + draw(st.floats(1e-3, 1e4))
    return Segment(start_s, end_s, draw(st.floats(0, 1)))


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (0.0, math.inf), (math.nan, 1.0), (0.0, math.nan)],
)
def test_a_segment_that_does_not_run_forward_in_finite_time_cannot_exist(
    start_s: float, end_s: float
) -> None:
    with pytest.raises(ValueError, match="0 <= start_s < end_s < inf"):
        Segment(start_s, end_s)


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan])
def test_a_score_outside_0_to_1_cannot_exist(score: float) -> None:
    with pytest.raises(ValueError, match="score lies in"):
        Segment(0.0, 1.0, score)


def test_a_segment_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Segment(0.0, 1.0).end_s = 2.0  # type: ignore[misc]


def test_one_second_shared_of_four_covered_is_an_iou_of_a_quarter() -> None:
    assert temporal_iou(Segment(0.0, 2.0), Segment(1.0, 4.0)) == 0.25


def test_segments_that_only_touch_share_nothing() -> None:
    assert temporal_iou(Segment(0.0, 1.0), Segment(1.0, 2.0)) == 0.0


@given(some_segments(), some_segments())
def test_iou_is_symmetric_and_lies_in_0_to_1(a: Segment, b: Segment) -> None:
    assert temporal_iou(a, b) == temporal_iou(b, a)
    assert 0 <= temporal_iou(a, b) <= 1
    assert temporal_iou(a, a) == 1


def test_segments_as_far_apart_as_the_gap_are_joined_and_the_highest_score_stays() -> None:
    joined = merge([Segment(2.0, 3.0, 0.5), Segment(0.0, 1.5, 0.9)], max_gap_s=0.5)

    assert joined == [Segment(0.0, 3.0, 0.9)]


def test_segments_farther_apart_than_the_gap_stay_apart() -> None:
    apart = [Segment(0.0, 1.0), Segment(1.5, 2.0)]

    assert merge(apart, max_gap_s=0.25) == apart


def test_a_segment_inside_another_does_not_shorten_it() -> None:
    assert merge([Segment(0.0, 5.0), Segment(1.0, 2.0)]) == [Segment(0.0, 5.0)]


@pytest.mark.parametrize("gap", [-1.0, math.nan])
def test_a_gap_below_zero_is_refused(gap: float) -> None:
    with pytest.raises(ValueError, match="max_gap_s >= 0"):
        merge([], max_gap_s=gap)


@given(st.lists(some_segments(), max_size=12), st.floats(0, 100), st.randoms())
def test_merging_again_changes_nothing_and_the_order_given_does_not_matter(
    segments: list[Segment], gap: float, shuffler: random.Random
) -> None:
    once = merge(segments, max_gap_s=gap)
    shuffled = segments.copy()
    shuffler.shuffle(shuffled)

    assert merge(once, max_gap_s=gap) == once
    assert {segment.score for segment in once} <= {segment.score for segment in segments}
    assert all(
        whole.score >= part.score for whole in once for part in segments if temporal_iou(whole, part) > 0
    )
    assert merge(shuffled, max_gap_s=gap) == once
    assert all(after.start_s - before.end_s > gap for before, after in itertools.pairwise(once))


@given(st.lists(some_segments(), max_size=12))
def test_time_covered_twice_counts_once(segments: list[Segment]) -> None:
    assert covered_s(segments + segments) == covered_s(segments)
    assert covered_s(segments) <= sum(segment.duration_s for segment in segments) * (1 + 1e-9)
