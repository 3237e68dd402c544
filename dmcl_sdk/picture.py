"""A decoder's frame as 8-bit planes, with their orientation and colours."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from dmcl_sdk.frame import Geometry, Picture, Pixels, Standard

# ISO/IEC 23091-2, MatrixCoefficients.
_STANDARDS: dict[int, Standard] = {1: "709", 4: "601", 5: "601", 6: "601", 7: "240m", 9: "2020", 10: "2020"}
_COLORSPACES = {"601": "ITU601", "709": "ITU709", "2020": "BT2020", "240m": "SMPTE240M"}

# Without these flags the result depends on what the processor can do.
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

# Planar 8-bit formats that can be read as they are: luma columns and rows to one chroma sample.
_CHROMA_STEPS: dict[str, tuple[int, int]] = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuv422p": (2, 1),
    "yuvj422p": (2, 1),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
}


class PictureReader:
    """Turns decoded frames into pictures: 8-bit planes, their orientation and colours."""

    def __init__(self, stream: VideoStream) -> None:
        aspect = stream.sample_aspect_ratio
        # Nobody makes samples ten times as wide as high; a damaged header does.
        self._pixel_aspect = float(aspect) if aspect and Fraction(1, 10) <= aspect <= 10 else 1.0
        self._chroma_x = 0.5 if stream.codec_context.name == "mjpeg" else 0.0
        self._reformatter = VideoReformatter()
        self._turn: tuple[int, tuple[int, int, int, int]] | None = None

    def read(self, raw: VideoFrame) -> Picture:
        """The pixels of a frame: the decoder's own planes, or a copy where those are not 8-bit planar YUV.

        Raises:
            av.FFmpegError: nothing converts this pixel format.
        """
        standard, full_range = _standard(raw), _is_full_range(raw)
        shown, name = raw, raw.format.name
        if raw.format.is_rgb or raw.format.has_palette:
            standard, full_range, name = "709", False, "yuv444p"
            shown = self._reformatter.reformat(
                raw,
                format=name,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=_EXACT,
                threads=1,
            )
        elif name not in _CHROMA_STEPS:
            name = _nearest_planar(raw)
            shown = self._same_colours(raw, name, standard, full_range=full_range)
        y, u, v = (_pixels(plane) for plane in shown.planes[:3])
        geometry = Geometry(
            coded_width=raw.width,
            coded_height=raw.height,
            pixel_aspect=self._pixel_aspect,
            turn=self._turned(raw),
            first_field=raw.interlaced_frame,
            chroma_step=_CHROMA_STEPS[name],
            chroma_x=self._chroma_x,
        )
        return Picture((y, u, v), geometry, standard, full_range)

    def _turned(self, raw: VideoFrame) -> tuple[int, int, int, int]:
        # A frame that was asked for its side data is in a cycle with it, and holds its pixels until the next
        # collection: a hundred frames at a time. So only the first is asked, and those that say otherwise.
        if self._turn is None or self._turn[0] != raw.rotation:
            self._turn = raw.rotation, _turn(raw)
        return self._turn[1]

    def _same_colours(
        self, raw: VideoFrame, name: str, standard: Standard, *, full_range: bool
    ) -> VideoFrame:
        # Said on both sides, so that nothing but the format changes.
        colours = Colorspace[_COLORSPACES[standard]]
        levels = ColorRange.JPEG if full_range else ColorRange.MPEG
        return self._reformatter.reformat(
            raw,
            format=name,
            src_colorspace=colours,
            dst_colorspace=colours,
            src_color_range=levels,
            dst_color_range=levels,
            interpolation=_EXACT,
            threads=1,
        )


def _nearest_planar(raw: VideoFrame) -> str:
    if raw.format.chroma_height(8) < 8:
        return "yuv420p"
    return "yuv422p" if raw.format.chroma_width(8) < 8 else "yuv444p"


def _pixels(plane: VideoPlane) -> Pixels:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, abs(plane.line_size))[
        :, : plane.width
    ]
    # A negative line size stands for rows from the bottom up.
    return np.ascontiguousarray(rows[::-1]) if plane.line_size < 0 else rows


def _standard(raw: VideoFrame) -> Standard:
    # Where a file does not say, players go by its size.
    large = max(raw.width, raw.height) > 1024 or min(raw.width, raw.height) > 576
    return _STANDARDS.get(raw.colorspace, "709" if large else "601")


def _is_full_range(raw: VideoFrame) -> bool:
    if raw.color_range in (ColorRange.MPEG, ColorRange.JPEG):
        return raw.color_range == ColorRange.JPEG
    return raw.format.name.startswith(("yuvj", "gray"))


def _turn(raw: VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix as the nearest of the eight ways to lay a picture down."""
    if not raw.side_data:
        return 1, 0, 0, 1
    matrix = cast("Buffer | None", raw.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return 1, 0, 0, 1
    # x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12, 8.3.2), in rows of three.
    a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (1 if a >= 0 else -1), 0, 0, (1 if d >= 0 else -1)
    return 0, (1 if c >= 0 else -1), (1 if b >= 0 else -1), 0
