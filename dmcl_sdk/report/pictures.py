"""Stills of a moment: the face's box, the map of places over the crop, arrows of what moves besides the head."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.attribution import part_masks
from dmcl_sdk.verdict import Box

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

CROP_PX = 240
ARROW_GAIN = 4
"""Arrows are drawn this many times as long as the motion, unless that is too long to be drawn."""

_HEAT = (235, 64, 0)
_ARROW, _ARROW_EDGE = (255, 214, 10), (20, 20, 20)
_LEAST_MOTION_PX = 0.2
_CELLS = 10
_LEAST_STILL_PX = 640
_REDACTED_CELLS = 6


def jpeg(image: Image) -> bytes:
    """An RGB picture as JPEG; the same bytes for the same picture."""
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88]
    )
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be written")
    return encoded.tobytes()


def data_uri(image: Image) -> str:
    """The picture inside the page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image)).decode("ascii")


def enlarged(crop: Image) -> Image:
    """A crop at the size that all pictures of faces have."""
    return np.asarray(cv2.resize(crop, (CROP_PX, CROP_PX), interpolation=cv2.INTER_CUBIC), np.uint8)


def with_places(crop: Image, places: Floats) -> Image:
    """The crop, greyed, and each place's probability over it, from grey to red; the scale is the same in all."""
    base = _grey(enlarged(crop)).astype(np.float32)
    share = np.clip(cv2.resize(places, (CROP_PX, CROP_PX), interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
    return np.rint(base + (np.array(_HEAT, np.float32) - base) * share * 0.85).astype(np.uint8)


def with_motion(crop: Image, motion: Floats) -> Image:
    """The crop, greyed, with arrows of the face's motion (2, M, M) in pixels of the crop, `ARROW_GAIN` times as long.

    The longest are cut short; what moves outside the face is no finding and is left out.
    """
    canvas = _grey(enlarged(crop))
    scale, side = CROP_PX / crop.shape[0], CROP_PX / _CELLS
    for row, column, moved in _moving(motion):
        x, y = (column + 0.5) * side, (row + 0.5) * side
        drawn = min(ARROW_GAIN * scale, 1.3 * side / float(np.hypot(*moved)))
        tip = round(x + drawn * moved[0]), round(y + drawn * moved[1])
        start = round(x), round(y)
        cv2.arrowedLine(canvas, start, tip, _ARROW_EDGE, 4, cv2.LINE_AA, tipLength=0.3)
        cv2.arrowedLine(canvas, start, tip, _ARROW, 2, cv2.LINE_AA, tipLength=0.3)
    return canvas


def moves(motion: Floats) -> bool:
    """Whether anything inside the face does, besides the head."""
    return any(True for _ in _moving(motion))


def _moving(motion: Floats) -> Iterator[tuple[int, int, Floats]]:
    """Row, column and mean motion of each cell of the face that moves."""
    step, outside = motion.shape[1] / _CELLS, part_masks(motion.shape[1])["surroundings"]
    for row in range(_CELLS):
        for column in range(_CELLS):
            rows, columns = (slice(int(n * step), int((n + 1) * step)) for n in (row, column))
            moved = motion[:, rows, columns].mean((1, 2))
            if float(np.hypot(*moved)) >= _LEAST_MOTION_PX and outside[rows, columns].mean() <= 0.5:
                yield row, column, moved


def with_box(still: Image, box: Box) -> Image:
    """The still with one face framed."""
    larger = max(1.0, _LEAST_STILL_PX / still.shape[1])
    canvas = np.asarray(
        cv2.resize(still, None, fx=larger, fy=larger, interpolation=cv2.INTER_CUBIC), np.uint8
    )
    (x0, y0), (x1, y1) = _corners(box, canvas.shape)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), _ARROW_EDGE, 4, cv2.LINE_AA)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), _ARROW, 2, cv2.LINE_AA)
    return canvas


def redacted(image: Image, faces: Iterable[Box], keep: Iterable[Box] = ()) -> Image:
    """The picture with some faces made unrecognisable, and others left as they are where they overlap."""
    canvas = image.copy()
    for box in faces:
        (x0, y0), (x1, y1) = _corners(box, image.shape, margin=0.35)
        if x1 - x0 < 1 or y1 - y0 < 1:
            continue
        face = canvas[y0:y1, x0:x1]
        small = cv2.resize(face, (_REDACTED_CELLS, _REDACTED_CELLS), interpolation=cv2.INTER_AREA)
        canvas[y0:y1, x0:x1] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    for box in keep:
        (x0, y0), (x1, y1) = _corners(box, image.shape)
        canvas[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    return canvas


def _grey(image: Image) -> Image:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def _corners(
    box: Box, shape: tuple[int, ...], margin: float = 0.0
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels of a box's corners, inside the picture."""
    height, width = shape[:2]
    left, right = box.left - margin * box.width, box.left + (1 + margin) * box.width
    top, bottom = box.top - margin * box.height, box.top + (1 + margin) * box.height
    xs = np.clip(np.round([left * width, right * width]), 0, width - 1).astype(int).tolist()
    ys = np.clip(np.round([top * height, bottom * height]), 0, height - 1).astype(int).tolist()
    return (xs[0], ys[0]), (xs[1], ys[1])
