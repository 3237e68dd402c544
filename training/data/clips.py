"""Pairs of short clips for training: a real one, and a forgery of it, corrupted alike.

Three sources feed a batch: real videos forged here (labels known for every frame), genuine fakes beside the real
they were made from (or any real one), and photographs brought to life and forged (many more people). All draws
come from one seed and the pair's number, so that any pair can be made again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.faces import TEMPLATE
from dmcl_sdk.motion import MotionEstimator, MotionSpec
from training.data.corruptions import CorruptionRanges, corrupt
from training.data.levelling import level
from training.data.manifest import Clip, manipulated, require_rights
from training.data.packs import is_pack, read_pack
from training.data.runs import Run, align_photograph, margin_of
from training.forgeries import STILLS_MENU, Menu, animate, forge, harden, likeness
from training.forgeries.forged import REFERENCE_PX
from training.forgeries.splice import draw_span

Crops = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.bool_]
Masks = npt.NDArray[np.float32]
MASK_SIDE = 16
_PICTURES = Menu(
    weights={"self_blended": 3.0, "resynthesis": 1.5, "lip_sync": 1.0, "generated": 1.0},
    spliced=0.0,
    combined=0.0,
)
_DONORS = 4
_TRIES = 8
_COMPARED = 5  # frames: enough to tell two people apart, and a face that was forged from one that was not


class Pair(NamedTuple):
    """The real clip first, then the fake one."""

    rgb: npt.NDArray[np.uint8]  # (2, T, S, S, 3)
    motion: npt.NDArray[np.int8]  # (2, T, 4K, M, M)
    labels: npt.NDArray[np.float32]  # (2, T), 1 where the frame is manipulated
    fake: npt.NDArray[np.float32]  # (2,)
    masks: npt.NDArray[np.float32]  # (2, T, 16, 16), how strongly a place was changed; NaN where nobody knows


@dataclass(frozen=True, slots=True)
class Mix:
    """How often each source feeds a pair, and how clips are varied.

    Attributes:
        forged, genuine, photographs: weights of the three sources.
        twins: share of genuine fakes that are drawn from those whose real is known.
        spliced: share of those that are laid into their real for a span only.
        no_history: share of clips that begin where the run begins, without a past.
        turn_deg, shift_px, zoom: how far crops are moved within their margin; pixels of a crop of 128.
        hardened: share of pairs whose clips both carry a harmless oddity (see `harden`).
    """

    forged: float = 0.5
    genuine: float = 0.35
    photographs: float = 0.15
    twins: float = 0.7
    spliced: float = 0.4
    no_history: float = 0.1
    turn_deg: float = 4.0
    shift_px: float = 5.0
    zoom: float = 0.06
    hardened: float = 0.2


@dataclass(frozen=True, slots=True)
class Source:
    """A labelled video with its runs.

    Attributes:
        weight: how often it is drawn; longer videos more often, but not in proportion: their frames are alike.
    """

    clip: Clip
    runs: tuple[Run, ...]
    weight: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", float(np.sqrt(sum(run.frames for run in self.runs))))


class PicturePair(NamedTuple):
    """The real picture first, then the fake one."""

    rgb: npt.NDArray[np.uint8]  # (2, S, S, 3)
    fake: npt.NDArray[np.float32]  # (2,)
    masks: npt.NDArray[np.float32]  # (2, 16, 16), as in `Pair`


class ClipPairs:
    """A data set of `pairs_an_epoch` pairs; item n of epoch e is always the same pair.

    Args:
        sources: videos of one split with their runs.
        photographs: aligned photographs with margin, or none.
        frames: T.
        size_px: S.
        motion: the baselines.
        seed: of all draws.
        mix, pictures: the sources of clips, and of single pictures, for which `mix` serves when None.
        menu, corruptions: what forgeries are made, and what happens to both clips of a pair.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        photographs: Sequence[Crops],
        *,
        frames: int,
        size_px: int,
        motion: MotionSpec,
        seed: int,
        mix: Mix | None = None,
        pictures: Mix | None = None,
        menu: Menu | None = None,
        corruptions: CorruptionRanges | None = None,
    ) -> None:
        usable = [source for source in sources if any(run.frames >= frames for run in source.runs)]
        self.by_path = {source.clip.path: source for source in usable}
        self.real = [source for source in usable if not source.clip.fake]
        forged = (self._forged_faces(source) for source in usable if source.clip.fake)
        self.fake = [source for source in forged if _meeting(source, frames, frames)]
        if not self.real:
            raise ValueError(f"no real video has a face for {frames} frames in a row")
        self.photographs = photographs
        self.frames, self.size_px, self.seed = frames, size_px, seed
        self.mix, self.menu = mix or Mix(), menu or Menu()
        self.corruptions = corruptions or CorruptionRanges()
        self.motion = MotionEstimator(motion)
        self.margin_template = np.asarray(TEMPLATE * size_px + margin_of(size_px), np.float32)
        self._kinds, self._picture_kinds = self._shares(self.mix), self._shares(pictures or self.mix)
        self._paired = [source for source in self.fake if source.clip.pair in self.by_path]

    def _shares(self, mix: Mix) -> npt.NDArray[np.float64]:
        weights = np.array(
            [mix.forged, mix.genuine * bool(self.fake), mix.photographs * bool(self.photographs)]
        )
        if not weights.sum():
            raise ValueError(f"none of the sources that feed pairs is at hand: {mix}")
        shares: npt.NDArray[np.float64] = weights / weights.sum()
        return shares

    def pair(self, number: int) -> Pair:
        """Pair number `number`, the same one every time."""
        rng = np.random.default_rng((self.seed, number))
        kind = int(rng.choice(3, p=self._kinds))
        real, fake, labels, mask = (self._forged, self._genuine, self._animated)[kind](rng)
        clips = [real, fake]
        if rng.random() < self.mix.hardened:
            same = int(rng.integers(2**31))
            clips = [
                harden(clip, np.random.default_rng(same), template=self.margin_template) for clip in clips
            ]
        place = self._draw_place(rng, clips[0].shape[1])
        clips = corrupt([self._placed(clip, place) for clip in clips], rng, self.corruptions)
        mask = self._placed_mask(mask[-self.frames :], place)
        if rng.random() < 0.5:
            clips = [np.ascontiguousarray(clip[:, :, ::-1]) for clip in clips]
            mask = mask[:, :, ::-1]
        return self._finished(clips, labels, mask)

    def picture_pair(self, number: int) -> PicturePair:
        """A real and a forged picture, the same every time; forged in space alone."""
        rng = np.random.default_rng((self.seed, number, 1))
        kind = int(rng.choice(3, p=self._picture_kinds))
        if kind == 1:
            real, fake, _, mask = self._genuine(rng, 1)
        else:
            real, donors = self._still_and_donors(rng) if kind == 2 else self._frame_and_donors(rng)
            donor = max(donors, key=lambda other: likeness(real, other, template=self.margin_template))
            forged = forge(real, rng, _PICTURES, template=self.margin_template, source=donor)
            fake, mask = forged.clip, forged.mask
        place = self._draw_place(rng, real.shape[1])
        clips = corrupt([self._placed(clip, place) for clip in (real, fake)], rng, self.corruptions)
        masks = self._placed_mask(mask, place)
        step = -1 if rng.random() < 0.5 else 1
        return PicturePair(
            np.stack([clip[0, :, ::step] for clip in clips]),
            np.array([0.0, 1.0], np.float32),
            np.stack([np.zeros_like(masks[0]), masks[0]])[:, :, ::step].copy(),
        )

    def _still_and_donors(self, rng: np.random.Generator) -> tuple[Crops, list[Crops]]:
        stills = [
            self.photographs[int(n)][None] for n in rng.integers(len(self.photographs), size=1 + _DONORS)
        ]
        return stills[0], stills[1:]

    def _frame_and_donors(self, rng: np.random.Generator) -> tuple[Crops, list[Crops]]:
        frames = [self._cut(self._draw(self.real, rng), rng, 1) for _ in range(1 + _DONORS)]
        return frames[0], frames[1:]

    def _finished(self, clips: list[Crops], labels: Labels, mask: Masks) -> Pair:
        """The last T frames; the ones before them serve as the motion's past."""
        motion = [self.motion.of(clip, skip=len(clip) - self.frames) for clip in clips]
        known = np.stack([np.zeros(self.frames, np.float32), labels[-self.frames :].astype(np.float32)])
        return Pair(
            np.stack([clip[-self.frames :] for clip in clips]),
            np.stack(motion),
            known,
            np.array([0.0, float(known[1].any())], np.float32),
            np.stack([np.zeros_like(mask), mask]),
        )

    def _forged(self, rng: np.random.Generator) -> tuple[Crops, Crops, Labels, Masks]:
        real = self._cut(self._draw(self.real, rng), rng)
        donors = [self._cut(self._draw(self.real, rng), rng) for _ in range(_DONORS)]
        return self._forge(real, donors, rng, self.menu)

    def _animated(self, rng: np.random.Generator) -> tuple[Crops, Crops, Labels, Masks]:
        still = self.photographs[int(rng.integers(len(self.photographs)))]
        real = animate(still, self.frames + self.motion.spec.history, rng, template=self.margin_template)
        chosen = rng.integers(len(self.photographs), size=_DONORS)
        return self._forge(real, [self.photographs[int(n)][None] for n in chosen], rng, STILLS_MENU)

    def _forge(
        self, real: Crops, donors: list[Crops], rng: np.random.Generator, menu: Menu
    ) -> tuple[Crops, Crops, Labels, Masks]:
        """A forgery, if one comes in a few tries, whose last T frames hold a forged one; swaps take the likest."""
        donor = max(donors, key=lambda other: likeness(real, other, template=self.margin_template))
        forged = forge(real, rng, menu, template=self.margin_template, source=donor)
        for _ in range(_TRIES):
            if forged.labels[-self.frames :].any():
                break
            forged = forge(real, rng, menu, template=self.margin_template, source=donor)
        return real, forged.clip, forged.labels, forged.mask

    def _genuine(
        self, rng: np.random.Generator, frames: int | None = None
    ) -> tuple[Crops, Crops, Labels, Masks]:
        # beside another person's real video a fake is told by its source: that is done seldom, and levelled
        twins = bool(self._paired) and rng.random() < self.mix.twins
        among = self._paired if twins else self.fake
        generators = sorted({source.clip.generator for source in among})
        generator = generators[int(rng.integers(len(generators)))]
        fake = self._draw([source for source in among if source.clip.generator == generator], rng)
        run, first, end = self._window(fake, rng, frames)
        fake_crops, labels = (
            run.crops()[first:end].copy(),
            manipulated(fake.clip.spans, run.time_s[first:end]),
        )
        twin = self.by_path.get(fake.clip.pair) if fake.clip.pair is not None else None
        real_crops = None if twin is None else _same_frames(twin, run, first, end)
        if real_crops is None:
            real_crops, fake_crops = level((self._cut(self._draw(self.real, rng), rng, frames), fake_crops))
        elif frames is None and fake.clip.spans is None and rng.random() < self.mix.spliced:
            start, stop = draw_span(rng, self.frames, self.menu.splice)
            outside = np.ones(len(fake_crops), np.bool_)
            outside[len(outside) - self.frames :][start:stop] = False
            fake_crops[outside], labels = real_crops[outside], labels & ~outside
        nobody_knows = np.full(fake_crops.shape[:3], np.nan, np.float32)
        return real_crops, fake_crops, labels, nobody_knows

    def _forged_faces(self, fake: Source) -> Source:
        """A fake without the runs of faces that nobody touched: a video may show others beside the forged one."""
        twin = None if fake.clip.pair is None else self.by_path.get(fake.clip.pair)
        if twin is None or len({run.track for run in fake.runs}) < 2:
            return fake
        changed = [_change(twin, run) for run in fake.runs]
        most = max((change for change in changed if change is not None), default=0.0)
        runs = zip(fake.runs, changed, strict=True)
        return replace(fake, runs=tuple(run for run, change in runs if change is None or change >= most / 2))

    def _draw(self, sources: Sequence[Source], rng: np.random.Generator) -> Source:
        weights = np.array([source.weight for source in sources])
        return sources[int(rng.choice(len(sources), p=weights / weights.sum()))]

    def _cut(self, source: Source, rng: np.random.Generator, frames: int | None = None) -> Crops:
        run, first, end = self._window(source, rng, frames)
        return run.crops()[first:end].copy()

    def _window(
        self, source: Source, rng: np.random.Generator, frames: int | None = None
    ) -> tuple[Run, int, int]:
        """T frames of a run, and up to `history` before them; or just so many, without a past.

        Of a fake, among the T frames is a manipulated one: what is edited in a few spans only is mostly real.
        """
        runs = _meeting(source, self.frames, frames or self.frames)
        run, starts = runs[int(rng.integers(len(runs)))]
        start = int(starts[int(rng.integers(len(starts)))])
        if frames is not None:
            return run, start, start + frames
        history = 0 if rng.random() < self.mix.no_history else min(start, self.motion.spec.history)
        return run, start - history, start + self.frames

    def _draw_place(self, rng: np.random.Generator, side: int) -> npt.NDArray[np.float64]:
        """Where in the margin both clips are cut, turned and zoomed alike: the crop's place is no cue.

        Returns (2, 3), from pixels of the cut to those of the clip.
        """
        turn = np.deg2rad(rng.uniform(-1, 1) * self.mix.turn_deg)
        zoom = np.exp(rng.uniform(-1, 1) * self.mix.zoom)
        shift = rng.uniform(-1, 1, 2) * self.mix.shift_px * self.size_px / REFERENCE_PX
        turned = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        offset = np.full(2, (side - 1) / 2) + shift - turned @ np.full(2, (self.size_px - 1) / 2)
        return np.column_stack([turned, offset])

    def _placed(self, clip: Crops, place: npt.NDArray[np.float64]) -> Crops:
        return np.stack([np.asarray(_warp(frame, place, self.size_px), np.uint8) for frame in clip])

    def _placed_mask(self, mask: Masks, place: npt.NDArray[np.float64]) -> Masks:
        """The same cut of a mask (T, side, side), as means over 16 x 16 places."""
        if np.isnan(mask[0, 0, 0]):
            return np.full((len(mask), MASK_SIDE, MASK_SIDE), np.nan, np.float32)
        side = (MASK_SIDE, MASK_SIDE)
        placed = (_warp(frame, place, self.size_px) for frame in mask)
        return np.stack(
            [np.asarray(cv2.resize(f, side, interpolation=cv2.INTER_AREA), np.float32) for f in placed]
        )


def _warp(frame: cv2.typing.MatLike, matrix: npt.NDArray[np.float64], side: int) -> cv2.typing.MatLike:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(frame, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _meeting(source: Source, least: int, frames: int) -> list[tuple[Run, npt.NDArray[np.intp]]]:
    """Runs of at least so many frames, and where in each so many frames can start, of a fake with a manipulated one."""
    found = []
    for run in source.runs:
        if run.frames >= least:
            seen = np.concatenate([[0], np.cumsum(manipulated(source.clip.spans, run.time_s))])
            starts = np.flatnonzero(seen[frames:] > seen[:-frames])
            if len(starts):
                found.append((run, starts))
    return found


def _same_frames(twin: Source, run: Run, first: int, end: int) -> Crops | None:
    """The twin's crops of the same face in the same frames, or None where it has no unbroken run over them.

    Of several faces it is the one that looks most alike: a forgery leaves more of a face than another person has.
    """
    wanted = run.frame_index[first:end]
    places = [{index: n for n, index in enumerate(other.frame_index)} for other in twin.runs]
    found = [
        other.crops()[[place[index] for index in wanted]]
        for other, place in zip(twin.runs, places, strict=True)
        if all(index in place for index in wanted)
    ]
    if len(found) < 2:
        return found[0] if found else None
    own = run.crops()[first:end]
    return min(found, key=lambda crops: _difference(own, crops))


def _change(twin: Source, run: Run) -> float | None:
    """How far a face is from the twin's where it is farthest, in grey levels; None without such frames."""
    changes = []
    for at in np.linspace(0, run.frames - 1, _COMPARED).astype(int):
        real = _same_frames(twin, run, at, at + 1)
        if real is not None:
            changes.append(_difference(run.crops()[at : at + 1], real))
    return max(changes, default=None)


def _difference(a: Crops, b: Crops) -> float:
    """Mean absolute difference of a few frames."""
    some = slice(None, None, max(1, len(a) // _COMPARED))
    return float(np.abs(a[some].astype(np.int16) - b[some]).mean())


def read_photographs(
    manifest: Path, *, split: str, size_px: int, rights: tuple[str, ...] = ()
) -> list[Crops]:
    """Aligned photographs of one split, RGB with margin, from a pack, or from a CSV of files and landmarks.

    Columns: `file` and `split`; `reye_x`, `reye_y`, `leye_*`, `nose_*`, `rmouth_*`, `lmouth_*` in pixels, where
    right is the person's own (the viewer's left); and `rights`, if only those that begin in given ways are wanted.

    Raises:
        ValueError: a photograph is missing, there are some and none of such rights, or the pack is damaged or of
            another size.
    """
    if is_pack(manifest):
        pack = read_pack(manifest)
        pack.require(size_px, margin_of(size_px))
        return pack.photographs(split, rights)
    require_rights(rights_of_photographs(manifest, split), rights, split=split, where=manifest)
    rows = photograph_rows(manifest, split=split, size_px=size_px, rights=rights)
    return [crop for _, crop in rows]


def rights_of_photographs(manifest: Path, split: str) -> set[str]:
    """What a CSV says of the rights in its photographs of a split; an empty word where it says nothing."""
    with manifest.open(newline="") as file:
        return {row.get("rights") or "" for row in csv.DictReader(file) if row["split"] == split}


def photograph_rows(
    manifest: Path, *, split: str, size_px: int, rights: tuple[str, ...] = ()
) -> Iterator[tuple[dict[str, str], Crops]]:
    """The rows of a CSV as `read_photographs` takes it, each with its aligned photograph.

    Raises:
        ValueError: a photograph is missing.
    """
    points = ("reye", "leye", "nose", "rmouth", "lmouth")
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    for row in rows:
        if rights and not (row.get("rights") or "").startswith(rights):
            continue
        image = cv2.imread(str(manifest.parent / row["file"]))
        if image is None:
            raise ValueError(f"{manifest}: {row['file']} is missing or no picture")
        landmarks = np.array([[float(row[f"{p}_x"]), float(row[f"{p}_y"])] for p in points])
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        yield row, align_photograph(rgb, landmarks, size_px)
