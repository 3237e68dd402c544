"""A face blended with a copy of itself whose colour, place and opacity change from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from training.forgeries.blending import BlendRanges, blend
from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.regions import layout
from training.forgeries.self_blended import draw_blend
from training.forgeries.trajectories import noise_paths

KIND = "flicker"


@dataclass(frozen=True, slots=True)
class FlickerSettings:
    """Ranges of the draws.

    Attributes:
        ranges: what may differ between the face and the copy.
        amount: least and most of the ranges that one standard deviation of the flicker spans.
        smooth_frames: how slowly the flicker may run; 0 draws every frame anew.
    """

    ranges: BlendRanges = field(default_factory=BlendRanges)
    amount: tuple[float, float] = (0.04, 0.3)
    smooth_frames: tuple[float, ...] = (0.0, 0.0, 1.0, 2.5)

    def __post_init__(self) -> None:
        if not 0 < self.amount[0] <= self.amount[1]:
            raise ValueError(f"amount needs 0 < least <= most, got {self.amount}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: FlickerSettings = FlickerSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Blend the face with a copy of itself that flickers; arguments as for `self_blended.forge`."""
    check_clip(clip)
    frames, ranges = len(clip), settings.ranges
    plan = draw_blend(rng, layout(clip, template), ranges)
    amount = float(rng.uniform(*settings.amount))
    smooth_frames = settings.smooth_frames[rng.integers(len(settings.smooth_frames))]
    paths = amount * noise_paths(rng, frames, 16, smooth_frames=smooth_frames).astype(np.float64)
    # the copy's place shakes less than its colour: a copy that leaps is seen at once and teaches nothing
    plan = replace(
        plan,
        geometry=plan.geometry + 0.5 * paths[:, :4] * ranges.geometry(),
        mask_geometry=plan.mask_geometry + 0.5 * paths[:, 4:8] * ranges.geometry(),
        colour=plan.colour + paths[:, 8:15] * ranges.colour(),
        opacity=np.clip(plan.opacity * (1 + 0.5 * paths[:, 15]), 0, 1),
    )
    return compare(clip, *blend(clip, clip, plan), KIND)
