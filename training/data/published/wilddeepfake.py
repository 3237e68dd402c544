"""WildDeepfake: faces cut from videos of the internet, published as pictures and not as videos.

    {real,fake}_{train,test}/<number>.tar.gz         each with <number>/{real,fake}/<sequence>/<frame>.png

Here a video is scored by the very path that serves it, which takes videos. So the sequences are packed once, without
loss, into a tree of the same four folders, and that tree is what is read:

    python -m training.data.published.wilddeepfake ARCHIVES OUT

A picture's name is its frame's number in a video that is not published, nor is its frame rate: 25 a second are
assumed, and what is missing between two numbers stays a gap. The pictures were cut around the face, tightly and each
for itself: a detector that looks for faces misses some, and motion holds the jitter of the cutting.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
import typer

from training.data.manifest import Clip, Split
from training.data.published.tree import Listing, Tree, carve_validation, videos_in

Picture = npt.NDArray[np.uint8]
RATE = 25
_PARTS: tuple[tuple[str, Split], ...] = (
    ("real_train", "train"),
    ("fake_train", "train"),
    ("real_test", "test"),
    ("fake_test", "test"),
)


def wilddeepfake(tree: Tree) -> Listing:
    """The packed sequences, in the official train and test parts; every fifth archive of train is `val`.

    Who is shown is not published: the archive that a sequence came in stands in for the person.
    """
    clips, absent = [], []
    for part, split in _PARTS:
        folder, fake = part_root(tree.root) / part, part.startswith("fake")
        videos = videos_in(folder)
        if not videos and (tree.wants(split) or (tree.split == "val" and split == "train")):
            packed = any(folder.glob("*.tar*"))
            absent.append(f"{folder}: " + (_how_to_pack(tree.root) if packed else "no videos"))
        for file in videos:
            person = f"{part} {file.stem.rpartition('-')[0]}"
            kind = "in the wild" if fake else ""
            clips.append(Clip(file, split, fake=fake, generator=kind, identity=person))
    return Listing(carve_validation(clips), tuple(absent))


def part_root(root: Path) -> Path:
    """The folder of the four parts: the published one wraps them in another."""
    inner = root / "deepfake_in_the_wild"
    return inner if inner.is_dir() else root


def is_wilddeepfake(root: Path) -> bool:
    """Whether one of the four folders is there."""
    return any((part_root(root) / part).is_dir() for part, _ in _PARTS)


def pack(archives: Path, out: Path) -> Iterator[Path]:
    """Pack each sequence of all archives into a lossless video; those already there are passed over.

    Raises:
        FileNotFoundError: there is no archive.
        ValueError: a sequence has pictures of two sizes, or one that cannot be read.
    """
    shards = [
        (part, shard) for part, _ in _PARTS for shard in sorted((part_root(archives) / part).glob("*.tar*"))
    ]
    if not shards:
        raise FileNotFoundError(f"{archives}: no archives in {', '.join(part for part, _ in _PARTS)}")
    for part, shard in shards:
        (out / part).mkdir(parents=True, exist_ok=True)
        for sequence, pictures in _sequences(shard):
            path = out / part / f"{shard.name.partition('.')[0]}-{sequence}.mkv"
            if not path.exists():
                partial = path.with_suffix(".partial")
                _write(partial, pictures, f"{shard}: {sequence}")
                partial.replace(path)
            yield path


def _sequences(shard: Path) -> Iterator[tuple[str, dict[int, bytes]]]:
    """The pictures of each sequence by frame number; nothing is unpacked to disk."""
    found: dict[str, dict[int, bytes]] = {}
    with tarfile.open(shard) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            content = archive.extractfile(member) if name.suffix.lower() == ".png" else None
            if content is not None and name.stem.isdigit():
                found.setdefault(name.parent.name, {})[int(name.stem)] = content.read()
    yield from found.items()


def _write(path: Path, pictures: dict[int, bytes], name: str) -> None:
    frames = [(number, _decoded(pictures[number], name)) for number in sorted(pictures)]
    if len({frame.shape for _, frame in frames}) != 1:
        raise ValueError(f"{name}: pictures of more than one size")
    with av.open(path, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *frames[0][1].shape[:2], "bgr0"
        stream.time_base = Fraction(1, RATE)
        for number, picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="bgr0")
            frame.pts, frame.time_base = number - frames[0][0], Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _decoded(png: bytes, name: str) -> Picture:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{name}: a picture cannot be read")
    return cast("Picture", picture)


def _how_to_pack(root: Path) -> str:
    command = f"python -m {__package__}.wilddeepfake {root} OUT"
    return f"archives of pictures; pack them by `{command}` and read OUT"


def _count(paths: Iterable[Path]) -> int:
    from rich.console import Console
    from rich.progress import track

    return sum(1 for _ in track(paths, "packing", console=Console(stderr=True)))


def command(
    archives: Annotated[Path, typer.Argument(help="The published tree of .tar.gz files.", exists=True)],
    out: Annotated[Path, typer.Argument(help="Where the tree of videos goes.")],
) -> None:
    """Pack WildDeepfake's pictures into lossless videos, once; started again, it goes on where it stopped."""
    typer.echo(f"{out}: {_count(pack(archives, out))} sequences")


if __name__ == "__main__":
    typer.run(command)
