"""A face pulled into another expression: moved features, a trace of trembling, a little lost texture.

What reenactment by a face model leaves (Face2Face, NeuralTextures): hardly any colour, a geometry that is off
by a pixel or so in a way that wanders with the expression, and skin that was rendered once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.detail import soften
from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.regions import Part, bounds, layout, region
from training.forgeries.trajectories import noise_paths
from training.forgeries.warping import HANDLES, Paths, pull, warp

KIND = "reenactment"


@dataclass(frozen=True, slots=True)
class ReenactmentSettings:
    """Ranges of the draws.

    Attributes:
        parts: regions, of which one is drawn.
        held_px: least and most displacement that is held throughout, one standard deviation, in pixels of a crop of
            128.
        moving_px: the same for displacement that wanders.
        moving_frames: how slowly it wanders.
        trembling_px: the same for noise from frame to frame.
        radius: how far a handle pulls, in face units.
        softening: least and most loss of sharpness, as a reduction in size; none up to 1.
        boiling: most that the loss changes from frame to frame, as a share.
        feather: narrowest and widest soft edge, in face units.
    """

    parts: tuple[Part, ...] = ("face", "face", "inner_face", "lower_face", "lower_face")
    held_px: tuple[float, float] = (0.2, 1.5)
    moving_px: tuple[float, float] = (0.1, 1.0)
    moving_frames: tuple[float, float] = (2.0, 8.0)
    trembling_px: tuple[float, float] = (0.05, 0.5)
    radius: tuple[float, float] = (0.06, 0.13)
    softening: tuple[float, float] = (0.7, 1.4)
    boiling: float = 0.12
    feather: tuple[float, float] = (0.012, 0.04)

    def __post_init__(self) -> None:
        if not 0 < self.softening[0] <= self.softening[1] or self.moving_frames[0] <= 0:
            raise ValueError(f"softening and moving_frames lie above 0, got {self}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: ReenactmentSettings = ReenactmentSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Pull the face into another expression; arguments as for `self_blended.forge`."""
    check_clip(clip)
    face = layout(clip, template)
    part = settings.parts[rng.integers(len(settings.parts))]
    alpha = region(face, part, feather_px=float(rng.uniform(*settings.feather)) * face.face_px)
    field = pull(face, HANDLES, radius=float(rng.uniform(*settings.radius)), window=alpha)
    paths = np.float32(face.scale) * _paths(rng, len(clip), settings)
    warped = warp(clip, field, paths, interpolation=(cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)])
    losses = float(rng.uniform(*settings.softening)) * np.exp(
        float(rng.uniform(0, settings.boiling)) * noise_paths(rng, len(clip), 1, smooth_frames=0.5)[:, 0]
    )
    box = bounds(alpha)
    inside, outside = alpha[box], 1 - alpha[box]
    forged = clip.copy()
    for t, loss in enumerate(losses):
        redrawn = soften(warped[t][box], float(loss))
        forged[t][box] = cv2.blendLinear(redrawn, clip[t][box], inside, outside)
    return compare(clip, forged, alpha, KIND)


def _paths(rng: np.random.Generator, frames: int, settings: ReenactmentSettings) -> Paths:
    """Held, wandering and trembling displacement of every handle (T, K, 2)."""

    def noise(count: int, smooth_frames: float) -> NDArray[np.float32]:
        flat = noise_paths(rng, count, 2 * len(HANDLES), smooth_frames=smooth_frames)
        return flat.reshape(count, len(HANDLES), 2)

    held, moving, trembling = (
        np.float32(rng.uniform(*limits))
        for limits in (settings.held_px, settings.moving_px, settings.trembling_px)
    )
    wandering = noise(frames, float(rng.uniform(*settings.moving_frames)))
    return np.asarray(held * noise(1, 0) + moving * wandering + trembling * noise(frames, 0), np.float32)
