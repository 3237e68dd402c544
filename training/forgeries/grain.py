"""Sensor noise."""

from __future__ import annotations

import cv2
import numpy as np

from training.forgeries.forged import Clip

_SPARE_PX = 64


def add_grain(clip: Clip, rng: np.random.Generator, levels: float) -> Clip:
    """The clip with white noise of `levels` grey levels (standard deviation), other noise in every frame."""
    side_px = clip.shape[1]
    # every frame shows another place of one large sheet: to draw noise anew costs more than a codec does
    spare_px = _SPARE_PX if len(clip) > 1 else 0
    sheet = rng.standard_normal((side_px + spare_px, side_px + spare_px, 3), np.float32)
    grains = np.rint(sheet * np.float32(levels)).astype(np.int16)
    noisy = np.empty_like(clip)
    for t, (top, left) in enumerate(rng.integers(spare_px + 1, size=(len(clip), 2))):
        noisy[t] = cv2.add(clip[t], grains[top : top + side_px, left : left + side_px], dtype=cv2.CV_8U)
    return noisy
