"""From frame curves to the spans of a verdict.

overlapping chunks ─ stitch ─> one curve ─ find_spans ─> spans, few and apart
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmcl_sdk.curve import (
    Curve,
    FloatArray,
    Runs,
    as_segments,
    check_times,
    join,
    long_enough,
    near,
    running,
    runs_of,
)
from dmcl_sdk.segment import Segment


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
        check_times(self, self.min_duration_s, self.max_gap_s)


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
    curve = Curve.of(scores, edges_s)
    runs = runs_of(curve.values >= rule.offset)
    judged_between = curve.judged_frames[runs[1:, 0]] - curve.judged_frames[runs[:-1, 1]]
    runs = join(runs, (judged_between == 0) & near(runs, curve.edges_s, rule.max_gap_s))
    opening = running(curve.values >= rule.onset)
    runs = runs[opening[runs[:, 1]] > opening[runs[:, 0]]]
    runs = join(runs, near(runs, curve.edges_s, rule.max_gap_s))
    runs = long_enough(runs, curve.edges_s, rule.min_duration_s)
    return as_segments(curve.edges_s[runs], _top_half_means(curve, runs))


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


def _top_half_means(curve: Curve, runs: Runs) -> FloatArray:
    """Mean over the higher-scoring half of each run's judged time; (R, 2) -> (R,)."""
    length = runs[:, 1] - runs[:, 0]
    run = np.repeat(np.arange(len(runs)), length)
    frame = np.arange(length.sum()) + np.repeat(runs[:, 0] - (np.cumsum(length) - length), length)
    judged = ~np.isnan(curve.values[frame])
    run, frame = run[judged], frame[judged]
    order = np.lexsort((-curve.values[frame], run))
    run, frame = run[order], frame[order]
    seconds = np.diff(curve.edges_s)[frame]
    total_s = np.bincount(run, seconds, len(runs))
    before_s = np.cumsum(seconds) - seconds - (np.cumsum(total_s) - total_s)[run]
    counted_s = np.clip(total_s[run] / 2 - before_s, 0.0, seconds)
    area = np.bincount(run, counted_s * curve.values[frame], len(runs))
    return np.clip(area / np.bincount(run, counted_s, len(runs)), 0.0, 1.0)
