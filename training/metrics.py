"""What an evaluation reports, at video level and at span level, in the field's terms.

Conventions, the same in every function:

* A label is 1 for manipulated. A score is higher for "more likely manipulated".
* Equal scores are one operating point, whatever the order of the input: half a win each in an AUC, counted
  together on a curve.
* A video in which no face was judged stays in: `fill_unjudged` gives it a score; it has no spans, so its true
  ones are missed. Leaving it out would flatter a detector that skips hard videos.
* NaN where the question has no answer: an AUC of one class, an AP without a true span.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmcl_sdk.localization import iou_matrix
from dmcl_sdk.segment import Segment

FloatArray = NDArray[np.float64]
Indices = NDArray[np.intp]

RECALL_IOUS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU .5:.05:.95, over which AR is averaged."""

# 19 of 20 frames are an IoU of .95, whatever the rounding of their times.
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


@dataclass(frozen=True, slots=True, eq=False)
class VideoMatch:
    """The spans found in one video, ranked, and the true ones that they were matched with."""

    found: tuple[Segment, ...]
    true: tuple[Segment, ...]
    scores: FloatArray  # (found,) falling
    partner: Indices  # (found,) number of the true span, -1 for a false positive


def fill_unjudged(scores: Sequence[float | None], *, as_score: float = 0.5) -> FloatArray:
    """Scores of all videos, None (no face judged) counted as undecided.

    The published evaluation of self-blended images counts .5 too; other papers drop such videos. Report how
    many there were.
    """
    return np.array([as_score if score is None else score for score in scores], np.float64)


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Roc:
    """Every operating point; the rates of a missing class are NaN."""
    is_fake, values = _checked(labels, scores)
    order = np.argsort(-values, kind="stable")
    values, is_fake = values[order], is_fake[order]
    last_of_tie = _last_of_ties(values)
    fakes, reals = is_fake.sum(), (~is_fake).sum()
    true = np.concatenate(([0], np.cumsum(is_fake)[last_of_tie])) / (fakes or math.nan)
    false = np.concatenate(([0], np.cumsum(~is_fake)[last_of_tie])) / (reals or math.nan)
    return Roc(false, true, np.concatenate(([np.inf], values[last_of_tie])))


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC: the share of (real, fake) pairs ranked right, ties half."""
    roc = roc_curve(labels, scores)
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


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15) -> float:
    """Mean distance of stated probability from observed share, over bins of equal mass.

    Equal mass, not equal width: detectors answer near 0 and 1, and bins of equal width would leave the
    rest to the noise of a few videos. Equal probabilities share a bin, so bins may differ in size.
    """
    is_fake, values = _checked(labels, probabilities)
    if not values.size:
        return math.nan
    if values.min() < 0 or values.max() > 1:
        raise ValueError("calibration error is of probabilities in 0..1")
    rank = np.searchsorted(np.sort(values), values)  # the first place of a tie
    place = rank * bins // values.size
    surplus = np.bincount(place, values - is_fake, bins)
    return float(np.abs(surplus).sum() / values.size)


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


def match_spans(found: Sequence[Segment], true: Sequence[Segment], iou: float) -> VideoMatch:
    """Match the spans found in one video with the true ones, in order of confidence.

    Each takes the free true span that it overlaps most, if their IoU is at least `iou`; equal confidence goes
    by time. This is ActivityNet's rule. (LAV-DF's own script goes through the true spans instead and asks for
    more than `iou`.)
    """
    ranked = _ranked(found)
    overlap = iou_matrix(_bounds(ranked), _bounds(true))
    partner = np.full(len(ranked), -1, np.intp)
    for row in np.flatnonzero((overlap >= iou - _ROUNDING).any(axis=1)):
        best = overlap[row].argmax()
        if overlap[row, best] >= iou - _ROUNDING:
            partner[row] = best
            overlap[:, best] = -1.0
    return VideoMatch(tuple(ranked), tuple(true), np.array([span.score for span in ranked]), partner)


def average_precision(matches: Sequence[VideoMatch]) -> float:
    """AP of spans pooled over videos, with ActivityNet's interpolation.

    Precision at a recall is the highest precision at that recall or a higher one (Pascal VOC from 2010 on);
    AP is the area under that, over all recalls. Spans of equal score are one point of the curve, where
    ActivityNet's script leaves their order to its sort.
    """
    true = sum(len(match.true) for match in matches)
    if not true:
        return math.nan
    scores = np.concatenate([match.scores for match in matches])
    hits = np.concatenate([match.partner >= 0 for match in matches])
    order = np.argsort(-scores, kind="stable")
    last_of_tie = _last_of_ties(scores[order])
    hits_so_far = np.cumsum(hits[order])[last_of_tie]
    precision = hits_so_far / (last_of_tie + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits_so_far / true, prepend=0.0) * envelope))


def average_precision_spans(
    found: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]], iou: float
) -> float:
    """AP at one IoU; both have one row a video, empty for a real video or one without a face."""
    return average_precision(_match_all(found, true, iou))


def average_recall(
    found: Sequence[Sequence[Segment]],
    true: Sequence[Sequence[Segment]],
    count: int,
    *,
    ious: Sequence[float] = RECALL_IOUS,
) -> float:
    """AR@count: share of all true spans that the `count` most confident of their video reach, mean over IoUs.

    As in ActivityNet's proposal task, one found span may serve two true ones. NaN without true spans.
    """
    best = [
        iou_matrix(_bounds(truth), _bounds(_ranked(spans)[:count])).max(axis=1, initial=0.0)
        for spans, truth in zip(found, true, strict=True)
        if truth
    ]
    if not best:
        return math.nan
    reached = np.concatenate(best)[:, None] >= np.asarray(ious) - _ROUNDING  # (true spans, IoUs)
    return float(reached.mean())


def boundary_error_ms(
    found: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]], *, iou: float = 0.5
) -> float:
    """Mean distance of the start and end of a found span from those of its true one, in milliseconds.

    Over matched pairs only: read it next to the recall. Meant for spans that are shown, not for proposals.
    """
    errors_s = [
        np.abs(_bounds(match.found)[hit] - _bounds(match.true)[match.partner[hit]]).ravel()
        for match in _match_all(found, true, iou)
        for hit in [match.partner >= 0]
    ]
    pooled_s = np.concatenate(errors_s) if errors_s else np.empty(0)
    return float(1000 * pooled_s.mean()) if pooled_s.size else math.nan


def _match_all(
    found: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]], iou: float
) -> list[VideoMatch]:
    return [match_spans(spans, truth, iou) for spans, truth in zip(found, true, strict=True)]


def _ranked(spans: Sequence[Segment]) -> list[Segment]:
    return sorted(spans, key=lambda span: (-span.score, span.start_s, span.end_s))


def _bounds(spans: Sequence[Segment]) -> FloatArray:
    """(S, 2) starts and ends in seconds."""
    return np.array([(span.start_s, span.end_s) for span in spans], np.float64).reshape(-1, 2)


def _last_of_ties(ordered: FloatArray) -> Indices:
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
