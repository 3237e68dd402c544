"""Optical flow with the head's own motion removed: what moves in a face besides the face.

Motion is taken of smaller pictures than the crop, M = S / shrink a side: the noise of single pixels is averaged away
before it is matched, and nothing finer than its 4-pixel grid would come back anyway. For every frame t and every
baseline k: flow from frame t to frame t-k (DIS), minus a robust affine fit (the head's rigid motion and the crop's
own), and the signed temporal difference along the flow, which sees flicker and boiling texture that no flow shows. A
frame's answer depends on frames t and t-k alone, so any chunking of a run gives the same numbers, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Crops = npt.NDArray[np.uint8]
"""RGB crops of one run, (T, S, S, 3)."""
MotionFields = npt.NDArray[np.int8]
"""(T, 4K, M, M) with K baselines; per baseline: right, down, difference, validity."""
Flow = npt.NDArray[np.float32]

CHANNELS_PER_BASELINE = 4
QUANTUM = 1 / 24
"""One step of the stored integers, in units of the compressed value g(v); a validity of 1 is 1 / QUANTUM."""
FLOW_SCALE_PX = 0.25  # halves of a pixel of the pictures that motion is taken of
DIFFERENCE_SCALE = 4.0  # grey levels
_ROBUST_STEPS = 3
_ROBUST_PX = 0.25  # residual at which a pixel's say in the rigid fit has halved
_GRID = 2  # every fourth pixel is plenty for six numbers
_BLOCK_FRAMES = 8  # whose arrays stay in a processor's cache
_VALID = np.int8(round(1 / QUANTUM))


@dataclass(frozen=True, slots=True)
class MotionSpec:
    """Which frames are compared, and how large.

    Attributes:
        baselines: distances in frames, ascending.
        shrink: the crop's side over that of the pictures that motion is taken of.
    """

    baselines: tuple[int, ...] = (1, 4, 15)
    shrink: int = 2

    def __post_init__(self) -> None:
        if self.shrink < 1:
            raise ValueError(f"shrink is at least 1, got {self.shrink}")
        if not self.baselines or list(self.baselines) != sorted(set(self.baselines)) or self.baselines[0] < 1:
            raise ValueError(f"baselines are distinct, ascending and at least 1, got {self.baselines}")

    @property
    def channels(self) -> int:
        """Channels a frame: 4K."""
        return CHANNELS_PER_BASELINE * len(self.baselines)

    @property
    def history(self) -> int:
        """Earlier frames that a frame's motion looks back on."""
        return self.baselines[-1]

    def luma(self, crop: Crops) -> Crops:
        """The small grey picture (M, M) that motion is taken from, of one crop (S, S, 3)."""
        grey, share = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), 1 / self.shrink
        small = cv2.resize(grey, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        return small.astype(np.uint8, copy=False)

    def pixels(self, stored: MotionFields) -> Flow:
        """Flow as it is stored, of any shape, in pixels of the crop."""
        return expand(stored, FLOW_SCALE_PX) * np.float32(self.shrink / 2)


def compress(values: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.int8]:
    """Store sign(v) log(1 + |v| / scale) as integers of `QUANTUM`: fine near zero, coarse far away."""
    # log(1 + x) is eight times faster than log1p(x), and as good to within a hundred-thousandth of a QUANTUM
    levels = np.abs(values)
    levels *= np.float32(1 / scale)
    levels += np.float32(1)
    np.log(levels, out=levels)
    levels *= np.float32(1 / QUANTUM)
    np.rint(np.minimum(levels, np.float32(127), out=levels), out=levels)
    return np.asarray(np.copysign(levels, values, out=levels), np.int8)


def expand(stored: npt.NDArray[np.int8], scale: float) -> npt.NDArray[np.float32]:
    """The values that `compress` stored, to within half a `QUANTUM` of the compressed value."""
    levels = stored.astype(np.float32) * np.float32(QUANTUM)
    return np.asarray(np.sign(levels) * np.expm1(np.abs(levels)) * np.float32(scale), np.float32)


def motion_fields(crops: Crops, spec: MotionSpec, *, skip: int = 0) -> MotionFields:
    """Motion of each frame of a run against its past.

    Args:
        crops: consecutive crops of one run, (T, S, S, 3).
        spec: the baselines.
        skip: frames at the start that serve as past only. A frame whose partner t-k lies before the first
            crop given has no motion at that baseline: zeros, and validity 0.

    Returns:
        (T - skip, 4K, M, M).
    """
    return MotionEstimator(spec).of(crops, skip=skip)


@dataclass
class MotionEstimator:
    """Holds the flow estimator's buffers; one per thread."""

    spec: MotionSpec
    _flow: cv2.DISOpticalFlow = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._flow.setFinestScale(0)  # the preset's 2 does not see slow motion
        self._flow.setGradientDescentIterations(12)
        self._flow.setVariationalRefinementIterations(0)  # half the time, for a tenth of the error

    def of(self, crops: Crops, *, skip: int = 0) -> MotionFields:
        """`motion_fields`, with the buffers that are held."""
        return self.fields(np.stack([self.spec.luma(crop) for crop in crops]), skip=skip)

    def fields(self, grey: Crops, *, skip: int = 0) -> MotionFields:
        """The same as `motion_fields`, from the pictures of `MotionSpec.luma`, (T, M, M)."""
        frames, baselines, size = len(grey) - skip, len(self.spec.baselines), grey.shape[1]
        out = np.zeros((frames, baselines, CHANNELS_PER_BASELINE, size, size), np.int8)
        for first in range(0, frames, _BLOCK_FRAMES):
            self._block(grey, skip + first, out[first : first + _BLOCK_FRAMES])
        return out.reshape(frames, -1, size, size)

    def _block(self, grey: Crops, first: int, out: npt.NDArray[np.int8]) -> None:
        """Frames from `first` on, into (T, K, 4, M, M), whose zeros stay where there is no partner.

        A block is computed at its full length, and what is not there of zeros: arrays of one shape make for one
        order of summation, and so for the same bits wherever a block begins.
        """
        baselines, rigid = self.spec.baselines, _rigid_fit(grey.shape[1])
        flow = np.zeros((_BLOCK_FRAMES, len(baselines), 2, *grey.shape[1:]), np.float32)  # (T, K, 2, M, M)
        for t, slot in np.ndindex(out.shape[:2]):
            if first + t < baselines[slot]:
                continue
            now, then = grey[first + t], grey[first + t - baselines[slot]]
            pair = np.asarray(self._flow.calc(now, then, None), np.float32)  # type: ignore[call-overload]
            warped = cv2.remap(
                then, rigid.pixels + pair, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )  # type: ignore[call-overload]
            flow[t, slot] = pair.transpose(2, 0, 1)
            out[t, slot, 2] = _DIFFERENCES[now.astype(np.int16) - warped]  # negative ones count from the end
            out[t, slot, 3] = cv2.inRange(pair, *rigid.inside).view(np.int8) & _VALID  # of 0 and -1
        own = self._own_motion(flow.reshape(-1, *flow.shape[2:])).reshape(flow.shape)
        out[:, :, :2] = compress(own[: len(out)] * 2, FLOW_SCALE_PX)

    def _own_motion(self, flow: Flow) -> Flow:
        """Flows (N, 2, M, M) without the head's rigid motion."""
        return flow - _rigid_fit(flow.shape[-1]).motion(flow)


class _RigidFit:
    """Robust affine motion of the face: least squares, reweighted by each pixel's distance from the fit."""

    def __init__(self, size: int) -> None:
        ys, xs = np.mgrid[:size, :size].astype(np.float32)
        self.pixels: Flow = np.stack([xs, ys], -1)  # (M, M, 2)
        self.inside = -self.pixels, size - 1 - self.pixels  # least and largest flow that ends inside the crop
        unit = self.pixels / np.float32(size / 2) - 1
        design = np.concatenate([unit, np.ones((size, size, 1), np.float32)], -1)  # (M, M, 3)
        self._design = np.ascontiguousarray(design.reshape(-1, 3).T)  # (3, M * M)
        self._sample = np.ascontiguousarray(design[::_GRID, ::_GRID].reshape(-1, 3).T)  # (3, n)
        # the background moves on its own: only the face ellipse of the aligned crop votes
        centre, radius = np.array([[0.0], [0.1]], np.float32), np.array([[0.55], [0.8]], np.float32)
        votes = (((self._sample[:2] - centre) / radius) ** 2).sum(0) < 1
        self._sample, self._votes = self._sample[:, votes], votes

    def motion(self, flow: Flow) -> Flow:
        """The affine motion that explains most of the face's flow, for N flows at once: (N, 2, M, M) of both."""
        target = flow[:, :, ::_GRID, ::_GRID].reshape(len(flow), 2, -1)[..., self._votes]  # (N, 2, n)
        weight = np.ones((len(flow), target.shape[-1]), np.float32)
        fit = np.zeros((len(flow), 2, 3), np.float32)
        for _ in range(_ROBUST_STEPS):
            weighted = weight[:, None] * self._sample  # (N, 3, n)
            normal = weighted @ self._sample.T  # (N, 3, 3), symmetric
            fit = np.linalg.solve(normal, weighted @ target.transpose(0, 2, 1)).transpose(0, 2, 1)
            off = target - fit @ self._sample
            off *= off
            weight = 1 / (1 + (off[:, 0] + off[:, 1]) / np.float32(_ROBUST_PX**2))
        return np.asarray(fit @ self._design, np.float32).reshape(flow.shape)


@lru_cache(maxsize=4)
def _rigid_fit(size: int) -> _RigidFit:
    return _RigidFit(size)


_DIFFERENCES = compress(np.roll(np.arange(-255, 256, dtype=np.float32), 256), DIFFERENCE_SCALE)
"""What each difference of two grey levels is stored as: those from 0 to 255, then those from -255 to -1."""


def as_values(fields: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Compressed values g(v) and validity 0..1 from the stored integers."""
    return fields.astype(np.float32) * np.float32(QUANTUM)
