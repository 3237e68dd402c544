from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.calibrate import fit_abstention, fit_platt


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


@given(st.integers(20, 200), st.integers(0, 50))
def test_at_most_a_twentieth_of_the_real_videos_are_called_manipulated(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = np.concatenate([rng.beta(2, 4, count), rng.beta(4, 2, count)])
    fake = np.repeat([False, True], count)
    rule = fit_abstention(probability, fake)
    called = [rule.label(p) for p in probability]
    assert np.mean([label == "manipulated" for label in called[:count]]) <= 0.05 + 1e-9
    assert np.mean([label == "not_manipulated" for label in called[count:]]) <= 0.2 + 1e-9


def test_unseen_real_videos_are_called_manipulated_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(300):
        real, unseen, fake = rng.beta(2, 4, 59), rng.beta(2, 4, 200), rng.beta(4, 2, 59)
        rule = fit_abstention(np.concatenate([real, fake]), np.repeat([False, True], 59))
        alarms.append(np.mean(unseen >= rule.manipulated_above))
    assert np.mean(alarms) <= 0.055
