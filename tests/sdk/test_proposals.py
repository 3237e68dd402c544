"""Frame curves to ranked proposals."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit

from dmcl_sdk.proposals import ProposalRule, _log_odds, iou_matrix, propose_spans, soft_nms
from dmcl_sdk.segment import Segment, merge, temporal_iou
from tests.sdk.curves import NAN, Curve, at_25_fps, bounds, peak_memory, some_curves, two_hours

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@st.composite
def some_segments(draw: st.DrawFn) -> list[Segment]:
    frames = st.tuples(st.integers(0, 50), st.integers(1, 25), st.sampled_from([0.2, 0.5, 0.9]))
    drawn = draw(st.lists(frames, max_size=15, unique_by=lambda frame: frame[:2]))
    return [Segment(start / 25, (start + length) / 25, score) for start, length, score in drawn]


# Nothing is pushed down, dropped or left out: scores are what a stretch earns by itself.
APART = ProposalRule(sigma=1e9, max_proposals=1000, min_score=0.0)


def first(scores: Sequence[float] | NDArray[np.float64], rule: ProposalRule | None = None) -> Segment:
    """The best proposal of a curve at 25 frames a second."""
    return propose_spans(*at_25_fps(list(scores)), rule)[0]


def box(inside: float, around: float = 0.05, *, length: int = 20) -> list[float]:
    """Two seconds of `around`, then `inside`, then `around` again."""
    return [around] * 50 + [inside] * length + [around] * 50


def score_of(step: float, length_s: float, *, noise: float = 0.1) -> float:
    """The score of a step in log-odds, written out."""
    z = step / noise * math.sqrt(length_s / (length_s + 0.5))
    return z / (z + 14.4)


# A step out of time that was not judged is known to .25 log-odds only.
UNSEEN = math.hypot(0.1, 0.25)


def mean_iou_in_noise(deviation: float, rule: ProposalRule) -> float:
    """How well the best proposal meets a box, over 30 draws of noise on every frame's log-odds."""
    noise = np.random.default_rng(0).normal(0, deviation, (30, 120))
    found = [first(expit(logit(box(0.9)) + one), rule) for one in noise]
    return float(np.mean([temporal_iou(span, Segment(50 / 25, 70 / 25)) for span in found]))


class TestWhatStandsOut:
    def test_a_clean_box_is_the_first_proposal_to_the_frame(self) -> None:
        best = first(box(0.9))

        assert (best.start_s, best.end_s) == (50 / 25, 70 / 25)
        assert best.score == pytest.approx(score_of(logit(0.9) - logit(0.05), 0.8))

    def test_a_blurred_box_is_bounded_where_it_crosses_half_its_height_in_log_odds(self) -> None:
        blurred = np.convolve(np.pad(logit(box(0.9)), 4, mode="edge"), np.full(9, 1 / 9), mode="valid")

        assert temporal_iou(first(expit(blurred)), Segment(50 / 25, 70 / 25)) >= 0.9

    @pytest.mark.parametrize("offset", [-2.0, -1.0, 1.0, 2.0])
    def test_a_span_on_top_of_a_faces_own_offset_is_found_as_well_as_on_none(self, offset: float) -> None:
        plain = np.array(box(0.8, 0.2) * 8)
        moved = expit(logit(plain) + offset)
        found, found_moved = (propose_spans(*at_25_fps(list(curve)), APART)[:8] for curve in (plain, moved))

        assert sorted(bounds(found_moved)) == sorted(bounds(found))
        assert [span.score for span in found_moved] == pytest.approx([span.score for span in found])

    def test_a_stronger_span_of_another_video_ranks_higher(self) -> None:
        assert first(box(0.9)).score > first(box(0.4)).score

    def test_the_longer_of_two_equal_steps_is_surer(self) -> None:
        scores = [first(box(0.9, length=length)).score for length in (10, 20, 50, 100)]

        assert scores == sorted(set(scores))

    def test_a_slow_rise_of_the_same_height_ranks_lower_than_a_box(self) -> None:
        hill = 0.05 + 0.85 * np.exp(-(((np.arange(200) - 100) / 50) ** 2))

        assert first(box(0.9)).score > first(hill).score + 0.1

    def test_the_smaller_of_both_steps_counts(self) -> None:
        curve = at_25_fps([0.7] * 40 + [0.9] * 20 + [0.1] * 40)
        (box,) = (span for span in propose_spans(*curve, APART) if bounds([span]) == [(40 / 25, 60 / 25)])
        outside = (
            1.25 * (logit(0.7) - logit(0.1)) / 2
        )  # from the lower quartile, over half of what is outside

        assert box.score == pytest.approx(
            score_of(logit(0.9) - logit(0.7), 0.8, noise=math.hypot(0.1, outside))
        )

    def test_the_same_step_is_worth_less_in_a_face_that_wavers(self) -> None:
        waves = expit(logit(0.05) + np.sin(np.arange(120) / 4))
        wavering = first([*waves[:50], *box(0.9)[50:70], *waves[70:]])

        assert wavering.score < first(box(0.9)).score

    def test_two_stretches_with_genuine_time_between_them_are_two_proposals(self) -> None:
        both = first(box(0.9, length=25)[:75] + box(0.9, length=25)[25:])

        assert both.duration_s == pytest.approx(1.0)

    def test_a_dip_that_stays_above_half_the_step_does_not_break_a_stretch(self) -> None:
        step = logit(0.9) - logit(0.05)
        dipping = first(box(0.9)[:60] + [float(expit(logit(0.05) + 0.6 * step))] * 10 + box(0.9)[50:])

        assert (dipping.start_s, dipping.end_s) == (50 / 25, 90 / 25)

    def test_noise_hardly_moves_the_bounds(self) -> None:
        assert mean_iou_in_noise(1.5, ProposalRule()) > 0.9


class TestWholeFaces:
    def test_a_face_manipulated_throughout_is_measured_against_even_odds(self) -> None:
        (whole, *_) = propose_spans(*at_25_fps([0.8] * 50))

        assert (whole.start_s, whole.end_s) == (0.0, 2.0)
        assert whole.score == pytest.approx(score_of(logit(0.8), 2.0, noise=UNSEEN))

    def test_rounding_does_not_cut_a_flat_curve_to_pieces(self) -> None:
        assert bounds(propose_spans(*at_25_fps([0.7] * 1000), APART)) == [(0.0, 40.0)]

    def test_a_gap_in_what_was_judged_does_not_hide_that_all_of_it_is_manipulated(self) -> None:
        whole = first([NAN] * 5 + [0.8] * 50 + [NAN] * 20 + [0.8] * 50)

        assert (whole.start_s, whole.end_s) == (5 / 25, 125 / 25)
        assert whole.score == pytest.approx(score_of(logit(0.8), 4.0, noise=UNSEEN))

    @pytest.mark.parametrize("scores", [[], [NAN] * 30, [0.0] * 30, [0.3] * 30, [0.5] * 30])
    def test_nothing_is_proposed_where_nothing_is_above_even_odds_or_its_surroundings(
        self, scores: list[float]
    ) -> None:
        assert propose_spans(*at_25_fps(scores)) == []

    def test_certainty_is_not_infinite(self) -> None:
        assert first(box(1.0, 0.0)).score == pytest.approx(score_of(14.0, 0.8))


class TestTimeThatWasNotJudged:
    def test_it_counts_as_even_odds_that_are_less_well_known(self) -> None:
        unseen = first([NAN] * 50 + box(0.9)[50:])
        steps = [score_of(logit(0.9), 0.8, noise=UNSEEN), score_of(logit(0.9) - logit(0.05), 0.8)]

        assert (unseen.start_s, unseen.end_s) == (50 / 25, 70 / 25)
        assert unseen.score == pytest.approx(min(steps))

    def test_a_span_at_either_end_of_a_video_is_found(self) -> None:
        at_the_start, at_the_end = first(box(0.9)[50:]), first(box(0.9)[:70])

        assert (at_the_start.start_s, at_the_start.end_s) == (0.0, 20 / 25)
        assert (at_the_end.start_s, at_the_end.end_s) == (50 / 25, 70 / 25)
        assert at_the_start.score == pytest.approx(at_the_end.score)
        assert at_the_end.score == pytest.approx(score_of(logit(0.9), 0.8, noise=UNSEEN))

    def test_what_is_below_even_odds_does_not_stand_out_of_it(self) -> None:
        assert propose_spans(*at_25_fps([NAN] * 50 + [0.3] * 20 + [0.05] * 50)) == []
        assert propose_spans(*at_25_fps([0.05] * 50 + [0.3] * 20 + [NAN] * 50)) == []

    def test_a_short_gap_inside_a_span_is_passed_over_and_no_evidence(self) -> None:
        best = first([0.05] * 50 + [0.9] * 10 + [NAN] * 5 + [0.9] * 10 + [0.05] * 50)

        assert (best.start_s, best.end_s) == (50 / 25, 75 / 25)
        assert best.score == pytest.approx(score_of(logit(0.9) - logit(0.05), 0.8))


class TestRanking:
    def test_as_many_places_are_proposed_as_there_may_be_proposals(self) -> None:
        # Soft flanks give a bump a stretch at every level: they must not crowd out the other bumps.
        flank = np.linspace(-2, 2, 9)
        bump = np.concatenate([np.full(12, -2.0), flank, np.full(3, 2.5), flank[::-1]])
        scores = expit(np.concatenate([bump * height for height in np.linspace(1.0, 0.9, 30)]))
        proposals = propose_spans(*at_25_fps(list(scores)), ProposalRule(max_proposals=30))

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
    def test_every_proposal_lies_on_the_edges_lasts_long_enough_and_ends_with_judged_frames(
        self, curve: Curve
    ) -> None:
        scores, edges_s = curve
        proposals = propose_spans(*curve)
        judged = ~np.isnan(scores)

        assert {time_s for bound in bounds(proposals) for time_s in bound} <= set(edges_s.tolist())
        assert all(proposal.duration_s >= 0.1 - 1e-6 for proposal in proposals)
        assert all(judged[np.searchsorted(edges_s, proposal.start_s)] for proposal in proposals)
        assert all(judged[np.searchsorted(edges_s, proposal.end_s) - 1] for proposal in proposals)

    @given(some_curves(), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
    def test_a_video_played_slower_has_the_same_proposals_slower(self, curve: Curve, pace: float) -> None:
        scores, edges_s = curve
        times_s = {
            name: getattr(APART, name) * pace
            for name in ("step_s", "search_s", "min_duration_s", "max_gap_s", "settling_s")
        }
        slower = propose_spans(scores, edges_s * pace, replace(APART, **times_s))

        # Scores that tie may swap by rounding; the set of them may not change.
        as_before = sorted((span.start_s / pace, span.end_s / pace, span.score) for span in slower)
        assert as_before == [
            pytest.approx((span.start_s, span.end_s, span.score), abs=1e-6)
            for span in sorted(propose_spans(scores, edges_s, APART))
        ]

    @given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.5, 3.0]), min_size=1, max_size=60), st.floats(-3, 3))
    def test_a_faces_own_offset_moves_no_score_whose_surroundings_were_seen(
        self, odds: list[float], offset: float
    ) -> None:
        curves = (expit(np.pad(odds, 100, constant_values=-2.5) + by) for by in (0.0, offset))
        plain, moved = (
            {
                (span.start_s, span.end_s): span.score
                for span in propose_spans(*at_25_fps(list(curve)), APART)
                if span.start_s > 0 and span.end_s < (200 + len(odds)) / 25
            }
            for curve in curves
        )

        assert plain.keys() == moved.keys()
        assert all(moved[bound] == pytest.approx(score, abs=1e-9) for bound, score in plain.items())

    @pytest.mark.parametrize("shape", sorted(two_hours()))
    def test_a_curve_of_two_hours_needs_memory_for_its_candidates_and_no_more(self, shape: str) -> None:
        scores, edges_s = two_hours()[shape]
        with peak_memory() as peak:
            proposals = propose_spans(scores, edges_s)

        assert 0 < len(proposals) <= 100
        assert peak.bytes < 24 * 50 * len(scores)


class TestRules:
    @pytest.mark.parametrize("bad", [{"step_s": -1.0}, {"max_gap_s": math.inf}, {"settling_s": NAN}])
    def test_lengths_of_time_are_finite_and_not_negative(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="lengths of time"):
            ProposalRule(**bad)

    @pytest.mark.parametrize(
        "bad",
        [
            {"levels": 0},
            {"falls": 0},
            {"sigma": 0.0},
            {"max_proposals": 0},
            {"min_score": 2.0},
            {"step_s": 0.0},
            {"search_s": 0.0},
            {"noise": 0.0},
        ],
    )
    def test_a_proposal_rule_that_proposes_nothing_is_refused(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="a proposal rule needs"):
            ProposalRule(**bad)


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


@given(st.lists(st.floats(0, 1), min_size=1))
def test_log_odds_are_those_of_scipy(chances: list[float]) -> None:
    assert np.allclose(_log_odds(np.array(chances)), logit(chances), rtol=1e-15, atol=0)
