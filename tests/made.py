"""Small videos made for tests. Their frames carry their own number: a test knows which one came back."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer

from dmcl_sdk.frame import Frame, Geometry
from dmcl_sdk.frame import Picture as PixelsOfFrame

Picture = npt.NDArray[np.uint8]
Painter = Callable[[int, int, int], Picture]

_WITH_B_FRAMES = {"libx264", "libx265", "mpeg2video"}
_DARK, _BRIGHT = 50, 200
_COLUMNS, _ROWS = 4, 3


def numbered(index: int, width: int, height: int) -> Picture:
    """RGB (height, width, 3): the twelve bits of `index` as dark and bright blocks, row by row."""
    bits = (index >> np.arange(_COLUMNS * _ROWS)) & 1
    blocks = np.where(bits, _BRIGHT, _DARK).astype(np.uint8).reshape(_ROWS, _COLUMNS)
    rows = np.arange(height) * _ROWS // height
    columns = np.arange(width) * _COLUMNS // width
    return blocks[rows][:, columns, None].repeat(3, 2)


def number_of(frame: Frame) -> int:
    """The number that `numbered` painted into a frame that is displayed as it was painted."""
    luma = frame.image(96).mean(2)
    rows = (2 * np.arange(_ROWS) + 1) * luma.shape[0] // (2 * _ROWS)
    columns = (2 * np.arange(_COLUMNS) + 1) * luma.shape[1] // (2 * _COLUMNS)
    bits = luma[rows][:, columns].ravel() > (_DARK + _BRIGHT) / 2
    return int((bits << np.arange(bits.size)).sum())


CORNERS = {
    "top left": (200, 40, 40),
    "top right": (40, 180, 40),
    "bottom left": (40, 40, 200),
    "bottom right": (210, 210, 210),
}


def cornered(_index: int, width: int, height: int) -> Picture:
    """RGB (height, width, 3): a colour of its own in each quarter (`CORNERS`)."""
    picture = np.empty((height, width, 3), np.uint8)
    for name, colour in CORNERS.items():
        rows = slice(0, height // 2) if name.startswith("top") else slice(height // 2, height)
        columns = slice(0, width // 2) if name.endswith("left") else slice(width // 2, width)
        picture[rows, columns] = colour
    return picture


def smooth(index: int, width: int, height: int) -> Picture:
    """RGB (height, width, 3): slow waves of colour, the same to a fine and to a coarse reader."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / 9 + index / 5), np.sin(y / 11 + 1), np.sin((x + y) / 13 + 2)]
    return np.stack([128 + 70 * wave for wave in waves], 2).round().astype(np.uint8)


def textured(index: int, width: int, height: int) -> Picture:
    """RGB (height, width, 3): coarse noise that slides with `index`: work for an encoder, cheap to draw."""
    blocks = np.random.default_rng(7).integers(40, 216, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    moved = np.roll(blocks, index, 1)
    return moved.repeat(8, 0)[:height].repeat(8, 1)[:, :width]


def make_video(
    frames: int = 24,
    *,
    width: int = 96,
    height: int = 72,
    painter: Painter = numbered,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    container: str = "mp4",
    fps: Fraction | int = 25,
    times_s: Sequence[Fraction] | None = None,
    gop: int = 12,
    b_frames: int = 2,
    rotation: int = 0,
    sample_aspect: Fraction | None = None,
    colour: tuple[int, int] | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    audio_s: float = 0.0,
) -> bytes:
    """A video file, in memory.

    Args:
        painter: draws frame `index` as RGB (height, width, 3).
        times_s: presentation times, one a frame; `index / fps` without.
        gop: frames from one key frame to the next.
        rotation: degrees clockwise by which a player has to turn the picture.
        colour: number of the YUV matrix (1: 709, 5: 601, 9: 2020) and of the range (1: limited, 2: full).
        options: of the encoder.
        muxer: options of the container.
        audio_s: seconds of a second stream with silence.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A path and not a buffer, because `faststart` reads back what it wrote.
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container, options=muxer or {}) as output:
            stream = output.add_stream(codec, rate=Fraction(fps), options=_encoder_options(codec, options))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            stream.codec_context.gop_size = gop
            # x265 gives the only B-frame of a very short file no decoding time.
            stream.codec_context.max_b_frames = b_frames if codec in _WITH_B_FRAMES and frames > 4 else 0
            if sample_aspect is not None:
                stream.codec_context.sample_aspect_ratio = sample_aspect
            if colour is not None:
                stream.codec_context.colorspace, stream.codec_context.color_range = colour
            if times_s is not None:
                stream.codec_context.time_base = Fraction(1, 90_000)
            if rotation:
                stream.set_display_rotation(-rotation)
            audio = output.add_stream("aac", rate=48_000) if audio_s else None
            for index in range(frames):
                frame = _encodable(painter(index, width, height), pixel_format, colour)
                if times_s is None:
                    frame.pts, frame.time_base = index, 1 / Fraction(fps)
                else:
                    frame.pts, frame.time_base = int(times_s[index] * 90_000), Fraction(1, 90_000)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
            if audio is not None:
                _mux_silence(output, audio, audio_s)
        return path.read_bytes()


def frame_of(rgb: Picture, *, index: int = 0, fps: float = 25.0, continuous: bool = True) -> Frame:
    """A frame that shows RGB (height, width, 3), without a file around it."""
    yuv = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
        format="yuv444p", dst_colorspace=5, dst_color_range=1
    )
    y, u, v = yuv.to_ndarray()
    height, width = rgb.shape[:2]
    picture = PixelsOfFrame((y, u, v), Geometry(width, height, chroma_step=(1, 1)))
    return Frame(index, index / fps, (index + 1) / fps, width, height, continuous, picture)


class Pipe:
    """A binary file object that can be read once, from front to back, like a socket."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        """At most a thousand bytes at a time."""
        return self._file.read(min(size, 1000) if size >= 0 else 1000)

    def seekable(self) -> bool:
        """A socket has no way back."""
        return False


def scribbled(data: bytes, start: float, end: float, *, flips: int = 20, seed: int = 0) -> bytes:
    """The data with bytes changed at random, from one share of its length to another."""
    rng = np.random.default_rng(seed)
    array = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(int(start * len(data)), int(end * len(data)), flips)
    array[where] ^= rng.integers(1, 256, flips, dtype=np.uint8)
    return array.tobytes()


def trimmed(mp4: bytes, frames: int, *, fps: int = 25) -> bytes:
    """An MP4 of `make_video` whose edit list begins the presentation `frames` later."""
    at = mp4.index(b"elst") + 12
    duration, media_time = struct.unpack(">Ii", mp4[at : at + 8])
    with av.open(io.BytesIO(mp4)) as container:
        ticks = int(1 / (fps * (container.streams.video[0].time_base or 1)))
    later = struct.pack(">Ii", duration - frames * 1000 // fps, media_time + frames * ticks)
    return mp4[:at] + later + mp4[at + 8 :]


def make_audio(seconds: float = 1.0, container: str = "mp4") -> bytes:
    """A file with silence and no picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        _mux_silence(output, output.add_stream("aac", rate=48_000), seconds)
    return buffer.getvalue()


def _mux_silence(output: OutputContainer, stream: AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 48_000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, start
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _encoder_options(codec: str, options: dict[str, str] | None) -> dict[str, str]:
    given = dict(options or {})
    if codec == "libx264":
        # x264's fastest code makes a different file every time; with this flag, the same.
        given["x264-params"] = (
            f"threads=1:scenecut=0:cpu-independent=1:{given.get('x264-params', '')}".rstrip(":")
        )
    fast = {
        "libx264": {"preset": "veryfast", "crf": "16"},
        "libx265": {
            "preset": "ultrafast",
            "crf": "16",
            "x265-params": "log-level=none:pools=none:frame-threads=1:no-wpp=1",
        },
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "16", "b": "0"},
        "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "2M"},
        "libsvtav1": {"preset": "12", "crf": "20", "svtav1-params": "lp=1"},
        "mjpeg": {"qmin": "2", "qmax": "3"},
        "mpeg2video": {"b": "4M"},
        "mpeg4": {"b": "4M"},
    }
    return fast.get(codec, {}) | given


def _encodable(picture: Picture, pixel_format: str, colour: tuple[int, int] | None) -> av.VideoFrame:
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    matrix, levels = colour or (5, 1)
    return rgb.reformat(format=pixel_format, dst_colorspace=matrix, dst_color_range=levels, threads=1)
