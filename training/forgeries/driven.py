"""A face drawn from one picture, made to follow the clip's motion: one-shot talking heads and puppets.

Optical flow from each frame to one frame of the clip drives a still picture: that frame itself, or another
person's. What the flow cannot tell (an opening mouth, shut eyes, hidden skin) is stretched from what the
picture has, as such generators do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.detail import soften
from training.forgeries.forged import Clip, Forged, Mask, Points, check_clip, compare
from training.forgeries.regions import Layout, Part, layout, region

KIND = "driven"
Extent: TypeAlias = Part | Literal["crop"]


@dataclass(frozen=True, slots=True)
class DrivenSettings:
    """Ranges of the draws.

    Attributes:
        extents: what is drawn anew, of which one is drawn; `crop` is everything.
        feather: narrowest and widest soft edge, in face units.
        smooth: least and most blur of the motion, in face units: how little of it the generator follows.
        softening: least and most loss of sharpness, as a reduction in size; none up to 1.
    """

    extents: tuple[Extent, ...] = ("crop", "crop", "whole_face", "face", "inner_face", "lower_face")
    feather: tuple[float, float] = (0.015, 0.05)
    smooth: tuple[float, float] = (0.005, 0.03)
    softening: tuple[float, float] = (0.7, 1.4)

    def __post_init__(self) -> None:
        if not 0 < self.softening[0] <= self.softening[1]:
            raise ValueError(f"softening needs 0 < least <= most, got {self.softening}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: DrivenSettings = DrivenSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Draw the clip anew from one of its frames; arguments as for `self_blended.forge`."""
    check_clip(clip)
    face = layout(clip, template)
    _, alpha = draw_extent(rng, face, settings.extents, settings.feather)
    reference = int(rng.integers(len(clip)))
    smooth_px = float(rng.uniform(*settings.smooth)) * face.face_px
    still = soften(clip[reference], float(rng.uniform(*settings.softening)))
    redrawn = drive(still, clip, reference, smooth_px=smooth_px)
    return compare(clip, _laid_over(redrawn, clip, alpha), alpha, KIND)


def draw_extent(
    rng: np.random.Generator, face: Layout, extents: tuple[Extent, ...], feather: tuple[float, float]
) -> tuple[Extent, Mask]:
    """How much of the picture is drawn anew, one of `extents`, and its soft outline (S, S); `feather` in face units."""
    extent = extents[rng.integers(len(extents))]
    feather_px = float(rng.uniform(*feather)) * face.face_px
    if extent == "crop":
        return extent, np.ones((face.side_px, face.side_px), np.float32)
    return extent, region(face, extent, feather_px=feather_px)


def drive(still: NDArray[np.uint8], clip: Clip, reference: int, *, smooth_px: float) -> Clip:
    """A still (S, S, 3) that moves (T, S, S, 3) as `clip` moves away from its frame `reference`."""
    side_px = clip.shape[1]
    half_px = max(32, side_px // 2)  # what a generator follows is coarse, and this costs a quarter
    flows = _flows([_grey(frame, half_px) for frame in clip], reference)
    rows, columns = np.mgrid[:side_px, :side_px].astype(np.float32)
    driven = np.empty_like(clip)
    for t, flow in enumerate(flows):
        smooth = cv2.GaussianBlur(flow, (0, 0), max(0.3, smooth_px * half_px / side_px))
        wide = cv2.resize(smooth, (side_px, side_px), interpolation=cv2.INTER_LINEAR) * (side_px / half_px)
        where = (columns + wide[..., 0], rows + wide[..., 1])
        driven[t] = cv2.remap(still, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return driven


def _flows(greys: list[NDArray[np.uint8]], reference: int) -> list[NDArray[np.float32]]:
    """Flow (S, S, 2) from every picture to one of them; every other one measured, those between means."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    estimator.setFinestScale(0)
    flows = [np.zeros((*grey.shape, 2), np.float32) for grey in greys]
    for t in range(0, len(greys), 2):
        flows[t] = np.asarray(estimator.calc(greys[t], greys[reference], flows[t]), np.float32)
    for t in range(1, len(greys), 2):
        flows[t] = (flows[t - 1] + flows[min(t + 1, (len(greys) - 1) // 2 * 2)]) / 2
    return flows


def _grey(frame: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)


def _laid_over(redrawn: Clip, clip: Clip, alpha: Mask) -> Clip:
    outside = 1 - alpha
    layers = zip(redrawn, clip, strict=True)
    return np.stack([np.asarray(cv2.blendLinear(new, old, alpha, outside), np.uint8) for new, old in layers])
