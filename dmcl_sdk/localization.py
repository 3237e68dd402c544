"""From frame curves to stretches of time.

    overlapping chunks ─ stitch ─> one curve ─┬─ find_spans ────> the spans of a verdict
                                              └─ propose_spans ─> ranked proposals, for AP and AR

A curve is N scores in 0..1 over N + 1 edges, the presentation times between which the frames lie: frames
may come at a variable rate. NaN is a frame that was not judged. Bounds of what comes back are values of
`edges_s`, so a caller finds the frames again with `searchsorted`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmcl_sdk.segment import Segment

FloatArray = NDArray[np.float64]
Runs = NDArray[np.intp]  # (R, 2): first frame inside, first frame after; in order, never touching

# Times are floats of exact ticks: a gap of exactly `max_gap_s` must count as one, whatever the rounding.
# The usual tick of 1/90000 s is ten times longer.
_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class SpanRule:
    """When a curve is inside a span.

    Attributes:
        onset: a span opens at a frame that scores at least this.
        offset: it goes on while frames score at least this.
        min_duration_s: spans shorter than this are dropped, after joining.
        max_gap_s: spans at most this far apart are joined, and as much unjudged time is passed over.
    """

    onset: float = 0.6
    offset: float = 0.4
    min_duration_s: float = 0.1
    max_gap_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= self.onset <= 1:
            raise ValueError(f"a span rule needs 0 <= offset <= onset <= 1, got {self}")
        _check_times(self, self.min_duration_s, self.max_gap_s)


@dataclass(frozen=True, slots=True)
class ProposalRule:
    """How ranked proposals are made and thinned out.

    Attributes:
        levels: thresholds at which the curve is cut. Even steps of log-odds, so that a weak bump and a
            saturated one are cut equally finely.
        min_duration_s: shorter proposals are dropped.
        max_gap_s: stretches at most this far apart are joined, at every level.
        context_share: how far the surroundings reach on either side, in lengths of the proposal.
        min_context_s: how far they reach at least.
        sigma: width of the soft-NMS; the smaller, the harder overlapping proposals are pushed down.
        max_proposals: how many are kept.
        min_score: what scores less, after soft-NMS, is dropped.
    """

    levels: tuple[float, ...] = tuple(1 / (1 + math.exp(-log_odds)) for log_odds in range(-4, 5))
    min_duration_s: float = 0.1
    max_gap_s: float = 0.2
    context_share: float = 0.5
    min_context_s: float = 0.1
    sigma: float = 0.4
    max_proposals: int = 100
    min_score: float = 1e-3

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < level < 1 for level in self.levels):
            raise ValueError(f"a proposal rule needs levels between 0 and 1, got {self}")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"a proposal rule needs 0 <= min_score <= 1, got {self}")
        if self.sigma <= 0 or self.max_proposals < 1:
            raise ValueError(f"a proposal rule needs sigma > 0 and max_proposals >= 1, got {self}")
        _check_times(self, self.min_duration_s, self.max_gap_s, self.context_share, self.min_context_s)


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """A checked curve of N frames with its running sums, each (N + 1,) and 0 at the first edge."""

    scores: FloatArray  # (N,)
    edges_s: FloatArray  # (N + 1,)
    judged_frames: NDArray[np.intp]
    judged_s: FloatArray
    area: FloatArray  # score times seconds

    @classmethod
    def of(cls, scores: ArrayLike, edges_s: ArrayLike) -> _Curve:
        values, edges = np.asarray(scores, np.float64), np.asarray(edges_s, np.float64)
        if values.ndim != 1 or edges.shape != (values.size + 1,):
            raise ValueError(f"N scores need N + 1 edges, got shapes {values.shape} and {edges.shape}")
        if not (np.isfinite(edges).all() and edges[0] >= 0 and (np.diff(edges) > 0).all()):
            raise ValueError("edges need to be finite, not negative and strictly rising")
        judged = ~np.isnan(values)
        if not ((values[judged] >= 0) & (values[judged] <= 1)).all():
            raise ValueError("scores need to lie in 0..1, or to be NaN where nothing was judged")
        seconds = np.where(judged, np.diff(edges), 0.0)
        area = np.where(judged, values, 0.0) * seconds
        return cls(values, edges, _running(judged), _running(seconds), _running(area))

    def between(self, start_s: FloatArray, end_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Area and judged seconds inside each `[start_s, end_s)`; nothing is judged beyond the edges."""
        area = np.interp(end_s, self.edges_s, self.area) - np.interp(start_s, self.edges_s, self.area)
        judged = np.interp(end_s, self.edges_s, self.judged_s) - np.interp(
            start_s, self.edges_s, self.judged_s
        )
        return area, judged


def find_spans(scores: ArrayLike, edges_s: ArrayLike, rule: SpanRule | None = None) -> list[Segment]:
    """Spans by hysteresis over presentation time, in order of time.

    An unjudged frame never opens a span, and ends an open one only if more than `max_gap_s` passes before the
    next judged frame; a span neither begins nor ends with unjudged frames.

    Args:
        scores: (N,) in 0..1, NaN where not judged.
        edges_s: (N + 1,) strictly rising, from 0.
        rule: `SpanRule()` by default.

    Returns:
        Segments that do not touch. Their score is the mean over the higher-scoring half of their judged time:
        soft flanks do not pull it down and one frame does not make it.

    Raises:
        ValueError: the arrays are not a curve.
    """
    rule = rule or SpanRule()
    curve = _Curve.of(scores, edges_s)
    runs = _runs(curve.scores >= rule.offset)
    judged_between = curve.judged_frames[runs[1:, 0]] - curve.judged_frames[runs[:-1, 1]]
    runs = _join(runs, (judged_between == 0) & _near(runs, curve.edges_s, rule.max_gap_s))
    opening = _running(curve.scores >= rule.onset)
    runs = runs[opening[runs[:, 1]] > opening[runs[:, 0]]]
    runs = _join(runs, _near(runs, curve.edges_s, rule.max_gap_s))
    runs = _long_enough(runs, curve.edges_s, rule.min_duration_s)
    return _segments(curve.edges_s[runs], _top_half_means(curve, runs))


def propose_spans(scores: ArrayLike, edges_s: ArrayLike, rule: ProposalRule | None = None) -> list[Segment]:
    """Ranked proposals, the best first: temporal actionness grouping at many levels, then soft-NMS.

    At every level the curve is cut into stretches that reach it, short gaps joined, as in temporal actionness
    grouping (Zhao et al., "Temporal Action Detection with Structured Segment Networks", ICCV 2017). The score
    is ours, the contrast

        max(0, mean inside - mean around)

    by judged time. "Around" is `context_share` of the length, at least `min_context_s`, on both sides; its
    mean is 0 where nothing in it was judged. A proposal too narrow has high surroundings, one too wide a low
    inside: the contrast is highest where the bounds are right, which is what a high IoU asks for. A slow rise
    in a real video contrasts little, and a video that is manipulated throughout keeps its mean.

    Args:
        scores: (N,) in 0..1, NaN where not judged.
        edges_s: (N + 1,) strictly rising, from 0.
        rule: `ProposalRule()` by default.

    Returns:
        Segments by falling score; equal ones by time. They overlap. Scores of two videos compare.

    Raises:
        ValueError: the arrays are not a curve.
    """
    rule = rule or ProposalRule()
    curve = _Curve.of(scores, edges_s)
    runs = np.unique(np.concatenate([_stretches(curve, level, rule) for level in rule.levels]), axis=0)
    bounds_s = curve.edges_s[runs]
    contrast = _contrast(curve, bounds_s, rule)
    # Stretches are nested at most one deep a level: so many of the best hold max_proposals that are disjoint.
    best = np.argsort(-contrast, kind="stable")[: rule.max_proposals * len(rule.levels)]
    return soft_nms(
        _segments(bounds_s[best], contrast[best]),
        sigma=rule.sigma,
        max_count=rule.max_proposals,
        min_score=rule.min_score,
    )


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


def stitch(length: int, chunks: Iterable[tuple[int, NDArray[Any]]]) -> NDArray[Any]:
    """Join the curves of overlapping chunks into one, cross-fading linearly where they overlap.

    Args:
        length: frames of the whole.
        chunks: first frame and values (n, ...) of each chunk, in any order; all of one dtype.

    Returns:
        (length, ...) of the chunks' dtype. Where chunks agree exactly, so does the result.

    Raises:
        ValueError: there is no chunk, one reaches outside, or a frame lies in none.
    """
    ordered = sorted(chunks, key=lambda chunk: (chunk[0], -len(chunk[1])))
    if not ordered:
        raise ValueError("stitching needs at least one chunk")
    whole = np.empty((length, *ordered[0][1].shape[1:]), ordered[0][1].dtype)
    done = 0
    for start, values in ordered:
        end = start + len(values)
        if start < 0 or end > length:
            raise ValueError(f"chunk [{start}, {end}) reaches outside [0, {length})")
        if start > done:
            raise ValueError(f"no chunk covers the frames [{done}, {start})")
        if end <= done:
            continue  # it lies inside the one before: fading to it and not back would make a step
        shared = done - start
        fade = (np.arange(1, shared + 1) / (shared + 1)).astype(whole.dtype)
        fade = fade.reshape(-1, *[1] * (whole.ndim - 1))
        # a + (b - a) * fade, not (1 - fade) * a + fade * b: exact where a == b
        whole[start:done] += (values[:shared] - whole[start:done]) * fade
        whole[done:end] = values[shared:]
        done = end
    if done != length:
        raise ValueError(f"no chunk covers the frames [{done}, {length})")
    return whole


def _stretches(curve: _Curve, level: float, rule: ProposalRule) -> Runs:
    """Stretches that reach `level`, short gaps of any kind joined, short ones dropped."""
    runs = _runs(curve.scores >= level)
    runs = _join(runs, _near(runs, curve.edges_s, rule.max_gap_s))
    return _long_enough(runs, curve.edges_s, rule.min_duration_s)


def _contrast(curve: _Curve, bounds_s: FloatArray, rule: ProposalRule) -> FloatArray:
    """Mean inside less mean around, at least 0; bounds (R, 2) -> (R,)."""
    start_s, end_s = bounds_s[:, 0], bounds_s[:, 1]
    context_s = np.maximum(rule.context_share * (end_s - start_s), rule.min_context_s)
    inside = _ratio(*curve.between(start_s, end_s))
    before, before_s = curve.between(start_s - context_s, start_s)
    after, after_s = curve.between(end_s, end_s + context_s)
    return np.clip(inside - _ratio(before + after, before_s + after_s), 0.0, 1.0)


def _ratio(area: FloatArray, seconds: FloatArray) -> FloatArray:
    """Mean score, 0 where nothing was judged."""
    mean: FloatArray = np.divide(area, seconds, out=np.zeros_like(area), where=seconds > _ROUNDING_S)
    return mean


def _top_half_means(curve: _Curve, runs: Runs) -> FloatArray:
    """Mean over the higher-scoring half of each run's judged time; (R, 2) -> (R,)."""
    length = runs[:, 1] - runs[:, 0]
    run = np.repeat(np.arange(len(runs)), length)
    frame = np.arange(length.sum()) + np.repeat(runs[:, 0] - (np.cumsum(length) - length), length)
    judged = ~np.isnan(curve.scores[frame])
    run, frame = run[judged], frame[judged]
    order = np.lexsort((-curve.scores[frame], run))
    run, frame = run[order], frame[order]
    seconds = np.diff(curve.edges_s)[frame]
    total_s = np.bincount(run, seconds, len(runs))
    before_s = np.cumsum(seconds) - seconds - (np.cumsum(total_s) - total_s)[run]
    counted_s = np.clip(total_s[run] / 2 - before_s, 0.0, seconds)
    area = np.bincount(run, counted_s * curve.scores[frame], len(runs))
    return np.clip(area / np.bincount(run, counted_s, len(runs)), 0.0, 1.0)


def _runs(inside: NDArray[np.bool_]) -> Runs:
    """Unbroken runs of True."""
    padded = np.concatenate(([False], inside, [False]))
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def _near(runs: Runs, edges_s: FloatArray, max_gap_s: float) -> NDArray[np.bool_]:
    """Whether each run but the first begins within `max_gap_s` of the end of the one before; (R - 1,)."""
    near: NDArray[np.bool_] = edges_s[runs[1:, 0]] - edges_s[runs[:-1, 1]] <= max_gap_s + _ROUNDING_S
    return near


def _join(runs: Runs, joined: NDArray[np.bool_]) -> Runs:
    """Runs with each one that is marked joined to the one before it."""
    if not len(runs):
        return runs
    starts = np.concatenate(([True], ~joined))
    ends = np.concatenate((~joined, [True]))
    return np.stack([runs[starts, 0], runs[ends, 1]], axis=1)


def _long_enough(runs: Runs, edges_s: FloatArray, min_duration_s: float) -> Runs:
    duration_s = edges_s[runs[:, 1]] - edges_s[runs[:, 0]]
    return runs[duration_s >= min_duration_s - _ROUNDING_S]


def _segments(bounds_s: FloatArray, scores: FloatArray) -> list[Segment]:
    return [
        Segment(start_s, end_s, score)
        for (start_s, end_s), score in zip(bounds_s.tolist(), scores.tolist(), strict=True)
    ]


def _running(values: NDArray[Any]) -> NDArray[Any]:
    """Running sum, from 0: (N,) -> (N + 1,)."""
    return np.concatenate(([0], np.cumsum(values)))


def _check_times(rule: SpanRule | ProposalRule, *times: float) -> None:
    if not all(0 <= time < math.inf for time in times):
        raise ValueError(f"lengths of time need to be finite and not negative, got {rule}")
