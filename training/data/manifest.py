"""What there is to train on: a CSV with a row a video, a folder with `real/` and `fake/`, or a published data set."""

from __future__ import annotations

import csv
import logging
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from dmcl_sdk.segment import Segment

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v", ".gif"})
Split: TypeAlias = Literal["train", "val", "test"]
_SPAN = re.compile(r"\s*(\d+(?:\.\d*)?)\s*-\s*(\d+(?:\.\d*)?)\s*")


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled video.

    Attributes:
        path: the file.
        split: `train`, `val` or `test`; by identity and source, never by file.
        fake: its label: whether the picture was manipulated.
        generator: what made a fake; empty for a real one.
        pair: the real video that a fake was made from, when known: frame by frame, unless spans say that stretches
            were made anew, which may be longer or shorter than what they replace.
        identity: who is shown, when known; clips of one identity never lie in two splits.
        spans: when a fake is manipulated; None for all of it.
        donor: whose face or expression was put in, when known and someone else; kept to one split likewise.
        rights: under what it may be used, in the manifest's words.
    """

    path: Path
    split: Split
    fake: bool
    generator: str = ""
    pair: Path | None = None
    identity: str = ""
    spans: tuple[Segment, ...] | None = None
    donor: str = ""
    rights: str = ""

    def __post_init__(self) -> None:
        if self.spans is not None and not (self.fake and self.spans):
            raise ValueError(f"spans belong to a fake, and are at least one, got {self}")

    @property
    def people(self) -> frozenset[str]:
        """Everyone whose face went into it, as far as known."""
        return frozenset({self.identity, self.donor} - {""})


def read_manifest(path: Path, *, split: Split | None = None, allow_missing: bool = False) -> list[Clip]:
    """Clips of a manifest CSV, of a folder with `real/` and `fake/`, or of a data set as it was published.

    A CSV names files relative to itself and has these columns, the first three always:

    * `file`: the video.
    * `split`: train or val. Clips of `val` whose identity is also in `train` are left out.
    * `label`: real or fake.
    * `generator`: what made a fake.
    * `pair`: the real video that a fake was made from.
    * `identity`: who is shown; `donor`: whose face was put in.
    * `spans`: when a fake is manipulated, in seconds, as in `1.2-3.4;5-6`; empty for all of it.
    * `rights`: under what it may be used, in any words.

    A folder's clips are all `train`, except every fifth by name, which is `val`. A folder that holds a published
    data set is read by `training.data.published.read_dataset`, which says how.

    Args:
        path: the CSV, or a folder; in a folder `manifest.csv` comes first.
        split: only these clips, and only their files need to be there; all by default.
        allow_missing: go on with the files that are there.

    Raises:
        ValueError: the file or folder has another shape; the message names the row.
        FileNotFoundError: a file that is named is not there.
    """
    if path.is_file() and zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is an archive: a pack holds no videos, only crops for dmcl train; here a manifest CSV or a folder "
            "of videos is needed"
        )
    if path.is_dir() and (path / "manifest.csv").exists():
        path = path / "manifest.csv"
    if not path.is_dir():
        return _from_csv(path, split, allow_missing=allow_missing)
    from training.data.published import read_dataset, recognise  # which need `Clip`

    labelled = (path / "real").is_dir() and (path / "fake").is_dir()
    if not labelled and recognise(path) is not None:
        return read_dataset(path, split=split, allow_missing=allow_missing)
    return [clip for clip in _from_folder(path) if split in {None, clip.split}]


def require_rights(present: Iterable[str], rights: tuple[str, ...], *, split: str, where: Path) -> None:
    """Refuse rights that no photograph of a split has.

    Args:
        present: what the photographs of that split say of theirs; none if there are none.
        rights: beginnings that are asked for; none for whatever they are.
        split: for the message.
        where: the file that lists them.

    Raises:
        ValueError: there are photographs, and none of such rights.
    """
    named = set(present)
    if rights and named and not any(name.startswith(rights) for name in named):
        raise ValueError(
            f"rights: no photograph's of the split {split} begin with any of {rights}; {where} has "
            f"{sorted(name or 'none' for name in named)}; leave the key photographs out to do without"
        )


def keep_apart(clips: Sequence[Clip], order: Sequence[Split] = ("test", "train", "val")) -> list[Clip]:
    """The clips without those that show a person of a split that comes earlier in `order`."""
    taken: set[str] = set()
    kept: set[int] = set()
    for split in order:
        rows = [n for n, clip in enumerate(clips) if clip.split == split]
        free = [n for n in rows if not clips[n].people & taken]
        if len(free) < len(rows):
            others = " or ".join(order[: order.index(split)])
            _log.warning(
                "left out %d %s clips whose person is also in %s", len(rows) - len(free), split, others
            )
        taken |= {person for n in free for person in clips[n].people}
        kept.update(free)
    return [clip for n, clip in enumerate(clips) if n in kept]


def read_spans(text: str) -> tuple[Segment, ...] | None:
    """Spans written as `1.2-3.4;5-6`, in seconds; None where there is nothing.

    Raises:
        ValueError: it is written otherwise, or a span ends before it starts.
    """
    if not text.strip():
        return None
    spans = []
    for part in text.split(";"):
        found = _SPAN.fullmatch(part)
        if found is None:
            raise ValueError(f"spans are written as 1.2-3.4;5-6, in seconds, got {text!r}")
        spans.append(Segment(float(found[1]), float(found[2])))
    return tuple(spans)


def _from_csv(path: Path, split: Split | None, *, allow_missing: bool) -> list[Clip]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "split", "label"} <= rows[0].keys():
        raise ValueError(f"{path}: a manifest has the columns file, split, label, and at least one row")
    clips = [_clip(path, number, row) for number, row in enumerate(rows, start=2)]
    clips = [clip for clip in keep_apart(clips, ("train", "val")) if split in {None, clip.split}]
    missing = {clip.path for clip in clips if not clip.path.exists()}
    if missing and not allow_missing:
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(clips)} files are missing, first {min(missing)}"
        )
    if missing:
        _log.warning("%s: went on without %d of %d files", path, len(missing), len(clips))
    return [clip for clip in clips if clip.path not in missing]


def _clip(path: Path, number: int, row: dict[str, str]) -> Clip:
    split, label = row["split"], row["label"]
    if split not in {"train", "val"} or label not in {"real", "fake"}:
        raise ValueError(
            f"{path}:{number}: split is train or val and label real or fake, got {split}, {label}"
        )
    pair = row.get("pair") or ""
    try:
        return Clip(
            path=path.parent / row["file"],
            split="train" if split == "train" else "val",
            fake=label == "fake",
            generator=row.get("generator") or "",
            pair=path.parent / pair if pair else None,
            identity=row.get("identity") or "",
            spans=read_spans(row.get("spans") or ""),
            donor=row.get("donor") or "",
            rights=row.get("rights") or "",
        )
    except ValueError as error:
        raise ValueError(f"{path}:{number}: {error}") from error


def _from_folder(path: Path) -> list[Clip]:
    clips: list[Clip] = []
    for label in ("real", "fake"):
        files = sorted(file for file in (path / label).rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
        if not files:
            raise ValueError(
                f"{path}: expected manifest.csv, or videos in {path / 'real'} and {path / 'fake'}, "
                "or a data set as it was published"
            )
        clips += [
            Clip(file, "val" if number % 5 == 4 else "train", label == "fake")
            for number, file in enumerate(files)
        ]
    return clips
