"""A run of frames shown again in place of the frames that belong there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.forgeries.forged import Clip, Forged, Points, check_clip, compare

KIND = "repeat"


@dataclass(frozen=True, slots=True)
class RepeatSettings:
    """Ranges of the draws.

    Attributes:
        frames: fewest and most frames in the run.
        frozen: share of clips in which one frame is held; in the others the last run is played again.
    """

    frames: tuple[int, int] = (1, 8)
    frozen: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.frames[0] <= self.frames[1] or not 0 <= self.frozen <= 1:
            raise ValueError(f"a repeat needs 1 <= fewest <= most frames and a share in 0..1, got {self}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: RepeatSettings = RepeatSettings(),
    *,
    template: Points | None = None,  # noqa: ARG001 - every kind takes one; whole frames need none
) -> Forged:
    """Replace a run by the run, or the frame, before it; frames after it are where they were.

    A clip of one frame is left as it is.
    """
    check_clip(clip)
    moments = np.arange(len(clip))
    frozen = rng.random() < settings.frozen
    run = int(rng.integers(settings.frames[0], settings.frames[1] + 1))
    run = min(run, len(clip) - 1 if frozen else len(clip) // 2)
    if run > 0:
        first = int(rng.integers(1 if frozen else run, len(clip) - run + 1))
        moments[first : first + run] = first - 1 if frozen else moments[first - run : first]
    whole = np.ones(clip.shape[1:3], np.float32)
    return compare(clip, clip[moments], whole, KIND)
