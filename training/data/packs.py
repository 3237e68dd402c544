"""A set of face crops in one file, to train on where its videos are not.

    set.zip
    ├── set.json             what it is of: crops' size, labels, photographs (`Index`)
    ├── crops/000000.json    the first video's runs: track, numbers and times of frames
    ├── crops/000000.mkv     their crops, one run after another
    └── photographs/train.mkv, val.mkv

A video in it goes by a path inside of it, `set.zip/real/a.mp4`, which is no file. What is read here may be anybody's:
no name in it becomes a path on disk, and every size is bounded before it is believed.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from dmcl_sdk.network import PREPROCESSING_VERSION
from dmcl_sdk.segment import Segment
from training.data.coding import Crop, decode
from training.data.manifest import Clip, require_rights

FORMAT = "dmcl.pack/2"
INDEX = "set.json"
_MOST_BYTES = 1 << 28  # of a member that is JSON
_MOST_FRAMES = 10_000_000
_MOST_PHOTOGRAPHS = 200_000  # which are all held in memory


def _plain(name: str) -> str:
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or "\\" in name
    if leads_out or str(path) != name or name == "." or not name.isprintable():
        raise ValueError(f"a name is a plain path inside of the pack, got {name!r}")
    return name


Name = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_plain)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Coded(_Part):
    """Crops as they lie in a pack.

    Attributes:
        frames: how many.
        sha256: of their runs and coded bytes.
        psnr_db: of the crops beside those that were coded.
    """

    frames: int = Field(ge=1, le=_MOST_FRAMES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    psnr_db: float


class PackedRun(_Part):
    """A run without its crops: as `training.data.runs.Run`."""

    track: int
    frame_index: tuple[int, ...] = Field(min_length=1)
    time_s: tuple[float, ...]

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        ordered = all(a < b for row in (self.frame_index, self.time_s) for a, b in pairwise(row))
        if len(self.time_s) != len(self.frame_index) or not ordered:
            raise ValueError("a run has one time a frame, both ascending")
        return self


PackedRuns = TypeAdapter(tuple[PackedRun, ...])


class PackedVideo(_Part):
    """A row of the manifest: as `training.data.manifest.Clip`; and its crops, None where no face was found."""

    name: Name
    split: Literal["train", "val"]
    fake: bool
    generator: str = ""
    pair: Name | None = None
    identity: str = ""
    spans: tuple[tuple[float, float], ...] | None = None
    donor: str = ""
    rights: str = ""
    crops: Coded | None = None


class PackedPhotograph(_Part):
    """Where a photograph is from."""

    name: str
    rights: str = ""


class PackedPhotographs(_Part):
    """The photographs of one split, a crop each."""

    split: Literal["train", "val"]
    rows: tuple[PackedPhotograph, ...] = Field(max_length=_MOST_PHOTOGRAPHS)
    crops: Coded


class Index(_Part):
    """What a pack holds.

    Attributes:
        format: its version.
        size_px, margin_px, preprocessing: how crops were cut, without and around the margin.
        coding: how they were coded.
        videos_sha256: the digest that a run on the videos themselves would have.
        videos: in the order of the manifest.
        photographs: by split.
    """

    format: Literal["dmcl.pack/2"]
    size_px: int = Field(ge=16, le=1024)
    margin_px: int = Field(ge=0, le=256)
    preprocessing: str
    coding: str
    videos_sha256: str
    videos: tuple[PackedVideo, ...] = Field(min_length=1)
    photographs: tuple[PackedPhotographs, ...] = ()

    @model_validator(mode="after")
    def _names_are_its_own(self) -> Self:
        if len({video.name for video in self.videos}) < len(self.videos):
            raise ValueError("two videos have one name")
        if any(len(part.rows) != part.crops.frames for part in self.photographs):
            raise ValueError("photographs have one crop each")
        return self

    @property
    def side_px(self) -> int:
        """Of a crop with its margin."""
        return self.size_px + 2 * self.margin_px


@dataclass(frozen=True, eq=False)
class Pack:
    """An opened pack.

    Attributes:
        path: the file.
        index: what it holds.
        sha256: of the index, and so of everything.
        numbers: of the videos, by name.
    """

    path: Path
    index: Index
    sha256: str
    numbers: dict[str, int]

    def clips(self) -> Iterator[Clip]:
        """The labelled videos, by paths inside of the pack.

        Raises:
            ValueError: labels contradict each other.
        """
        for video in self.index.videos:
            try:
                yield Clip(
                    path=self.path / video.name,
                    split=video.split,
                    fake=video.fake,
                    generator=video.generator,
                    pair=None if video.pair is None else self.path / video.pair,
                    identity=video.identity,
                    spans=None if video.spans is None else tuple(Segment(*span) for span in video.spans),
                    donor=video.donor,
                    rights=video.rights,
                )
            except ValueError as error:
                raise ValueError(f"{self.path}: {video.name}: {error}; {_ANEW}") from error

    def crops_of(self, name: str) -> Coded | None:
        """What there is to know of a video's crops; None where no face was found."""
        return self.index.videos[self.numbers[name]].crops

    def runs(self, name: str) -> tuple[tuple[PackedRun, ...], Iterator[Crop]]:
        """A video's runs, and their crops with margin, one run's after another's.

        Raises:
            ValueError: they are damaged; when crops are, it is raised as they are read.
        """
        coded = self.crops_of(name)
        if coded is None:
            return (), iter(())
        number = self.numbers[name]
        runs = _read(self.path, runs_member(number))
        try:
            found = PackedRuns.validate_json(runs)
        except ValidationError as error:
            raise self._damaged(f"{name}: {_first(error)}") from error
        if sum(len(run.frame_index) for run in found) != coded.frames:
            raise self._damaged(f"{name} has other frames than it says")
        return found, self._decoded(crops_member(number), coded, name, runs)

    def photographs(self, split: str, rights: tuple[str, ...] = ()) -> list[Crop]:
        """The photographs of a split, with margin; with `rights`, those alone whose rights begin so.

        Raises:
            ValueError: they are damaged, or there are some and none of such rights.
        """
        present = (row.rights for part in self.index.photographs if part.split == split for row in part.rows)
        require_rights(present, rights, split=split, where=self.path)
        return [
            crop
            for part in self.index.photographs
            if part.split == split
            for row, crop in zip(
                part.rows,
                self._decoded(photographs_member(split), part.crops, f"its photographs of {split}"),
                strict=True,
            )
            if not rights or row.rights.startswith(rights)
        ]

    def require(self, size_px: int, margin_px: int) -> None:
        """Refuse crops that another network was made for.

        Raises:
            ValueError: they were cut otherwise than this one's.
        """
        index = self.index
        have = (index.size_px, index.margin_px, index.preprocessing)
        if have != (size_px, margin_px, PREPROCESSING_VERSION):
            raise ValueError(
                f"{self.path}: its crops are {index.size_px} px with a margin of {index.margin_px}, by preprocessing "
                f"{index.preprocessing}; this network takes {size_px} px with {margin_px}, by {PREPROCESSING_VERSION}; "
                "make the pack again with dmcl pack and this configuration, where the videos are"
            )

    def _decoded(self, member: str, coded: Coded, name: str, before: bytes = b"") -> Iterator[Crop]:
        data = _read(self.path, member, stored=True)
        if hashlib.sha256(before + data).hexdigest() != coded.sha256:
            raise self._damaged(f"{name} has another digest than it says")
        count = 0
        try:
            for crop in islice(decode(io.BytesIO(data), side_px=self.index.side_px), coded.frames):
                yield crop
                count += 1
        except ValueError as error:
            raise self._damaged(f"{name}: {error}") from error
        if count < coded.frames:
            raise self._damaged(f"{name} has {count} crops, not {coded.frames}")

    def _damaged(self, why: str) -> ValueError:
        return ValueError(f"{self.path} is damaged: {why}; {_ANEW}")


_ANEW = "copy it again, or make it again with dmcl pack"


def runs_member(number: int) -> str:
    """Where the runs of a pack's video number `number` lie."""
    return f"crops/{number:06}.json"


def crops_member(number: int) -> str:
    """Where their crops lie."""
    return f"crops/{number:06}.mkv"


def photographs_member(split: str) -> str:
    """Where the photographs of a split lie."""
    return f"photographs/{split}.mkv"


def is_pack(path: Path) -> bool:
    """Whether a file is meant to be a pack; `read_pack` says whether it is one."""
    return path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


def inside_of(video: Path) -> tuple[Pack, str] | None:
    """The pack in which a video lies, and its name there; None for a file.

    Raises:
        ValueError: it is no pack, or there is no such video in it.
    """
    if video.exists():
        return None
    file = next((parent for parent in video.parents if parent.is_file()), None)
    if file is None:
        return None
    pack, name = read_pack(file), video.relative_to(file).as_posix()
    if name not in pack.numbers:
        raise ValueError(f"{file} holds no {name}")
    return pack, name


def read_pack(path: Path) -> Pack:
    """Open a pack.

    Raises:
        ValueError: it is damaged, of another version, or something else.
    """
    stat = path.stat()
    return _read_pack(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _read_pack(path: Path, _size: int, _changed_ns: int) -> Pack:
    data = _read(path, INDEX)
    try:
        index = Index.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(f"{path} is no pack that this version reads: {_first(error)}; {_ANEW}") from error
    numbers = {video.name: number for number, video in enumerate(index.videos)}
    return Pack(path, index, hashlib.sha256(data).hexdigest(), numbers)


def _read(path: Path, member: str, *, stored: bool = False) -> bytes:
    """The bytes of a member, which lies there as it is, or is JSON of a bounded size.

    Raises:
        ValueError: there is none, it is damaged, or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(member)
            if stored and info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{path} is damaged: {member} is compressed; {_ANEW}")
            if not stored and info.file_size > _MOST_BYTES:
                raise ValueError(f"{path}: {member} has more than {_MOST_BYTES >> 20} MiB; {_ANEW}")
            return archive.read(info)
    except KeyError as error:
        raise ValueError(
            f"{path} is no pack, or not all of one: there is no {member} in it; {_ANEW}; an archive of videos is "
            "unpacked into a folder first"
        ) from error
    # RuntimeError: a password, NotImplementedError: a compression that Python does not know
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged, or no pack: {member}: {error}; {_ANEW}") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
