"""The Deepfake Detection Challenge, DFDC, and its preview, DFDCP.

DFDC, as it is unpacked (a folder `train/` around the parts is fine):

    dfdc_train_part_0..49/{*.mp4,metadata.json}      label REAL or FAKE, and a fake's original
    validation/, test/{*.mp4,labels.csv}             filename,label with 1 for a fake; or metadata.json with is_fake

DFDCP:

    dataset.json                                     path, label, set, target_id, swapped_id
    original_videos/<actor>/..  method_A/..  method_B/..

Neither has a name for everybody: in DFDC the recording that a fake was made from stands in for the person.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from training.data.manifest import Clip, Split
from training.data.published.tree import Listing, Tree, carve_validation, read_json, video_folder

_PART = re.compile(r"dfdc_train_part_(\d+)")
_ONE_IN = 5


def dfdc(tree: Tree) -> Listing:
    """DFDC: the parts that are there; the official validation and test part, if they are.

    Without the validation part, every fifth of the training parts by number is `val`. The publisher also labels FAKE
    what was changed in its sound alone, and does not say which videos those are: they stay fake here.
    """
    clips: list[Clip] = []
    absent = []
    parts = sorted(parts_of(tree.root), key=_number)
    validation = list(_labelled(tree.root / "validation", "val"))
    for place, part in enumerate(parts):
        held_back = not validation and place % _ONE_IN == _ONE_IN - 1
        if (part / "metadata.json").is_file():
            clips += _trained(part, "val" if held_back else "train")
        elif tree.wants("train", "val"):
            absent.append(f"{part / 'metadata.json'}: the labels of this part")
    tested = list(_labelled(tree.root / "test" if parts else tested_folder(tree.root), "test"))
    return Listing(clips + validation + tested, tuple(absent))


def parts_of(root: Path) -> list[Path]:
    """The folders of training parts; one alone is a tree too."""
    if _PART.fullmatch(root.name):
        return [root]
    return [
        part
        for top in (root, root / "train")
        if top.is_dir()
        for part in top.iterdir()
        if _PART.fullmatch(part.name)
    ]


def tested_folder(root: Path) -> Path:
    """The test part of a tree, which may be unpacked alone."""
    return root / "test" if (root / "test").is_dir() else root


def labels_file(folder: Path) -> Path | None:
    """The file with the labels of a validation or test part, if this is one."""
    return next((path for name in ("labels.csv", "metadata.json") if (path := folder / name).is_file()), None)


def _number(part: Path) -> int:
    found = _PART.fullmatch(part.name)
    return int(found[1]) if found else -1


def _trained(part: Path, split: Split) -> Iterator[Clip]:
    rows: dict[str, dict[str, Any]] = read_json(part / "metadata.json")
    videos = video_folder(part)
    for name, row in rows.items():
        if row["label"] not in {"REAL", "FAKE"}:
            raise ValueError(
                f"{part / 'metadata.json'}: {name} is labelled {row['label']!r}, not REAL or FAKE"
            )
        original = row.get("original") if row["label"] == "FAKE" else None
        pair = videos / original if original in rows else None
        person = PurePosixPath(original or name).stem
        fake = row["label"] == "FAKE"
        yield Clip(
            videos / name, split, fake=fake, generator="DFDC" if fake else "", pair=pair, identity=person
        )


def _labelled(folder: Path, split: Split) -> Iterator[Clip]:
    path = labels_file(folder)
    if path is None:
        return
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            labels = {row["filename"]: row["label"] for row in csv.DictReader(file)}
    else:
        labels = {name: str(row.get("is_fake")) for name, row in read_json(path).items()}
    for name, label in labels.items():
        if label not in {"0", "1"}:
            raise ValueError(f"{path}: {name} is labelled {label!r}, not 0 (real) or 1 (fake)")
        yield Clip(
            video_folder(folder) / name, split, fake=label == "1", generator="DFDC" if label == "1" else ""
        )


def dfdc_preview(tree: Tree) -> Listing:
    """DFDCP: the official train and test sets; every fifth person of the train set is `val`."""
    rows: dict[str, dict[str, Any]] = read_json(tree.root / "dataset.json")
    clips = []
    for name, row in rows.items():
        if row["set"] not in {"train", "test"} or row["label"] not in {"real", "fake"}:
            raise ValueError(
                f"{tree.root / 'dataset.json'}: {name}: set is train or test, label real or fake"
            )
        split: Split = "test" if row["set"] == "test" else "train"
        shown, path = str(row.get("target_id") or ""), _preview_path(tree.root, name)
        if row["label"] == "real":
            clips.append(Clip(path, split, fake=False, identity=shown))
            continue
        # 1255229_1260311_C_001: the face of 1255229 in recording 1260311_C_001
        source = f"original_videos/{shown}/{path.stem.partition('_')[2]}.mp4"
        pair = _preview_path(tree.root, source) if source in rows else None
        method, donor = PurePosixPath(name).parts[0], str(row.get("swapped_id") or "")
        clips.append(Clip(path, split, fake=True, generator=method, pair=pair, identity=shown, donor=donor))
    return Listing(carve_validation(clips))


def _preview_path(root: Path, name: str) -> Path:
    top, _, rest = name.partition("/")
    return video_folder(root / top) / rest
