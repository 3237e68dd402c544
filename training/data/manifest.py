"""What there is to train on: a CSV with a row a video, a folder with `real/` and `fake/`, or a published data set."""

from __future__ import annotations

import csv
import logging
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

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

    @property
    def ties(self) -> tuple[object, ...]:
        """What makes two clips dependent if both have it: a video, or a person; always in the same order."""
        return (self.path, *(() if self.pair is None else (self.pair,)), *sorted(self.people))


def read_manifest(path: Path, *, split: Split | None = None, allow_missing: bool = False) -> list[Clip]:
    """Clips of a manifest CSV, of a folder with `real/` and `fake/`, or of a data set as it was published.

    A CSV names files relative to itself and has these columns, the first three always:

    * `file`: the video.
    * `split`: train, val or test. Clips whose person or source is also in a split before theirs are left out.
    * `label`: real or fake.
    * `generator`: what made a fake.
    * `pair`: the real video that a fake was made from.
    * `identity`: who is shown; `donor`: whose face was put in.
    * `spans`: when a fake is manipulated, in seconds, as in `1.2-3.4;5-6`; empty for all of it.
    * `rights`: under what it may be used, in any words.

    A folder's clips are `train`, except those of a fifth of its sources (`hold_out`), which are `val`; all are `train`
    where there are too few to hold any out. A folder that holds a published
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


def write_manifest(clips: Sequence[Clip], path: Path) -> None:
    """The CSV that `read_manifest` reads back as these clips, with files named relative to it where they lie below.

    Raises:
        OSError: it cannot be written there.
    """

    def named(file: Path | None) -> str:
        if file is None:
            return ""
        whole, home = file.absolute(), path.parent.absolute()
        return str(whole.relative_to(home) if whole.is_relative_to(home) else whole)

    with path.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(
            ("file", "split", "label", "generator", "pair", "identity", "donor", "spans", "rights")
        )
        for clip in clips:
            spans = ";".join(f"{span.start_s:f}-{span.end_s:f}" for span in clip.spans or ())
            label = "fake" if clip.fake else "real"
            table.writerow(
                (
                    named(clip.path), clip.split, label, clip.generator, named(clip.pair), clip.identity, clip.donor,
                    spans, clip.rights,
                )
            )  # fmt: skip


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


def require_generators(clips: Iterable[Clip], names: Iterable[str], *, where: str) -> None:
    """Refuse generators of which there is no fake.

    Raises:
        ValueError: the message names those that there are.
    """
    known = {clip.generator for clip in clips if clip.fake}
    if unknown := sorted(set(names) - known):
        raise ValueError(
            f"{where}: there are no fakes of {', '.join(unknown)}; its generators: {', '.join(sorted(known))}"
        )


def manipulated(spans: Sequence[Segment] | None, times_s: ArrayLike) -> npt.NDArray[np.bool_]:
    """Which moments of a fake are manipulated, (N,) seconds -> (N,): all, unless its spans are known."""
    times = np.asarray(times_s, np.float64)
    if spans is None:
        return np.ones(len(times), np.bool_)
    inside = [(span.start_s <= times) & (times < span.end_s) for span in spans]
    return np.asarray(np.any(inside, axis=0), np.bool_)


def keep_apart(clips: Sequence[Clip], order: Sequence[Split] = ("test", "train", "val")) -> list[Clip]:
    """The clips without those that show a person, or are of a video, of a split that comes earlier in `order`."""
    taken: set[object] = set()
    kept: set[int] = set()
    for split in order:
        rows = [n for n, clip in enumerate(clips) if clip.split == split]
        free = [n for n in rows if taken.isdisjoint(clips[n].ties)]
        if len(free) < len(rows):
            others = " or ".join(order[: order.index(split)])
            _log.warning(
                "left out %d %s clips whose person or source is also in %s",
                len(rows) - len(free),
                split,
                others,
            )
        taken |= {tie for n in free for tie in clips[n].ties}
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
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # as Excel writes it, too
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8: {error}") from error
    if not rows or not {"file", "split", "label"} <= rows[0].keys():
        raise ValueError(f"{path}: a manifest has the columns file, split, label, and at least one row")
    clips = [_clip(path, number, row) for number, row in enumerate(rows, start=2)]
    clips = [clip for clip in keep_apart(clips, get_args(Split)) if split in {None, clip.split}]
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
    if split not in get_args(Split) or label not in {"real", "fake"}:
        raise ValueError(
            f"{path}:{number}: split is train, val or test and label real or fake, got {split}, {label}"
        )
    if not row["file"]:
        raise ValueError(f"{path}:{number}: no file is named")
    pair = row.get("pair") or ""
    try:
        return Clip(
            path=path.parent / row["file"],
            split=cast("Split", split),
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
        clips += [Clip(file, "train", label == "fake") for file in files]
    from training.holdout import TooFewSourcesError, hold_out  # which needs `Clip`

    try:
        return hold_out(clips, keep=False)
    except TooFewSourcesError:
        return clips
