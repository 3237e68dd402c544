"""Frame curves to ranked proposals."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmcl_sdk.localization import (
    ProposalRule,
    iou_matrix,
    propose_spans,
    soft_nms,
)
from dmcl_sdk.segment import Segment, merge, temporal_iou
from tests.sdk.curves import NAN, Curve, at_25_fps, bounds, some_curves

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@st.composite
def some_segments(draw: st.DrawFn) -> list[Segment]:
    frames = st.tuples(st.integers(0, 50), st.integers(1, 25), st.sampled_from([0.2, 0.5, 0.9]))
    drawn = draw(st.lists(frames, max_size=15, unique_by=lambda frame: frame[:2]))
    return [Segment(start / 25, (start + length) / 25, score) for start, length, score in drawn]


class TestProposals:
    def test_a_clean_box_is_the_first_proposal_to_the_frame(self) -> None:
        first, *_ = propose_spans(*at_25_fps([0.05] * 40 + [0.9] * 20 + [0.05] * 40))

        assert (first.start_s, first.end_s) == (40 / 25, 60 / 25)
        assert first.score == pytest.approx(0.85)

    def test_a_blurred_box_is_bounded_where_it_crosses_half_its_height(self) -> None:
        box = np.repeat([0.02, 0.9, 0.02], [60, 25, 60])
        blurred = np.convolve(np.pad(box, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
        first, *_ = propose_spans(*at_25_fps(blurred.tolist()))

        assert temporal_iou(first, Segment(60 / 25, 85 / 25)) >= 0.9

    def test_a_stronger_span_of_another_video_ranks_higher(self) -> None:
        weak, *_ = propose_spans(*at_25_fps([0.05] * 40 + [0.4] * 20 + [0.05] * 40))
        strong, *_ = propose_spans(*at_25_fps([0.05] * 40 + [0.9] * 20 + [0.05] * 40))

        assert strong.score > weak.score

    def test_a_slow_rise_of_the_same_height_ranks_lower_than_a_box(self) -> None:
        frames = np.arange(200)
        hill, *_ = propose_spans(*at_25_fps((0.9 * np.exp(-(((frames - 100) / 50) ** 2))).tolist()))
        box, *_ = propose_spans(*at_25_fps([0.0] * 90 + [0.9] * 20 + [0.0] * 90))

        assert box.score > hill.score + 0.1

    def test_a_video_manipulated_throughout_keeps_its_mean(self) -> None:
        (whole, *_) = propose_spans(*at_25_fps([0.8] * 50))

        assert (whole.start_s, whole.end_s) == (0.0, 2.0)
        assert whole.score == pytest.approx(0.8)

    def test_high_surroundings_on_either_side_count_against_a_proposal(self) -> None:
        high_before = at_25_fps([0.7] * 40 + [0.9] * 20 + [0.1] * 40)
        high_after = at_25_fps([0.1] * 40 + [0.9] * 20 + [0.7] * 40)

        for curve in (high_before, high_after):
            (peak,) = (span for span in propose_spans(*curve) if bounds([span]) == [(40 / 25, 60 / 25)])
            assert peak.score <= 0.9 - (0.7 + 0.1) / 2 + 1e-9

    def test_unjudged_surroundings_are_no_evidence_either_way(self) -> None:
        seen, *_ = propose_spans(*at_25_fps([0.3] * 20 + [0.9] * 20 + [0.3] * 20))
        half_seen, *_ = propose_spans(*at_25_fps([NAN] * 20 + [0.9] * 20 + [0.3] * 20))

        assert (half_seen.start_s, half_seen.end_s) == (seen.start_s, seen.end_s)
        assert half_seen.score == pytest.approx(seen.score)

    @pytest.mark.parametrize("scores", [[], [NAN] * 30, [0.0] * 30])
    def test_nothing_is_proposed_where_nothing_was_seen(self, scores: list[float]) -> None:
        assert propose_spans(*at_25_fps(scores)) == []

    def test_as_many_places_are_proposed_as_there_may_be_proposals(self) -> None:
        # Soft flanks give a bump a stretch at every level: they must not crowd out the other bumps.
        bump = np.concatenate(
            [np.zeros(10), np.linspace(0.1, 0.9, 9), np.full(3, 0.95), np.linspace(0.9, 0.1, 9)]
        )
        strength = np.linspace(1.0, 0.9, 30)
        scores = np.concatenate([bump * height for height in strength])
        proposals = propose_spans(*at_25_fps(scores.tolist()), ProposalRule(max_proposals=30))

        assert len(merge(proposals)) == 30

    @given(some_curves(), st.integers(1, 5))
    def test_proposals_are_ranked_bounded_in_number_and_repeatable(self, curve: Curve, count: int) -> None:
        rule = ProposalRule(max_proposals=count)
        proposals = propose_spans(*curve, rule)

        assert proposals == propose_spans(*curve, rule)
        assert len(proposals) <= count
        assert len(set(bounds(proposals))) == len(proposals)
        assert all(a.score >= b.score >= rule.min_score for a, b in itertools.pairwise(proposals))

    @given(some_curves())
    def test_every_proposal_lies_on_the_edges_and_lasts_long_enough(self, curve: Curve) -> None:
        proposals = propose_spans(*curve)

        assert {time_s for bound in bounds(proposals) for time_s in bound} <= set(curve[1].tolist())
        assert all(proposal.duration_s >= 0.1 - 1e-6 for proposal in proposals)

    @given(some_curves(), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
    def test_a_video_played_slower_has_the_same_proposals_slower(self, curve: Curve, pace: float) -> None:
        scores, edges_s = curve
        rule = ProposalRule()
        times_s = {
            name: getattr(rule, name) * pace for name in ("min_duration_s", "max_gap_s", "min_context_s")
        }
        slower = propose_spans(scores, edges_s * pace, replace(rule, **times_s))

        # Scores that tie may swap by rounding; the set of them may not change.
        as_before = sorted((span.start_s / pace, span.end_s / pace, span.score) for span in slower)
        assert as_before == [
            pytest.approx((span.start_s, span.end_s, span.score), abs=1e-6)
            for span in sorted(propose_spans(scores, edges_s))
        ]


class TestSoftNms:
    def test_an_overlapping_segment_is_pushed_down_not_out(self) -> None:
        best, other, rival = Segment(0.0, 2.0, 0.9), Segment(10.0, 12.0, 0.5), Segment(0.0, 1.9, 0.8)
        iou = temporal_iou(best, rival)

        ranked = soft_nms([rival, other, best], sigma=0.4)

        assert ranked[:2] == [best, other]
        assert ranked[2].score == pytest.approx(0.8 * math.exp(-(iou**2) / 0.4))

    def test_what_falls_below_the_least_score_is_dropped(self) -> None:
        twins = [Segment(0.0, 1.0, 0.9), Segment(0.0, 1.01, 0.9)]

        assert soft_nms(twins, sigma=0.05) == twins[:1]

    @given(some_segments(), st.randoms())
    def test_the_order_given_does_not_matter(self, segments: list[Segment], shuffler: random.Random) -> None:
        shuffled = segments.copy()
        shuffler.shuffle(shuffled)

        assert soft_nms(shuffled) == soft_nms(segments)

    @given(some_segments())
    def test_scores_only_fall_and_disjoint_segments_keep_theirs(self, segments: list[Segment]) -> None:
        before = {(segment.start_s, segment.end_s): segment.score for segment in segments}
        for segment in soft_nms(segments):
            rivals = [other for other in segments if temporal_iou(segment, other) > 0]
            old = before[segment.start_s, segment.end_s]
            assert segment.score <= old
            assert len(rivals) > 1 or segment.score == old

    @given(some_segments(), some_segments())
    def test_the_matrix_holds_the_iou_of_every_pair(self, a: list[Segment], b: list[Segment]) -> None:
        matrix = iou_matrix(np.array(bounds(a)).reshape(-1, 2), np.array(bounds(b)).reshape(-1, 2))

        assert matrix.tolist() == [[temporal_iou(one, other) for other in b] for one in a]
