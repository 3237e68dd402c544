"""A face part that wanders off slowly: persistent motion too slow for consecutive frames to show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.regions import layout
from training.forgeries.trajectories import ramp
from training.forgeries.warping import HANDLES, pull, warp

KIND = "drift"


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """Ranges of the draws.

    Attributes:
        amount_px: least and most displacement reached at the last frame, in pixels of a crop of 128.
        radius: how far a handle pulls, in face units.
        handles: fewest and most neighbouring handles that wander together.
    """

    amount_px: tuple[float, float] = (1.0, 4.0)
    radius: tuple[float, float] = (0.07, 0.16)
    handles: tuple[int, int] = (1, 4)

    def __post_init__(self) -> None:
        if not 0 < self.amount_px[0] <= self.amount_px[1]:
            raise ValueError(f"amount_px needs 0 < least <= most, got {self.amount_px}")
        if not 1 <= self.handles[0] <= self.handles[1] <= len(HANDLES):
            raise ValueError(f"handles lie in 1..{len(HANDLES)}, got {self.handles}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: DriftSettings = DriftSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Pull part of the face along a slow ramp; arguments as for `self_blended.forge`.

    The first frame is unchanged, because the ramp starts there.
    """
    check_clip(clip)
    centre = HANDLES[rng.integers(len(HANDLES))]
    nearest = np.argsort(((HANDLES - centre) ** 2).sum(1))
    chosen = nearest[: rng.integers(settings.handles[0], settings.handles[1] + 1)]
    face = layout(clip, template)
    field = pull(face, HANDLES[chosen], radius=float(rng.uniform(*settings.radius)))
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)], np.float32)
    amount_px = rng.uniform(*settings.amount_px) / max(1.0, float(field.weights.sum(axis=0).max()))
    path = ramp(len(clip), eased=bool(rng.integers(2))) * np.float32(face.scale * amount_px)
    paths = path[:, None, None] * np.broadcast_to(direction, (1, len(chosen), 2))
    return compare(clip, warp(clip, field, paths.astype(np.float32)), field.reach, KIND)
