"""A held-out part of somebody's own videos, by source: no person and no source video on both sides."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.data.manifest import Clip

SHARE = 0.2


class TooFewSourcesError(ValueError):
    """Nothing can be held out and something be left to train on."""


def hold_out(clips: Sequence[Clip], *, keep: bool, seed: int = 0) -> list[Clip]:
    """The clips, split into `train` and `val`.

    Args:
        clips: labelled videos.
        keep: whether the split that they came with is somebody's decision; it is then kept if both parts have both
            labels.
        seed: of the draw.

    Raises:
        TooFewSourcesError: there are too few to hold any out.
    """
    if keep and all(_labels(clips, split) == {False, True} for split in ("train", "val")):
        return list(clips)
    sources = sources_of(clips)
    members: dict[str, list[Clip]] = defaultdict(list)
    for clip, own in zip(clips, sources, strict=True):
        members[own].append(clip)
    names = sorted(members, key=lambda name: _drawn(members[name], seed))
    wanted = {fake: SHARE * sum(clip.fake == fake for clip in clips) for fake in (False, True)}
    held: set[str] = set()
    for name in names:
        found = {fake: sum(clip.fake == fake for clip in members[name]) for fake in (False, True)}
        rest = [clip for other in names if other not in held | {name} for clip in members[other]]
        useful = any(found[fake] and wanted[fake] > 0 for fake in found)
        if useful and {clip.fake for clip in rest} == {False, True}:
            held.add(name)
            wanted = {fake: wanted[fake] - found[fake] for fake in wanted}
    split = [
        replace(clip, split="val" if own in held else "train")
        for clip, own in zip(clips, sources, strict=True)
    ]
    if _labels(split, "val") != {False, True}:
        raise TooFewSourcesError(
            f"{len(clips)} videos of {len(names)} sources cannot be split into a part to train on and one to judge "
            "by, each with real and fake videos: bring at least two sources of each, or a manifest CSV with the "
            "columns file, split, label"
        )
    return split


def _drawn(members: Sequence[Clip], seed: int) -> bytes:
    """When a source's turn comes: the same wherever its files lie, and whatever others join them."""
    name = min("/".join(clip.path.parts[-2:]) for clip in members)
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def sources_of(clips: Sequence[Clip]) -> list[str]:
    """What each clip is made of, under one name: clips that share a person, a pair or a name belong together.

    A fake whose file name begins with that of a real one, such as `fake/012_345.mp4` and `real/012.mp4`, is taken to be
    made from it; a name in two parts like this one belongs to both people.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    reals = {clip.path.stem: clip for clip in clips if not clip.fake}
    for clip in clips:
        own = str(clip.path)
        alike = [f"person {person}" for person in sorted(clip.people)]
        alike += [str(clip.pair)] if clip.pair is not None else []
        if clip.fake and clip.pair is None:
            alike += [str(reals[stem].path) for stem in _named_after(clip.path, reals)]
        for other in alike:
            parent[root(own)] = root(other)
    return [root(str(clip.path)) for clip in clips]


def _named_after(path: Path, stems: dict[str, Clip]) -> list[str]:
    """The stems that a name begins with or holds as a whole part: the longest first part, and any other."""
    parts = path.stem.replace("-", "_").split("_")
    starts = ["_".join(parts[:end]) for end in range(len(parts), 0, -1)]
    known = {stem.replace("-", "_"): stem for stem in stems}
    first = next((known[start] for start in starts if start in known), None)
    others = [known[part] for part in parts[1:] if part in known]
    return [stem for stem in (first, *others) if stem is not None]


def _labels(clips: Sequence[Clip], split: str) -> set[bool]:
    labels: dict[str, set[bool]] = defaultdict(set)
    for clip in clips:
        labels[clip.split].add(clip.fake)
    return labels[split]
