"""Video metrics against scikit-learn, calibration error by hand, and intervals by bootstrap."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from training.metrics import (
    accuracy,
    auc,
    bootstrap_interval,
    calibration_error_by_chance,
    eer,
    expected_calibration_error,
    fill_unjudged,
    pair_auc,
    reliability,
    roc_curve,
    stratified_auc,
    tpr_at_fpr,
)

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

Scored = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def some_scores(draw: st.DrawFn) -> Scored:
    """Both classes, and ties as often as not."""
    size = draw(st.integers(2, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.permutation(np.r_[0, 1, rng.integers(0, 2, size - 2)])
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.25), 0, 1)
    return labels, np.round(scores, draw(st.sampled_from([1, 2, 15])))


class TestVideoLevel:
    @given(some_scores())
    def test_auc_is_that_of_scikit_learn(self, scored: Scored) -> None:
        assert auc(*scored) == pytest.approx(reference.roc_auc_score(*scored), abs=1e-12)

    @given(some_scores(), st.integers(0, 2**32 - 1))
    def test_a_weighted_auc_is_that_of_scikit_learn(self, scored: Scored, seed: int) -> None:
        weights = np.random.default_rng(seed).uniform(0.1, 2, len(scored[0]))
        expected = reference.roc_auc_score(*scored, sample_weight=weights)
        assert auc(*scored, weights) == pytest.approx(expected, abs=1e-9)

    @given(some_scores())
    def test_the_roc_is_that_of_scikit_learn(self, scored: Scored) -> None:
        roc = roc_curve(*scored)
        false, true, thresholds = reference.roc_curve(*scored, drop_intermediate=False)

        assert roc.false_positive_rate.tolist() == pytest.approx(false.tolist())
        assert roc.true_positive_rate.tolist() == pytest.approx(true.tolist())
        assert roc.thresholds.tolist() == thresholds.tolist()

    @given(some_scores(), st.sampled_from([0.0, 0.01, 0.05, 0.2, 1.0]))
    def test_tpr_at_fpr_is_the_best_threshold_of_scikit_learn(self, scored: Scored, max_fpr: float) -> None:
        false, true, _ = reference.roc_curve(*scored, drop_intermediate=False)

        assert tpr_at_fpr(*scored, max_fpr) == pytest.approx(true[false <= max_fpr + 1e-12].max())

    @given(some_scores())
    def test_eer_lies_on_the_roc_of_scikit_learn(self, scored: Scored) -> None:
        false, true, _ = reference.roc_curve(*scored, drop_intermediate=False)
        rate = eer(*scored)

        # On the straight line between two operating points, and where misses equal false alarms.
        crossing = int(np.flatnonzero(false >= 1 - true)[0])
        step = np.array([false[crossing] - false[crossing - 1], true[crossing] - true[crossing - 1]])
        away = np.array([rate - false[crossing - 1], 1 - rate - true[crossing - 1]])
        assert step[0] * away[1] == pytest.approx(step[1] * away[0], abs=1e-12)
        assert false[crossing - 1] - 1e-12 <= rate <= false[crossing] + 1e-12

    def test_eer_of_a_small_example(self) -> None:
        # At .6 one of four reals passes and one of four fakes is missed.
        labels, scores = [0, 0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.5, 0.6, 0.8, 0.9]

        assert eer(labels, scores) == pytest.approx(0.25)

    @given(some_scores(), st.floats(0, 1))
    def test_accuracy_is_that_of_scikit_learn(self, scored: Scored, threshold: float) -> None:
        labels, scores = scored

        assert accuracy(labels, scores, threshold) == pytest.approx(
            reference.accuracy_score(labels, scores >= threshold)
        )

    @given(some_scores(), st.randoms())
    def test_the_order_of_videos_does_not_matter(self, scored: Scored, shuffler: random.Random) -> None:
        labels, scores = scored
        order = list(range(len(labels)))
        shuffler.shuffle(order)

        for metric in (auc, eer, expected_calibration_error):
            assert metric(labels[order], scores[order]) == pytest.approx(metric(labels, scores), abs=1e-12)

    def test_equal_scores_for_all_are_a_coin_toss(self) -> None:
        labels, scores = [0, 0, 0, 1, 1], [0.5] * 5

        assert (auc(labels, scores), eer(labels, scores), tpr_at_fpr(labels, scores, 0.05)) == (0.5, 0.5, 0.0)

    def test_infinite_scores_are_the_surest(self) -> None:
        assert auc([0, 0, 1, 1], [-math.inf, -math.inf, 0.0, math.inf]) == 1.0

    @pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
    def test_one_class_has_no_answer(self, labels: list[int]) -> None:
        scores = [0.5] * len(labels)

        assert math.isnan(auc(labels, scores))
        assert math.isnan(eer(labels, scores))
        assert math.isnan(tpr_at_fpr(labels, scores, 0.05))

    @pytest.mark.parametrize(
        ("labels", "scores", "message"),
        [
            ([0, 1], [0.5], "one label of 0 or 1 each"),
            ([0, 2], [0.5, 0.5], "one label of 0 or 1 each"),
            ([0, 1], [0.5, math.nan], "fill_unjudged"),
        ],
    )
    def test_what_cannot_be_counted_is_refused(
        self, labels: list[int], scores: list[float], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            auc(labels, scores)

    def test_a_video_without_a_face_counts_as_undecided(self) -> None:
        assert fill_unjudged([0.9, None, 0.0]).tolist() == [0.9, 0.5, 0.0]
        assert fill_unjudged([None], as_score=0.0).tolist() == [0.0]


class TestCalibrationError:
    def test_of_two_bins_worked_by_hand(self) -> None:
        # Bins of three: mean .2 against 1/3, mean .8 against 2/3.
        labels, stated = [0, 0, 1, 1, 0, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]

        assert expected_calibration_error(labels, stated, bins=2) == pytest.approx(2 / 15)

    def test_of_probabilities_that_are_true_is_nothing(self) -> None:
        stated = np.repeat([0.25, 0.75], 4)

        assert expected_calibration_error([0, 0, 0, 1, 0, 1, 1, 1], stated) == pytest.approx(0.0)

    def test_over_one_bin_is_the_gap_between_the_means(self) -> None:
        rng = np.random.default_rng(0)
        labels, stated = rng.integers(0, 2, 50), rng.random(50)

        assert expected_calibration_error(labels, stated, bins=1) == pytest.approx(
            abs(stated.mean() - labels.mean())
        )

    def test_of_what_is_no_probability_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"probabilities in 0\.\.1"):
            expected_calibration_error([0, 1], [0.0, 1.5])

    def test_of_nothing_has_no_answer(self) -> None:
        assert math.isnan(expected_calibration_error([], []))
        assert math.isnan(calibration_error_by_chance([], np.random.default_rng(0)))

    def test_by_chance_is_what_true_probabilities_show_and_shrinks_with_the_videos(self) -> None:
        rng = np.random.default_rng(0)
        few, many = rng.random(60), rng.random(6000)
        shown = [expected_calibration_error(rng.random(60) < few, few, bins=8) for _ in range(500)]
        by_chance = calibration_error_by_chance(few, rng, bins=8)

        assert by_chance == pytest.approx(np.mean(shown), abs=0.01)
        assert calibration_error_by_chance(many, rng, bins=8, draws=20) < by_chance / 5

    def test_by_chance_counts_as_many_videos_as_their_weights_are_worth(self) -> None:
        rng = np.random.default_rng(0)
        stated = rng.random(20)
        of_one = calibration_error_by_chance(stated, rng, bins=8, weights=np.r_[1.0, np.full(19, 1e-6)])

        assert of_one == pytest.approx(2 * stated[0] * (1 - stated[0]), abs=0.06)


class TestReliability:
    def test_bins_of_equal_mass_are_those_of_scikit_learn(self) -> None:
        rng = np.random.default_rng(0)
        stated = rng.permutation(np.linspace(0.01, 0.99, 60))
        labels = (rng.random(60) < stated).astype(int)
        diagram = reliability(labels, stated, bins=6)
        share, probability = calibration_curve(labels, stated, n_bins=6, strategy="quantile")

        assert diagram.share.tolist() == pytest.approx(share.tolist())
        assert diagram.probability.tolist() == pytest.approx(probability.tolist())
        assert diagram.count.tolist() == [10] * 6

    def test_a_weight_of_two_is_the_video_twice(self) -> None:
        rng = np.random.default_rng(0)
        stated = rng.permutation(np.linspace(0.01, 0.99, 30))
        labels = (rng.random(30) < stated).astype(int)
        twice = reliability(np.repeat(labels, 2), np.repeat(stated, 2), bins=5)
        heavy = reliability(labels, stated, bins=5, weights=np.full(30, 2.0))

        assert heavy.share.tolist() == pytest.approx(twice.share.tolist())
        assert heavy.count.tolist() == pytest.approx(twice.count.tolist())

    @given(some_scores(), st.integers(1, 20))
    def test_the_diagram_holds_every_video_once(self, scored: Scored, bins: int) -> None:
        labels, stated = scored
        diagram = reliability(labels, stated, bins=bins)

        assert diagram.count.sum() == len(labels)
        assert (diagram.share @ diagram.count) == pytest.approx(labels.sum())
        assert (diagram.probability @ diagram.count) == pytest.approx(stated.sum())
        assert (np.diff(diagram.probability) >= 0).all()


class TestStrata:
    @given(some_scores())
    def test_one_stratum_is_the_plain_auc(self, scored: Scored) -> None:
        assert stratified_auc(*scored, np.zeros(len(scored[0]))) == pytest.approx(auc(*scored))

    def test_only_pairs_of_one_stratum_count(self) -> None:
        # stratum 0: one pair, right; stratum 1: two pairs, one right; across strata all are wrong
        labels, scores = [0, 1, 0, 1, 1], [5.0, 6.0, 2.0, 1.0, 3.0]

        assert stratified_auc(labels, scores, [0, 0, 1, 1, 1]) == pytest.approx(2 / 3)

    def test_what_sets_the_strata_apart_does_not_help(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1, 0, 1], [80, 20, 20, 80])
        strata = np.repeat([0, 1], 100)
        scores = 10.0 * strata + rng.normal(size=200)

        assert auc(labels, scores) > 0.75
        assert stratified_auc(labels, scores, strata) == pytest.approx(0.5, abs=0.12)

    def test_strata_of_one_class_have_no_answer(self) -> None:
        assert math.isnan(stratified_auc([0, 1], [0.1, 0.9], [0, 1]))


class TestPairs:
    def test_a_tie_is_half_a_pair(self) -> None:
        assert pair_auc([0.1, 0.5, 0.9], [0.2, 0.5, 0.3]) == 0.5

    def test_what_differs_between_videos_does_not_count(self) -> None:
        scene = np.array([0.0, 10.0, 20.0])
        labels, scores = [0] * 3 + [1] * 3, np.concatenate([scene, scene + 0.1])

        assert pair_auc(scene, scene + 0.1) == 1.0
        assert auc(labels, scores) < 0.7

    def test_pairs_come_in_pairs(self) -> None:
        with pytest.raises(ValueError, match="as many reals as fakes"):
            pair_auc([0.1], [0.2, 0.3])

    def test_no_pairs_have_no_answer(self) -> None:
        assert math.isnan(pair_auc([], []))


class TestBootstrap:
    def test_the_same_generator_gives_the_same_interval(self) -> None:
        rng = np.random.default_rng(1)
        real, identities = rng.normal(0.0, 1.0, 60), [row // 3 for row in range(60)]
        fake = rng.normal(0.7, 1.0, 60)
        one, other = (
            bootstrap_interval(
                lambda rows: pair_auc(real[rows], fake[rows]),
                identities,
                np.random.default_rng(7),
                resamples=200,
            )
            for _ in range(2)
        )

        assert one == other
        assert one.value == pair_auc(real, fake)
        assert one.low < one.value < one.high
        assert one.resamples == 200

    def test_videos_of_one_identity_are_drawn_together(self) -> None:
        groups = ["a", "b", "a", "c", "b"]
        seen: list[list[int]] = []

        def note(rows: NDArray[np.intp]) -> float:
            seen.append(rows.tolist())
            return 0.0

        bootstrap_interval(note, groups, np.random.default_rng(0), resamples=50)

        for rows in seen[:50]:
            assert rows.count(0) == rows.count(2)
            assert rows.count(1) == rows.count(4)

    def test_groups_widen_the_interval_that_single_videos_would_flatter(self) -> None:
        rng = np.random.default_rng(3)
        values = np.repeat(rng.normal(size=20), 10)
        by_group, by_row = (
            bootstrap_interval(lambda rows: float(values[rows].mean()), groups, np.random.default_rng(0))
            for groups in ([row // 10 for row in range(200)], list(range(200)))
        )

        assert by_group.high - by_group.low > 2 * (by_row.high - by_row.low)

    def test_the_interval_of_a_mean_is_the_textbook_one(self) -> None:
        values = np.random.default_rng(5).normal(size=400)
        mean = bootstrap_interval(
            lambda rows: float(values[rows].mean()), range(400), np.random.default_rng(0), resamples=4000
        )
        reach = 1.96 * values.std() / 20

        assert mean.low == pytest.approx(values.mean() - reach, abs=0.01)
        assert mean.high == pytest.approx(values.mean() + reach, abs=0.01)

    def test_resamples_without_an_answer_are_left_out_and_counted(self) -> None:
        labels, scores = np.array([0, 1]), np.array([0.2, 0.8])
        estimate = bootstrap_interval(
            lambda rows: auc(labels[rows], scores[rows]), "ab", np.random.default_rng(0), resamples=100
        )

        assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)
        assert 20 < estimate.resamples < 80

    def test_a_figure_without_an_answer_has_no_interval(self) -> None:
        estimate = bootstrap_interval(lambda _: math.nan, "ab", np.random.default_rng(0), resamples=10)

        assert math.isnan(estimate.low)
        assert estimate.resamples == 0

    def test_nothing_cannot_be_resampled(self) -> None:
        with pytest.raises(ValueError, match="at least one row"):
            bootstrap_interval(lambda _: 0.0, [], np.random.default_rng(0))
