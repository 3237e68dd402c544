"""From a frame curve to ranked proposals: what average precision and recall are measured on.

    curve ─ log-odds ─ smooth ─ cut at many levels ─> stretches ─ contrast with either side ─ soft-NMS ─> ranked

Proposals overlap and are many; the spans of a verdict are few and do not (`localization`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dmcl_sdk.curve import (
    ROUNDING_S,
    Curve,
    FloatArray,
    Runs,
    as_segments,
    check_times,
    join,
    long_enough,
    near,
    runs_of,
)
from dmcl_sdk.segment import Segment

_MOST_LOG_ODDS = 7.0  # a probability of .999: what lies beyond tells nothing more
_ROUNDING = 1e-6  # log-odds: a flat stretch of a running mean must not fall to pieces


@dataclass(frozen=True, slots=True)
class ProposalRule:
    """How ranked proposals are made and thinned out.

    Attributes:
        levels: how many thresholds cut the curve, evenly from its lowest log-odds to below its highest.
        smoothing_s: the curve is averaged over this long before it is cut: noise makes no bounds.
        min_duration_s: shorter proposals are dropped.
        max_gap_s: stretches at most this far apart are joined, at every level.
        context_share: how far the surroundings reach on either side, in lengths of the proposal.
        min_context_s: how far they reach at least.
        settling_s: a mean over this long weighs 1/sqrt(2) of one over for ever: neighbouring frames repeat
            each other, so a short mean is less sure.
        sigma: width of the soft-NMS; the smaller, the harder overlapping proposals are pushed down.
        max_proposals: how many are kept.
        min_score: what scores less, after soft-NMS, is dropped.
    """

    levels: int = 24
    smoothing_s: float = 0.15
    min_duration_s: float = 0.1
    max_gap_s: float = 0.2
    context_share: float = 0.5
    min_context_s: float = 0.5
    settling_s: float = 0.5
    sigma: float = 0.4
    max_proposals: int = 100
    min_score: float = 1e-3

    def __post_init__(self) -> None:
        if self.levels < 1 or not 0 <= self.min_score <= 1:
            raise ValueError(f"a proposal rule needs levels >= 1 and 0 <= min_score <= 1, got {self}")
        if self.sigma <= 0 or self.max_proposals < 1:
            raise ValueError(f"a proposal rule needs sigma > 0 and max_proposals >= 1, got {self}")
        check_times(self, self.smoothing_s, self.min_duration_s, self.max_gap_s, self.settling_s)
        check_times(self, self.context_share, self.min_context_s)
        if self.min_context_s == 0:
            raise ValueError(f"a proposal rule needs min_context_s > 0, got {self}")


def propose_spans(scores: ArrayLike, edges_s: ArrayLike, rule: ProposalRule | None = None) -> list[Segment]:
    """Ranked proposals, the best first: temporal actionness grouping at many levels, then soft-NMS.

    The smoothed curve is cut at many levels into stretches that reach them, short gaps joined, as in temporal
    actionness grouping (Zhao et al., "Temporal Action Detection with Structured Segment Networks", ICCV 2017).
    What was judged as a whole is a candidate too. The score is ours, by the log-odds of judged time:

        tanh(c / 4),  c = max(0, inside - the higher of before and after) * sqrt(L / (L + settling_s))

    * `inside` is the mean over the L judged seconds of the stretch, unsmoothed; `before` and `after` are means
      over `context_share` of its length, at least `min_context_s`.
    * Log-odds, because a face that is high or low throughout moves all of them alike: the contrast stays.
    * The higher side, because a span has an edge on both.
    * Time that was not judged, on either side, counts as even odds. A face that is manipulated throughout so
      scores by how far it lies above them.
    * A proposal too narrow has high surroundings, one too wide a low inside: the contrast is highest where the
      bounds are right, which is what a high IoU asks for.
    * tanh(c / 4) is the difference of two probabilities c apart in log-odds, as far above one half as below.

    Args:
        scores: (N,) probabilities, NaN where not judged.
        edges_s: (N + 1,) strictly rising, from 0.
        rule: `ProposalRule()` by default.

    Returns:
        Segments by falling score; equal ones by time. They overlap. Scores of two videos compare; they are
        ranks, no probabilities.

    Raises:
        ValueError: the arrays are not a curve.
    """
    rule = rule or ProposalRule()
    checked = Curve.of(scores, edges_s)
    if not checked.judged_frames[-1]:
        return []
    odds = checked.with_values(np.clip(_log_odds(checked.values), -_MOST_LOG_ODDS, _MOST_LOG_ODDS))
    bounds_s = odds.edges_s[_stretches(odds, rule)]
    contrast = _contrasts(odds, bounds_s, rule)
    # A level holds no two stretches that overlap: so many of the best hold max_proposals that are disjoint.
    best = np.argsort(-contrast, kind="stable")[: rule.max_proposals * rule.levels]
    return soft_nms(
        as_segments(bounds_s[best], contrast[best]),
        sigma=rule.sigma,
        max_count=rule.max_proposals,
        min_score=rule.min_score,
    )


def _log_odds(chances: FloatArray) -> FloatArray:
    """`scipy.special.logit` to the last bit, without the quarter of a second that importing it takes."""
    with np.errstate(divide="ignore"):
        far = np.log(chances / (1 - chances))
        near_half = np.log1p(2 * chances - 1) - np.log1p(1 - 2 * chances)
    return np.where((chances < 0.3) | (chances > 0.65), far, near_half)


def soft_nms(
    segments: Iterable[Segment], *, sigma: float = 0.4, max_count: int = 100, min_score: float = 1e-3
) -> list[Segment]:
    """Gaussian soft non-maximum suppression (Bodla et al., ICCV 2017) over time.

    Takes the best segment, multiplies the score of every other by `exp(-iou² / sigma)`, and so on until
    `max_count` are taken or the best is below `min_score`. The order of the input does not matter.
    """
    ordered = sorted(segments, key=lambda segment: (-segment.score, segment.start_s, segment.end_s))
    bounds_s = np.array([(segment.start_s, segment.end_s) for segment in ordered]).reshape(-1, 2)
    scores = np.array([segment.score for segment in ordered])
    waiting = np.ones(len(ordered), bool)
    taken: list[Segment] = []
    while waiting.any() and len(taken) < max_count:
        best = int(np.where(waiting, scores, -1.0).argmax())
        if scores[best] < min_score:
            break
        taken.append(Segment(ordered[best].start_s, ordered[best].end_s, float(scores[best])))
        waiting[best] = False
        scores *= np.exp(-(iou_matrix(bounds_s[best : best + 1], bounds_s)[0] ** 2) / sigma)
    return taken


def iou_matrix(a_s: FloatArray, b_s: FloatArray) -> FloatArray:
    """Temporal IoU of every pair; (A, 2) and (B, 2) starts and ends in seconds -> (A, B) in 0..1."""
    start_a, end_a, start_b, end_b = a_s[:, :1], a_s[:, 1:], b_s[:, 0], b_s[:, 1]
    shared = np.maximum(0.0, np.minimum(end_a, end_b) - np.maximum(start_a, start_b))
    iou: FloatArray = shared / (np.maximum(end_a, end_b) - np.minimum(start_a, start_b))
    return iou


def _stretches(odds: Curve, rule: ProposalRule) -> Runs:
    """All that was judged, and what reaches each level, short gaps of any kind joined; (R, 2), each once."""
    smooth = _smoothed(odds, rule.smoothing_s)
    judged = np.flatnonzero(~np.isnan(smooth))
    whole = np.array([[judged[0], judged[-1] + 1]])
    levels = np.linspace(smooth[judged].min(), smooth[judged].max(), rule.levels, endpoint=False)
    cuts = [runs_of(smooth >= level - _ROUNDING) for level in levels]
    runs = [join(cut, near(cut, odds.edges_s, rule.max_gap_s)) for cut in cuts]
    return np.unique(long_enough(np.concatenate([whole, *runs]), odds.edges_s, rule.min_duration_s), axis=0)


def _smoothed(odds: Curve, width_s: float) -> FloatArray:
    """Mean over `width_s` around the middle of each judged frame, (N,)."""
    middle_s = (odds.edges_s[1:] + odds.edges_s[:-1]) / 2
    area, judged_s = odds.between(middle_s - width_s / 2, middle_s + width_s / 2)
    mean = np.divide(area, judged_s, out=odds.values.copy(), where=judged_s > ROUNDING_S)
    return np.where(np.isnan(odds.values), np.nan, mean)


def _contrasts(odds: Curve, bounds_s: FloatArray, rule: ProposalRule) -> FloatArray:
    """How far each stretch stands out of what lies on either side; bounds (R, 2) -> (R,) in 0..1."""
    start_s, end_s = bounds_s[:, 0], bounds_s[:, 1]
    area, judged_s = odds.between(start_s, end_s)
    judged_s = np.maximum(judged_s, ROUNDING_S)
    inside = area / judged_s
    context_s = np.maximum(rule.context_share * (end_s - start_s), rule.min_context_s)
    before, _ = odds.between(start_s - context_s, start_s)
    after, _ = odds.between(end_s, end_s + context_s)
    outside = np.maximum(before, after) / context_s  # what was not judged adds nothing: even odds are 0
    contrast = np.maximum(inside - outside, 0.0)
    tanh: FloatArray = np.tanh(contrast * np.sqrt(judged_s / (judged_s + rule.settling_s)) / 4)
    return tanh
