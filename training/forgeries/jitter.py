"""A face whose landmarks tremble: the motion that per-frame generators leave behind."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.regions import layout
from training.forgeries.trajectories import noise_paths
from training.forgeries.warping import HANDLES, pull, warp

KIND = "jitter"


@dataclass(frozen=True, slots=True)
class JitterSettings:
    """Ranges of the draws.

    Attributes:
        amount_px: least and most root mean square displacement of a handle, in pixels of a crop of 128.
        radius: how far a handle pulls, in face units.
        smooth_frames: how slowly the handles may tremble; 0 draws every frame anew.
        together: least and most of the trembling that all handles share.
        handles: fewest and most handles that tremble.
    """

    amount_px: tuple[float, float] = (0.2, 1.5)
    radius: tuple[float, float] = (0.05, 0.14)
    smooth_frames: tuple[float, ...] = (0.0, 0.0, 0.7, 1.5)
    together: tuple[float, float] = (0.0, 0.9)
    handles: tuple[int, int] = (1, len(HANDLES))

    def __post_init__(self) -> None:
        if not 0 < self.amount_px[0] <= self.amount_px[1]:
            raise ValueError(f"amount_px needs 0 < least <= most, got {self.amount_px}")
        if not 1 <= self.handles[0] <= self.handles[1] <= len(HANDLES):
            raise ValueError(f"handles lie in 1..{len(HANDLES)}, got {self.handles}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: JitterSettings = JitterSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Warp the face by noise at its landmarks; arguments as for `self_blended.forge`."""
    check_clip(clip)
    chosen = rng.permutation(len(HANDLES))[: rng.integers(settings.handles[0], settings.handles[1] + 1)]
    smooth_frames = settings.smooth_frames[rng.integers(len(settings.smooth_frames))]
    noise = noise_paths(rng, len(clip), 2 * (len(chosen) + 1), smooth_frames=smooth_frames)
    noise = noise.reshape(len(clip), len(chosen) + 1, 2)
    together = float(rng.uniform(*settings.together))
    paths = np.float32(np.sqrt(1 - together)) * noise[:, 1:] + np.float32(np.sqrt(together)) * noise[:, :1]
    # half of the amplitudes lie in the lowest third: small trembling is the hard case
    least, most = np.log(settings.amount_px)
    amount_px = np.exp(rng.uniform(least, most))
    face = layout(clip, template)
    field = pull(face, HANDLES[chosen], radius=float(rng.uniform(*settings.radius)))
    # neighbouring pulls add up; the amplitude promised is that of the strongest point
    overlap = max(1.0, float(field.weights.sum(axis=0).max())) if together > 0.5 else 1.0
    paths = paths * np.float32(face.scale * amount_px / np.sqrt(2) / overlap)
    # linear resampling blurs by an amount that follows the trembling, a cue that no generator leaves
    interpolation = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)]
    return compare(clip, warp(clip, field, paths, interpolation=interpolation), field.reach, KIND)
