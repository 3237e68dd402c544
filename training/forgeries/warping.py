"""Local warps of a face: a few handles that pull the picture, each along its own path over the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.forged import Clip, Mask, Points
from training.forgeries.regions import Layout, bounds, region

Paths: TypeAlias = NDArray[np.float32]
"""Displacement (x, y) in pixels of K handles in T frames, (T, K, 2)."""

# the five alignment landmarks, brows, cheeks, upper and lower lip, chin (unit crop coordinates)
HANDLES: Points = np.array(
    [
        *[(0.36, 0.40), (0.64, 0.40), (0.50, 0.55), (0.39, 0.70), (0.61, 0.70)],
        *[(0.35, 0.32), (0.65, 0.32), (0.29, 0.57), (0.71, 0.57), (0.50, 0.67), (0.50, 0.74), (0.50, 0.84)],
    ],
    np.float32,
)


@dataclass(frozen=True, slots=True, eq=False)
class Pull:
    """Where the handles pull: `weights` (K, S, S) in 0..1, each falling to 0 before the face ends."""

    weights: Mask

    @property
    def reach(self) -> Mask:
        """Pixels (S, S) that may move, 0..1."""
        return np.asarray(np.minimum(self.weights.sum(axis=0), 1), np.float32)


def pull(face: Layout, handles: Points, *, radius: float, window: Mask | None = None) -> Pull:
    """Gaussian pulls around handles given in unit crop coordinates.

    Args:
        face: where the face lies.
        handles: (K, 2) in unit crop coordinates.
        radius: standard deviation of the pull in face units.
        window: (S, S) what may move; None for the face with a soft edge.
    """
    if window is None:
        window = region(face, "whole_face", feather_px=0.02 * face.face_px)
    apart_px = np.arange(face.side_px, dtype=np.float32) - face.place(handles)[..., None]  # (K, 2, S)
    falls = np.exp(-(apart_px**2) / np.float32(2 * (radius * face.face_px) ** 2))
    falls[falls < 0.01] = 0  # products of less would be slow to compute, and are dropped anyway
    weights = falls[:, 1, :, None] * falls[:, 0, None, :]  # (K, S, S)
    weights[weights < 0.01] = 0
    return Pull(np.asarray(weights * window, np.float32))


def warp(clip: Clip, field: Pull, paths: Paths, *, interpolation: int = cv2.INTER_LINEAR) -> Clip:
    """Pull the frames of `clip` along `paths`; where no handle reaches, every bit stays.

    A pixel shows what lay against the pull, so that the picture moves along it.
    """
    box = bounds(field.reach)
    rows, columns = box
    if rows.stop == rows.start:
        return clip.copy()
    weights = field.weights[:, rows, columns].reshape(len(field.weights), -1)
    shape = (2, rows.stop - rows.start, columns.stop - columns.start)
    grid_y, grid_x = np.mgrid[rows, columns].astype(np.float32)
    warped = clip.copy()
    for t, path in enumerate(paths):
        move_x, move_y = (path.T @ weights).reshape(shape)
        warped[t][box] = cv2.remap(
            clip[t], grid_x - move_x, grid_y - move_y, interpolation, borderMode=cv2.BORDER_REPLICATE
        )
    return warped
