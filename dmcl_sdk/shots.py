"""Where a video jumps: cuts from shot to shot, and jump cuts that move a face but keep its scene.

Both are spikes: fast motion changes as many pixels as a cut does, but it changed as many one frame ago. A change
is measured from the frame's median change, so that no flash, which changes all pixels alike, passes for a cut;
and a cut changes much of the frame, so that no picture exchanged in a corner does.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ShotRule:
    """How large a change is a jump; differences are in grey levels of shrunk luma, after the median's.

    Attributes:
        spike: least ratio to the largest change of the last few frames, for all but `sure_difference`.
        cut_difference: least mean difference at a cut.
        cut_share: least share of the picture that changes at a cut.
        sure_difference: mean difference that is a cut even in the middle of fast motion.
        jump_difference: least mean difference around a face that jumps.
    """

    spike: float = 2.5
    cut_difference: float = 10.0
    cut_share: float = 0.4
    sure_difference: float = 30.0
    jump_difference: float = 6.0

    def __post_init__(self) -> None:
        if not (self.spike >= 1 and 0 <= self.cut_share <= 1):
            raise ValueError(f"needs spike >= 1 and cut_share in 0..1, got {self}")


class ShotWatch:
    """Sees every frame's shrunk luma and says where it jumps from the one before."""

    _MEMORY = 6
    _LEAST_MEMORY = 3

    def __init__(self, rule: ShotRule) -> None:
        self._rule = rule
        self._last: Luma | None = None
        self._change: npt.NDArray[np.float32] | None = None
        self._recent: deque[npt.NDArray[np.float32]] = deque(maxlen=self._MEMORY)

    def see(self, luma: Luma) -> None:
        """Take the next frame's luma (h, w)."""
        if self._change is not None:
            self._recent.append(self._change)
        self._change = None
        if self._last is not None and self._last.shape == luma.shape:
            difference = luma.astype(np.float32) - self._last
            self._change = np.abs(difference - np.median(difference))
        self._last = luma

    def forget(self) -> None:
        """Start again at the frame seen last: what came before it was another shot."""
        self._change = None
        self._recent.clear()

    def is_cut(self) -> bool:
        """Whether the frame seen last begins another shot."""
        if self._change is None:
            return False
        size, rule = float(self._change.mean()), self._rule
        if size < rule.cut_difference or (self._change > 10).mean() < rule.cut_share:
            return False
        return size > rule.sure_difference or self._is_spike(slice(None), slice(None), size)

    def jumped(self, box: Box) -> bool:
        """Whether the frame seen last jumps in and around a box, x0 y0 x1 y1 in fractions of the frame."""
        if self._change is None:
            return False
        rows, columns = _cells(box, self._change.shape)
        size = float(self._change[rows, columns].mean())
        return size > self._rule.jump_difference and self._is_spike(rows, columns, size)

    def _is_spike(self, rows: slice, columns: slice, size: float) -> bool:
        if len(self._recent) < self._LEAST_MEMORY:
            return False
        before = max(float(change[rows, columns].mean()) for change in self._recent)
        return size > self._rule.spike * (before + 1)  # + 1: the noise of a still picture


def _cells(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the cells that a box touches, with a margin of a seventh of its size."""
    x0, y0, x1, y1 = box
    margin_x, margin_y = (x1 - x0) / 7, (y1 - y0) / 7
    return (
        _clipped(y0 - margin_y, y1 + margin_y, shape[0]),
        _clipped(x0 - margin_x, x1 + margin_x, shape[1]),
    )


def _clipped(start: float, end: float, cells: int) -> slice:
    """At least two cells, inside the picture."""
    first = min(max(0, math.floor(start * cells)), cells - 2)
    return slice(first, min(cells, max(first + 2, math.ceil(end * cells))))
