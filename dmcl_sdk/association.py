"""Which detection is which face: overlap and Hungarian assignment, bridged gaps, faces found again.

A *mark* is one detection as a vector, so that interpolating and smoothing are linear algebra: box x0 y0 x1
y1, landmarks x y five times, confidence; in pixels of the displayed frame. Positions count a scene's frames.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dmcl_sdk.faces import TEMPLATE

Mark = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float64]

BOX, POINTS, CONFIDENCE = slice(0, 4), slice(4, 14), 14
_BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
_REACH = 2
_SAME_FACE_IOU = 0.3
_CLEAR_IOU = 0.25
_UPRIGHT = (TEMPLATE - TEMPLATE.mean(0)).ravel()


@dataclass(frozen=True, slots=True)
class AssociationRule:
    """Which detections are the same face.

    Attributes:
        max_faces: faces followed at once, the largest first; the others are counted, not followed.
        min_iou: least overlap of a face with where its run is expected.
        bridge: missed detections in a row that are interpolated; one more ends the run.
        reacquire_s: how long a lost face may be found again.
        reacquire_distance: how far from where it was, in widths of the face.
        reacquire_ratio: how much larger or smaller than it was.
    """

    max_faces: int = 8
    min_iou: float = 0.15
    bridge: int = 1
    reacquire_s: float = 2.0
    reacquire_distance: float = 1.0
    reacquire_ratio: float = 1.6

    def __post_init__(self) -> None:
        if not (self.max_faces >= 1 and self.bridge >= 0 and 0 < self.min_iou < 1):
            raise ValueError(f"needs max_faces >= 1, bridge >= 0 and 0 < min_iou < 1, got {self}")
        if not (self.reacquire_s >= 0 and self.reacquire_distance > 0 and self.reacquire_ratio >= 1):
            raise ValueError(f"needs a time >= 0, a distance > 0 and a ratio >= 1, got {self}")


@dataclass(slots=True, eq=False)
class Track:
    """One face of a scene, numbered when a second detection confirms it.

    Attributes:
        track_id: its number in the video.
        runs: how many runs it has had.
        last: where it was seen last; None until it is confirmed.
        last_s: when.
    """

    track_id: int | None = None
    runs: int = 0
    last: Mark | None = None
    last_s: float = -math.inf


@dataclass(slots=True, eq=False)
class Run:
    """An unbroken stretch of a track.

    Attributes:
        track: whose.
        at: positions of its marks, also of those that were missed and bridged.
        marks: one for each.
        missed: positions since then at which it was looked for and not found.
        key: track and number of the run, once a second detection has confirmed it; one alone may be a flicker.
    """

    track: Track
    at: list[int]
    marks: list[Mark]
    missed: list[int] = field(default_factory=list)
    key: tuple[int, int] | None = None

    def extend(self, position: int, mark: Mark) -> None:
        """Add a detection; what was missed before it is interpolated."""
        start, last = self.at[-1], self.marks[-1]
        for missed in [*self.missed, position]:
            self.at.append(missed)
            self.marks.append(last + (mark - last) * ((missed - start) / (position - start)))
        self.missed.clear()

    def expected(self, position: int) -> Mark:
        """Where the face should be, were it to move on as it did."""
        last = self.marks[-1]
        if len(self.marks) < 2:
            return last
        pace = (last - self.marks[-2]) / (self.at[-1] - self.at[-2])
        ahead = last + pace * (position - self.at[-1])
        return ahead if is_sound(ahead) else last

    @property
    def settled(self) -> int:
        """Last position whose smoothed mark no later detection changes."""
        return self.at[-1 - _REACH] if len(self.at) > _REACH else self.at[0] - 1

    def marks_at(self, positions: Sequence[int]) -> list[Mark]:
        """The face at ascending positions inside the run: smoothed at detections, interpolated between them."""
        smoothed: dict[int, Mark] = {}
        marks = []
        for position in positions:
            after = bisect_left(self.at, position)
            before = after if self.at[after] == position else after - 1
            for number in (before, after):
                if number not in smoothed:
                    smoothed[number] = self._smoothed(number)
            share = (position - self.at[before]) / max(1, self.at[after] - self.at[before])
            marks.append(smoothed[before] + (smoothed[after] - smoothed[before]) * share)
        return marks

    def forget(self, position: int) -> None:
        """Let go of marks that no position after this one needs."""
        done = bisect_right(self.at, position) - 2 - _REACH
        if done > 0:
            del self.at[:done], self.marks[:done]

    def _smoothed(self, number: int) -> Mark:
        """A mark smoothed without delay: a straight line through its neighbours, by binomial weights.

        In the middle of a run this is the binomial mean; at its ends the line keeps a moving face from
        lagging.
        """
        first, last = max(0, number - _REACH), min(len(self.marks), number + _REACH + 1)
        weights = _BINOMIAL[first - number + _REACH : last - number + _REACH]
        weights = weights / weights.sum()
        x = np.array(self.at[first:last], np.float64) - self.at[number]
        y = np.stack(self.marks[first:last])
        mean_x, mean_y = weights @ x, weights @ y
        spread = float(weights @ (x - mean_x) ** 2)
        slope = (weights * (x - mean_x)) @ (y - mean_y) / spread if spread > 0 else np.zeros_like(mean_y)
        smooth: Mark = mean_y - slope * mean_x
        return smooth if is_sound(smooth) else self.marks[number]


class Association:
    """The runs of one scene.

    Attributes:
        live: runs that may grow.
        over: confirmed runs that have ended, until they are taken away.
        left_out: the most faces at once that there was no room for.
    """

    def __init__(self, rule: AssociationRule, ids: Iterator[int]) -> None:
        self._rule, self._ids = rule, ids
        self._tracks: list[Track] = []
        self.live: list[Run] = []
        self.over: list[Run] = []
        self.left_out = 0

    def matches_all(self, position: int, marks: Sequence[Mark]) -> bool:
        """Whether every live run has a mark of its own among these."""
        return len(_pairs(self._overlaps(position, marks), self._rule.min_iou)) == len(self.live)

    @property
    def misses_a_face(self) -> bool:
        """Whether one was lost so lately that it may come back."""
        followed = [run.track for run in self.live]
        return any(track not in followed for track in self._tracks)

    def take(self, position: int, now_s: float, marks: Sequence[Mark]) -> None:
        """Give each face found at a position to its run; faces without one begin a run."""
        pairs, hidden = self._assigned(position, marks)
        for row, run in enumerate(self.live):
            if row in pairs:
                self._extend(run, position, now_s, marks[pairs[row]])
            else:
                run.missed.append(position)
        bridge = self._rule.bridge
        self.end([run for row, run in enumerate(self.live) if row in hidden or len(run.missed) > bridge])
        self._begin(position, now_s, _unclaimed(marks, set(pairs.values())))

    def end(self, runs: Sequence[Run]) -> None:
        """These live runs end where they were seen last."""
        self.over += [run for run in runs if run.key is not None]
        self.live = [run for run in self.live if run not in runs]

    def _overlaps(self, position: int, marks: Sequence[Mark]) -> Floats:
        """IoU of where each live run is expected with each mark, (runs, marks)."""
        expected = [run.expected(position) for run in self.live]
        table = [[iou(place, mark) for mark in marks] for place in expected]
        return np.array(table, np.float64).reshape(len(expected), len(marks))

    def _assigned(self, position: int, marks: Sequence[Mark]) -> tuple[dict[int, int], set[int]]:
        """Which live run has which mark, and which runs end since faces hide each other; all by number."""
        table = self._overlaps(position, marks)
        pairs = dict(_pairs(table, self._rule.min_iou))
        # Where two faces are expected and one is seen, the other is behind it: bridged, it would be that one.
        hidden = {
            row
            for row, run in enumerate(self.live)
            if row not in pairs
            and run.key is not None
            and any(table[row, mark] > _SAME_FACE_IOU for mark in pairs.values())
        }
        # Unless one fits much better, the face seen may be either.
        doubtful = {
            row
            for row, mark in pairs.items()
            if any(
                table[other, mark] > max(_SAME_FACE_IOU, table[row, mark] - _CLEAR_IOU) for other in hidden
            )
        }
        return {row: mark for row, mark in pairs.items() if row not in doubtful}, hidden | doubtful

    def _extend(self, run: Run, position: int, now_s: float, mark: Mark) -> None:
        run.extend(position, mark)
        track = run.track
        if run.key is None:
            if track.track_id is None:
                track.track_id = next(self._ids)
                self._tracks.append(track)
            run.key = track.track_id, track.runs
            track.runs += 1
        track.last, track.last_s = mark, now_s

    def _begin(self, position: int, now_s: float, marks: Sequence[Mark]) -> None:
        """New runs, the largest faces first; of tracks that were lost nearby, or of new ones."""
        room = self._rule.max_faces - len(self.live)
        self.left_out = max(self.left_out, len(marks) - room)
        marks = sorted(marks, key=_width, reverse=True)[:room]
        followed = [run.track for run in self.live]
        self._tracks = [
            track
            for track in self._tracks
            if track in followed or now_s - track.last_s <= self._rule.reacquire_s
        ]
        lost = [track for track in self._tracks if track not in followed]
        table = np.array([[self._nearness(track, mark) for mark in marks] for track in lost])
        found = {m: lost[t] for t, m in _pairs(table.reshape(len(lost), len(marks)), 1e-9)}
        self.live += [Run(found.get(m) or Track(), [position], [mark]) for m, mark in enumerate(marks)]

    def _nearness(self, track: Track, mark: Mark) -> float:
        """1 where a lost face was, 0 from the rule's distance on or at another size."""
        if track.last is None:
            return 0.0
        ratio = _width(mark) / _width(track.last)
        if not 1 / self._rule.reacquire_ratio <= ratio <= self._rule.reacquire_ratio:
            return 0.0
        away = math.dist(_centre(mark), _centre(track.last)) / _width(track.last)
        return max(0.0, 1 - away / self._rule.reacquire_distance)


def _unclaimed(marks: Sequence[Mark], claimed: set[int]) -> list[Mark]:
    """Marks that no run has, without second boxes on a face that one has."""
    return [
        mark
        for number, mark in enumerate(marks)
        if number not in claimed and all(iou(mark, marks[other]) < _SAME_FACE_IOU for other in claimed)
    ]


def is_sound(mark: Mark) -> bool:
    """Whether a crop can be laid over a mark: its box is one, and its landmarks form an upright face.

    Every condition is linear, so that what lies between two sound marks is sound.
    """
    x0, y0, x1, y1 = mark[BOX]
    # About a quarter of the box's height for a face; 0 for one that lies on its side or is a point.
    uprightness = mark[POINTS] @ _UPRIGHT
    return bool(x0 < x1 and y0 < y1 and uprightness > 0.02 * (y1 - y0))


def iou(a: Mark, b: Mark) -> float:
    """Intersection over union of two marks' boxes, 0..1."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a[BOX].tolist(), b[BOX].tolist()
    shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    return float(shared / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared))


def _pairs(table: Floats, least: float) -> list[tuple[int, int]]:
    """Row and column pairs of the greatest sum, none below `least`."""
    worth = np.where(table >= least, table, 0.0)
    if min(worth.shape) == 0:
        return []
    if min(worth.shape) == 1:
        row, column = divmod(int(worth.argmax()), worth.shape[1])
        return [(row, column)] if worth[row, column] > 0 else []
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - half a second, which one face does not need

    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if worth[r, c] > 0]


def _width(mark: Mark) -> float:
    return float(mark[2] - mark[0])


def _centre(mark: Mark) -> tuple[float, float]:
    return float(mark[0] + mark[2]) / 2, float(mark[1] + mark[3]) / 2
