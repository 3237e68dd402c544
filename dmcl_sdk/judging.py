"""From crops to frame curves: chunks of runs through motion and network, in a fixed amount of memory."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from dmcl_sdk.localization import stitch
from dmcl_sdk.motion import MotionEstimator
from dmcl_sdk.network import ModelSpec, Network
from dmcl_sdk.sighting import Sightings
from dmcl_sdk.tracking import CropSizes, FaceCrop, TrackerOutput

CHUNK_FRAMES = 192  # what the network holds at once grows with it; what it computes twice shrinks
OVERLAP_FRAMES = (
    32  # the longest span twice: a frame in the middle of the overlap sees whole windows on both sides
)
LEAST_FRAMES = 16  # the longest span once
_TAIL_FRAMES = 24
_MOTION_FRAMES = 8  # that motion is taken of at once
_WAITING_CROPS = 160  # what comes of decoding while the network answers for a chunk

Floats = npt.NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class JudgedRun:
    """A finished run.

    Attributes:
        track_id: whose face.
        sightings: N, in order of time.
        logits: (N, 3), the fused, RGB and flow logit of every frame; None where the run was too short.
        alignments: (N, 4), `FaceCrop.alignment` of every frame: where to cut it again; None where it was not kept.
    """

    track_id: int
    sightings: Sightings
    logits: npt.NDArray[np.float32] | None
    alignments: Floats | None = None


@dataclass(slots=True)
class Stopwatch:
    """Wall seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, stage: str, work: Callable[[], T]) -> T:
        """Do the work and add its time to a stage."""
        start = perf_counter()
        try:
            return work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


def crop_sizes(spec: ModelSpec) -> CropSizes:
    """How a tracker cuts what a judge takes."""
    return CropSizes(spec.coarse_px, fine_px=spec.size_px, fine_every=spec.rgb_stride)


class Judge:
    """Takes what the tracker puts out and gives back finished runs.

    Only the open runs' last chunk of crops is held, whatever the length of the video.
    """

    def __init__(self, network: Network, clock: Stopwatch) -> None:
        self._network, self._clock = network, clock
        self._motion = MotionEstimator(network.spec.coarse_motion)
        self._open: dict[tuple[int, int], _OpenRun] = {}

    def take(self, output: TrackerOutput) -> list[JudgedRun]:
        """Add crops; returns the runs that they finished."""
        for crop in output.crops:
            key = (crop.track_id, crop.run)
            run = self._open.get(key)
            if run is None:
                run = self._open[key] = _OpenRun(self._network, self._motion, self._clock)
            run.add(crop)
        return [self._open.pop(key).finish(key[0]) for key in output.closed if key in self._open]


class JudgeBeside:
    """A judge in a thread of its own: it works while the next frames are decoded and their faces followed.

    Leaving the context drops what still waits, as after an error.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._thread = ThreadPoolExecutor(1, "dmcl-judge")
        self._waiting: deque[tuple[int, Future[list[JudgedRun]]]] = deque()
        self._runs: list[JudgedRun] = []

    def take(self, output: TrackerOutput) -> None:
        """Add crops; waits where too many of them lie about."""
        if output.crops or output.closed:
            self._waiting.append((len(output.crops), self._thread.submit(self._judge.take, output)))
        while sum(crops for crops, _ in self._waiting) > _WAITING_CROPS:
            self._collect()

    def finish(self) -> list[JudgedRun]:
        """All finished runs, when nothing waits any more."""
        while self._waiting:
            self._collect()
        return self._runs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _collect(self) -> None:
        self._runs += self._waiting.popleft()[1].result()


class _OpenRun:
    """A run that still grows.

    Crops and their motion wait until a chunk is full; then the network answers for it, and all but the overlap is
    let go. Motion is taken once a frame, from grey pictures that outlive their chunk by the longest baseline.
    """

    def __init__(self, network: Network, motion: MotionEstimator, clock: Stopwatch) -> None:
        self._network, self._motion, self._clock = network, motion, clock
        spec = network.spec
        # for a whole chunk, and filled as crops come: lists would have to be copied for the network
        self._stride = spec.rgb_stride
        self._crops = np.empty((CHUNK_FRAMES // self._stride, spec.size_px, spec.size_px, 3), np.uint8)
        self._fields = np.empty((CHUNK_FRAMES, spec.motion.channels, spec.motion_px, spec.motion_px), np.int8)
        self._grey: list[npt.NDArray[np.uint8]] = []  # the past that motion looks back on, and new frames
        self._held = 0  # frames of the chunk so far
        self._moved = 0  # of which motion has been taken
        self._first = 0  # the held frames' place in the run
        self._answers: list[tuple[int, npt.NDArray[np.float32]]] = []
        # bare numbers, all that grows with the run
        self._sightings, self._alignments = array("d"), array("d")

    def add(self, crop: FaceCrop) -> None:
        self._sightings.extend((
            crop.frame_index, crop.start_s, crop.end_s, *crop.box, crop.face_px,
            crop.sharpness, crop.brightness, crop.noise, crop.yaw, crop.visible,
        ))  # fmt: skip
        self._alignments.extend(crop.alignment)
        self._grey.append(self._clock.time("motion", lambda: self._motion.spec.luma(crop.image)))
        if crop.fine is not None:
            self._crops[self._held // self._stride] = crop.fine
        self._held += 1
        if self._held - self._moved == _MOTION_FRAMES:
            self._take_motion()
        if self._held == CHUNK_FRAMES:
            self._answer(0, CHUNK_FRAMES)
            self._let_go(CHUNK_FRAMES - OVERLAP_FRAMES)

    def finish(self, track_id: int) -> JudgedRun:
        """Answer for what is left, and join the chunks."""
        held = self._held
        whole = held - held % self._network.spec.frames_multiple
        answered = self._answers[-1][0] + len(self._answers[-1][1]) if self._answers else 0
        if answered < self._first + held and whole >= LEAST_FRAMES:
            self._answer(0, whole)
            if whole < held:  # the last few frames: a short chunk that ends with them
                self._answer(held - min(_TAIL_FRAMES, whole), held)
        alignments = np.frombuffer(self._alignments).reshape(-1, 4)
        sightings = Sightings(np.frombuffer(self._sightings).reshape(len(alignments), -1))
        logits = stitch(len(sightings), self._answers) if self._answers else None
        return JudgedRun(track_id, sightings, logits, alignments)

    def _answer(self, start: int, end: int) -> None:
        """The network's logits for held frames [start, end)."""
        self._take_motion()
        # a run's last frames may begin anywhere: then pictures stand for frames that lie a little beside theirs
        picture = (start + (self._stride - 1) // 2) // self._stride
        rgb = self._crops[None, picture : picture + (end - start) // self._stride]
        motion = self._fields[None, start:end]
        curves = self._clock.time("network", lambda: self._network.run(rgb, motion))
        self._answers.append((self._first + start, curves.logits[0]))

    def _take_motion(self) -> None:
        if self._moved < self._held:
            self._fields[self._moved : self._held] = self._clock.time("motion", self._fresh_motion)
            self._moved = self._held

    def _fresh_motion(self) -> npt.NDArray[np.int8]:
        grey, fresh = self._grey, self._held - self._moved
        self._grey = grey[-self._motion.spec.history :]
        return self._motion.fields(np.stack(grey), skip=len(grey) - fresh)

    def _let_go(self, count: int) -> None:
        for held, step in ((self._crops, self._stride), (self._fields, 1)):
            held[: (self._held - count) // step] = held[count // step : self._held // step]
        self._held = self._moved = self._held - count
        self._first += count
