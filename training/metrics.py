"""What an evaluation reports of whole videos, in the field's terms; `span_metrics` has the spans.

Conventions, the same in every function:

* A label is 1 for manipulated. A score is higher for "more likely manipulated".
* Equal scores are one operating point, whatever the order of the input: half a win each in an AUC, counted
  together on a curve.
* A video in which no face was judged stays in: `fill_unjudged` gives it a score. Leaving it out would flatter a
  detector that skips hard videos.
* NaN where the question has no answer: an AUC of one class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Indices = NDArray[np.intp]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """Operating points from "nothing is manipulated" to "everything is", one for each distinct score."""

    false_positive_rate: FloatArray
    true_positive_rate: FloatArray
    thresholds: FloatArray  # falling from inf; a video is called manipulated at or above it

    @property
    def has_both_classes(self) -> bool:
        """Whether there was a real and a manipulated video; without one, its rate is NaN."""
        return bool(np.isfinite(self.false_positive_rate[-1] + self.true_positive_rate[-1]))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and how far it might lie off.

    Attributes:
        value: on all the data.
        low: lower end of the interval.
        high: upper end.
        resamples: bootstrap resamples in which the figure was defined, and which made the interval.
    """

    value: float
    low: float
    high: float
    resamples: int


def fill_unjudged(scores: Sequence[float | None], *, as_score: float = 0.5) -> FloatArray:
    """Scores of all videos, None (no face judged) counted as undecided.

    The published evaluation of self-blended images counts .5 too; other papers drop such videos. Report how
    many there were.
    """
    return np.array([as_score if score is None else score for score in scores], np.float64)


def roc_curve(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Roc:
    """Every operating point; the rates of a missing class are NaN. Weights are above 0, one by default."""
    is_fake, values = _checked(labels, scores)
    order = np.argsort(-values, kind="stable")
    weight = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]
    values, is_fake = values[order], is_fake[order]
    last_of_tie = last_of_ties(values)
    true, false = (np.cumsum(weight * of_class)[last_of_tie] for of_class in (is_fake, ~is_fake))
    return Roc(_share(false), _share(true), np.concatenate(([np.inf], values[last_of_tie])))


def _share(counted: FloatArray) -> FloatArray:
    """Running totals as shares of the last, from 0; NaN of nothing."""
    total = counted[-1] if counted.size else 0.0
    return np.concatenate(([0.0], counted)) / (total or math.nan)


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC: the share of (real, fake) pairs ranked right, ties half, each by its weights."""
    roc = roc_curve(labels, scores, weights)
    area = float(np.trapezoid(roc.true_positive_rate, roc.false_positive_rate))
    return area if roc.has_both_classes else math.nan


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate: where misses equal false alarms, between operating points on the straight line."""
    roc = roc_curve(labels, scores)
    excess = roc.false_positive_rate - (1 - roc.true_positive_rate)  # strictly rising, -1 to 1
    return float(np.interp(0.0, excess, roc.false_positive_rate))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, max_fpr: float) -> float:
    """Highest true positive rate of a threshold whose false positive rate is at most `max_fpr`.

    Of thresholds that exist: with 50 real videos, 1 % false positives means none.
    """
    roc = roc_curve(labels, scores)
    if not roc.has_both_classes:
        return math.nan
    return float(roc.true_positive_rate[roc.false_positive_rate <= max_fpr + _ROUNDING].max())


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of videos called right when those that score at least the threshold are called manipulated."""
    is_fake, values = _checked(labels, scores)
    return float(np.mean((values >= threshold) == is_fake)) if values.size else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Stated probability beside observed share, bin by bin."""

    probability: FloatArray  # (B,) rising: mean of the bin
    share: FloatArray  # (B,) of manipulated videos in the bin
    count: FloatArray  # (B,) videos in the bin, or their weight, none empty


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15, weights: ArrayLike | None = None
) -> Reliability:
    """The reliability diagram, over bins of equal mass.

    Equal mass, not equal width: detectors answer near 0 and 1, and bins of equal width would leave the
    rest to the noise of a few videos. Equal probabilities share a bin, so bins may differ in size. With `weights`,
    (N,) > 0, mass is weight.
    """
    is_fake, values = _checked(labels, probabilities)
    if values.size and (values.min() < 0 or values.max() > 1):
        raise ValueError("calibration error is of probabilities in 0..1")
    mass = np.ones(values.size) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(values, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(mass[order])])
    below = before[np.searchsorted(values[order], values)]  # all that lies below, so that ties share a bin
    place = np.minimum(below * bins / max(before[-1], 1e-300) + _ROUNDING, bins - 1).astype(np.intp)
    count = np.bincount(place, mass, bins).astype(np.float64)
    filled = count > 0
    stated, seen = np.bincount(place, mass * values, bins), np.bincount(place, mass * is_fake, bins)
    return Reliability(stated[filled] / count[filled], seen[filled] / count[filled], count[filled])


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15, weights: ArrayLike | None = None
) -> float:
    """Mean distance of stated probability from observed share, over the bins of `reliability`."""
    diagram = reliability(labels, probabilities, bins=bins, weights=weights)
    total = diagram.count.sum()
    if not total:
        return math.nan
    return float((diagram.count * np.abs(diagram.probability - diagram.share)).sum() / total)


def calibration_error_by_chance(
    probabilities: ArrayLike,
    rng: np.random.Generator,
    *,
    bins: int = 15,
    weights: ArrayLike | None = None,
    draws: int = 500,
) -> float:
    """What `expected_calibration_error` would be on average if every probability were true: never 0 for few videos.

    As many videos as the weights are worth, (sum w)^2 / sum w^2 (Kish), are drawn by weight, and each is manipulated
    with its own probability. They are taken to be independent, so where people have several videos it is more. After
    the consistency bars of Broecker and Smith, "Increasing the Reliability of Reliability Diagrams", 2007.
    """
    values = np.asarray(probabilities, np.float64)
    if not values.size:
        return math.nan
    mass = np.ones(values.size) if weights is None else np.asarray(weights, np.float64)
    worth = max(1, round(float(mass.sum() ** 2 / (mass**2).sum())))
    stated = rng.choice(values, (draws, worth), p=mass / mass.sum())
    errors = [expected_calibration_error(rng.random(worth) < one, one, bins=bins) for one in stated]
    return float(np.mean(errors))


def stratified_auc(labels: ArrayLike, scores: ArrayLike, strata: ArrayLike) -> float:
    """Share of (real, fake) pairs of one stratum that are ranked right, ties half; (N,) each.

    Van Elteren's stratified rank test, as a share: what sets the strata apart cannot help. NaN where no stratum has
    both classes.
    """
    is_fake, values = _checked(labels, scores)
    stratum = np.asarray(strata)
    right = pairs = 0.0
    for name in np.unique(stratum):
        inside = stratum == name
        count = float(is_fake[inside].sum() * (~is_fake[inside]).sum())
        if count:
            right += count * auc(is_fake[inside], values[inside])
            pairs += count
    return right / pairs if pairs else math.nan


def pair_auc(real: ArrayLike, fake: ArrayLike) -> float:
    """Share of pairs, a real video and a fake made from it, in which the fake scores higher; ties half.

    Identity, scene and codec are the same within a pair and cannot help. (P,) and (P,), row by row.
    """
    reals, fakes = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if reals.ndim != 1 or reals.shape != fakes.shape or np.isnan(reals).any() or np.isnan(fakes).any():
        raise ValueError(f"pairs need as many reals as fakes, and no NaN, got {reals.shape}, {fakes.shape}")
    return float(np.mean((fakes > reals) + (fakes == reals) / 2)) if reals.size else math.nan


def bootstrap_interval(
    statistic: Callable[[Indices], float],
    groups: Sequence[object],
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Percentile bootstrap that draws whole groups: videos of one identity are not independent.

    Args:
        statistic: from the numbers of the rows drawn, repeats included, to the figure; NaN where it is
            undefined, e.g. `lambda rows: auc(labels[rows], scores[rows])`.
        groups: what each row belongs to; hashable.
        rng: the same state, the same interval.
        resamples: how often to draw; resamples whose figure is NaN are left out and not counted.
        level: share of resamples inside the interval.
    """
    members: dict[object, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    rows = [np.array(group, np.intp) for group in members.values()]
    if not rows:
        raise ValueError("a bootstrap needs at least one row")
    draws = rng.integers(0, len(rows), (resamples, len(rows)))
    drawn = np.array([statistic(np.concatenate([rows[group] for group in draw])) for draw in draws])
    defined = drawn[~np.isnan(drawn)]
    tail = (1 - level) / 2
    low, high = np.quantile(defined, (tail, 1 - tail)) if defined.size else (math.nan, math.nan)
    return Estimate(statistic(np.arange(len(groups))), float(low), float(high), defined.size)


def last_of_ties(ordered: FloatArray) -> Indices:
    """Place of the last of each run of equal values; compared, not subtracted, so that inf is a value."""
    ends = np.concatenate((ordered[1:] != ordered[:-1], [True]))
    return np.flatnonzero(ends[: ordered.size])


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], FloatArray]:
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape or not np.isin(truth, (0, 1)).all():
        raise ValueError(f"scores need one label of 0 or 1 each, got shapes {truth.shape} and {values.shape}")
    if np.isnan(values).any():
        raise ValueError("a score is NaN: say how it counts with fill_unjudged")
    return truth.astype(bool), values
