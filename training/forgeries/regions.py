"""Where the parts of a face lie in an aligned crop, and soft masks over them.

Coordinates of parts are those of a mean face in a unit crop (x right, y down, 0..1), drawn around the five
alignment landmarks. Five points and a mean outline are enough for a hull: forgeries jitter it anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dmcl_sdk.faces import TEMPLATE
from training.forgeries.forged import REFERENCE_PX, Clip, Mask, Points

Part: TypeAlias = Literal["face", "whole_face", "inner_face", "lower_face", "mouth", "eyes", "brows", "nose"]
Box: TypeAlias = tuple[slice, slice]
"""Rows and columns of a crop."""


def _symmetric(half: list[tuple[float, float]]) -> Points:
    """A closed outline from its left half, listed along the contour."""
    return np.array(half + [(1 - x, y) for x, y in reversed(half)], np.float32)


def _ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], 1).astype(np.float32)


_JAW = [(0.18, 0.42), (0.19, 0.52), (0.21, 0.62), (0.24, 0.71), (0.29, 0.79), (0.36, 0.85), (0.44, 0.885)]
OUTLINES: dict[Part, tuple[Points, ...]] = {
    "face": (_symmetric([(0.40, 0.29), (0.30, 0.29), (0.22, 0.33), *_JAW]),),
    "whole_face": (_symmetric([(0.42, 0.14), (0.30, 0.17), (0.21, 0.27), *_JAW]),),
    "inner_face": (
        _symmetric([(0.40, 0.29), (0.29, 0.30), (0.24, 0.38), (0.27, 0.55), (0.33, 0.72), (0.42, 0.79)]),
    ),
    "lower_face": (_symmetric([(0.44, 0.53), (0.34, 0.57), (0.24, 0.62), (0.25, 0.71), *_JAW[4:]]),),
    "mouth": (_ellipse(0.50, 0.70, 0.165, 0.085),),
    "eyes": (_ellipse(0.36, 0.40, 0.10, 0.055), _ellipse(0.64, 0.40, 0.10, 0.055)),
    "brows": (_ellipse(0.35, 0.32, 0.12, 0.05), _ellipse(0.65, 0.32, 0.12, 0.05)),
    "nose": (_ellipse(0.50, 0.52, 0.09, 0.12),),
}


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How the mean face is laid over a crop.

    Attributes:
        side_px: side of the crop.
        unit_to_px: (2, 3) affine map from unit crop coordinates to pixels.
    """

    side_px: int
    unit_to_px: NDArray[np.float64]

    def place(self, points: Points) -> Points:
        """Unit crop coordinates (N, 2) to pixels (N, 2)."""
        return (points @ self.unit_to_px[:, :2].T + self.unit_to_px[:, 2]).astype(np.float32)

    @property
    def face_px(self) -> float:
        """Pixels to one unit of the mean face: the crop's side when the landmarks lie on the template."""
        return float(np.sqrt(abs(np.linalg.det(self.unit_to_px[:, :2]))))

    @property
    def scale(self) -> float:
        """Pixels of this crop to one of a crop of `REFERENCE_PX`, in whose pixels settings are given."""
        return self.face_px / REFERENCE_PX


def layout(clip: Clip, template: Points | None = None) -> Layout:
    """Lay the mean face over the crops of `clip`.

    Args:
        clip: (T, S, S, 3).
        template: the five landmarks in pixels of the crop, (5, 2); None when they lie at `TEMPLATE * S`.
    """
    if template is not None and template.shape != (5, 2):
        raise ValueError(f"a template holds five points (x, y), got {template.shape}")
    return _layout(clip.shape[1], None if template is None else template.astype(np.float64).tobytes())


@lru_cache(maxsize=16)  # all crops of a training run share one, and so its regions
def _layout(side_px: int, template: bytes | None) -> Layout:
    if template is None:
        return Layout(side_px, np.array([[side_px, 0, 0], [0, side_px, 0]], np.float64))
    unit = np.hstack([TEMPLATE, np.ones((5, 1))])
    solution = np.linalg.lstsq(unit, np.frombuffer(template).reshape(5, 2), rcond=None)[0]
    return Layout(side_px, np.asarray(solution.T, np.float64))


def region(face: Layout, part: Part, *, feather_px: float, wobble: Points | None = None) -> Mask:
    """A soft mask (S, S) over one part, 1 inside, falling to exactly 0 outside.

    Args:
        face: where the face lies.
        part: which part.
        feather_px: standard deviation of the soft edge; 0 keeps it hard.
        wobble: one offset (x, y) in pixels for each point of the outline of a one-piece part.
    """
    mask = np.zeros((face.side_px, face.side_px), np.uint8)
    for outline in OUTLINES[part]:
        points = face.place(outline)
        if wobble is not None:
            points = points + wobble
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points * 16).astype(np.int32)), 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), feather_px) if feather_px > 0 else mask
    return np.asarray(soft * np.float32(1 / 255), np.float32)


def bounds(mask: Mask) -> Box:
    """The smallest box that holds every pixel above 0 of a mask (S, S); empty when there is none."""
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return slice(top, top + height), slice(left, left + width)
