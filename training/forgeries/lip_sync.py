"""The mouth made to say something else: a box about the lower face drawn again in every frame and pasted back.

After how lip-sync networks work (Wav2Lip, Prajwal et al., ACM MM 2020): a face box is cut at whole pixels, shrunk
to the network's picture, drawn anew with another mouth, enlarged and pasted. What remains is a rectangular seam,
less detail inside it, a mouth out of step with the face, and a box that trembles as the face detector does.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.detail import ENLARGE, sharpen, soften
from training.forgeries.forged import Clip, Forged, Mask, Points, check_clip, compare
from training.forgeries.regions import Layout, layout, region
from training.forgeries.trajectories import noise_paths, other_moments

KIND = "lip_sync"
_LEFT, _RIGHT, _BOTTOM = 0.19, 0.81, 0.93


@dataclass(frozen=True, slots=True)
class LipSyncSettings:
    """Ranges of the draws.

    Attributes:
        tops: upper edges of the box in face units, of which one is drawn: the whole face, or its lower half.
        loose: most that each edge of the box lies elsewhere, in face units.
        trembling_px: least and most trembling of the box, one standard deviation in pixels.
        shrink: least and most reduction of the box on its way through the network.
        sharpen: most of an unsharp mask after it, as adversarial training adds.
        boiling: most that the loss changes from frame to frame, as a share.
        tint: most that each of R, G, B is off, in grey levels.
        flicker: most that the tint wanders from frame to frame, one standard deviation in grey levels.
        retimed: share of clips whose mouth comes from other moments; the others are said again as they were.
        seam: narrowest and widest soft edge of the box, in face units.
    """

    tops: tuple[float, ...] = (0.26, 0.5, 0.5, 0.56)
    loose: float = 0.04
    trembling_px: tuple[float, float] = (0.0, 0.8)
    shrink: tuple[float, float] = (1.1, 2.4)
    sharpen: float = 0.7
    boiling: float = 0.12
    tint: float = 3.0
    flicker: float = 0.6
    retimed: float = 0.75
    seam: tuple[float, float] = (0.003, 0.035)

    def __post_init__(self) -> None:
        if not 1 <= self.shrink[0] <= self.shrink[1]:
            raise ValueError(f"shrink needs 1 <= least <= most, got {self.shrink}")
        if not self.tops or not all(0 <= top < _BOTTOM - 2 * self.loose for top in self.tops):
            raise ValueError(f"tops lie above the chin, in 0..{_BOTTOM}, got {self.tops}")
        if not 0 <= self.retimed <= 1:
            raise ValueError(f"retimed is a share in 0..1, got {self.retimed}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: LipSyncSettings = LipSyncSettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Draw the mouth's box anew in every frame; arguments as for `self_blended.forge`."""
    check_clip(clip)
    frames, face = len(clip), layout(clip, template)
    boxes = _boxes(rng, frames, face, settings)
    seam_px = float(rng.uniform(*settings.seam)) * face.face_px
    mouth = region(face, "lower_face", feather_px=0.03 * face.face_px)
    moments = other_moments(rng, frames) if rng.random() < settings.retimed else np.arange(frames)
    shrink = np.exp(rng.uniform(*np.log(settings.shrink)))
    shrinks = shrink * np.exp(
        rng.uniform(0, settings.boiling) * noise_paths(rng, frames, 1, smooth_frames=0.5)
    )
    sharper = float(rng.uniform(0, settings.sharpen)) * float(rng.random() < 0.5)
    tint = rng.uniform(-settings.tint, settings.tint, 3)
    tints = tint + rng.uniform(0, settings.flicker) * noise_paths(rng, frames, 3, smooth_frames=0)
    enlarge = ENLARGE[rng.integers(len(ENLARGE))]
    forged, mask = clip.copy(), np.zeros(clip.shape[:3], np.float32)
    for t, (left, top, right, bottom) in enumerate(boxes):
        box = slice(top, bottom), slice(left, right)
        said = _spoken(clip[t][box], clip[moments[t]][box], mouth[box])
        drawn = sharpen(soften(said, float(shrinks[t, 0]), enlarge=enlarge), sharper)
        drawn = np.asarray(cv2.transform(drawn, np.column_stack([np.eye(3), tints[t]])), np.uint8)
        alpha = _window(said.shape[0], said.shape[1], seam_px)
        forged[t][box] = cv2.blendLinear(drawn, clip[t][box], alpha, 1 - alpha)
        mask[t][box] = alpha
    return compare(clip, forged, mask, KIND)


def _boxes(
    rng: np.random.Generator, frames: int, face: Layout, settings: LipSyncSettings
) -> NDArray[np.intp]:
    """Left, top, right, bottom of the box in every frame, whole pixels inside the crop, (frames, 4)."""
    top = settings.tops[rng.integers(len(settings.tops))]
    corners = np.array([(_LEFT, top), (_RIGHT, top), (_RIGHT, _BOTTOM), (_LEFT, _BOTTOM)], np.float32)
    corners = face.place(corners + rng.uniform(-settings.loose, settings.loose, (4, 2)).astype(np.float32))
    edges = np.concatenate([corners.min(0), corners.max(0)])
    trembling = rng.uniform(*settings.trembling_px) * noise_paths(rng, frames, 4, smooth_frames=1.0)
    return np.asarray(np.clip(np.rint(edges + trembling), 0, face.side_px), np.intp)


def _spoken(now: Clip, then: Clip, mouth: Mask) -> Clip:
    """One frame's box (H, W, 3) with the mouth of another moment; the face about it stays."""
    if now is then:
        return now
    return np.asarray(cv2.blendLinear(then, now, mouth, 1 - mouth), np.uint8)


def _window(height: int, width: int, seam_px: float) -> Mask:
    """A box (H, W) of ones that falls off at its edges, reaching exactly to them."""
    reach = max(1.0, 2 * seam_px)
    rows, columns = (
        np.minimum(np.minimum(np.arange(n) + 1, n - np.arange(n)) / np.float32(reach), 1).astype(np.float32)
        for n in (height, width)
    )
    eased = np.outer(rows, columns)
    return np.asarray(eased * eased * (3 - 2 * eased), np.float32)
