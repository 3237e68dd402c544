"""A run of frames left out: the face leaps ahead, then runs slow until it is back in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.forgeries.forged import Clip, Forged, Points, check_clip, compare

KIND = "drop"


@dataclass(frozen=True, slots=True)
class DropSettings:
    """Ranges of the draws.

    Attributes:
        frames: fewest and most frames left out.
        recovery: in how many times as many frames the clip gets back in time, least and most.
    """

    frames: tuple[int, int] = (1, 8)
    recovery: tuple[float, float] = (1.5, 5.0)

    def __post_init__(self) -> None:
        if not 1 <= self.frames[0] <= self.frames[1] or not 1 <= self.recovery[0] <= self.recovery[1]:
            raise ValueError(f"a drop needs 1 <= fewest <= most frames and recovery >= 1, got {self}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: DropSettings = DropSettings(),
    *,
    template: Points | None = None,  # noqa: ARG001 - every kind takes one; whole frames need none
) -> Forged:
    """Leave a run out and play what follows slowly; frames before and after both are where they were.

    The clip keeps its length, so that it can be paired with the real one. One of fewer than three frames is
    left as it is.
    """
    check_clip(clip)
    moments = np.arange(len(clip))
    run = min(int(rng.integers(settings.frames[0], settings.frames[1] + 1)), len(clip) // 3)
    slow = round(run * float(rng.uniform(*settings.recovery)))
    if run > 0:
        first = int(rng.integers(1, len(clip) - run))
        end = min(first + run + slow, len(clip))
        moments[first:end] = np.rint(np.linspace(first + run, end - 1, end - first))
    whole = np.ones(clip.shape[1:3], np.float32)
    return compare(clip, clip[moments], whole, KIND)
