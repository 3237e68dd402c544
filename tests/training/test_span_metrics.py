"""Span metrics against an example worked by hand, and against scikit-learn where they coincide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from dmcl_sdk.segment import Segment
from training.metrics import bootstrap_interval
from training.span_metrics import (
    RECALL_IOUS,
    average_precision,
    average_precision_spans,
    average_recall,
    best_ious,
    boundary_error_ms,
    match_spans,
    mean_boundary_error_ms,
    mean_recall,
)

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Two manipulated videos with two true spans and one, and a real video.
TRUE = [[Segment(1.0, 2.0), Segment(5.0, 7.0)], [Segment(0.0, 4.0)], []]
FOUND = [
    [
        Segment(1.0, 2.2, 0.6),  # IoU .83 with the first, too late
        Segment(1.0, 2.0, 0.9),  # IoU 1 with it
        Segment(5.0, 6.2, 0.4),  # IoU .6 with the second
    ],
    [Segment(0.0, 3.2, 0.7)],  # IoU .8
    [Segment(3.0, 4.0, 0.8)],  # nothing there
]


@pytest.mark.parametrize(
    ("iou", "expected"),
    [
        # Ranked by score: .9 hit, .8 miss, .7 hit, .6 miss, .4 hit at IoU .5, so that precision is
        # 1, 1/2, 2/3, 1/2, 3/5 at recalls 1/3, 1/3, 2/3, 2/3, 1: the area is (1 + 2/3 + 3/5) / 3.
        (0.5, (1 + 2 / 3 + 3 / 5) / 3),
        # The last is no hit any more.
        (0.75, (1 + 2 / 3) / 3),
        # Nor is the third.
        (0.95, 1 / 3),
    ],
)
def test_average_precision_is_the_one_worked_by_hand(iou: float, expected: float) -> None:
    assert average_precision_spans(FOUND, TRUE, iou) == pytest.approx(expected)


def test_precision_is_interpolated_from_higher_recalls() -> None:
    # Miss, hit, hit: precision 0, 1/2, 2/3. At recall 1/2 the 2/3 of recall 1 counts.
    found = [[Segment(8.0, 9.0, 0.9), Segment(1.0, 2.0, 0.8), Segment(5.0, 7.0, 0.7)]]

    assert average_precision_spans(found, TRUE[:1], 0.5) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        # The first span is reached at all ten IoUs, the third (.8) at .5 to .8: seven, the second never.
        (1, (10 + 0 + 7) / 30),
        # The second best of the first video is of no use.
        (2, (10 + 0 + 7) / 30),
        # The second span (.6) is reached at .5, .55 and .6.
        (5, (10 + 3 + 7) / 30),
    ],
)
def test_average_recall_is_the_one_worked_by_hand(count: int, expected: float) -> None:
    assert average_recall(FOUND, TRUE, count) == pytest.approx(expected)


def test_boundary_error_is_the_one_worked_by_hand() -> None:
    # Starts are right; ends are off by 0, 800 and 800 ms.
    assert boundary_error_ms(FOUND, TRUE) == pytest.approx(1600 / 6)
    assert boundary_error_ms(FOUND, TRUE, iou=0.95) == 0.0


def test_the_best_iou_of_each_true_span_is_the_one_worked_by_hand() -> None:
    # One proposal a video: the first reaches only the first span; the real video has none to reach.
    assert [row.tolist() for row in best_ious(FOUND, TRUE, 1)] == [[1.0, 0.0], [0.8], []]
    assert [row.tolist() for row in best_ious(FOUND, TRUE, 5)] == [[1.0, pytest.approx(0.6)], [0.8], []]
    assert mean_recall(best_ious(FOUND, TRUE, 5), ious=(0.5, 0.75)) == pytest.approx(5 / 6)


def test_a_video_drawn_twice_counts_twice() -> None:
    best = best_ious(FOUND, TRUE, 5)
    matches = [match_spans(found, true, 0.5) for found, true in zip(FOUND, TRUE, strict=True)]

    assert mean_recall([best[1], best[1], best[2]]) == mean_recall([best[1]])
    assert mean_boundary_error_ms([matches[1], matches[1]]) == pytest.approx(400.0)


def test_recall_is_averaged_over_ten_ious_from_a_half() -> None:
    assert RECALL_IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_an_iou_of_exactly_the_threshold_counts_whatever_the_rounding() -> None:
    for start in range(200):
        true = [[Segment(start / 30, (start + 20) / 30)]]
        found = [[Segment(start / 30, (start + 19) / 30)]]
        assert average_precision_spans(found, true, 0.95) == 1.0
        assert average_recall(found, true, 1) == 1.0


def test_a_span_takes_the_free_true_one_that_it_overlaps_most() -> None:
    true = [Segment(0.0, 2.0), Segment(1.0, 3.0)]
    match = match_spans([Segment(0.9, 3.0, 0.9), Segment(1.0, 3.0, 0.5), Segment(0.0, 2.0, 0.1)], true, 0.3)

    assert match.partner.tolist() == [1, 0, -1]


def test_a_video_without_a_face_loses_its_true_spans() -> None:
    perfect = [[Segment(1.0, 2.0, 0.9)], []]

    assert average_precision_spans(perfect, [[Segment(1.0, 2.0)], [Segment(3.0, 4.0)]], 0.5) == 0.5
    assert average_recall(perfect, [[Segment(1.0, 2.0)], [Segment(3.0, 4.0)]], 10) == 0.5


def test_spans_of_equal_score_are_one_operating_point() -> None:
    hit, miss = [Segment(0.0, 1.0, 0.5)], [Segment(2.0, 3.0, 0.5)]
    true: list[list[Segment]] = [[Segment(0.0, 1.0)], []]

    assert average_precision_spans([hit, miss], true, 0.5) == 0.5
    assert average_precision_spans([miss, hit], true[::-1], 0.5) == 0.5


def test_without_a_true_span_there_is_no_answer() -> None:
    assert math.isnan(average_precision_spans([FOUND[2]], [[]], 0.5))
    assert math.isnan(average_recall([FOUND[2]], [[]], 1))
    assert math.isnan(boundary_error_ms([FOUND[2]], [[]]))


def test_finding_nothing_is_worth_nothing() -> None:
    assert average_precision_spans([[], [], []], TRUE, 0.5) == 0.0
    assert average_recall([[], [], []], TRUE, 5) == 0.0


def test_found_and_true_have_one_row_a_video() -> None:
    with pytest.raises(ValueError, match="shorter"):
        average_precision_spans(FOUND, TRUE[:2], 0.5)


def test_matches_are_made_once_and_resampled_by_identity() -> None:
    matches = [match_spans(found, true, 0.5) for found, true in zip(FOUND, TRUE, strict=True)]
    estimate = bootstrap_interval(
        lambda rows: average_precision([matches[row] for row in rows]),
        ["ann", "bob", "ann"],
        np.random.default_rng(0),
        resamples=50,
    )

    assert estimate.value == average_precision_spans(FOUND, TRUE, 0.5)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.5, 0.7, 0.9])), min_size=1, max_size=40))
def test_with_one_chance_a_video_ap_is_the_area_under_the_envelope_of_precision(
    videos: list[tuple[bool, float]],
) -> None:
    videos = [(True, 0.3), *videos]
    labels, scores = [label for label, _ in videos], [score for _, score in videos]
    true = [[Segment(0.0, 1.0)] if label else [] for label in labels]
    found = [[Segment(0.0, 1.0, score)] for score in scores]
    value = average_precision_spans(found, true, 0.5)

    precision, recall, _ = reference.precision_recall_curve(labels, scores)  # by falling recall
    envelope = np.maximum.accumulate(precision)
    assert value == pytest.approx(-np.sum(np.diff(recall) * envelope[:-1]))
    assert value >= reference.average_precision_score(labels, scores) - 1e-12
