"""Presentation time out of the timestamps that files carry: missing, repeated, restarted, with holes."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from statistics import median_low

_HOLE_S = Fraction(1, 2)
_HOLE_FRAMES = 5
_STUCK_FRAMES = 8
_ODD_STEPS = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies on the timeline.

    Attributes:
        start: when it is shown, in ticks of the time base from the first timestamp.
        end: when it would be over by its own duration.
        after_hole: whether pictures are missing before it.
    """

    start: int
    end: int
    after_hole: bool


@dataclass(slots=True)
class Timeline:
    """Turns timestamps, in order of presentation, into rising times from the first one.

    Attributes:
        time_base: seconds of one tick.
        usual: time from one frame to the next: as the container states it, and then the median of late.
    """

    time_base: Fraction
    usual: int
    _hole: int = field(init=False)
    _origin: int | None = None
    _shift: int = 0
    _last: int | None = None
    _behind: int = 0
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=31))
    _steps: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._hole = int(_HOLE_S / self.time_base)

    def start_at(self, timestamp: int | None) -> None:
        """States the first timestamp of the video, whose frame may be lost; only the first call counts."""
        if self._origin is None:
            self._origin = timestamp

    def seconds(self, ticks: int) -> float:
        """The exact time, rounded once."""
        return ticks * self.time_base.numerator / self.time_base.denominator

    def at(self, timestamp: int) -> int:
        """Where a timestamp lies that belongs to no frame."""
        return timestamp - (self._origin or 0) + self._shift

    def place(self, timestamp: int | None, duration: int) -> Place | None:
        """Where the next frame lies; None for one that repeats a moment that already has a picture."""
        ticks = self._risen(timestamp)
        if ticks is None:
            return None
        longest = max(self._hole, _HOLE_FRAMES * self.usual)
        step = 0 if self._last is None else ticks - self._last
        if 0 < step <= longest:
            self._steps[step] += 1
            self._recent.append(step)
            self.usual = median_low(self._recent)
        self._last = ticks
        own = duration if 0 < duration <= longest else self.usual
        return Place(ticks, ticks + own, after_hole=step > longest)

    @property
    def variable(self) -> bool:
        """Whether frames came at a variable rate: over 1 % of the steps are over 10 % off the median."""
        total = self._steps.total()
        up_to = accumulate(sorted(self._steps.items()), lambda a, b: (b[0], a[1] + b[1]))
        middle = next((step for step, seen in up_to if 2 * seen >= total), 0)
        # Containers round to their own tick, and that is no change of rate.
        slack = max(middle / 10, 1.5, 0.0015 / self.time_base)
        off = sum(count for step, count in self._steps.items() if abs(step - middle) > slack)
        return off > max(_ODD_STEPS, total / 100)

    def _risen(self, timestamp: int | None) -> int | None:
        following = 0 if self._last is None else self._last + self.usual
        if timestamp is None or self._behind >= _STUCK_FRAMES:
            return following
        if self._origin is None:
            self._origin = timestamp - following
        ticks = timestamp - self._origin + self._shift
        if self._last is None or ticks > self._last:
            self._behind = 0
            return max(ticks, 0)
        if self._last - ticks > _HOLE_FRAMES * self.usual:
            # The clock was set back, as where two recordings are joined.
            self._shift += following - ticks
            return following
        # A player skips such a frame. Where all are such, the clock stands still: count frames instead.
        self._behind += 1
        return following if self._behind >= _STUCK_FRAMES else None
