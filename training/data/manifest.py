"""What there is to train on: a CSV with a row a video, or a folder with `real/` and `fake/`."""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v", ".gif"})
Split = Literal["train", "val"]


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled video.

    Attributes:
        path: the file.
        split: `train` or `val`; by identity and source, never by file.
        fake: its label.
        generator: what made a fake; empty for a real one.
        pair: the real video that a fake was made from, frame by frame, when known.
        identity: who is shown, when known; clips of one identity never lie in both splits.
    """

    path: Path
    split: Split
    fake: bool
    generator: str = ""
    pair: Path | None = None
    identity: str = ""


def read_manifest(path: Path) -> list[Clip]:
    """Clips of a manifest CSV, or of a folder with `real/` and `fake/`.

    A CSV has the columns `file`, `split`, `label` (real or fake) and may have `generator`, `pair` and `identity`;
    files are named relative to it; clips of `val` whose identity is also in `train` are left out. A folder's
    clips are all `train`, except every fifth by name, which is `val`.

    Raises:
        ValueError: the file or folder has another shape; the message names the row.
        FileNotFoundError: a file that is named is not there.
    """
    if path.is_dir() and (path / "manifest.csv").exists():
        path = path / "manifest.csv"
    return _from_folder(path) if path.is_dir() else _from_csv(path)


def _from_csv(path: Path) -> list[Clip]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "split", "label"} <= rows[0].keys():
        raise ValueError(f"{path}: a manifest has the columns file, split, label, and at least one row")
    clips = [_clip(path, number, row) for number, row in enumerate(rows, start=2)]
    missing = [clip.path for clip in clips if not clip.path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(clips)} files are missing, first {missing[0]}"
        )
    return _apart(clips)


def _clip(path: Path, number: int, row: dict[str, str]) -> Clip:
    split, label = row["split"], row["label"]
    if split not in {"train", "val"} or label not in {"real", "fake"}:
        raise ValueError(
            f"{path}:{number}: split is train or val and label real or fake, got {split}, {label}"
        )
    pair = row.get("pair") or ""
    return Clip(
        path=path.parent / row["file"],
        split="train" if split == "train" else "val",
        fake=label == "fake",
        generator=row.get("generator") or "",
        pair=path.parent / pair if pair else None,
        identity=row.get("identity") or "",
    )


def _apart(clips: list[Clip]) -> list[Clip]:
    """The clips without those of `val` that show a person who is also in `train`."""
    known = {clip.identity for clip in clips if clip.identity and clip.split == "train"}
    kept = [clip for clip in clips if clip.split == "train" or clip.identity not in known]
    if len(kept) < len(clips):
        _log.warning("left out %d val clips whose person is also in train", len(clips) - len(kept))
    return kept


def _from_folder(path: Path) -> list[Clip]:
    clips: list[Clip] = []
    for label in ("real", "fake"):
        files = sorted(file for file in (path / label).rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
        if not files:
            raise ValueError(
                f"{path}: expected manifest.csv, or videos in {path / 'real'} and {path / 'fake'}"
            )
        clips += [
            Clip(file, "val" if number % 5 == 4 else "train", label == "fake")
            for number, file in enumerate(files)
        ]
    return clips
