"""A face that a network drew: skin too smooth, and fine texture that does not move with the face.

What whole-face generators leave (adversarial and diffusion talking heads, autoencoders): detail below what they
can hold is gone; what stands in for it is made up, and either rests in the picture while the face moves under it
("texture sticking", Karras et al., NeurIPS 2021), or is made up anew in every frame or every chunk of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.detail import ENLARGE, smooth_skin, soften
from training.forgeries.driven import Extent, draw_extent
from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.regions import bounds, layout
from training.forgeries.trajectories import noise_paths

KIND = "generated"
_SPARE_PX = 48
_NO_TINT = np.zeros(3)


@dataclass(frozen=True, slots=True)
class GeneratedSettings:
    """Ranges of the draws.

    Attributes:
        extents: what is drawn anew, of which one is drawn; `crop` is everything.
        feather: narrowest and widest soft edge, in face units.
        radius: least and most size of what counts as detail, in face units.
        contrast: least and most contrast below which something counts as detail, in grey levels.
        kept: least and most of the true detail that stays.
        made_up: least and most of the texture that stands in, relative to the true one; none below 0.
        held_frames: for how many frames it rests, of which one is drawn; 0 rests throughout.
        shrink: least and most reduction in size; none up to 1.
        tint: most that each of R, G, B is off, in grey levels.
        flicker: most that the tint wanders, one standard deviation in grey levels.
    """

    extents: tuple[Extent, ...] = ("crop", "crop", "whole_face", "whole_face", "face", "inner_face")
    feather: tuple[float, float] = (0.015, 0.05)
    radius: tuple[float, float] = (0.012, 0.03)
    contrast: tuple[float, float] = (6.0, 20.0)
    kept: tuple[float, float] = (0.0, 0.4)
    made_up: tuple[float, float] = (-0.4, 1.0)
    held_frames: tuple[int, ...] = (0, 0, 1, 4, 16)
    shrink: tuple[float, float] = (0.7, 1.5)
    tint: float = 3.0
    flicker: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.kept[0] <= self.kept[1] < 1:
            raise ValueError(f"kept needs 0 <= least <= most < 1, got {self.kept}")
        if self.contrast[0] <= 0 or min(self.held_frames, default=-1) < 0:
            raise ValueError(f"contrast lies above 0 and held_frames from 0 on, got {self}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: GeneratedSettings = GeneratedSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Draw the face, or everything, as a generator would; arguments as for `self_blended.forge`."""
    check_clip(clip)
    frames, face = len(clip), layout(clip, template)
    extent, alpha = draw_extent(rng, face, settings.extents, settings.feather)
    box = bounds(alpha)
    width_px = 1 + 2 * max(1, round(float(rng.uniform(*settings.radius)) * face.face_px))
    contrast = float(np.exp(rng.uniform(*np.log(settings.contrast))))
    kept, made_up = float(rng.uniform(*settings.kept)), max(0.0, float(rng.uniform(*settings.made_up)))
    shrink = float(rng.uniform(*settings.shrink))
    enlarge = ENLARGE[rng.integers(len(ENLARGE))]
    held = settings.held_frames[rng.integers(len(settings.held_frames))]
    # a tint of the whole picture tells nothing: cameras have theirs
    tint = rng.uniform(-settings.tint, settings.tint, 3) * float(extent != "crop")
    tints = tint + rng.uniform(0, settings.flicker) * noise_paths(rng, frames, 3, smooth_frames=1)
    borrowed, phase = rng.random() < 0.5, int(rng.integers(max(held, 1)))
    sheet = _grain_sheet(rng, clip.shape[1] + _SPARE_PX)
    forged = clip.copy()
    inside, outside = alpha[box], 1 - alpha[box]
    texture = np.zeros(inside.shape, np.float32)
    for t in range(frames):
        patch = clip[t][box]
        grey = np.asarray(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), np.float32)
        detail = grey - smooth_skin(grey, width_px, contrast)
        if made_up and (t == 0 or (held and (t + phase) % held == 0)):
            texture = detail if borrowed else _made_up(sheet, rng, detail)
        smooth = soften(_lit(patch, np.float32(kept - 1) * detail, _NO_TINT), shrink, enlarge=enlarge)
        drawn = _lit(smooth, np.float32(made_up) * texture, tints[t])
        forged[t][box] = cv2.blendLinear(drawn, clip[t][box], inside, outside)
    return compare(clip, forged, alpha, KIND)


def _lit(
    image: NDArray[np.uint8], light: NDArray[np.float32], tint: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """One picture (H, W, 3) with light (H, W) and a tint (3,) added, in grey levels."""
    change = cv2.merge([light + np.float32(level) for level in tint])
    return np.asarray(cv2.add(image, change, dtype=cv2.CV_8U), np.uint8)


def _grain_sheet(rng: np.random.Generator, side_px: int) -> NDArray[np.float32]:
    """Band-passed noise (side, side) of unit variance: texture, finer than features and coarser than pixels."""
    white = rng.standard_normal((side_px, side_px), np.float32)
    sigma = float(rng.uniform(0.6, 1.3))
    band = cv2.GaussianBlur(white, (0, 0), sigma) - cv2.GaussianBlur(white, (0, 0), 2 * sigma)
    return np.asarray(band / np.float32(max(float(band.std()), 1e-6)), np.float32)


def _made_up(
    sheet: NDArray[np.float32], rng: np.random.Generator, detail: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Texture (H, W) as strong as the true one is at each place, but of other content."""
    top, left = rng.integers(_SPARE_PX + 1, size=2)
    grain = sheet[top : top + detail.shape[0], left : left + detail.shape[1]]
    strength = cv2.blur(np.abs(detail), (9, 9))
    return np.asarray(np.float32(1.25) * strength * grain, np.float32)
