"""From a frame curve to ranked proposals: what average precision and recall are measured on.

    curve ─ log-odds ─ steps ─> from each rise to a fall ─ both steps against the face's noise ─ soft-NMS ─> ranked

Proposals overlap and are many; the spans of a verdict are few and do not (`localization`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dmcl_sdk.curve import ROUNDING_S, Curve, FloatArray, Runs, as_segments, check_times, long_enough
from dmcl_sdk.segment import Segment

_MOST_LOG_ODDS = 7.0  # a probability of .999: what lies beyond tells nothing more
_ROUNDING = 1e-6  # log-odds: a flat stretch of a running mean must not fall to pieces
_HALF_SCORE = 14.4  # steps of so many deviations score one half, of 1.6 a tenth: `SpanRule.min_contrast`


@dataclass(frozen=True, slots=True)
class ProposalRule:
    """How ranked proposals are made and thinned out.

    Attributes:
        step_s: a step is a difference of two means over this long, on either side of a moment.
        search_s: the same where bounds are looked for: two bounds that are nearer are not told apart.
        levels: how many thresholds tell steps that bound a proposal from ripples inside it, each half the last.
        falls: each rise is paired with so many of the next falls, at every level.
        min_duration_s: shorter proposals are dropped.
        max_gap_s: as much time that was not judged is bridged.
        noise: the least noise of a face's log-odds that is reckoned with.
        level_noise: how far faces lie apart, in log-odds: what a step from time that was not judged is worth.
        settling_s: a mean over this long weighs 1/sqrt(2) of one over for ever: neighbouring frames repeat
            each other, so a short mean is less sure.
        sigma: width of the soft-NMS; the smaller, the harder overlapping proposals are pushed down.
        max_proposals: how many are kept.
        min_score: what scores less, after soft-NMS, is dropped.
    """

    step_s: float = 0.3
    search_s: float = 0.2
    levels: int = 12
    falls: int = 3
    min_duration_s: float = 0.1
    max_gap_s: float = 0.2
    noise: float = 0.1
    level_noise: float = 0.25
    settling_s: float = 0.5
    sigma: float = 0.4
    max_proposals: int = 100
    min_score: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.levels, self.falls) < 1 or not 0 <= self.min_score <= 1:
            raise ValueError(f"a proposal rule needs levels, falls >= 1 and 0 <= min_score <= 1, got {self}")
        if self.sigma <= 0 or self.max_proposals < 1:
            raise ValueError(f"a proposal rule needs sigma > 0 and max_proposals >= 1, got {self}")
        check_times(self, self.step_s, self.search_s, self.min_duration_s, self.max_gap_s, self.settling_s)
        if min(self.step_s, self.search_s) == 0 or not (self.noise > 0 and self.level_noise >= 0):
            raise ValueError(
                f"a proposal rule needs step_s, search_s > 0, noise > 0, level_noise >= 0, got {self}"
            )


def propose_spans(scores: ArrayLike, edges_s: ArrayLike, rule: ProposalRule | None = None) -> list[Segment]:
    """Ranked proposals, the best first: stretches from a rise to a fall, then soft-NMS.

    A candidate lasts from a moment at which the curve rises most to one of the next at which it falls most: whoever
    forges a stretch begins and ends somewhere, and both are seen. What was judged as a whole is a candidate too.
    (Bounds before stretches are of Lin et al., "BSN: Boundary Sensitive Network", ECCV 2018; there a network says
    where they are.) The score is ours, by log-odds:

        z / (z + 14.4),  z = the smaller of both steps in deviations * sqrt(L / (L + settling_s))

    * A step is a mean over `step_s` inside, at most half the stretch, less one outside. L is what was judged.
    * Between them the curve stays above both sides by half the smaller step, or it counts for less: two stretches
      with genuine time between them are not one.
    * Log-odds, because a face that is high or low throughout moves all of them alike: a step stays.
    * A deviation is that of the face's own judged time outside of the stretch, and `noise`: the same step is worth
      more in a face that lies still than in one that wavers.
    * Time that was not judged counts as even odds, known to `level_noise`; at most `max_gap_s` of it is bridged. A
      face that is manipulated throughout so scores by how far it lies above them.

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
    bridged = odds.with_gaps_bridged(rule.max_gap_s)
    runs = _stretches(odds, bridged, rule)
    score = _standing_out(odds, bridged, runs, rule)
    # A level pairs a rise with so many falls: so many of the best hold max_proposals that are disjoint.
    best = np.argsort(-score, kind="stable")[: rule.max_proposals * rule.levels * rule.falls]
    best = best[score[best] >= rule.min_score]
    return soft_nms(
        as_segments(odds.edges_s[runs[best]], score[best]),
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
    taken: list[Segment] = []
    while len(scores) and len(taken) < max_count:
        best = int(scores.argmax())
        if scores[best] < min_score:
            break
        start_s, end_s = bounds_s[best].tolist()
        taken.append(Segment(start_s, end_s, float(scores[best])))
        scores[best] = -1.0
        # the others keep their scores; hours have thousands, and few overlap one
        near = np.flatnonzero((scores > 0) & (bounds_s[:, 0] < end_s) & (bounds_s[:, 1] > start_s))
        scores[near] *= np.exp(-(iou_matrix(bounds_s[best : best + 1], bounds_s[near])[0] ** 2) / sigma)
    return taken


def iou_matrix(a_s: FloatArray, b_s: FloatArray) -> FloatArray:
    """Temporal IoU of every pair; (A, 2) and (B, 2) starts and ends in seconds -> (A, B) in 0..1."""
    start_a, end_a, start_b, end_b = a_s[:, :1], a_s[:, 1:], b_s[:, 0], b_s[:, 1]
    shared = np.maximum(0.0, np.minimum(end_a, end_b) - np.maximum(start_a, start_b))
    iou: FloatArray = shared / (np.maximum(end_a, end_b) - np.minimum(start_a, start_b))
    return iou


def _stretches(odds: Curve, bridged: Curve, rule: ProposalRule) -> Runs:
    """All that was judged, and what lies between a rise and one of the next falls, level by level; (R, 2)."""
    judged = np.flatnonzero(~np.isnan(odds.values))
    first, end, frames = judged[0], judged[-1] + 1, len(odds.values)
    step = _steps(bridged, rule.search_s)
    rises, falls = _peaks(step), _peaks(-step)
    pairs = [np.array([first * (frames + 1) + end])]
    for level in _MOST_LOG_ODDS * 2.0 ** -np.arange(rule.levels):
        starts = np.union1d(rises[step[rises] >= level - _ROUNDING], first)
        ends = np.union1d(falls[-step[falls] >= level - _ROUNDING], end)
        following = np.searchsorted(ends, starts, "right")[:, None] + np.arange(rule.falls)  # (starts, falls)
        of, place = np.nonzero(following < len(ends))
        start = judged[np.minimum(np.searchsorted(judged, starts[of]), len(judged) - 1)]
        last = judged[np.searchsorted(judged, ends[following[of, place]]) - 1]
        pairs.append((start * (frames + 1) + last + 1)[start <= last])
    found = np.stack(np.divmod(np.unique(np.concatenate(pairs)), frames + 1), axis=1)
    return long_enough(found, odds.edges_s, rule.min_duration_s)


def _steps(curve: Curve, width_s: float) -> FloatArray:
    """By how much the mean over `width_s` after each edge exceeds that before it; (N + 1,)."""
    edges_s = curve.edges_s
    before, _ = curve.between(edges_s - width_s, edges_s)
    after, _ = curve.between(edges_s, edges_s + width_s)
    return (after - before) / width_s


def _peaks(step: FloatArray) -> Runs:
    """Where it is above 0 and no lower than on either side; the first of equal ones."""
    higher = step > np.concatenate(([-np.inf], step[:-1])) + _ROUNDING
    no_lower = step >= np.concatenate((step[1:], [-np.inf])) - _ROUNDING
    return np.flatnonzero((step > _ROUNDING) & higher & no_lower)


def _standing_out(odds: Curve, bridged: Curve, runs: Runs, rule: ProposalRule) -> FloatArray:
    """How far each run of frames stands out by its smaller step, in deviations of its face; (R, 2) -> (R,) in 0..1."""
    start_s, end_s = odds.edges_s[runs].T
    width_s = np.minimum(rule.step_s, (end_s - start_s) / 2)
    variance = _noise_outside(odds, start_s, end_s) ** 2 + rule.noise**2
    before, before_s = bridged.between(start_s - width_s, start_s)
    after, after_s = bridged.between(end_s, end_s + width_s)
    rise = bridged.between(start_s, start_s + width_s)[0] - before
    fall = bridged.between(end_s - width_s, end_s)[0] - after
    heights = [
        height / width_s / np.sqrt(variance + (1 - known_s / width_s) * rule.level_noise**2)
        for height, known_s in ((rise, before_s), (fall, after_s))
    ]
    dip = _lowest_within(bridged, runs, rule.step_s) - np.maximum(before, after) / width_s
    heights.append(2 * dip / np.sqrt(variance))
    _, judged_s = odds.between(start_s, end_s)
    z = np.maximum(np.min(heights, axis=0), 0.0) * np.sqrt(judged_s / (judged_s + rule.settling_s))
    score: FloatArray = z / (z + _HALF_SCORE)
    return score


def _lowest_within(bridged: Curve, runs: Runs, width_s: float) -> FloatArray:
    """Lowest mean over `width_s` inside each run, (R,); infinite where it is hardly longer than that."""
    edges_s = bridged.edges_s
    area, known_s = bridged.between(edges_s - width_s / 2, edges_s + width_s / 2)
    mean = np.divide(area, known_s, out=np.full_like(area, np.inf), where=known_s > ROUNDING_S)
    mean = np.append(mean, np.inf)
    first = np.searchsorted(edges_s, edges_s[runs[:, 0]] + width_s / 2 - ROUNDING_S)
    end = np.searchsorted(edges_s, edges_s[runs[:, 1]] - width_s / 2 + ROUNDING_S, "right")
    lowest = np.full(len(runs), np.inf)
    wide = first < end
    if wide.any():
        lowest[wide] = np.minimum.reduceat(mean, np.stack([first, end], axis=1)[wide].ravel())[::2]
    return lowest


def _noise_outside(odds: Curve, start_s: FloatArray, end_s: FloatArray) -> FloatArray:
    """Spread of the judged time outside of each `[start_s, end_s)`; 0 where there is none.

    It is the mean distance from the face's lower quartile, 1.25 times: a standard deviation, in which another
    stretch that stands out counts for its height and not for the square of it.
    """
    apart = odds.with_values(np.abs(odds.values - np.nanquantile(odds.values, 0.25)))
    inside, inside_s = apart.between(start_s, end_s)
    outside_s = np.maximum(odds.judged_s[-1] - inside_s, ROUNDING_S)
    spread: FloatArray = 1.25 * np.maximum(apart.area[-1] - inside, 0.0) / outside_s
    return spread
