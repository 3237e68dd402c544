"""Probabilities from logits, how sure they are, and when a label is withheld."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmcl_sdk.calibration import AbstentionRule, Covariance, Platt

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

CERTAIN: Covariance = ((0.0, 0.0), (0.0, 0.0))
FITTED = Platt(slope=1.3, intercept=-0.2, covariance=((0.010, 0.002), (0.002, 0.030)))

logits = st.floats(-500, 500)


@st.composite
def some_fits(draw: st.DrawFn) -> Platt:
    """Any valid calibration: a covariance is the square of its root."""
    a, b, c = draw(st.floats(1e-6, 3)), draw(st.floats(-3, 3)), draw(st.floats(1e-6, 3))
    return Platt(
        slope=draw(st.floats(1e-3, 20)),
        intercept=draw(st.floats(-20, 20)),
        covariance=((a * a, a * b), (a * b, b * b + c * c)),
    )


def test_slope_one_and_intercept_zero_are_the_sigmoid() -> None:
    plain = Platt(1.0, 0.0, CERTAIN)

    assert plain.probability(0.0) == 0.5
    assert plain.probability(math.log(3)) == pytest.approx(0.75, abs=1e-15)


def test_the_log_odds_of_the_probability_are_linear_in_the_logit() -> None:
    probability = FITTED.probability(2.0)

    assert math.log(probability / (1 - probability)) == pytest.approx(1.3 * 2.0 - 0.2, rel=1e-12)


def test_an_array_gives_what_its_entries_give_alone() -> None:
    curve = np.array([[-3.0, 0.0], [0.25, 7.0]])

    assert FITTED.probability(curve).tolist() == [
        [FITTED.probability(x) for x in row] for row in curve.tolist()
    ]


def test_extreme_logits_neither_overflow_nor_lose_their_small_end() -> None:
    plain = Platt(1.0, 0.0, CERTAIN)

    assert plain.probability(np.array([-math.inf, -1e4, 1e4, math.inf])).tolist() == [0, 0, 1, 1]
    assert plain.probability(-500.0) == pytest.approx(math.exp(-500), rel=1e-12)


def test_a_frame_that_was_not_judged_stays_not_judged() -> None:
    assert np.isnan(FITTED.probability(np.array([math.nan, 1.0]))).tolist() == [True, False]


@given(some_fits(), logits, logits)
def test_a_higher_logit_never_means_less_likely(fit: Platt, one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert 0 <= fit.probability(low) <= fit.probability(high) <= 1


@given(some_fits(), logits, st.floats(0.01, 0.99))
def test_the_interval_holds_the_probability_and_stays_inside_0_to_1(
    fit: Platt, logit: float, level: float
) -> None:
    low, high = fit.interval(logit, level)

    assert 0 <= low <= fit.probability(logit) <= high <= 1


@given(some_fits(), st.floats(-20, 20))
def test_a_higher_level_never_narrows_the_interval(fit: Platt, logit: float) -> None:
    narrow, wide = fit.interval(logit, 0.5), fit.interval(logit, 0.95)

    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]


def test_a_certain_fit_has_an_interval_of_one_point() -> None:
    certain = Platt(2.0, 1.0, CERTAIN)

    assert certain.interval(0.3) == (certain.probability(0.3), certain.probability(0.3))


def test_the_interval_covers_as_many_redrawn_fits_as_its_level_says() -> None:
    rng = np.random.default_rng(0)
    slopes, intercepts = rng.multivariate_normal((1.3, -0.2), FITTED.covariance, 40_000).T
    redrawn = 1 / (1 + np.exp(-(slopes * 1.5 + intercepts)))
    low, high = FITTED.interval(1.5, level=0.9)

    assert np.mean(redrawn < low) == pytest.approx(0.05, abs=0.005)
    assert np.mean(redrawn > high) == pytest.approx(0.05, abs=0.005)


def test_a_variance_that_rounds_below_zero_is_an_interval_of_one_point() -> None:
    shared, intercept_variance = -0.3 * 0.7, 0.3 * 0.7 * 0.7
    pivoted = Platt(1.0, 0.0, ((0.3, shared), (shared, intercept_variance)))
    assert 0.3 * 0.7**2 + 2 * shared * 0.7 + intercept_variance < 0

    assert pivoted.interval(0.7) == (pivoted.probability(0.7), pivoted.probability(0.7))


@pytest.mark.parametrize(("logit", "level"), [(math.nan, 0.9), (math.inf, 0.9), (0.0, 0.0), (0.0, 1.0)])
def test_an_interval_of_nothing_or_at_no_level_is_refused(logit: float, level: float) -> None:
    with pytest.raises(ValueError, match="finite logit and 0 < level < 1"):
        FITTED.interval(logit, level)


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan, math.inf])
def test_a_slope_that_does_not_rise_is_refused(slope: float) -> None:
    with pytest.raises(ValueError, match="slope > 0"):
        Platt(slope, 0.0, CERTAIN)


@pytest.mark.parametrize(
    "covariance",
    [
        ((1.0, 0.5), (0.4, 1.0)),
        ((-1.0, 0.0), (0.0, 1.0)),
        ((1.0, 2.0), (2.0, 1.0)),
        ((math.nan, 0.0), (0.0, 1.0)),
        ((math.inf, 0.0), (0.0, 1.0)),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: Covariance) -> None:
    with pytest.raises(ValueError, match="covariance"):
        Platt(1.0, 0.0, covariance)


def test_a_covariance_may_be_off_by_the_rounding_of_its_inversion() -> None:
    inverted = np.linalg.inv(np.array([[30.1, 7.3], [7.3, 11.7]])).tolist()
    inverted[0][1] *= 1 + 1e-15

    assert Platt(1.0, 0.0, (tuple(inverted[0]), tuple(inverted[1]))).interval(1.0)[0] > 0


def test_the_digest_is_pinned() -> None:
    # A change of it is a change of every stored verdict's `calibration.sha256`.
    assert FITTED.digest() == "ded9e50893d407e9d2a8ff9c592447bb8b670582835dbcf1ce04f89f9ae4b37e"


def test_the_digest_tells_fits_apart_but_not_spellings_of_one_number() -> None:
    assert Platt(2, 0, ((0, 0), (0, 0))).digest() == Platt(2.0, 0.0, CERTAIN).digest()
    assert len({Platt(2.0, 0.0, CERTAIN, version=version).digest() for version in ("1", "2")}) == 2
    assert Platt(2.0, 0.0, CERTAIN).digest() != Platt(2.0, 1e-12, CERTAIN).digest()


def test_between_the_two_bounds_the_label_is_withheld() -> None:
    rule = AbstentionRule(manipulated_above=0.8, not_manipulated_below=0.3)

    assert [rule.label(p) for p in (0.0, 0.299, 0.3, 0.79, 0.8, 1.0)] == [
        "not_manipulated",
        "not_manipulated",
        "uncertain",
        "uncertain",
        "manipulated",
        "manipulated",
    ]


@given(st.floats(0, 1), st.floats(0, 1))
def test_with_equal_bounds_nothing_is_uncertain(bound: float, probability: float) -> None:
    assert AbstentionRule(bound, bound).label(probability) != "uncertain"


@pytest.mark.parametrize(("above", "below"), [(0.3, 0.8), (1.1, 0.5), (0.5, -0.1), (math.nan, 0.5)])
def test_bounds_out_of_order_or_range_are_refused(above: float, below: float) -> None:
    with pytest.raises(ValueError, match="not_manipulated_below <= manipulated_above"):
        AbstentionRule(above, below)


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_has_no_label(probability: float) -> None:
    with pytest.raises(ValueError, match="probability lies in"):
        AbstentionRule(0.5, 0.5).label(probability)
