"""Faces through time: one aligned crop for each face and frame, cut at shots.

    frames ─ every 5th ─ faces ─> marks ─ association ─> runs ─ smoothing ─> crops of every frame

A *scene* lies between two cuts. A *track* is one face of a scene. A *run* is an unbroken stretch of a track's
frames: an occlusion or a jump cut ends the run, and the track goes on with the next one when the face is found
again.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dmcl_sdk.association import BOX, Association, AssociationRule, is_sound
from dmcl_sdk.crops import CropSizes, FaceCrop, cut_crop
from dmcl_sdk.faces import FaceFollower
from dmcl_sdk.shots import ShotRule, ShotWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dmcl_sdk.association import Mark, Run
    from dmcl_sdk.faces import Face, FaceDetector
    from dmcl_sdk.frame import Frame
    from dmcl_sdk.shots import Box


@dataclass(frozen=True, slots=True)
class TrackingRule:
    """How faces are found and followed.

    Attributes:
        detect_every: frames from one detection to the next; between them landmarks are interpolated.
        search_every: detections from one search of the whole picture to the next, half as many while a face that
            was lost may come back; between them a detector that can looks only where faces were. When one is
            missing there, the whole picture is searched.
        detect_side_px: longer side of the picture that the detector sees.
        min_confidence: least score of a detection.
        association: which detections are the same face.
        shots: what is a cut.
    """

    detect_every: int = 5
    search_every: int = 6
    detect_side_px: int = 640
    min_confidence: float = 0.7
    association: AssociationRule = field(default_factory=AssociationRule)
    shots: ShotRule = field(default_factory=ShotRule)

    def __post_init__(self) -> None:
        if min(self.detect_every, self.search_every, self.detect_side_px) < 1:
            raise ValueError(f"intervals and sizes are at least 1, got {self}")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"a confidence lies in 0..1, got {self}")


@dataclass(frozen=True, slots=True)
class TrackerOutput:
    """What one frame settled.

    Attributes:
        crops: in order of time, then of track.
        closed: (track_id, run) of runs that get no more crops.
    """

    crops: list[FaceCrop] = field(default_factory=list)
    closed: list[tuple[int, int]] = field(default_factory=list)


class FaceTracker:
    """Follows the faces of one video; frames are pushed in order of time.

    Crops come three detections late, since smoothing looks ahead; only those frames are held.

    Attributes:
        faces_left_out: the most faces at once beyond the rule's `max_faces`.
    """

    def __init__(self, detector: FaceDetector, sizes: CropSizes, rule: TrackingRule | None = None) -> None:
        self._rule = rule or TrackingRule()
        self._detector, self._sizes = detector, sizes
        self._ids = itertools.count()
        self._watch = ShotWatch(self._rule.shots)
        self._scene: _Scene | None = None
        self.faces_left_out = 0

    def push(self, frame: Frame) -> TrackerOutput:
        """Take the next frame."""
        self._watch.see(frame.shrunk_luma())
        ended = TrackerOutput()
        if self._scene is not None and (not frame.continuous or self._watch.is_cut()):
            ended = self.finish()
        if self._scene is None:
            self._scene = _Scene(self._detector, self._rule, self._ids, self._sizes)
            self._watch.forget()
        self._scene.break_where(self._watch.jumped)
        output = self._scene.push(frame)
        self.faces_left_out = max(self.faces_left_out, self._scene.left_out)
        return TrackerOutput(ended.crops + output.crops, ended.closed + output.closed)

    def finish(self) -> TrackerOutput:
        """Everything still held back; a frame pushed after this starts a new scene."""
        scene, self._scene = self._scene, None
        return scene.finish() if scene is not None else TrackerOutput()


class _Scene:
    """The frames between two cuts; positions count them from 0."""

    def __init__(
        self, detector: FaceDetector, rule: TrackingRule, ids: Iterator[int], sizes: CropSizes
    ) -> None:
        self._detector, self._rule, self._sizes = detector, rule, sizes
        self._cut: Counter[tuple[int, int]] = Counter()  # crops of the open runs
        self._association = Association(rule.association, ids)
        self._held: deque[tuple[int, Frame]] = deque()
        self._last: tuple[int, Frame] | None = None
        self._looked = -1  # position of the newest detection
        self._due = 0  # position of the next one
        self._searched = 0  # detections since the whole picture was searched

    @property
    def left_out(self) -> int:
        return self._association.left_out

    def push(self, frame: Frame) -> TrackerOutput:
        position = self._last[0] + 1 if self._last is not None else 0
        self._last = position, frame
        self._held.append(self._last)
        if position < self._due:
            return TrackerOutput()
        self._look(position, frame)
        return self._emit(min([position, *(run.settled for run in self._association.live)]))

    def finish(self) -> TrackerOutput:
        if self._last is None:
            return TrackerOutput()
        self._look_at_the_last()
        self._association.end(self._association.live)
        return self._emit(self._last[0])

    def break_where(self, jumped: Callable[[Box], bool]) -> None:
        """End the runs whose faces jump between the last frame and the next, by their boxes in fractions."""
        if self._last is None:
            return
        position, frame = self._last
        broken = [run for run in self._association.live if jumped(_fractions(run, position, frame))]
        if broken:
            self._look_at_the_last()
            self._association.end([run for run in broken if run in self._association.live])
            self._due, self._searched = position + 1, self._rule.search_every

    def _look_at_the_last(self) -> None:
        # Without it, the frames since the last detection would be lost.
        if self._last is not None and self._last[0] > self._looked:
            self._look(*self._last)

    def _look(self, position: int, frame: Frame) -> None:
        """Find the faces of a frame and give each to its run."""
        self._association.take(position, frame.start_s, self._found(position, frame))
        # A new face's pace is unknown: soon enough it is still near.
        is_new = any(run.key is None for run in self._association.live)
        every = self._rule.detect_every
        self._looked, self._due = position, position + (max(1, every // 2) if is_new else every)

    def _found(self, position: int, frame: Frame) -> list[Mark]:
        """The faces of a frame: near where they were if all are there, else wherever they are."""
        image = frame.image(self._rule.detect_side_px)
        scale = frame.width / image.shape[1], frame.height / image.shape[0]
        live, every = self._association.live, self._rule.search_every
        if self._association.misses_a_face:
            every = (every + 1) // 2
        if live and self._searched < every - 1 and isinstance(self._detector, FaceFollower):
            places = (run.expected(position)[BOX] / (*scale, *scale) for run in live)
            marks = self._marks(self._detector.follow(image, [_box(place) for place in places]), scale)
            if self._association.matches_all(position, marks):
                self._searched += 1
                return marks
        self._searched = 0
        return self._marks(self._detector.detect(image), scale)

    def _marks(self, faces: list[Face], scale: tuple[float, float]) -> list[Mark]:
        sure = (face for face in faces if face.confidence >= self._rule.min_confidence)
        marks = (_mark(face, scale) for face in sure)
        return [mark for mark in marks if is_sound(mark)]

    def _emit(self, until: int) -> TrackerOutput:
        """The crops of the held frames up to a position, and the runs that end there."""
        output, association = TrackerOutput(), self._association
        runs = sorted((run.key, run) for run in association.over + association.live if run.key is not None)
        frames = []
        while self._held and self._held[0][0] <= until:
            frames.append(self._held.popleft())
        marks = {key: self._inside(run, frames) for key, run in runs}
        for position, frame in frames:
            for key, _ in runs:
                if position in marks[key]:
                    output.crops.append(self._crop(frame, marks[key][position], key))
        for key, run in runs:
            run.forget(until)
            if run in association.over and run.at[-1] <= until:
                output.closed.append(key)
                del self._cut[key]
                association.over.remove(run)
        return output

    def _crop(self, frame: Frame, mark: Mark, key: tuple[int, int]) -> FaceCrop:
        every = self._sizes.fine_every
        looked_at = self._cut[key] % every == every // 2
        self._cut[key] += 1
        return cut_crop(frame, mark, key, self._sizes, looked_at=looked_at)

    def _inside(self, run: Run, frames: list[tuple[int, Frame]]) -> dict[int, Mark]:
        """The run's marks at those of the frames that it reaches, by position."""
        positions = [position for position, _ in frames if run.at[0] <= position <= run.at[-1]]
        return dict(zip(positions, run.marks_at(positions), strict=True))


def _fractions(run: Run, position: int, frame: Frame) -> Box:
    """Where a run's face should be, x0 y0 x1 y1 in fractions of the frame."""
    return _box(run.expected(position)[BOX] / (frame.width, frame.height, frame.width, frame.height))


def _box(edges: Mark) -> Box:
    x0, y0, x1, y1 = edges.tolist()
    return x0, y0, x1, y1


def _mark(face: Face, scale: tuple[float, float]) -> Mark:
    """A face in pixels of the displayed frame."""
    corners = np.array(face.box).reshape(2, 2) * scale
    points = (face.landmarks + 0.5) * np.array(scale) - 0.5
    return np.concatenate([corners.ravel(), points.ravel(), [face.confidence]])


__all__ = [
    "AssociationRule",
    "CropSizes",
    "FaceCrop",
    "FaceTracker",
    "ShotRule",
    "TrackerOutput",
    "TrackingRule",
]
