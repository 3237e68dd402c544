"""Loss of detail: what is left of a picture that went through something too small for it."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = TypeVar("Picture", NDArray[np.uint8], NDArray[np.float32])
ENLARGE = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
"""The ways of enlarging that networks and tools use; each leaves a trace of its own."""


def soften(image: Picture, factor: float, *, enlarge: int = cv2.INTER_LINEAR) -> Picture:
    """One picture (H, W, 3) shrunk by `factor` and enlarged again; itself for a factor up to 1."""
    if factor <= 1:
        return image
    height, width = image.shape[:2]
    size = (max(2, round(width / factor)), max(2, round(height / factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=enlarge), image.dtype)


def sharpen(image: NDArray[np.uint8], amount: float, *, reach_px: int = 5) -> NDArray[np.uint8]:
    """One picture (H, W, 3) with `amount` of an unsharp mask added; itself for none."""
    if amount <= 0:
        return image
    blurred = cv2.blur(image, (reach_px, reach_px))
    return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), np.uint8)


def smooth_skin(image: NDArray[np.float32], width_px: int, contrast: float) -> NDArray[np.float32]:
    """One grey picture (H, W) without detail of little contrast; edges stay.

    A guided filter that guides itself (He et al., ECCV 2010): the mean where the picture varies less than
    `contrast` grey levels within `width_px`, the picture itself where it varies more.
    """
    size = (width_px, width_px)
    mean = cv2.blur(image, size)
    variance = np.maximum(cv2.blur(image * image, size) - mean * mean, 0)
    share = variance / (variance + np.float32(contrast * contrast))
    share_near, rest = cv2.blur(share, size), cv2.blur(mean - share * mean, size)
    return np.asarray(share_near * image + rest, np.float32)
