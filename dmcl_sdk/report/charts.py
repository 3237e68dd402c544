"""Curves as the page draws them: thinned to what a screen can show, peaks kept, in per mille of the chart's sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmcl_sdk.assembly import FaceCurve
from dmcl_sdk.calibration import Platt
from dmcl_sdk.network import ModelSpec

Floats = npt.NDArray[np.float64]

COLUMNS = 800
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_MOST_TICKS = 8
_BOX_STEP_S = 0.1
_MOST_BOXES = 3000


@dataclass(frozen=True, slots=True)
class Chart:
    """One face over the time from `start_s` to `end_s`, as SVG paths in a square of 1000 x 1000, y down.

    Attributes:
        line: the probability; each point is the highest of its column.
        band: its 90 % interval.
        rgb: by the RGB stream alone.
        flow: by the flow stream alone.
        unjudged: stretches without an answer, left and width in per cent of the chart.
        highest: the highest probability, None where nothing was judged.
        highest_s: when.
    """

    line: str
    band: str
    rgb: str
    flow: str
    unjudged: tuple[tuple[float, float], ...]
    highest: float | None
    highest_s: float


def chart(curve: FaceCurve, spec: ModelSpec, start_s: float, end_s: float) -> Chart:
    """The part of a face's curves between two times."""
    part = _between(curve, start_s, end_s)
    cells, edges_s = part.over_time(np.arange(len(part.times), dtype=np.float64))
    bounds_s = _bounds(edges_s, start_s, end_s)
    streams = (_filled(part.logits[:, stream], cells) for stream in range(3))
    fused, rgb, flow = (_columns(values, edges_s, bounds_s) for values in streams)
    at = (np.arange(len(fused)) + 0.5) * 1000 / len(fused)
    probability = spec.frame_calibration.probability(fused)
    low, high = _interval(fused, spec.frame_calibration)
    judged = ~np.isnan(probability)
    peak = int(np.nanargmax(probability)) if judged.any() else 0
    seen_s = np.array([curve.times[0, 0], curve.times[-1, 1]])
    seen = (np.clip(seen_s, start_s, end_s) - start_s) / (end_s - start_s)
    return Chart(
        line=_path(at, probability),
        band=_band(at, low, high),
        rgb=_path(at, spec.rgb_calibration.probability(rgb)),
        flow=_path(at, spec.flow_calibration.probability(flow)),
        unjudged=tuple(_holes(judged, seen)),
        highest=float(probability[peak]) if judged.any() else None,
        highest_s=start_s + (peak + 0.5) * (end_s - start_s) / len(fused),
    )


def ticks(start_s: float, end_s: float) -> list[tuple[float, float]]:
    """Round times inside, and where they lie in per cent."""
    length = end_s - start_s
    step = next((step for step in _STEPS_S if length / step <= _MOST_TICKS), _STEPS_S[-1])
    first = int(np.ceil(start_s / step - 1e-9))
    times = [n * step for n in range(first, int(end_s / step + 1e-9) + 1)]
    return [
        (at, 100 * (at - start_s) / length) for at in times if at <= end_s - 0.04 * length or at == start_s
    ]


def boxes(curve: FaceCurve) -> list[list[int]]:
    """Where the face was: [ms, left, top, width, height], sides in 1/10000 of the frame; about ten a second."""
    starts_s, ends_s = curve.times.T
    resumed = np.append(True, starts_s[1:] - ends_s[:-1] > 1e-6)
    step_s, due_s, kept = max(_BOX_STEP_S, (ends_s[-1] - starts_s[0]) / _MOST_BOXES), -np.inf, []
    for at, start_s in enumerate(starts_s):
        if start_s >= due_s or resumed[at]:
            box = curve.sightings[at].box
            kept.append([round(start_s * 1000), *(round(10_000 * edge) for edge in box)])
            due_s = start_s + step_s
    return kept


def _bounds(edges_s: Floats, start_s: float, end_s: float) -> Floats:
    """Equal columns, at most `COLUMNS`: as many as there are frames, so that a short clip is drawn frame by frame."""
    frame_s = max(float(np.median(np.diff(edges_s))), 1e-3)
    count = min(COLUMNS, max(2, round((end_s - start_s) / frame_s)))
    return np.linspace(start_s, end_s, count + 1)


def _between(curve: FaceCurve, start_s: float, end_s: float) -> FaceCurve:
    """The frames that lie between two times, or at least one: hours need not be gone through for a second."""
    first = min(int(np.searchsorted(curve.times[:, 1], start_s, "right")), len(curve.times) - 1)
    inside = slice(first, max(first + 1, int(np.searchsorted(curve.times[:, 0], end_s))))
    return FaceCurve(curve.track_id, curve.sightings[inside], curve.logits[inside], curve.times[inside])


def _filled(values: Floats, cells: Floats) -> Floats:
    """The value of each cell by its frame's number, NaN where there is none."""
    known = ~np.isnan(cells)
    filled = np.full(len(cells), np.nan)
    filled[known] = values[cells[known].astype(np.intp)]
    return filled


def _columns(values: Floats, edges_s: Floats, bounds: Floats) -> Floats:
    """The highest logit between one bound and the next, NaN where nothing was judged; (C,) of C + 1 bounds."""
    slack = 1e-4 * (
        bounds[1] - bounds[0]
    )  # times are floats: a frame that only touches a column is not in it
    first = np.searchsorted(edges_s, bounds[:-1] + slack, "right") - 1
    after = np.searchsorted(edges_s, bounds[1:] - slack, "left")
    highest = np.full(len(bounds) - 1, np.nan)
    for column, (begin, end) in enumerate(zip(first, after, strict=True)):
        inside = values[max(begin, 0) : end] if begin < len(values) else values[:0]
        inside = inside[~np.isnan(inside)]
        if inside.size:
            highest[column] = inside.max()
    return highest


def _interval(logits: Floats, calibration: Platt) -> tuple[Floats, Floats]:
    ends = [(np.nan, np.nan) if np.isnan(one) else calibration.interval(float(one)) for one in logits]
    low, high = np.array(ends).T
    return low, high


def _runs(known: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    padded = np.concatenate(([False], known, [False]))
    bounds = np.flatnonzero(padded[1:] != padded[:-1])
    yield from zip(bounds[::2].tolist(), bounds[1::2].tolist(), strict=True)


def _path(at: Floats, values: Floats) -> str:
    """Lines through the known points; a gap is a gap."""
    parts = []
    half = 500 / len(at)
    for begin, end in _runs(~np.isnan(values)):
        points = [
            f"{x:.1f} {1000 - 1000 * y:.0f}" for x, y in zip(at[begin:end], values[begin:end], strict=True)
        ]
        ends = f"{at[end - 1] + half:.1f} {1000 - 1000 * values[end - 1]:.0f}"
        parts.append(
            f"M{at[begin] - half:.1f} {1000 - 1000 * values[begin]:.0f}L" + "L".join([*points, ends])
        )
    return "".join(parts)


def _band(at: Floats, low: Floats, high: Floats) -> str:
    parts = []
    for begin, end in _runs(~np.isnan(low)):
        there = [
            f"{x:.1f} {1000 - 1000 * y:.0f}" for x, y in zip(at[begin:end], high[begin:end], strict=True)
        ]
        back = [f"{x:.1f} {1000 - 1000 * y:.0f}" for x, y in zip(at[begin:end], low[begin:end], strict=True)]
        parts.append("M" + "L".join(there + back[::-1]) + "Z")
    return "".join(parts)


def _holes(judged: npt.NDArray[np.bool_], seen: Floats) -> Iterator[tuple[float, float]]:
    """Stretches without an answer while the face was there, in per cent."""
    at = (np.arange(len(judged)) + 0.5) / len(judged)
    for begin, end in _runs(~judged & (at >= seen[0]) & (at <= seen[1])):
        yield round(100 * begin / len(judged), 3), round(100 * (end - begin) / len(judged), 3)
