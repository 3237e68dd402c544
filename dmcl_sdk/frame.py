"""One decoded picture: planes as the decoder left them, read only where somebody looks.

Most pixels of a video are never judged. So no frame is converted to RGB as a whole: a crop is warped straight
from the Y, U and V planes, and only its own pixels change colour space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
Rotation = Literal[0, 90, 180, 270]
Standard = Literal["601", "709", "2020", "240m"]

_RED_AND_BLUE = {
    "601": (0.299, 0.114),
    "709": (0.2126, 0.0722),
    "2020": (0.2627, 0.0593),
    "240m": (0.212, 0.087),
}
"""Their weights in luma, by standard; green has the rest."""

_TURNS: dict[tuple[int, int, int, int], Rotation] = {
    (1, 0, 0, 1): 0,
    (0, -1, 1, 0): 90,
    (-1, 0, 0, -1): 180,
    (0, 1, -1, 0): 270,
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the coded picture lies in the displayed one.

    Attributes:
        coded_width: luma samples in a row.
        coded_height: rows, those of both fields where interlaced.
        pixel_aspect: displayed width over height of one coded sample.
        turn: orientation (a, b, c, d) of -1, 0, 1: coded (x, y) is displayed at (a x + b y, c x + d y), about
            the centre, y down.
        first_field: use the even rows alone, because the odd ones show another instant.
        chroma_step: luma columns and rows to one chroma sample: (2, 2), (2, 1) or (1, 1).
        chroma_x: luma column on which the first chroma sample of a row sits, where there is one to two: 0
            (left) or .5 (centre).
    """

    coded_width: int
    coded_height: int
    pixel_aspect: float = 1.0
    turn: tuple[int, int, int, int] = (1, 0, 0, 1)
    first_field: bool = False
    chroma_step: tuple[int, int] = (2, 2)
    chroma_x: float = 0.0

    @property
    def upright(self) -> bool:
        """Whether coded rows are displayed as rows."""
        return self.turn[0] != 0

    @property
    def rotation(self) -> Rotation:
        """Degrees clockwise from coded to displayed, after a mirroring left to right if there is one."""
        a, b, c, d = self.turn
        return _TURNS[self.turn] if self.turn in _TURNS else _TURNS[-a, b, -c, d]

    @property
    def displayed(self) -> tuple[int, int]:
        """Width and height on the screen, after pixel aspect and turning."""
        width, height = max(1, round(self.coded_width * self.pixel_aspect)), self.coded_height
        return (width, height) if self.upright else (height, width)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The pixels of a frame.

    Attributes:
        planes: Y (h, w), U and V smaller by `geometry.chroma_step`, as coded.
        geometry: how the planes lie in the displayed picture.
        standard: whose YUV matrix the planes follow.
        full_range: whether luma uses 0..255 rather than 16..235.
    """

    planes: tuple[Pixels, Pixels, Pixels] = field(repr=False)
    geometry: Geometry
    standard: Standard = "601"
    full_range: bool = False

    def image(self, max_side: int) -> Pixels:
        """The displayed picture, RGB (h, w, 3), shrunk until its longer side is at most `max_side`."""
        width, height = self.geometry.displayed
        shrink = max(1.0, max(width, height) / max_side)
        width, height = max(1, round(width / shrink)), max(1, round(height / shrink))
        size = (width, height) if self.geometry.upright else (height, width)
        return _turned(self._to_rgb([_resized(plane, size) for plane in self._field()]), self.geometry.turn)

    def crop(self, matrix: Matrix, size_px: int) -> Pixels:
        """A square cut out of the displayed picture, RGB (size_px, size_px, 3).

        Args:
            matrix: (2, 3) affine map from pixels of the crop to pixels of the displayed picture; centres lie
                on whole numbers. Beyond the picture its edge is repeated.
            size_px: side of the crop.
        """
        luma, chroma = _plane_maps(self.geometry)
        to_displayed = np.vstack([matrix, (0.0, 0.0, 1.0)])
        y, u, v = self._field()
        to_chroma = chroma @ to_displayed
        return self._to_rgb(
            [
                _warped(y, luma @ to_displayed, size_px),
                _warped(u, to_chroma, size_px),
                _warped(v, to_chroma, size_px),
            ]
        )

    def shrunk_luma(self) -> Pixels:
        """Luma of the displayed picture at (36, 64), or (64, 36) if it is turned on its side: enough to see a cut."""
        # Sixteen samples a cell are enough; reading every pixel would cost a fifth of the decoding.
        samples = cv2.resize(self._field()[0], (256, 144), interpolation=cv2.INTER_NEAREST)
        small = np.asarray(cv2.resize(samples, (64, 36), interpolation=cv2.INTER_AREA), np.uint8)
        return _turned(small, self.geometry.turn)

    def _field(self) -> tuple[Pixels, Pixels, Pixels]:
        y, u, v = self.planes
        return (y[::2], u[::2], v[::2]) if self.geometry.first_field else (y, u, v)

    def _to_rgb(self, planes: list[Pixels]) -> Pixels:
        matrix = _rgb_matrix(self.standard, full_range=self.full_range)
        return np.asarray(cv2.transform(cv2.merge(planes), matrix), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture and when it is shown.

    Attributes:
        index: its number, counting decoded frames from 0, also those that were not kept.
        start_s: when it appears, in seconds from the first presentation timestamp of the video.
        end_s: when the next kept one appears, or its own time is over.
        width: displayed, after rotation and pixel aspect.
        height: displayed.
        continuous: False where pictures are missing or damaged between the previous kept frame and this one.
        picture: its pixels.
    """

    index: int
    start_s: float
    end_s: float
    width: int
    height: int
    continuous: bool
    picture: Picture

    def image(self, max_side: int) -> Pixels:
        """The displayed picture, RGB (h, w, 3), shrunk until its longer side is at most `max_side`."""
        return self.picture.image(max_side)

    def crop(self, matrix: Matrix, size_px: int) -> Pixels:
        """RGB (size_px, size_px, 3); `matrix` (2, 3) maps pixels of the crop to displayed pixels."""
        return self.picture.crop(matrix, size_px)

    def shrunk_luma(self) -> Pixels:
        """Luma of the displayed picture at (36, 64), or (64, 36) if it is turned on its side: enough to see a cut."""
        return self.picture.shrunk_luma()


@lru_cache(maxsize=64)
def _plane_maps(geometry: Geometry) -> tuple[Matrix, Matrix]:
    """Maps from displayed pixels to samples of the luma and of the chroma planes, (3, 3) each."""
    width, height = geometry.displayed
    a, b, c, d = geometry.turn
    # Pixel centres lie on whole numbers, so the middle of n pixels is at (n - 1) / 2.
    from_displayed = np.array(
        [[1 / width, 0, 0.5 / width - 0.5], [0, 1 / height, 0.5 / height - 0.5], [0, 0, 1]]
    )
    turned_back = np.array([[a, c, 0], [b, d, 0], [0, 0, 1]])
    width, height = geometry.coded_width, geometry.coded_height
    to_coded = np.array([[width, 0, (width - 1) / 2], [0, height, (height - 1) / 2], [0, 0, 1]])
    coded = to_coded @ turned_back @ from_displayed
    luma = np.diag([1.0, 0.5 if geometry.first_field else 1.0, 1.0]) @ coded
    step_x, step_y = geometry.chroma_step
    # Chroma rows lie midway between two luma rows; those of a first field, a quarter of the way (ITU-T H.262,
    # 6.1.1.8).
    x = geometry.chroma_x if step_x > 1 else 0.0
    y = (0.25 if geometry.first_field else 0.5) if step_y > 1 else 0.0
    chroma = np.array([[1 / step_x, 0, -x / step_x], [0, 1 / step_y, -y / step_y], [0, 0, 1]]) @ luma
    return luma, chroma


@lru_cache(maxsize=16)
def _rgb_matrix(standard: Standard, *, full_range: bool) -> npt.NDArray[np.float32]:
    """(3, 4) matrix from (Y, U, V, 1) of 0..255 to R, G, B of 0..255."""
    red, blue = _RED_AND_BLUE[standard]
    green = 1 - red - blue
    from_differences = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    black, luma_scale, chroma_scale = (0, 1.0, 1.0) if full_range else (16, 255 / 219, 255 / 224)
    matrix = from_differences * (luma_scale, chroma_scale, chroma_scale)
    return np.column_stack([matrix, -matrix @ (black, 128, 128)]).astype(np.float32)


def _turned(image: Pixels, turn: tuple[int, int, int, int]) -> Pixels:
    a, b, c, d = turn
    if a == 0:
        # Transposing swaps the axes; what is left of the turn are flips.
        image, a, d = np.asarray(cv2.transpose(image), np.uint8), b, c
    if a < 0:
        image = np.asarray(cv2.flip(image, 1), np.uint8)
    return np.asarray(cv2.flip(image, 0), np.uint8) if d < 0 else image


def _resized(plane: Pixels, size: tuple[int, int]) -> Pixels:
    """The plane at size (width, height), averaged where it shrinks by two or more."""
    # Averaging by a fractional step takes thirty times as long, and a face is found as well without.
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        plane = _halved(plane)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _halved(plane: Pixels) -> Pixels:
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    even = plane[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _warped(plane: Pixels, matrix: Matrix, size_px: int) -> Pixels:
    """The plane at `matrix @ (x, y, 1)` for each pixel of a square, without aliasing where the square is coarser."""
    scale = math.sqrt(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))
    if scale <= 1:
        return _sampled(plane, matrix, size_px)
    # The blur grows steadily with the scale: a step would flicker in a face that comes nearer.
    variance = (scale**2 - 1) / 4
    plane, matrix = _reached(plane, matrix, size_px)
    while scale > 2 and min(plane.shape) >= 4:
        # Averaging two by two is fast, and blurs by a variance of 1/4.
        plane, matrix = _halved(plane), np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]]) @ matrix
        scale, variance = scale / 2, (variance - 0.25) / 4
    kernel = cv2.getGaussianKernel(5, math.sqrt(variance))
    blurred = cv2.sepFilter2D(plane, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return _sampled(np.asarray(blurred, np.uint8), matrix, size_px)


def _reached(plane: Pixels, matrix: Matrix, size_px: int) -> tuple[Pixels, Matrix]:
    """The part of the plane that the square sees, and the map into it."""
    # in plain numbers: for six of them numpy's calls would take longer than the warp
    (a, b, x), (c, d, y) = matrix[:2].tolist()
    margin = 4 * math.sqrt(abs(a * d - b * c))
    height, width = plane.shape
    left, right = _extent(a * size_px, b * size_px, x, margin, width)
    top, bottom = _extent(c * size_px, d * size_px, y, margin, height)
    into = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    return plane[top:bottom, left:right], into @ matrix


def _extent(along: float, across: float, start: float, margin: float, length: int) -> tuple[int, int]:
    """The samples [first, end) of a row that a square's corners reach, with a margin."""
    ends = start, start + along, start + across, start + along + across
    # A start on a multiple of 16, so that the same pixels are averaged wherever the square lies.
    first = int(min(max(min(ends) - margin, 0), length - 1)) // 16 * 16
    return first, int(min(max(max(ends) + margin, first + 1), length))


def _sampled(plane: Pixels, matrix: Matrix, size_px: int) -> Pixels:
    return np.asarray(
        cv2.warpAffine(
            plane,
            matrix[:2],
            (size_px, size_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )
