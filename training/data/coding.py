"""Face crops as H.264 in Matroska, some twenty times smaller than they are, and back.

Coded finely (docs/decisions/0031 says how finely, and why): full range, colour at full resolution, and colours
converted here, in exact arithmetic. The same crops make the same bytes, on whatever processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

Crop = npt.NDArray[np.uint8]

CODING = "x264 crf8 psnr fast yuv444p bt709 full"
_OPTIONS = {
    "crf": "8",
    "preset": "fast",
    "tune": "psnr",  # bits go where pixels differ, not where eyes look
    "x264-params": "threads=1:cpu-independent=1",
}
_ONE = 1 << 16
_BT709 = np.array([[0.2126, 0.7152, 0.0722], [-0.114572, -0.385428, 0.5], [0.5, -0.454153, -0.045847]])
# whole numbers in float64: products and sums are exact, whatever computes them
_TO_YUV = np.round(_BT709.T * _ONE)
_TO_RGB = np.round(np.linalg.inv(_BT709).T * _ONE)
_MIDDLE = np.array([0.0, 128.0, 128.0])


def encode(runs: Iterable[Iterable[Crop]], file: IO[bytes], *, side_px: int, still: bool = False) -> None:
    """Write runs of crops one after another, each from a key frame on.

    Args:
        runs: of crops, RGB uint8 (S, S, 3).
        file: to write to.
        side_px: S.
        still: whether every crop is a picture of its own, which no other helps to tell.
    """
    with av.open(file, "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=25, options=_OPTIONS | ({"g": "1"} if still else {}))
        stream.width = stream.height = side_px
        stream.pix_fmt = "yuv444p"
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.JPEG
        for run in runs:
            for number, crop in enumerate(run):
                yuv = _converted(crop, _TO_YUV) + _MIDDLE
                frame = av.VideoFrame.from_ndarray(_planes(yuv), format="yuv444p")
                if number == 0:
                    frame.pict_type = PictureType.I
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def decode(file: IO[bytes], *, side_px: int) -> Iterator[Crop]:
    """The crops of all runs, in order, RGB uint8 (S, S, 3).

    Nothing is read but Matroska, nothing decoded but H.264 of this size: the file may be anybody's.

    Raises:
        ValueError: it is something else, or damaged.
    """
    limit = {"max_pixels": str(2 * side_px**2 + 2**16)}  # decoders count their padding too
    try:
        with av.open(file, "r", format="matroska", options=limit) as container:
            stream = container.streams.video[0] if container.streams.video else None
            if stream is None or not _as_encoded(stream, side_px):
                raise ValueError(f"these are no crops of {side_px} x {side_px} pixels in H.264")
            stream.codec_context.thread_count, stream.codec_context.options = 1, limit
            for frame in container.decode(stream):
                if frame.is_corrupt or (frame.width, frame.height, frame.format.name) != _shape(side_px):
                    raise ValueError("a crop is damaged")
                yuv = frame.to_ndarray().transpose(1, 2, 0)
                yield _rounded(_converted(yuv - _MIDDLE, _TO_RGB))
    except av.FFmpegError as error:
        raise ValueError(f"the crops cannot be decoded: {error}") from error


def psnr_db(squared_error: float) -> float:
    """Peak signal-to-noise ratio of 8-bit values, from their mean squared error; 99 where there is none."""
    return 99.0 if squared_error == 0 else float(10 * np.log10(255**2 / squared_error))


def _converted(pixels: npt.NDArray[np.generic], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(S, S, 3) in other colours."""
    converted: npt.NDArray[np.float64] = pixels.astype(np.float64) @ matrix / _ONE
    return converted


def _rounded(pixels: npt.NDArray[np.float64]) -> Crop:
    return np.floor(pixels.clip(0, 255) + 0.5).astype(np.uint8)


def _planes(yuv: npt.NDArray[np.float64]) -> Crop:
    return np.ascontiguousarray(_rounded(yuv).transpose(2, 0, 1))


def _shape(side_px: int) -> tuple[int, int, str]:
    return side_px, side_px, "yuvj444p"  # as the decoder calls 4:4:4 of full range


def _as_encoded(stream: VideoStream, side_px: int) -> bool:
    context = stream.codec_context
    return context.name == "h264" and (context.width, context.height) == (side_px, side_px)
