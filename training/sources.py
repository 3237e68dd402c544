"""From a list of labelled videos to their face crops, made where they are not cached yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from training.data.clips import Source
from training.data.manifest import Clip, Split, read_manifest
from training.data.packs import is_pack, read_pack
from training.data.runs import cache_runs
from training.distributed import Place, wait
from training.journal import progress_bar


def read_clips(data: Path, *, allow_missing: bool = False) -> list[Clip]:
    """The labelled videos of a manifest, folder, published set or pack, to train on and to validate by.

    Raises:
        ValueError: there is no such file or folder, it has another shape, or it names what is not there.
    """
    if not data.exists():
        raise ValueError(
            f"{data} is not there: give a manifest CSV, a folder with real/ and fake/, or a pack"
        )
    if is_pack(data):
        return list(read_pack(data).clips())
    try:
        splits: tuple[Split, ...] = ("train", "val")
        return [
            clip for split in splits for clip in read_manifest(data, split=split, allow_missing=allow_missing)
        ]
    except FileNotFoundError as error:
        raise ValueError(str(error) if str(data) in str(error) else f"{data}: {error}") from error


def load_sources(
    clips: Sequence[Clip], cache: Path, *, size_px: int, workers: int, place: Place
) -> list[Source]:
    """The videos in which a face was found, with its crops; each process makes its share of what is missing.

    Raises:
        ValueError: no face in any of them.
    """
    paths = [clip.path for clip in clips]
    _make(paths[place.rank :: place.world], cache, size_px=size_px, workers=workers, quiet=not place.leads)
    wait()
    runs = cache_runs(paths, cache, size_px=size_px, workers=max(1, workers))
    sources = [Source(clip, tuple(found)) for clip, found in zip(clips, runs, strict=True) if found]
    if not sources:
        raise ValueError(
            f"no face was found in any of {len(clips)} videos (the first is {paths[0]}): a face must be seen for a "
            "second or so, at least about 40 pixels wide, and the file must be a video"
            if clips
            else "there is no video to look for faces in"
        )
    return sources


def require_both(sources: Iterable[Source], frames: int, what: str) -> None:
    """Refuse videos that cannot teach.

    Args:
        sources: with their crops.
        frames: how many frames in a row a face must be seen.
        what: what the videos are called in the message.

    Raises:
        ValueError: no real or no fake video shows a face for long enough.
    """
    for fake, name in ((False, "real"), (True, "fake")):
        lengths = [max(run.frames for run in one.runs) for one in sources if one.clip.fake == fake]
        if not lengths or max(lengths) < frames:
            longest = (
                f"the longest of {len(lengths)} is {max(lengths)} frames" if lengths else "there is none"
            )
            raise ValueError(
                f"{what}: no {name} video with a face in {frames} frames in a row ({longest}); add longer {name} "
                "videos"
            )


def _make(paths: Sequence[Path], cache: Path, *, size_px: int, workers: int, quiet: bool) -> None:
    with progress_bar(quiet=quiet) as progress:
        task = progress.add_task("face crops", total=len(paths), note="")
        for _ in cache_runs(paths, cache, size_px=size_px, workers=max(1, workers)):
            progress.advance(task)
