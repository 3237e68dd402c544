"""Frame curves for tests: drawn by hypothesis, or written out at 25 frames a second."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from dmcl_sdk.segment import Segment

NAN = math.nan
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@st.composite
def some_curves(draw: st.DrawFn, *, holes: bool = True) -> Curve:
    """Scores on the 1/90000 s ticks of a phone: a variable rate, values that often meet a threshold."""
    coarse, fine = st.sampled_from([0.0, 0.3, 0.4, 0.5, 0.6, 0.9, 1.0]), st.floats(0, 1)
    score = st.one_of(coarse, fine, st.just(NAN)) if holes else st.one_of(coarse, fine)
    scores = draw(st.lists(score, max_size=60))
    ticks = draw(st.lists(st.integers(900, 18000), min_size=len(scores), max_size=len(scores)))
    start = draw(st.integers(0, 90000))
    return np.array(scores, np.float64), (start + np.cumsum([0, *ticks])) / 90000


def at_25_fps(scores: Sequence[float]) -> Curve:
    return np.array(scores, np.float64), np.arange(len(scores) + 1) / 25


def bounds(spans: Sequence[Segment]) -> list[tuple[float, float]]:
    return [(span.start_s, span.end_s) for span in spans]


def two_hours() -> dict[str, Curve]:
    """Long curves by what they look like: as many runs as there may be, regular ones, and a single one."""
    frames = 216_000
    edges_s = np.arange(frames + 1) / 30
    return {
        "boxes": (np.where(np.arange(frames) % 18 < 9, 0.9, 0.0), edges_s),
        "flat": (np.full(frames, 0.7), edges_s),
        "noise": (np.random.default_rng(0).random(frames), edges_s),
    }


@dataclass
class Peak:
    """The most bytes that were held at once; -1 while that is being measured."""

    bytes: int = -1


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """What the block allocates, arrays included."""
    peak = Peak()
    tracemalloc.start()
    try:
        yield peak
        peak.bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
