"""Pack what a configuration trains on, for a machine that the videos cannot go to.

videos ─> runs of crops, as training caches them ─> H.264, read back and compared ─> set.zip
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch

from dmcl_sdk.network import PREPROCESSING_VERSION
from training.config import TrainConfig
from training.data.clips import photograph_rows, rights_of_photographs
from training.data.coding import CODING, Crop, decode, encode, psnr_db
from training.data.manifest import Clip, require_rights
from training.data.packs import (
    FORMAT,
    INDEX,
    Coded,
    Index,
    PackedPhotograph,
    PackedPhotographs,
    PackedRun,
    PackedRuns,
    PackedVideo,
    crops_member,
    is_pack,
    photographs_member,
    runs_member,
)
from training.data.runs import Run, margin_of, side_with_margin
from training.distributed import Place
from training.journal import progress_bar
from training.provenance import data_digest
from training.sources import load_sources
from training.train import chosen_clips, photographs_of

_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same set makes the same bytes
_SPLITS: tuple[Literal["train"], Literal["val"]] = ("train", "val")


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed.

    Attributes:
        index: what the file says of itself.
        sha256: of the index, and so of everything.
        size: of the file, bytes.
    """

    index: Index
    sha256: str
    size: int

    def __str__(self) -> str:
        """One line for people."""
        videos, parts = self.index.videos, self.index.photographs
        coded = [video.crops for video in videos if video.crops is not None]
        frames = sum(one.frames for one in coded)
        faceless = len(videos) - len(coded)
        return (
            f"{len(videos)} videos{f' ({faceless} without a face)' * bool(faceless)}, {frames:,} crops, "
            f"{sum(len(part.rows) for part in parts):,} photographs, {self.size / 1e6:.1f} MB; "
            f"PSNR {sum(one.frames * one.psnr_db for one in coded) / frames:.1f} dB, of the worst video "
            f"{min(one.psnr_db for one in coded):.1f}; sha256 {self.sha256}"
        )


def pack(config: TrainConfig, file: Path) -> Packed:
    """Write what a configuration trains on and validates by to one file, which is there whole or as it was.

    Crops, and what they were coded to, stay in the configured cache: killed, the same call goes on. The same
    configuration and videos make the same bytes.

    Raises:
        ValueError: the data cannot teach, or are a pack already.
    """
    if is_pack(config.data):
        raise ValueError(f"data: {config.data} is a pack already; packs are made from videos")
    clips, photographs = chosen_clips(config), photographs_of(config)
    if photographs:
        present = rights_of_photographs(photographs, "train")
        require_rights(present, config.rights, split="train", where=photographs)
    size_px, workers = config.network.size_px, max(1, config.workers)
    here = Place(0, 1, torch.device("cpu"))
    sources = load_sources(clips, config.cache, size_px=size_px, workers=workers, place=here)
    runs = {source.clip.path: source.runs for source in sources}
    names = _names(clips, config.data if config.data.is_dir() else config.data.parent)
    found = [runs.get(clip.path, ()) for clip in clips]
    with _archive(file) as archive:
        videos = [
            _add_video(archive, number, _row(clip, names), coded)
            for number, (clip, coded) in enumerate(zip(clips, _coded(found, config, workers), strict=True))
        ]
        parts = _add_photographs(archive, photographs, config) if photographs else []
        index = Index(
            format=FORMAT,
            size_px=size_px,
            margin_px=margin_of(size_px),
            preprocessing=PREPROCESSING_VERSION,
            coding=CODING,
            videos_sha256=data_digest(clips, config.data, [photographs] if photographs else []),
            videos=tuple(videos),
            photographs=tuple(parts),
        )
        data = index.model_dump_json(indent=1, exclude_defaults=True).encode()
        _add(archive, INDEX, data)
    return Packed(index, hashlib.sha256(data).hexdigest(), file.stat().st_size)


def _names(clips: Sequence[Clip], root: Path) -> dict[Path, str]:
    """A name in the pack for every video and pair: its path from the root, without what leads out of it."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in [clip.path for clip in clips] + [clip.pair for clip in clips if clip.pair is not None]:
        if path not in names:
            parts = [part for part in Path(os.path.relpath(path, root)).parts if part != os.pardir]
            name = str(PurePosixPath(*parts))
            others = (f"{number}/{name}" for number in count(2))
            names[path] = name if name not in taken else next(one for one in others if one not in taken)
            taken.add(names[path])
    return names


def _row(clip: Clip, names: dict[Path, str]) -> PackedVideo:
    return PackedVideo(
        name=names[clip.path],
        split="val" if clip.split == "val" else "train",
        fake=clip.fake,
        generator=clip.generator,
        pair=None if clip.pair is None else names[clip.pair],
        identity=clip.identity,
        spans=None if clip.spans is None else tuple((span.start_s, span.end_s) for span in clip.spans),
        donor=clip.donor,
        rights=clip.rights,
    )


@dataclass(frozen=True, slots=True)
class _CodedRuns:
    """A video's runs as they go into the pack."""

    about: Coded
    runs: bytes
    file: Path


def _coded(videos: Sequence[Sequence[Run]], config: TrainConfig, workers: int) -> Iterator[_CodedRuns | None]:
    """Each video's crops, coded by several processes."""
    code = partial(_code, folder=config.cache, side_px=side_with_margin(config.network.size_px))
    with progress_bar() as progress, ProcessPoolExecutor(workers) as pool:
        task = progress.add_task("coding", total=len(videos), note="")
        for coded in pool.map(code, videos):
            yield coded
            progress.advance(task)


def _code(runs: Sequence[Run], folder: Path, side_px: int) -> _CodedRuns | None:
    """A video's crops coded in the folder; those that are there already are taken."""
    if not runs:
        return None
    rows = tuple(PackedRun(track=run.track, frame_index=run.frame_index, time_s=run.time_s) for run in runs)
    about = PackedRuns.dump_json(rows)
    key = hashlib.sha256(json.dumps([CODING, *(run.file.name for run in runs)]).encode() + about)
    file = folder / f"{key.hexdigest()[:24]}.mkv"
    said = file.with_suffix(".coded")
    if not (said.exists() and file.exists()):
        data, squared_error = _encoded([run.crops() for run in runs], side_px)
        coded = _about(sum(run.frames for run in runs), about + data, squared_error)
        _write(file, data)
        _write(said, coded.model_dump_json().encode())  # last: complete or not there
    return _CodedRuns(Coded.model_validate_json(said.read_bytes()), about, file)


def _encoded(runs: Sequence[Crop], side_px: int, *, still: bool = False) -> tuple[bytes, float]:
    """Runs of crops (N, S, S, 3), coded; and the mean squared error of what is read back.

    Raises:
        ValueError: what was coded cannot be read back.
    """
    file = io.BytesIO()
    encode(runs, file, side_px=side_px, still=still)
    file.seek(0)
    crops = (crop for run in runs for crop in run)
    errors = [
        float(np.square(crop.astype(np.float32) - back).mean())
        for crop, back in zip(crops, decode(file, side_px=side_px), strict=True)
    ]
    return file.getvalue(), float(np.mean(errors))


def _write(file: Path, data: bytes) -> None:
    partial_file = file.with_suffix(f".{os.getpid()}.tmp")
    partial_file.write_bytes(data)
    partial_file.replace(file)


def _add_video(
    archive: zipfile.ZipFile, number: int, row: PackedVideo, coded: _CodedRuns | None
) -> PackedVideo:
    if coded is None:
        return row
    _add(archive, runs_member(number), coded.runs)
    _add(archive, crops_member(number), coded.file.read_bytes(), stored=True)
    return row.model_copy(update={"crops": coded.about})


def _add_photographs(
    archive: zipfile.ZipFile, manifest: Path, config: TrainConfig
) -> list[PackedPhotographs]:
    """The photographs of each split that has any."""
    size_px, parts = config.network.size_px, []
    with progress_bar() as progress:
        task = progress.add_task("photographs", total=len(_SPLITS), note="")
        for split in _SPLITS:
            found = list(photograph_rows(manifest, split=split, size_px=size_px, rights=config.rights))
            if found:
                crops = np.stack([crop for _, crop in found])
                data, squared_error = _encoded([crops], side_with_margin(size_px), still=True)
                _add(archive, photographs_member(split), data, stored=True)
                rows = [PackedPhotograph(name=r["file"], rights=r.get("rights") or "") for r, _ in found]
                coded = _about(len(rows), data, squared_error)
                parts.append(PackedPhotographs(split=split, rows=tuple(rows), crops=coded))
            progress.advance(task)
    return parts


def _about(frames: int, data: bytes, squared_error: float) -> Coded:
    return Coded(
        frames=frames, sha256=hashlib.sha256(data).hexdigest(), psnr_db=round(psnr_db(squared_error), 2)
    )


@contextmanager
def _archive(file: Path) -> Iterator[zipfile.ZipFile]:
    """A new archive, which takes the file's place when all is in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.partial")
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:
            yield archive
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _add(archive: zipfile.ZipFile, name: str, data: bytes, *, stored: bool = False) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)
