"""What can be said of a video file without looking at its pictures: size, rates, codec, key frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FileProperties:
    """One video file; NaN is unknown.

    Attributes:
        size_bytes: of the file.
        duration_s: of the video stream.
        width: coded, in pixels.
        height: coded.
        frame_rate: frames a second, on average.
        bit_rate: of the video stream's packets, in bits a second.
        bits_per_pixel: the same, a pixel of a frame.
        key_interval: frames from one key frame to the next, on average.
        audio: whether there is sound: 0 or 1.
        face_px: width of the face that was judged.
        codec: as FFmpeg calls it.
        container: of the file, by its suffix.
    """

    size_bytes: float
    duration_s: float
    width: float
    height: float
    frame_rate: float
    bit_rate: float
    bits_per_pixel: float
    key_interval: float
    audio: float
    face_px: float
    codec: str
    container: str


NUMBERS = tuple(name for name in FileProperties.__slots__ if name not in {"codec", "container"})
WORDS = ("codec", "container")


def file_properties(path: Path, face_px: float = math.nan) -> FileProperties:
    """Read the packets of a file, not its pictures. A file that cannot be read has a size and a suffix."""
    size, suffix = float(path.stat().st_size), path.suffix.lower()
    try:
        return _read(path, size, suffix, face_px)
    except (av.FFmpegError, IndexError):
        nan = math.nan
        return FileProperties(size, nan, nan, nan, nan, nan, nan, nan, nan, face_px, "unreadable", suffix)


def _read(path: Path, size: float, suffix: str, face_px: float) -> FileProperties:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [(packet.size, packet.is_keyframe) for packet in container.demux(stream) if packet.size]
        context = stream.codec_context
        frames, rate = len(packets), float(stream.average_rate or math.nan)
        duration_s = frames / rate
        bits = 8.0 * sum(length for length, _ in packets)
        pixels = context.width * context.height * frames
        keys = sum(key for _, key in packets)
        return FileProperties(
            size_bytes=size,
            duration_s=duration_s,
            width=float(context.width),
            height=float(context.height),
            frame_rate=rate,
            bit_rate=bits / duration_s if duration_s > 0 else math.nan,
            bits_per_pixel=bits / pixels if pixels else math.nan,
            key_interval=frames / keys if keys else math.nan,
            audio=float(bool(container.streams.audio)),
            face_px=face_px,
            codec=context.name,
            container=suffix,
        )


def as_table(properties: list[FileProperties]) -> npt.NDArray[np.float64]:
    """(N, P): numbers as they are, a column for each codec and container there is; unknown numbers are the median."""
    numbers = np.array([[getattr(one, name) for name in NUMBERS] for one in properties], np.float64)
    numbers = numbers.reshape(-1, len(NUMBERS))
    for column in numbers.T:
        known = column[np.isfinite(column)]
        column[~np.isfinite(column)] = np.median(known) if known.size else 0.0
    words = [
        np.array([getattr(one, name) == value for one in properties], np.float64)
        for name in WORDS
        for value in sorted({getattr(one, name) for one in properties})
    ]
    return np.column_stack([numbers, *words])
