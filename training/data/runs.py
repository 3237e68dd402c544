"""Aligned face crops of whole videos, made once by the SDK's own stages and kept on disk.

What is trained on is cut exactly as it is served: `dmcl_sdk` decodes, tracks and aligns. Crops carry a margin, so
that training can move within it; without the margin they are, bit for bit, what the detector sees. A pack's crops were
made so elsewhere, and are unpacked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.errors import VideoError
from dmcl_sdk.faces import Mtcnn, align
from dmcl_sdk.network import PREPROCESSING_VERSION
from dmcl_sdk.tracking import CropSizes, FaceCrop, FaceTracker
from dmcl_sdk.video import open_video
from training.data.packs import Pack, inside_of

LEAST_FRAMES = 24


def margin_of(size_px: int) -> int:
    """Pixels of context on each side of a crop (S, S), which training may move within."""
    return size_px // 8


def side_with_margin(size_px: int) -> int:
    """Of a crop (S, S) with its margin."""
    return size_px + 2 * margin_of(size_px)


def without_margin(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What a detector sees of crops with their margin, (N, side, side, 3) -> (N, S, S, 3)."""
    margin = margin_of(crops.shape[1] * 4 // 5)
    return np.ascontiguousarray(crops[:, margin:-margin, margin:-margin])


@dataclass(frozen=True, slots=True)
class Run:
    """One unbroken run of one face.

    Attributes:
        video: the file it is from.
        file: the crops with their margin, uint8 (N, side, side, 3), as .npy.
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
    """The runs of each video, in order; those already in the folder are read, the others made, or unpacked.

    A video without a face, or that cannot be decoded, has none.

    Raises:
        ValueError: a video lies in a pack that is damaged, of another size, or too large for the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # before workers are forked: a child would wait for ever for threads that it has not
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_cached, videos, _repeat(folder), _repeat(size_px))


def _repeat(value: Any) -> Iterator[Any]:  # noqa: ANN401 - itertools.repeat, typed
    while True:
        yield value


def _cached(video: Path, folder: Path, size_px: int) -> list[Run]:
    packed = inside_of(video)
    source = _of_file(video) if packed is None else _of_pack(*packed, size_px)
    key = f"{source}|{size_px}|{margin_of(size_px)}|{PREPROCESSING_VERSION}"
    index = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if not index.exists():
        stem = index.with_suffix("")
        runs = list(_made(video, stem, size_px) if packed is None else _unpacked(video, *packed, stem))
        partial = index.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps([asdict(run) for run in runs], default=str))
        partial.replace(index)  # complete or not there: an interrupted run is made again
    return [
        Run(
            video,
            folder / Path(row["file"]).name,  # the cache may have been moved since
            row["frames"],
            row["track"],
            tuple(row["frame_index"]),
            tuple(row["time_s"]),
        )
        for row in json.loads(index.read_text())
    ]


def _of_file(video: Path) -> str:
    return f"{video.resolve()}|{video.stat().st_size}"


def _of_pack(pack: Pack, name: str, size_px: int) -> str:
    """What is in a pack is known by its contents, wherever the pack lies."""
    pack.require(size_px, margin_of(size_px))
    coded = pack.crops_of(name)
    return "no face" if coded is None else coded.sha256


def _unpacked(video: Path, pack: Pack, name: str, stem: Path) -> Iterator[Run]:
    found, crops = pack.runs(name)
    side = pack.index.side_px
    needed, free = (
        sum(len(run.frame_index) for run in found) * side**2 * 3,
        shutil.disk_usage(stem.parent).free,
    )
    if needed > free:
        raise ValueError(
            f"{video} takes {needed / 1e9:.1f} GB in {stem.parent}, where {free / 1e9:.1f} are free; choose another "
            "`cache`"
        )
    for number, run in enumerate(found):
        file = stem.with_name(f"{stem.name}-{number}.npy")
        frames = len(run.frame_index)
        partial = file.with_suffix(f".{os.getpid()}.tmp")  # another process may unpack the very same crops
        with partial.open("wb") as out:
            shape = (frames, side, side, 3)
            np.lib.format.write_array_header_1_0(
                out, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            out.writelines(crop.tobytes() for crop in islice(crops, frames))
        partial.replace(file)
        yield Run(video, file, frames, run.track, run.frame_index, run.time_s)


def _made(video: Path, stem: Path, size_px: int) -> Iterator[Run]:
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
    video: Path, size_px: int, *, margin_px: int | None = None
) -> dict[tuple[int, int], list[FaceCrop]]:
    """Every run's crops, by (track, run), with the margin that training takes; none where the file is no video."""
    margin = margin_of(size_px) if margin_px is None else margin_px
    tracker = FaceTracker(Mtcnn(), CropSizes(size_px, margin))
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
    matrix[:, 2] -= matrix[:, :2] @ np.full(2, float(margin_of(size_px)))
    side = side_with_margin(size_px)
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
