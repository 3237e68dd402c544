"""The mouth or the face drawn anew from too little: what lip-sync and re-rendering networks leave behind.

The content of the region is taken from the clip itself (for a mouth also from other moments of it, as a
lip-sync tool would say other words), reduced to what a small network could have kept, and blended back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from training.forgeries.detail import ENLARGE, sharpen, soften
from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.regions import Part, bounds, layout, region
from training.forgeries.trajectories import noise_paths, other_moments

KIND = "resynthesis"
Way: TypeAlias = Literal["shrink", "components", "blocks", "smooth"]


@dataclass(frozen=True, slots=True)
class ResynthesisSettings:
    """Ranges of the draws.

    Attributes:
        parts: regions, of which one is drawn.
        ways: how detail is lost, of which one is drawn: `shrink` and enlarge, the clip's own principal
            `components`, JPEG `blocks`, or `smooth` and sharpened.
        shrink: least and most reduction in size.
        components: fewest and most principal components that are kept.
        quality: lowest and highest JPEG quality.
        smooth: least and most blur, in face units.
        boiling: share of clips in which the loss changes from frame to frame.
        retimed: share of mouths and lower faces whose content comes from other moments of the clip.
        feather: narrowest and widest soft edge, in face units.
    """

    parts: tuple[Part, ...] = ("mouth", "mouth", "lower_face", "lower_face", "inner_face", "face", "eyes")
    ways: tuple[Way, ...] = ("shrink", "shrink", "components", "blocks", "smooth")
    shrink: tuple[float, float] = (1.4, 3.5)
    components: tuple[int, int] = (2, 10)
    quality: tuple[int, int] = (12, 45)
    smooth: tuple[float, float] = (0.004, 0.013)
    boiling: float = 0.5
    retimed: float = 0.5
    feather: tuple[float, float] = (0.012, 0.04)

    def __post_init__(self) -> None:
        if not 1 < self.shrink[0] <= self.shrink[1]:
            raise ValueError(f"shrink needs 1 < least <= most, got {self.shrink}")
        if not 0 <= self.boiling <= 1 or not 0 <= self.retimed <= 1:
            raise ValueError(f"boiling and retimed are shares in 0..1, got {self}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: ResynthesisSettings = ResynthesisSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Draw a region of the face anew; arguments as for `self_blended.forge`."""
    check_clip(clip)
    face = layout(clip, template)
    part = settings.parts[rng.integers(len(settings.parts))]
    alpha = region(face, part, feather_px=float(rng.uniform(*settings.feather)) * face.face_px)
    box = bounds(alpha)
    moments = np.arange(len(clip))
    if part in {"mouth", "lower_face"} and rng.random() < settings.retimed:
        moments = other_moments(rng, len(clip))
    patches = clip[(moments, *box)]
    way = settings.ways[rng.integers(len(settings.ways))]
    redrawn = _redraw(patches, rng, settings, way, face.face_px)
    forged = clip.copy()
    inside, outside = alpha[box], 1 - alpha[box]
    for t, patch in enumerate(redrawn):
        forged[t][box] = cv2.blendLinear(patch, clip[t][box], inside, outside)
    return compare(clip, forged, alpha, KIND)


def _redraw(
    patches: Clip, rng: np.random.Generator, settings: ResynthesisSettings, way: Way, face_px: float
) -> Clip:
    """Patches (T, h, w, 3) with less in them; the loss is steady or boils."""
    boils = rng.random() < settings.boiling
    wobble = noise_paths(rng, len(patches), 1, smooth_frames=0.5)[:, 0] * np.float32(0.25 if boils else 0)
    if way == "components":
        return _components(patches, int(rng.integers(settings.components[0], settings.components[1] + 1)))
    if way == "blocks":
        quality = rng.uniform(*settings.quality) * np.exp(wobble)
        return np.stack([_jpeg(p, round(float(q))) for p, q in zip(patches, quality, strict=True)])
    if way == "shrink":
        enlarge = ENLARGE[rng.integers(len(ENLARGE))]
        shrink = np.maximum(1.1, np.exp(rng.uniform(*np.log(settings.shrink))) * np.exp(wobble))
        return np.stack([soften(p, float(s), enlarge=enlarge) for p, s in zip(patches, shrink, strict=True)])
    sigma, sharper = rng.uniform(*settings.smooth) * face_px * np.exp(wobble), float(rng.uniform(0.5, 1.5))
    return np.stack([_smoothed(p, float(s), sharper) for p, s in zip(patches, sigma, strict=True)])


def _components(patches: Clip, keep: int) -> Clip:
    """The patches' mean and first principal components; the clip is its own training set."""
    flat = patches.reshape(len(patches), -1).astype(np.float32)
    keep = min(keep, len(patches) // 3)  # all components of a short span would restore it
    mean = flat.mean(axis=0)
    centred = flat - mean
    vectors = np.linalg.eigh(centred @ centred.T)[1][:, ::-1][:, :keep]  # (T, keep)
    restored = vectors @ (vectors.T @ centred) + mean
    return np.asarray(np.clip(np.rint(restored), 0, 255), np.uint8).reshape(patches.shape)


def _jpeg(patch: Clip, quality: int) -> Clip:
    code = cv2.imencode(".jpg", patch, [cv2.IMWRITE_JPEG_QUALITY, min(max(quality, 1), 95)])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)


def _smoothed(patch: Clip, sigma_px: float, sharper: float) -> Clip:
    smooth = np.asarray(cv2.GaussianBlur(patch, (0, 0), max(sigma_px, 0.3)), np.uint8)
    return sharpen(smooth, sharper, reach_px=7)
