"""Aligned face crops of whole videos, made once by the SDK's own stages and kept on disk.

What is trained on is cut exactly as it is served: `dmcl_sdk` decodes, tracks and aligns. Crops carry a margin, so
that training can move within it; without the margin they are, bit for bit, what the detector sees.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.errors import VideoError
from dmcl_sdk.faces import Mtcnn, align
from dmcl_sdk.network import PREPROCESSING_VERSION
from dmcl_sdk.tracking import FaceCrop, FaceTracker
from dmcl_sdk.video import open_video

MARGIN_PX = 16
LEAST_FRAMES = 24


@dataclass(frozen=True, slots=True)
class Run:
    """One unbroken run of one face.

    Attributes:
        video: the file it is from.
        file: the crops, uint8 (N, S + 2 margin, S + 2 margin, 3), as .npy.
        frames: N.
        track: the face's number in the video.
        frame_index: number of each crop's frame, so that pairs are lined up.
        time_s: when each crop's frame is shown, seconds, so that labelled spans are laid over it.
    """

    video: Path
    file: Path
    frames: int
    track: int
    frame_index: tuple[int, ...]
    time_s: tuple[float, ...]

    def crops(self) -> npt.NDArray[np.uint8]:
        """The crops, mapped from disk: only what is read is loaded."""
        return _mapped(self.file)


@lru_cache(maxsize=256)  # opening costs more than reading a frame, and holds a file open
def _mapped(file: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(np.load(file, mmap_mode="r"))


def cache_runs(
    videos: Iterable[Path], folder: Path, *, size_px: int, workers: int = 2
) -> Iterator[list[Run]]:
    """The runs of each video, in order; those already in the folder are read, the others made.

    A video without a face, or that cannot be decoded, has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_cached, videos, _repeat(folder), _repeat(size_px))


def _repeat(value: Any) -> Iterator[Any]:  # noqa: ANN401 - itertools.repeat, typed
    while True:
        yield value


def _cached(video: Path, folder: Path, size_px: int) -> list[Run]:
    key = f"{video.resolve()}|{video.stat().st_size}|{size_px}|{MARGIN_PX}|{PREPROCESSING_VERSION}"
    index = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if not index.exists():
        runs = list(_made(video, index.with_suffix(""), size_px))
        partial = index.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps([asdict(run) for run in runs], default=str))
        partial.replace(index)  # complete or not there: an interrupted run is made again
    return [
        Run(
            Path(row["video"]),
            Path(row["file"]),
            row["frames"],
            row["track"],
            tuple(row["frame_index"]),
            tuple(row["time_s"]),
        )
        for row in json.loads(index.read_text())
    ]


def _made(video: Path, stem: Path, size_px: int) -> Iterator[Run]:
    cv2.setNumThreads(1)
    for (track, number), crops in read_runs(video, size_px).items():
        if len(crops) >= LEAST_FRAMES:
            file = stem.with_name(f"{stem.name}-{track}-{number}.npy")
            np.save(file, np.stack([crop.image for crop in crops]))
            yield Run(
                video,
                file,
                len(crops),
                track,
                tuple(crop.frame_index for crop in crops),
                tuple(crop.start_s for crop in crops),
            )


def read_runs(
    video: Path, size_px: int, *, margin_px: int = MARGIN_PX
) -> dict[tuple[int, int], list[FaceCrop]]:
    """Every run's crops, by (track, run); none where the file is no video."""
    tracker = FaceTracker(Mtcnn(), size_px, margin_px=margin_px)
    runs: dict[tuple[int, int], list[FaceCrop]] = {}
    try:
        with open_video(video) as frames:
            crops = [crop for frame in frames for crop in tracker.push(frame).crops]
    except VideoError:
        return {}
    for crop in crops + tracker.finish().crops:
        runs.setdefault((crop.track_id, crop.run), []).append(crop)
    return runs


def align_photograph(
    image: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.float64], size_px: int
) -> npt.NDArray[np.uint8]:
    """A photograph's face, aligned like a video's, with the same margin.

    Args:
        image: RGB (H, W, 3).
        landmarks: (5, 2), the viewer's left first.
        size_px: side without the margin.
    """
    matrix = align(landmarks, size_px)
    matrix[:, 2] -= matrix[:, :2] @ np.full(2, float(MARGIN_PX))
    side = size_px + 2 * MARGIN_PX
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))  # source pixels a crop pixel
    if scale > 1.5:  # shrink first: a warp alone would alias
        factor = 1 / scale
        image = np.asarray(
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )
        matrix = matrix * factor
        matrix[:, 2] += (factor - 1) / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
