"""Half-open stretches of presentation time, and how much two of them agree."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """The stretch `[start_s, end_s)` in seconds from the first presentation timestamp.

    Attributes:
        start_s: first instant inside.
        end_s: first instant after.
        score: how strongly the stretch stands out, in 0..1.
    """

    start_s: float
    end_s: float
    score: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s < math.inf:
            raise ValueError(f"a segment needs 0 <= start_s < end_s < inf, got {self}")
        if not 0 <= self.score <= 1:
            raise ValueError(f"a segment's score lies in 0..1, got {self}")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


def temporal_iou(a: Segment, b: Segment) -> float:
    """Intersection over union of two segments in time, 0..1."""
    shared_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    if shared_s <= 0:
        return 0.0
    # Two segments that overlap have one stretch as their union: no sum of lengths, no rounding above 1.
    return shared_s / (max(a.end_s, b.end_s) - min(a.start_s, b.start_s))


def merge(segments: Iterable[Segment], *, max_gap_s: float = 0.0) -> list[Segment]:
    """Join segments that overlap, touch, or lie at most `max_gap_s` apart; the highest score stays.

    Returns them in order of time.
    """
    if not max_gap_s >= 0:
        raise ValueError(f"merging needs max_gap_s >= 0, got {max_gap_s}")
    merged: list[Segment] = []
    for segment in sorted(segments):
        last = merged[-1] if merged else None
        if last is not None and segment.start_s - last.end_s <= max_gap_s:
            end_s, score = max(last.end_s, segment.end_s), max(last.score, segment.score)
            merged[-1] = replace(last, end_s=end_s, score=score)
        else:
            merged.append(segment)
    return merged


def covered_s(segments: Iterable[Segment]) -> float:
    """Seconds that lie inside at least one segment."""
    return sum(segment.duration_s for segment in merge(segments))
