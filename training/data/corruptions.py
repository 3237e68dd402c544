"""What happens to a clip on its way to the viewer: colour, blur, a lower resolution, noise, recompression.

Most faces are smaller in a video than a crop is: noise and codecs worked on fewer pixels, which the crop enlarges. So a
clip that loses resolution gets its noise and codecs there, and is enlarged last; otherwise a forgery would show by
detail that is finer than its video's own. One draw is applied alike to all clips of a pair, so that none of it tells
the real one from the forged one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.forged import REFERENCE_PX, Clip, check_clip
from training.forgeries.grain import add_grain

_LUMA = np.array([0.299, 0.587, 0.114])
_LEAST_PX = 16  # H.264 codes blocks of so many


@dataclass(frozen=True, slots=True)
class CorruptionRanges:
    """How often and how strongly each corruption is applied.

    Attributes:
        untouched: share of draws that leave the clips as they are.
        colour, blur, resize, noise, jpeg, codec: share of the other draws that apply each.
        gamma: least and most exponent.
        saturation, contrast: least and most factor.
        blur_px: least and most standard deviation, in pixels of a crop of 128.
        scale: least and most relative size that a clip is shrunk to before noise and codecs.
        noise_levels: least and most standard deviation in grey levels.
        quality: lowest and highest JPEG quality.
        crf: best and worst constant rate factor of H.264.
        presets: x264 presets, of which one is drawn.
    """

    untouched: float = 0.15
    colour: float = 0.4
    blur: float = 0.25
    resize: float = 0.75
    noise: float = 0.25
    jpeg: float = 0.1
    codec: float = 0.65
    gamma: tuple[float, float] = (0.7, 1.4)
    saturation: tuple[float, float] = (0.5, 1.4)
    contrast: tuple[float, float] = (0.75, 1.25)
    blur_px: tuple[float, float] = (0.4, 2.6)
    scale: tuple[float, float] = (0.25, 0.9)
    noise_levels: tuple[float, float] = (1.0, 30.0)
    quality: tuple[int, int] = (35, 90)
    crf: tuple[int, int] = (18, 40)
    presets: tuple[str, ...] = ("ultrafast", "superfast", "veryfast")

    def __post_init__(self) -> None:
        shares = (self.untouched, self.colour, self.blur, self.resize, self.noise, self.jpeg, self.codec)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"shares of corruptions lie in 0..1, got {shares}")
        if not 0 <= self.crf[0] <= self.crf[1] <= 51:
            raise ValueError(f"crf needs 0 <= best <= worst <= 51, got {self.crf}")


@dataclass(frozen=True, slots=True)
class Codec:
    """One H.264 encoding: constant rate factor, x264 preset, and where the block grid lies over the crop."""

    crf: int
    preset: str
    offset_px: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Corruption:
    """One draw; None leaves that step out. Steps are applied in this order.

    Attributes:
        gamma, saturation, contrast: exponent and factors of the colours; 1 changes nothing.
        blur_px: standard deviation of a Gaussian blur, in pixels of a crop of 128.
        scale: relative size that the clip is shrunk to; what follows happens there, and it is enlarged again last.
        noise_levels: standard deviation of white noise in grey levels.
        noise_seed: which noise.
        quality: JPEG quality.
        codec: H.264 encoding.
    """

    gamma: float = 1.0
    saturation: float = 1.0
    contrast: float = 1.0
    blur_px: float | None = None
    scale: float | None = None
    noise_levels: float | None = None
    noise_seed: int = 0
    quality: int | None = None
    codec: Codec | None = None


def corrupt(
    clips: Sequence[Clip], rng: np.random.Generator, ranges: CorruptionRanges = CorruptionRanges()
) -> list[Clip]:
    """The clips (each (T, S, S, 3) uint8) of a pair, all corrupted by the same draw."""
    corruption = draw(rng, ranges)
    return [apply(clip, corruption) for clip in clips]


def draw(rng: np.random.Generator, ranges: CorruptionRanges = CorruptionRanges()) -> Corruption:
    """Draw what happens to a pair of clips."""
    if rng.random() < ranges.untouched:
        return Corruption()
    # every number is drawn whether it is used or not: a changed share leaves the other draws as they were
    used = rng.random(6) < (
        ranges.colour,
        ranges.blur,
        ranges.resize,
        ranges.noise,
        ranges.jpeg,
        ranges.codec,
    )
    gamma, saturation, contrast = (
        float(np.exp(rng.uniform(*np.log(limits))))
        for limits in (ranges.gamma, ranges.saturation, ranges.contrast)
    )
    blur_px, scale = float(rng.uniform(*ranges.blur_px)), float(rng.uniform(*ranges.scale))
    noise_levels, noise_seed = float(rng.uniform(*ranges.noise_levels)), int(rng.integers(2**31))
    quality = int(rng.integers(ranges.quality[0], ranges.quality[1] + 1))
    codec = Codec(
        crf=int(rng.integers(ranges.crf[0], ranges.crf[1] + 1)),
        preset=ranges.presets[rng.integers(len(ranges.presets))],
        offset_px=(2 * int(rng.integers(8)), 2 * int(rng.integers(8))),
    )
    return Corruption(
        gamma=gamma if used[0] else 1.0,
        saturation=saturation if used[0] else 1.0,
        contrast=contrast if used[0] else 1.0,
        blur_px=blur_px if used[1] else None,
        scale=scale if used[2] else None,
        noise_levels=noise_levels if used[3] else None,
        noise_seed=noise_seed,
        quality=quality if used[4] else None,
        codec=codec if used[5] else None,
    )


def apply(clip: Clip, corruption: Corruption) -> Clip:
    """A clip (T, S, S, 3) after one draw; the clip itself when the draw changes nothing."""
    check_clip(clip)
    side_px = clip.shape[1]
    clip = _recolour(clip, corruption)
    if corruption.blur_px is not None:
        sigma = corruption.blur_px * side_px / REFERENCE_PX
        clip = _each(clip, lambda frame: cv2.GaussianBlur(frame, (0, 0), sigma))
    if corruption.scale is not None:
        clip = _resized(clip, max(_LEAST_PX, round(side_px * corruption.scale)), cv2.INTER_AREA)
    if corruption.noise_levels is not None:
        clip = add_grain(clip, np.random.default_rng(corruption.noise_seed), corruption.noise_levels)
    if corruption.quality is not None:
        clip = _jpeg(clip, corruption.quality)
    if corruption.codec is not None:
        clip = recompress(clip, corruption.codec)
    return clip if clip.shape[1] == side_px else _resized(clip, side_px, cv2.INTER_LINEAR)


def recompress(clip: Clip, codec: Codec) -> Clip:
    """Encode the clip as H.264 (4:2:0) in memory and decode it again."""
    side_px = clip.shape[1]
    left, top = codec.offset_px
    # the encoder's block grid falls on a face anywhere; chroma wants even sizes
    right, bottom = (-left - side_px) % 2, (-top - side_px) % 2
    padded = (cv2.copyMakeBorder(frame, top, bottom, left, right, cv2.BORDER_REPLICATE) for frame in clip)
    planes = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8) for frame in padded]
    decoded = _decode(_encode(planes, codec))
    if len(decoded) != len(clip):
        raise RuntimeError(f"{len(clip)} frames were encoded with {codec}, {len(decoded)} came back")
    back = (cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420) for frame in decoded)
    return np.stack([np.asarray(f, np.uint8)[top : top + side_px, left : left + side_px] for f in back])


def _encode(planes: list[NDArray[np.uint8]], codec: Codec) -> list[av.Packet[av.VideoStream]]:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = planes[0].shape[0] * 2 // 3, planes[0].shape[1]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.thread_count = 1  # threads would make the bits depend on the machine
    # x264's fastest code does not give the same bits twice on every CPU, and a draw must replay
    encoder.options = {
        "crf": str(codec.crf),
        "preset": codec.preset,
        "x264-params": "mbtree=0:cpu-independent=1",
    }
    packets: list[av.Packet[av.VideoStream]] = []
    for index, plane in enumerate(planes):
        frame = av.VideoFrame.from_ndarray(plane, format="yuv420p")
        frame.pts = index
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def _decode(packets: list[av.Packet[av.VideoStream]]) -> list[NDArray[np.uint8]]:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    return [np.asarray(frame.to_ndarray(), np.uint8) for frame in frames]


def _each(clip: Clip, change: Callable[[Clip], cv2.typing.MatLike]) -> Clip:
    return np.stack([np.asarray(change(frame), np.uint8) for frame in clip])


def _recolour(clip: Clip, corruption: Corruption) -> Clip:
    if corruption.gamma == corruption.saturation == corruption.contrast == 1:
        return clip
    saturation, contrast = corruption.saturation, corruption.contrast
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    matrix = np.hstack([contrast * mix, np.full((3, 1), 128 * (1 - contrast))])
    curve = np.rint(255 * (np.arange(256) / 255) ** corruption.gamma).astype(np.uint8)
    tall = clip.reshape(-1, clip.shape[2], 3)  # one picture of all frames: one call
    return np.asarray(cv2.LUT(cv2.transform(tall, matrix), curve), np.uint8).reshape(clip.shape)


def _resized(clip: Clip, side_px: int, interpolation: int) -> Clip:
    return _each(clip, lambda frame: cv2.resize(frame, (side_px, side_px), interpolation=interpolation))


def _jpeg(clip: Clip, quality: int) -> Clip:
    def change(frame: Clip) -> cv2.typing.MatLike:
        code = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)

    return _each(clip, change)
