"""What each stage of scoring costs, by doing one after the other what `Detector.score` does at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import av

from dmcl_sdk.assembly import JudgementRule, assemble
from dmcl_sdk.faces import Face, FaceFollower
from dmcl_sdk.judging import Judge, JudgedRun, Stopwatch, crop_sizes
from dmcl_sdk.network import FrameCurves, ModelSpec, Network
from dmcl_sdk.tracking import FaceTracker, TrackerOutput
from dmcl_sdk.verdict import Asset
from dmcl_sdk.video import open_video

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dmcl_sdk.faces import Box
    from dmcl_sdk.frame import Frame
    from dmcl_sdk.motion import MotionFields

STAGES = "decode", "detection", "tracking and crops", "flow", "network", "assembly"
_HELD_BYTES = 512 * 2**20
"""Of frames that are decoded before their faces are looked for."""


def stage_costs(video: Path, network: Network, faces: FaceFollower) -> dict[str, float]:
    """CPU milliseconds a frame of each stage, of as much of the video's beginning as fits into memory."""
    timed_faces, timed_network = _TimedFaces(faces), _TimedNetwork(network)
    began = process_time()
    frames = _beginning(video, network.spec.max_fps)
    decoded = process_time()
    tracker = FaceTracker(timed_faces, crop_sizes(network.spec))
    outputs = [*map(tracker.push, frames), tracker.finish()]
    tracked = process_time()
    runs = _judge(outputs, timed_network)
    judged = process_time()
    spec, asset = network.spec, _asset(video, frames)
    assemble(asset, runs, [], spec=spec, rule=spec.span_rule, judgement=JudgementRule())
    assembled = process_time()
    spent = {
        "decode": decoded - began,
        "detection": timed_faces.spent_s,
        "tracking and crops": tracked - decoded - timed_faces.spent_s,
        "flow": judged - tracked - timed_network.spent_s,
        "network": timed_network.spent_s,
        "assembly": assembled - judged,
    }
    return {stage: 1000 * seconds / max(1, len(frames)) for stage, seconds in spent.items()}


def bare_decode(video: Path) -> int:
    """Decode a file and look at nothing, with as many threads as PyAV takes; returns the number of frames."""
    with av.open(video) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def _beginning(video: Path, max_fps: float) -> list[Frame]:
    frames: list[Frame] = []
    with open_video(video, max_fps=max_fps) as read:
        for frame in read:
            frames.append(frame)
            if 1.5 * frame.width * frame.height * len(frames) > _HELD_BYTES:
                break
    return frames


def _judge(outputs: Sequence[TrackerOutput], network: Network) -> list[JudgedRun]:
    judge = Judge(network, Stopwatch())
    return [run for output in outputs for run in judge.take(output)]


def _asset(video: Path, frames: Sequence[Frame]) -> Asset:
    last = frames[-1]
    return Asset(
        uri=video.absolute().as_uri(),
        duration_ms=round(1000 * last.end_s),
        width=last.width,
        height=last.height,
    )


class _TimedFaces:
    """A face detector, and what it took."""

    def __init__(self, faces: FaceFollower) -> None:
        self._faces, self.spent_s = faces, 0.0
        self.name, self.sha256 = faces.name, faces.sha256

    def detect(self, image: npt.NDArray[np.uint8]) -> list[Face]:
        began = process_time()
        try:
            return self._faces.detect(image)
        finally:
            self.spent_s += process_time() - began

    def follow(self, image: npt.NDArray[np.uint8], boxes: Sequence[Box]) -> list[Face]:
        began = process_time()
        try:
            return self._faces.follow(image, boxes)
        finally:
            self.spent_s += process_time() - began


class _TimedNetwork:
    """A network, and what it took."""

    def __init__(self, network: Network) -> None:
        self._network, self.spent_s = network, 0.0
        self.sha256, self.providers = network.sha256, network.providers

    @property
    def spec(self) -> ModelSpec:
        return self._network.spec

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        began = process_time()
        try:
            return self._network.run(rgb, motion)
        finally:
            self.spent_s += process_time() - began
