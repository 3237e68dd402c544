"""The seven perturbations of DeeperForensics-1.0 at five levels each, applied to whole videos.

Kinds and levels are those of L. Jiang et al., "DeeperForensics-1.0: A Large-Scale Dataset for Real-World Face Forgery
Detection", CVPR 2020, as published with its perturbation tool; the code is ours. Pictures are perturbed as displayed,
before any face is looked for, and encoded again with next to no loss; compression alone is an encoding itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import av
import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.video import open_video

Picture = npt.NDArray[np.uint8]
Kind = Literal["saturation", "contrast", "block", "noise", "blur", "pixelate", "compression"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LEVELS: MappingProxyType[Kind, tuple[float, ...]] = MappingProxyType(
    {
        "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),  # factor of the chroma
        "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),  # factor of the picture: towards black
        "block": (16, 32, 48, 64, 80),  # grey squares of 8 px, for every 256 px of the shorter side
        "noise": (0.001, 0.002, 0.005, 0.01, 0.05),  # variance in Y, Cb and Cr, where 1 is all 256 codes
        "blur": (7, 9, 13, 17, 21),  # kernel in px; the standard deviation is a sixth of it
        "pixelate": (2, 3, 4, 5, 6),  # shrunk by this factor and enlarged again
        "compression": (30, 32, 35, 38, 40),  # constant rate factor of H.264
    }
)
"""What the five levels are, from mild to severe."""

_LUMA = np.array([0.299, 0.587, 0.114])
# BT.601 from codes of limited range, where luma spans 219 and chroma 224 of them.
_RGB_OF_YCBCR = np.array([[1.164, 0.0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0.0]], np.float32)
_BLOCK_PX = 8
_TICKS = Fraction(1, 90_000)
_BT601, _LIMITED = 5, 1  # a file that does not say would be taken for BT.709 if it is large
_NEAR_LOSSLESS = {"crf": "10", "preset": "veryfast"}
_SAME_BITS = {"threads": "1", "x264-params": "cpu-independent=1:mbtree=0"}


def perturb_video(source: Path, target: Path, kind: Kind, level: int) -> None:
    """Write the video as H.264 after one perturbation; frames keep their times. The same call, the same bits.

    Frames come as the detector reads them: turned, of square pixels, and thinned out above 32 a second.

    Args:
        source: any video.
        target: an .mp4 file.
        kind: one of `KINDS`.
        level: 1 to 5.

    Raises:
        VideoError: the source is not a video.
    """
    strength = LEVELS[kind][_checked(level) - 1]
    rng = np.random.default_rng([level, zlib.crc32(f"{kind} {source.name}".encode())])
    if kind == "compression":
        _write(source, target, lambda picture: picture, {"crf": str(round(strength)), "preset": "medium"})
    else:
        _write(source, target, lambda picture: perturb(picture, kind, level, rng), _NEAR_LOSSLESS)


def perturb(picture: Picture, kind: Kind, level: int, rng: np.random.Generator) -> Picture:
    """One RGB picture (H, W, 3) after one perturbation; blocks and noise are drawn anew for every picture.

    Raises:
        ValueError: there is no such level, or the kind is one that only a whole video can have.
    """
    strength = LEVELS[kind][_checked(level) - 1]
    match kind:
        case "saturation":
            return _desaturated(picture, strength)
        case "contrast":
            return np.asarray(picture * strength, np.uint8)
        case "block":
            return _blocked(picture, round(strength), rng)
        case "noise":
            return _noisy(picture, strength, rng)
        case "blur":
            side = round(strength)
            return np.asarray(cv2.GaussianBlur(picture, (side, side), side / 6), np.uint8)
        case "pixelate":
            return _pixelated(picture, round(strength))
        case "compression":
            raise ValueError("compression is of a video: use perturb_video")


def _checked(level: int) -> int:
    if level not in range(1, 6):
        raise ValueError(f"levels are 1 to 5, got {level}")
    return level


def _desaturated(picture: Picture, factor: float) -> Picture:
    mix = factor * np.eye(3) + (1 - factor) * np.tile(_LUMA, (3, 1))
    return np.asarray(cv2.transform(picture, mix), np.uint8)


def _blocked(picture: Picture, count: int, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    changed = picture.copy()
    corners = rng.integers(0, (max(1, height - _BLOCK_PX), max(1, width - _BLOCK_PX)), size=(
        count * max(1, min(height, width) // 256), 2,
    ))  # fmt: skip
    for top, left in corners:
        changed[top : top + _BLOCK_PX, left : left + _BLOCK_PX] = 128
    return changed


def _noisy(picture: Picture, variance: float, rng: np.random.Generator) -> Picture:
    codes = rng.standard_normal(picture.shape, np.float32) * np.float32(256 * np.sqrt(variance))
    return np.asarray(np.clip(picture + codes @ _RGB_OF_YCBCR.T, 0, 255), np.uint8)


def _pixelated(picture: Picture, factor: int) -> Picture:
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (max(1, width // factor), max(1, height // factor)))
    return np.asarray(cv2.resize(small, (width, height)), np.uint8)


def _write(source: Path, target: Path, change: Callable[[Picture], Picture], quality: dict[str, str]) -> None:
    with open_video(source) as frames, av.open(target, "w", format="mp4") as container:
        rate = frames.info.frame_rate or 25
        stream = container.add_stream("libx264", rate=rate, options=quality | _SAME_BITS)
        stream.codec_context.time_base = _TICKS
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = _BT601, _LIMITED
        for frame in frames:
            picture = _even(change(frame.image(max(frame.width, frame.height))))
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            encoded = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=_BT601, dst_color_range=_LIMITED, threads=1
            )
            encoded.pts, encoded.time_base = round(frame.start_s / _TICKS), _TICKS
            container.mux(stream.encode(encoded))
        container.mux(stream.encode())


def _even(picture: Picture) -> Picture:
    """H.264 stores colour for two by two pixels."""
    height, width = picture.shape[:2]
    if height % 2 == width % 2 == 0:
        return picture
    return np.asarray(
        cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8
    )
