"""Celeb-DF v2.

    Celeb-real/id1_0007.mp4   YouTube-real/00170.mp4   Celeb-synthesis/id1_id3_0007.mp4
    List_of_testing_videos.txt

`id1_id3_0007` is recording `id1_0007` with the face of id3. The list names the official test part, a line a video,
`1` for a real one and `0` for a fake one: the other way round than most. Nothing else is published: what is not on
the list is `train`, and every fifth person of that is `val`. Nearly all of the 59 celebrities are in the test part, so
that hardly a celebrity is left to train on once people are kept apart: the set is there to test on.
"""

from __future__ import annotations

import logging
from pathlib import Path

from training.data.manifest import Clip, Split
from training.data.published.tree import Listing, Tree, carve_validation, video_folder, videos_in

_REAL = {"Celeb-real": True, "YouTube-real": True, "Celeb-synthesis": False}
_PUBLISHED = {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639}
_log = logging.getLogger(__name__)


def celeb_df(tree: Tree) -> Listing:
    """Celeb-DF v2: the official test list, and what is not on it."""
    tested = _test_list(tree.root)
    names, absent = set(tested), []
    for folder, published in _PUBLISHED.items():
        there = {f"{folder}/{file.name}" for file in videos_in(video_folder(tree.root / folder))}
        names |= there
        if not there:
            absent.append(f"{tree.root / folder}: no videos")
        elif len(there) < published:
            _log.warning("%s: %d of the %d published videos", tree.root / folder, len(there), published)
    clips = [_clip(tree.root, name, "test" if name in tested else "train") for name in sorted(names)]
    return Listing(carve_validation(clips), tuple(absent))


def _test_list(root: Path) -> set[str]:
    path = root / "List_of_testing_videos.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; it comes with Celeb-DF and names the official test part"
        )
    names = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            label, _, name = line.strip().partition(" ")
            real = _REAL.get(name.strip().partition("/")[0])
            if real is None or label != str(int(real)):
                raise ValueError(f"{path}:{number}: a line is 1 (real) or 0 and a video's name, got {line!r}")
            names.add(name.strip())
    return names


def _clip(root: Path, name: str, split: Split) -> Clip:
    folder, _, file = name.partition("/")
    path = video_folder(root / folder) / file
    if folder == "YouTube-real":
        return Clip(path, split, fake=False, identity=f"youtube {path.stem}")  # each shows someone else
    if folder == "Celeb-real":
        return Clip(path, split, fake=False, identity=path.stem.partition("_")[0])
    shown, donor, recording = path.stem.split("_")
    pair = video_folder(root / "Celeb-real") / f"{shown}_{recording}.mp4"
    return Clip(path, split, fake=True, generator=folder, pair=pair, identity=shown, donor=donor)
