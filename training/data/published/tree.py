"""What the readers of published data sets share: what they are asked, what they answer, and how videos are listed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.data.manifest import VIDEO_SUFFIXES, Clip, Split

_ONE_IN = 5


@dataclass(frozen=True, slots=True)
class Tree:
    """Where a data set lies, and which version of it is wanted.

    Attributes:
        root: the folder that was unpacked.
        split: the part that is wanted; all when None.
        compression: for FaceForensics++ and what comes with it; None for c23, or the only one there.
        originals: where FaceForensics++ lies, whose videos are the real ones of DeeperForensics-1.0.
    """

    root: Path
    split: Split | None = None
    compression: str | None = None
    originals: Path | None = None

    def wants(self, *splits: Split) -> bool:
        """Whether one of these parts is asked for."""
        return self.split is None or self.split in splits


@dataclass(frozen=True, slots=True)
class Listing:
    """What a tree ought to hold.

    Attributes:
        clips: every video that the set's own lists name, or that lies in its folders where it has no list.
        absent: what is wanted and not there at all, as lines for people: folders without a video, lists of a part.
    """

    clips: list[Clip]
    absent: tuple[str, ...] = ()


def video_folder(folder: Path) -> Path:
    """A folder of videos, or its `videos/`, into which scripts for face crops like to move them."""
    inner = folder / "videos"
    return inner if inner.is_dir() else folder


def videos_in(folder: Path) -> list[Path]:
    """The videos directly in a folder, by name; none when there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)


def read_json(path: Path) -> Any:  # noqa: ANN401 - what is in it is checked by who reads it
    """A JSON file.

    Raises:
        ValueError: it is not JSON, which a broken download is not either; the message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a whole JSON file ({error}); download it again") from error


def carve_validation(clips: Iterable[Clip]) -> list[Clip]:
    """Clips whose `train` part gives up every fifth person to `val`, where the publisher has no such part.

    By a checksum of the name, so that it is the same on every machine. Fakes that mix people of both sides are in
    neither, and are left out.
    """
    carved = []
    for clip in clips:
        sides = {zlib.crc32(person.encode()) % _ONE_IN == 0 for person in clip.people}
        if clip.split != "train" or not sides:
            carved.append(clip)
        elif len(sides) == 1:
            carved.append(replace(clip, split="val" if sides == {True} else "train"))
    return carved
