"""A frame curve over presentation time, and the runs of frames that a threshold cuts out of it.

A curve is N values over N + 1 edges, the presentation times between which the frames lie: frames may come at
a variable rate. NaN is a frame that was not judged. Bounds are always values of `edges_s`, so a caller finds
the frames again with `searchsorted`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmcl_sdk.segment import Segment

FloatArray = NDArray[np.float64]
Runs = NDArray[np.intp]  # (R, 2): first frame inside, first frame after; in order, never touching

# Times are floats of exact ticks: a gap of exactly `max_gap_s` must count as one, whatever the rounding.
# The usual tick of 1/90000 s is ten times longer.
ROUNDING_S = 1e-6
_AT_ONCE = 4096
"""Frames whose medians are taken together: hours of a face must not need hours of room."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """N frames with their running sums, each (N + 1,) and 0 at the first edge.

    Attributes:
        values: (N,), NaN where not judged.
        edges_s: (N + 1,) strictly rising.
        judged_frames: how many were judged so far.
        judged_s: for how long.
        area: value times seconds.
    """

    values: FloatArray
    edges_s: FloatArray
    judged_frames: NDArray[np.intp]
    judged_s: FloatArray
    area: FloatArray

    @classmethod
    def of(cls, scores: ArrayLike, edges_s: ArrayLike) -> Curve:
        """A curve of scores in 0..1.

        Raises:
            ValueError: the arrays are not a curve.
        """
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
        return cls(values, edges, running(judged), running(seconds), running(area))

    def with_values(self, values: FloatArray) -> Curve:
        """The same frames with other values, (N,); NaN where these are."""
        area = np.where(np.isnan(values), 0.0, values) * np.diff(self.judged_s)
        return Curve(values, self.edges_s, self.judged_frames, self.judged_s, running(area))

    def with_gaps_bridged(self, max_gap_s: float) -> Curve:
        """The same, with unjudged time of at most `max_gap_s` between judged frames filled along a line."""
        values, edges_s = self.values.copy(), self.edges_s
        middle_s = (edges_s[1:] + edges_s[:-1]) / 2
        judged = ~np.isnan(values)
        for first, end in runs_of(~judged):
            if first > 0 and end < len(values) and edges_s[end] - edges_s[first] <= max_gap_s + ROUNDING_S:
                sides = [first - 1, end]
                values[first:end] = np.interp(middle_s[first:end], middle_s[sides], self.values[sides])
        seconds = np.where(np.isnan(values), 0.0, np.diff(edges_s))
        area = np.where(np.isnan(values), 0.0, values) * seconds
        return Curve(values, edges_s, running(~np.isnan(values)), running(seconds), running(area))

    def between(self, start_s: FloatArray, end_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Area and judged seconds inside each `[start_s, end_s)`; nothing is judged beyond the edges."""
        area = np.interp(end_s, self.edges_s, self.area) - np.interp(start_s, self.edges_s, self.area)
        judged = np.interp(end_s, self.edges_s, self.judged_s) - np.interp(
            start_s, self.edges_s, self.judged_s
        )
        return area, judged


def running_median(values: FloatArray, times_s: FloatArray, width_s: float) -> FloatArray:
    """Median over `width_s` around every frame: what lasts less than half of that is gone, edges stay sharp.

    Args:
        values: (N, C), no NaN.
        times_s: (N,) ascending.
        width_s: fewer frames count at either end.
    """
    half_s = width_s / 2 + ROUNDING_S
    first, end = (
        np.searchsorted(times_s, times_s - half_s),
        np.searchsorted(times_s, times_s + half_s, "right"),
    )
    widest = int((end - first).max(initial=0))
    median = np.empty_like(values)
    for begin in range(0, len(values), _AT_ONCE):
        rows = slice(begin, begin + _AT_ONCE)
        near_by = first[rows, None] + np.arange(widest)  # (frames, frames of the widest)
        inside = near_by < end[rows, None]
        around = values[np.where(inside, near_by, 0)]
        median[rows] = np.nanmedian(np.where(inside[..., None], around, np.nan), axis=1)
    return median


def runs_of(inside: NDArray[np.bool_]) -> Runs:
    """Unbroken runs of True; (N,) -> (R, 2)."""
    padded = np.concatenate(([False], inside, [False]))
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def near(runs: Runs, edges_s: FloatArray, max_gap_s: float) -> NDArray[np.bool_]:
    """Whether each run but the first begins within `max_gap_s` of the end of the one before; (R - 1,)."""
    close: NDArray[np.bool_] = edges_s[runs[1:, 0]] - edges_s[runs[:-1, 1]] <= max_gap_s + ROUNDING_S
    return close


def join(runs: Runs, joined: NDArray[np.bool_]) -> Runs:
    """Runs with each one that is marked, (R - 1,), joined to the one before it."""
    if not len(runs):
        return runs
    starts = np.concatenate(([True], ~joined))
    ends = np.concatenate((~joined, [True]))
    return np.stack([runs[starts, 0], runs[ends, 1]], axis=1)


def long_enough(runs: Runs, edges_s: FloatArray, min_duration_s: float) -> Runs:
    """The runs that last at least `min_duration_s`."""
    duration_s = edges_s[runs[:, 1]] - edges_s[runs[:, 0]]
    return runs[duration_s >= min_duration_s - ROUNDING_S]


def as_segments(bounds_s: FloatArray, scores: FloatArray) -> list[Segment]:
    """Bounds (R, 2) in seconds and scores (R,) in 0..1 -> R segments."""
    return [
        Segment(start_s, end_s, score)
        for (start_s, end_s), score in zip(bounds_s.tolist(), scores.tolist(), strict=True)
    ]


def running(values: NDArray[Any]) -> NDArray[Any]:
    """Running sum, from 0: (N,) -> (N + 1,)."""
    return np.concatenate(([0], np.cumsum(values)))


def check_times(rule: object, *times: float) -> None:
    """Raise ValueError unless all times of a rule are finite and not negative."""
    if not all(0 <= time < math.inf for time in times):
        raise ValueError(f"lengths of time need to be finite and not negative, got {rule}")
