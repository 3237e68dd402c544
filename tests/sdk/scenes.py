"""Made videos with a face whose place is known, and a network that answers to a tint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dmcl_sdk import Detector
from dmcl_sdk.faces import TEMPLATE, Face
from dmcl_sdk.testing import KnownFaces, ScriptedNetwork
from tests.made import make_video

Picture = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 160, 120


def known_face(left: float = 0.3, top: float = 0.2, width: float = 0.4, height: float = 0.6) -> Face:
    """A face in fractions of the picture."""
    corner, size = np.array([left, top]), np.array([width, height])
    box = (left, top, left + width, top + height)
    return Face(box, (TEMPLATE * size + corner).astype(np.float32), 0.99)


def tinted(first: int, end: int) -> Callable[[int, int, int], Picture]:
    """Paints texture that moves and is back after 100 frames; frames [first, end) are red."""

    def paint(index: int, width: int, height: int) -> Picture:
        ys, xs = np.mgrid[:height, :width].astype(np.float32)
        waves = (
            110 + 45 * np.sin((xs + index * np.pi / 5) / 5) * np.cos(ys / 4) + 30 * np.sin((xs - ys) / 2.5)
        )
        picture = np.repeat(waves[..., None], 3, -1)
        if first <= index < end:
            picture *= (1.3, 0.6, 0.6)
        return np.asarray(np.clip(picture, 0, 255), np.uint8)

    return paint


def redness(crop: Picture) -> tuple[float, float, float]:
    """Sure of red crops: the picture says so, the motion does not."""
    red = float(crop[..., 0].mean()) > 1.3 * float(crop[..., 1].mean())
    return (4.0, 3.0, -3.0) if red else (-4.0, -3.0, -3.0)


def red_video(frames: int, first: int, end: int, **options: object) -> bytes:
    """A video at 25 frames a second whose frames [first, end) are forged."""
    return make_video(frames, width=WIDTH, height=HEIGHT, painter=tinted(first, end), **options)  # type: ignore[arg-type]


def red_detector(*faces: Face, **settings: object) -> Detector:
    """A detector of redness in faces that are known."""
    known = KnownFaces(faces or (known_face(),))
    return Detector(ScriptedNetwork(redness), face_model=known, **settings)  # type: ignore[arg-type]
