from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from dmcl_sdk.segment import Segment
from tests.training.made_scores import face_of, plain_spec, scored_as
from training.calibrate import calibrated, conformal_bound, fit_abstention, fit_platt
from training.scores import Scored

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def drawn(count: int, slope: float, intercept: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose label follows a logistic curve."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, count)
    return logits, rng.random(count) < 1 / (1 + np.exp(-(slope * logits + intercept)))


def test_a_known_curve_is_found_again() -> None:
    logits, fake = drawn(20_000, 1.7, 0.0, 0)
    fit = fit_platt(logits, fake, version="1")
    assert fit.slope == pytest.approx(1.7, abs=0.08)
    assert fit.intercept == pytest.approx(0, abs=0.08)


def test_the_curve_is_that_of_scikit_learn_when_there_is_much_data() -> None:
    logits, fake = drawn(
        8000, 1.3, 0.7, 3
    )  # more fakes than reals; and Platt's smoothed targets matter little
    ours = fit_platt(logits, fake, version="1")
    theirs = LogisticRegression(C=np.inf, class_weight="balanced").fit(logits[:, None], fake)

    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=0.01)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=0.01)


def test_the_covariance_is_that_of_repeated_fits() -> None:
    fits = [fit_platt(*drawn(400, 1.0, 0.0, seed), version="1") for seed in range(200)]
    spread = np.var([fit.slope for fit in fits])
    stated = np.mean([fit.covariance[0][0] for fit in fits])
    assert stated == pytest.approx(spread, rel=0.35)


def test_both_classes_weigh_the_same() -> None:
    logits, fake = drawn(6000, 1.0, 0.0, 1)
    fewer = np.concatenate([np.flatnonzero(fake)[:300], np.flatnonzero(~fake)])
    whole, skewed = fit_platt(logits, fake, version="1"), fit_platt(logits[fewer], fake[fewer], version="1")
    assert skewed.intercept == pytest.approx(whole.intercept, abs=0.25)


def test_classes_that_are_told_apart_perfectly_give_a_finite_curve() -> None:
    logits = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    fit = fit_platt(logits, logits > 0, version="1")
    assert 0 < fit.slope < 10


def test_a_model_that_has_learned_nothing_is_not_calibrated() -> None:
    with pytest.raises(ValueError, match="higher logits do not mean manipulated"):
        fit_platt(np.array([1.0, 2.0, -1.0, -2.0]), np.array([False, False, True, True]), version="1")
    with pytest.raises(ValueError, match="real and fake"):
        fit_platt(np.zeros(3), np.zeros(3, bool), version="1")


@settings(max_examples=40)
@given(st.integers(20, 200), st.integers(0, 50))
def test_at_most_a_twentieth_of_the_real_videos_are_called_manipulated(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = np.concatenate([rng.beta(2, 4, count), rng.beta(4, 2, count)])
    fake = np.repeat([False, True], count)
    rule = fit_abstention(probability, fake).rule
    called = [rule.label(p) for p in probability]
    assert np.mean([label == "manipulated" for label in called[:count]]) <= 0.05 + 1e-9
    assert np.mean([label == "not_manipulated" for label in called[count:]]) <= 0.2 + 1e-9


def people(rng: np.random.Generator, count: int, *, fake: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of `count` people's videos, their labels and who is who: one to nine alike videos each."""
    videos = rng.integers(1, 10, count)
    who = np.repeat(np.arange(count), videos)
    logits = rng.normal(1.5 if fake else -0.5, 1.0, count)[who] + rng.normal(0, 0.3, len(who))
    return 1 / (1 + np.exp(-logits)), np.full(len(who), fake), who


def test_unseen_people_are_called_manipulated_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(0)
    alarms, misses, careless = [], [], []
    fit = None
    for _ in range(150):
        real, fake = people(rng, 39, fake=False), people(rng, 39, fake=True)
        probability, label = np.concatenate([real[0], fake[0]]), np.concatenate([real[1], fake[1]])
        groups = [*real[2].tolist(), *(fake[2] + 100).tolist()]
        fit = fit_abstention(probability, label, groups)
        by_video = fit_abstention(probability, label)
        new_real, new_fake = people(rng, 40, fake=False), people(rng, 40, fake=True)
        alone = [np.flatnonzero(new_real[2] == who)[0] for who in range(40)]
        alarms.append(np.mean(new_real[0][alone] >= fit.rule.manipulated_above))
        careless.append(np.mean(new_real[0][alone] >= by_video.rule.manipulated_above))
        misses.append(np.mean(new_fake[0] < fit.rule.not_manipulated_below))
    assert fit is not None
    assert (fit.false_alarms, fit.misses, fit.real_groups) == (0.05, 0.2, 39)
    assert np.mean(alarms) <= 0.055
    assert np.mean(alarms) >= 0.03  # and no more careful than it has to be
    assert np.mean(misses) <= 0.2
    assert np.mean(careless) > np.mean(alarms)  # videos counted as if each were a person of its own


def test_what_few_people_cannot_promise_is_not_promised() -> None:
    rng = np.random.default_rng(1)
    fit, alarms = None, []
    for _ in range(600):
        real, fake = rng.normal(0, 1, 9), rng.normal(2, 1, 9)
        probability = 1 / (1 + np.exp(-np.concatenate([real, fake])))
        fit = fit_abstention(probability, np.repeat([False, True], 9))
        unseen = 1 / (1 + np.exp(-rng.normal(0, 1, 50)))
        alarms.append(np.mean(unseen >= fit.rule.manipulated_above))
    assert fit is not None
    assert fit.false_alarms == pytest.approx(0.1)
    assert 0.05 < np.mean(alarms) <= 0.1 + 0.01


def test_what_is_hardly_likelier_than_not_is_never_called_manipulated() -> None:
    fit = fit_abstention(np.array([0.1] * 30 + [0.55] * 30), np.repeat([False, True], 30))
    assert fit.rule.label(0.55) == "uncertain"
    assert fit.rule.label(0.61) == "manipulated"


@pytest.mark.parametrize("count", [19, 20, 39, 40, 57, 100])
def test_the_bound_is_the_textbook_one_for_videos_that_are_independent(count: int) -> None:
    scores = np.random.default_rng(count).permutation(count).astype(float)
    rank = int(np.ceil((count + 1) * 0.95))
    assert conformal_bound(scores, range(count), 0.05) == rank - 1


def test_a_person_of_many_videos_weighs_as_much_as_one_of_a_single_video() -> None:
    # 20 people: 19 of one video at 0..18, one of a thousand videos at 100; masses of 1/21 each
    scores = np.concatenate([np.arange(19.0), np.full(1000, 100.0)])
    groups = [*range(19), *[19] * 1000]
    assert conformal_bound(scores, groups, 0.1) == 18.0
    assert conformal_bound(scores, range(len(scores)), 0.1) == 100.0


def test_too_few_people_have_no_bound() -> None:
    assert conformal_bound(np.arange(18.0), range(18), 0.05) == math.inf
    assert conformal_bound(np.arange(19.0), range(19), 0.05) == 18.0


def test_thresholds_need_both_classes() -> None:
    with pytest.raises(ValueError, match="real and fake"):
        fit_abstention(np.array([0.1, 0.2]), np.array([False, False]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal_bound(np.array([0.1]), [0], 0.0)


def test_frames_of_a_fake_outside_its_spans_are_taken_for_real_ones() -> None:
    rng = np.random.default_rng(0)
    fake = np.arange(40) % 2 == 1
    curves = [rng.normal(-2.0, 0.5, 100) for _ in fake]
    for curve, one in zip(curves, fake, strict=True):
        curve[50:75] += 4.0 * one
    scored = [Scored(float(curve.max()), (face_of(curve),)) for curve in curves]
    spans = [[Segment(2.0, 3.0)] if one else None for one in fake]
    told, blind = (
        calibrated(plain_spec(), scored, fake, version="9", spans=known)[0] for known in (spans, None)
    )

    inside, outside = told.frame_calibration.probability(np.array([2.0, -2.0]))
    assert inside > 0.8
    assert outside < 0.1
    assert blind.frame_calibration.probability(np.array([-2.0]))[0] > 0.2


def test_a_fit_leaves_out_videos_without_a_face_and_says_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    fake = np.arange(60) % 2 == 1
    scored = [scored_as(logit) for logit in np.where(fake, 1.0, -1.0) + rng.normal(0, 0.5, 60)]
    scored[0] = Scored(None)
    spec, promise = calibrated(plain_spec(), scored, fake, [n // 2 for n in range(60)], version="9")

    assert spec.calibration.version == spec.frame_calibration.version == "9"
    assert spec.calibration.slope > 1
    assert spec.abstention == promise.rule
    assert (promise.real_groups, promise.fake_groups) == (29, 30)
