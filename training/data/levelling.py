"""Makes two clips of different sources equally sharp, so that sharpness does not tell which one is forged."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.forged import Clip

_FRAMES = 4
_FINE_PX, _COARSE_PX = 1.0, 4.0
_BLURS_PX = np.geomspace(0.3, 4.0, 16)


def level(clips: tuple[Clip, Clip]) -> tuple[Clip, Clip]:
    """The two clips (each (T, S, S, 3) uint8), the sharper one blurred until it is no sharper than the other."""
    first, second = (sharpness(clip) for clip in clips)
    if first > second:
        return _softened(clips[0], second), clips[1]
    return clips[0], _softened(clips[1], first) if second > first else clips[1]


def sharpness(clip: Clip) -> float:
    """How much of a clip's detail is finer than a pixel or so: a share of the energy, whatever the contrast."""
    return _fine_share(_some_grey(clip))


def _softened(clip: Clip, wanted: float) -> Clip:
    """A sharper clip after the weakest blur of a few that leaves it no sharper than wanted."""
    grey = _some_grey(clip)
    for blur_px in _BLURS_PX:
        if _fine_share([_blurred(frame, blur_px) for frame in grey]) <= wanted:
            break
    return np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), blur_px), np.uint8) for frame in clip])


def _fine_share(frames: list[NDArray[np.float32]]) -> float:
    fine = coarse = 0.0
    for frame in frames:
        smooth, smoother = _blurred(frame, _FINE_PX), _blurred(frame, _COARSE_PX)
        fine += float(np.square(frame - smooth).mean())
        coarse += float(np.square(smooth - smoother).mean())
    return fine / max(coarse, 1e-6)


def _some_grey(clip: Clip) -> list[NDArray[np.float32]]:
    chosen = clip[np.linspace(0, len(clip) - 1, min(len(clip), _FRAMES)).round().astype(int)]
    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.float32) for frame in chosen]


def _blurred(frame: NDArray[np.float32], blur_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), float(blur_px)), np.float32)
