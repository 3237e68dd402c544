"""Data sets as they are published: the folder that was unpacked is all that is asked for.

Layouts and lists are described in each reader's file. Videos of other people's sets are never handed on here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.data.manifest import Clip, Split, keep_apart
from training.data.published import audiovisual, celebdf, deeperforensics, dfdc, faceforensics, wilddeepfake
from training.data.published.tree import Listing, Tree

__all__ = ["PUBLISHED", "Published", "read_dataset", "recognise"]

_log = logging.getLogger(__name__)
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Published:
    """A data set that can be read.

    Attributes:
        title: what papers call it.
        read: what a tree ought to hold.
        fits: whether a folder looks like it.
        source: where to get it.
        compressions: whether there are several.
        order: which split keeps a person that the publisher has in two: the one that is reported comes first.
    """

    title: str
    read: Callable[[Tree], Listing]
    fits: Callable[[Path], bool]
    source: str
    compressions: bool = False
    order: tuple[Split, ...] = ("test", "train", "val")


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda root: any((root / name).exists() for name in names)


def _is_faceforensics(root: Path) -> bool:
    """Also its real videos alone, where nothing else came down yet."""
    if any((root / _MANIPULATED / method).is_dir() for method in faceforensics.METHODS):
        return True
    others = ("manipulated_videos", _MANIPULATED)
    return (root / "original_sequences").is_dir() and not any((root / name).is_dir() for name in others)


def _starts_with(root: Path, names: Sequence[str], opening: str) -> bool:
    path = next((root / name for name in names if (root / name).is_file()), None)
    if path is None:
        return False
    with path.open(encoding="utf-8") as file:
        return file.read(64).lstrip().startswith(opening)


def _is_dfdc(root: Path) -> bool:
    folder = dfdc.tested_folder(root)
    if dfdc.parts_of(root) or (folder / "labels.csv").is_file():
        return True
    return _starts_with(folder, ("metadata.json",), "{")


def _script(what: str) -> str:
    return f"github.com/ondyari/FaceForensics: its download script, -d {what} -c c23 -t videos"


_MANIPULATED = "manipulated_sequences"

PUBLISHED: dict[str, Published] = {
    "ff++": Published(
        "FaceForensics++",
        faceforensics.faceforensics,
        _is_faceforensics,
        _script("all"),
        compressions=True,
    ),
    "faceshifter": Published(
        "FaceShifter",
        faceforensics.faceshifter,
        _has(f"{_MANIPULATED}/{faceforensics.FACESHIFTER}"),
        _script("FaceShifter"),
        compressions=True,
    ),
    "dfd": Published(
        "DeepFakeDetection",
        faceforensics.deepfakedetection,
        _has(f"{_MANIPULATED}/{faceforensics.DEEPFAKEDETECTION}"),
        _script("DeepFakeDetection"),
        compressions=True,
    ),
    "celeb-df-v2": Published(
        "Celeb-DF v2",
        celebdf.celeb_df,
        _has("Celeb-synthesis", "Celeb-real"),
        "github.com/yuezunli/celeb-deepfakeforensics",
    ),
    "dfdcp": Published(
        "DFDCP",
        dfdc.dfdc_preview,
        lambda root: (
            (root / "dataset.json").is_file() and _has("original_videos", "method_A", "method_B")(root)
        ),
        "ai.meta.com/datasets/dfdc: the preview",
    ),
    "deeperforensics": Published(
        "DeeperForensics-1.0",
        deeperforensics.deeperforensics,
        _has("manipulated_videos"),
        "github.com/EndlessSora/DeeperForensics-1.0",
        compressions=True,
    ),
    "wilddeepfake": Published(
        "WildDeepfake",
        wilddeepfake.wilddeepfake,
        wilddeepfake.is_wilddeepfake,
        "github.com/OpenTAI/wild-deepfake",
    ),
    "av-deepfake1m": Published(
        "AV-Deepfake1M",
        audiovisual.av_deepfake1m,
        _has(*audiovisual.AV_DEEPFAKE1M_LISTS.values()),
        "github.com/ControlNet/AV-Deepfake1M",
        order=("val", "train", "test"),
    ),
    "lav-df": Published(
        "LAV-DF",
        audiovisual.lav_df,
        lambda root: _starts_with(root, audiovisual.LAV_DF_LISTS, "["),
        "github.com/ControlNet/LAV-DF",
    ),
    "dfdc": Published("DFDC", dfdc.dfdc, _is_dfdc, "ai.meta.com/datasets/dfdc"),
}
"""Every data set by its name here, in the order in which a folder is compared with them."""


def recognise(root: Path) -> str | None:
    """The name of the data set that a folder looks like; None when it looks like none of them."""
    return next((name for name, published in PUBLISHED.items() if published.fits(root)), None)


def read_dataset(
    root: Path,
    name: str | None = None,
    *,
    split: Split | None = None,
    compression: str | None = None,
    originals: Path | None = None,
    allow_missing: bool = False,
    people_apart: bool = True,
) -> list[Clip]:
    """The labelled videos of a published data set, in its official split where it has one.

    Where a publisher's own split shows a person in two parts, the part that is reported stays whole and the others
    lose that person's videos; a warning counts them. What is not there is an error by default.

    Args:
        root: the folder that was unpacked.
        name: one of `PUBLISHED`; found by the folder's shape when None.
        split: only this part, and only its files need to be there; all when None.
        compression: `raw`, `c23` or `c40`, for FaceForensics++ and what comes with it; c23 when None.
        originals: where FaceForensics++ lies, for DeeperForensics-1.0, whose real videos are there.
        allow_missing: go on with the videos that are there.
        people_apart: whether nobody may be seen in two parts; False gives the parts as published.

    Raises:
        ValueError: the name or shape is not known, a compression is asked for where there is none, or a list is
            broken.
        FileNotFoundError: lists or videos are missing, or nothing is there of what was asked for; the message says
            which, how many of how many there are, and the way out.
    """
    name = name or recognise(root)
    if name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise ValueError(f"{root}: not a data set known here; by its name it would be one of {known}")
    published = PUBLISHED[name]
    if compression is not None and not published.compressions:
        raise ValueError(f"{published.title} comes in one compression, not in {compression}")
    listing = published.read(Tree(root, split, compression, originals))
    clips = keep_apart(listing.clips, published.order) if people_apart else listing.clips
    clips = [clip for clip in clips if split in {None, clip.split}]
    there = _present(clips)
    missing = [clip.path for clip in clips if clip.path not in there]
    kept = [clip for clip in clips if clip.path in there]
    if not kept or (not allow_missing and (missing or listing.absent)):
        part = "" if split is None else f" ({split})"
        raise FileNotFoundError(
            _incomplete(root, f"{published.title}{part}", len(clips), missing, listing.absent)
            + f"\nGet the rest from {published.source}"
            + (
                ""
                if not kept
                else ", or go on with what is there: --allow-missing (allow_missing = true in a configuration)"
            )
        )
    if missing:
        _log.warning("%s: went on without %d of %d videos", root, len(missing), len(clips))
    return [clip if clip.pair is None or clip.pair in there else replace(clip, pair=None) for clip in kept]


def _present(clips: Sequence[Clip]) -> set[Path]:
    """Which of the clips' files, and of those they were made from, are there; each folder is listed once."""
    wanted = {path for clip in clips for path in (clip.path, clip.pair) if path is not None}
    names = {
        folder: {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        for folder in {path.parent for path in wanted}
    }
    return {path for path in wanted if path.name in names[path.parent]}


def _incomplete(root: Path, title: str, total: int, missing: list[Path], absent: Sequence[str]) -> str:
    """What is missing, folder by folder."""
    lines = [f"{root}: {title} is not complete: {total - len(missing)} of {total} videos are there"]
    lines += [f"  missing: {line}" for line in absent]
    folders = Counter(path.parent for path in missing)
    for folder, count in folders.most_common(_SHOWN):
        first = min(path.name for path in missing if path.parent == folder)
        lines.append(f"  missing: {folder}: {count} videos, first {first}")
    if len(folders) > _SHOWN:
        lines.append(f"  and {len(folders) - _SHOWN} more folders")
    return "\n".join(lines)
