"""Fine-tune a trained network on somebody's own videos, and see that it has not forgotten what it knew.

the user's real and fake videos ─> pairs ──────────────┐
forgeries made of the real ones (and of a guard set) ──┴─> network ─> loss + distillation + drift ─> `fit`

Against forgetting: on guard pairs the network keeps to what it said before (distillation: Z. Li and D. Hoiem, "Learning
without Forgetting", ECCV 2016), and its weights keep near to where they began (L2-SP: X. Li et al., ICML 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code uses

from dmcl_sdk.network import OnnxNetwork, default_model
from training.before_after import Logits, Outcome, compare, judge_pairs, judge_videos
from training.checkpoint import load_network
from training.config import RunConfig
from training.data.clips import ClipPairs, Mix, Pair, Source
from training.data.manifest import Clip
from training.distributed import Place, processes, shared, together, wait
from training.fit import Stage, fit
from training.holdout import hold_out, sources_of
from training.journal import progress_bar
from training.losses import LossWeights
from training.networks.two_stream import NetworkConfig, TwoStream
from training.objectives import ClipObjective, Parts
from training.parts import PARTS, Part
from training.provenance import data_digest
from training.sources import load_sources, read_clips, require_both

WEIGHTS = Path(__file__).parent / "weights" / "small.safetensors"
_JUDGED = 1_000_003  # added to the seed, so that pairs to judge by are other draws


class FinetuneConfig(RunConfig):
    """What decides what comes out of fine-tuning, besides the data.

    Attributes:
        start: the weights to start from.
        guard: further videos that must not get worse, as a manifest or folder; or none.
        train: parts that learn: `msmr`, `msca`, `heads`, or `all`.
        steps: optimisation steps; by default so many that every video is seen about three times, 40 to 240.
        pairs: of the user's videos a step, and as many guard pairs.
        frames: frames a clip, a multiple of 8.
        rate: peak learning rate.
        drift: weight of the squared distance from the starting weights.
        distillation: weight of saying the same as before on guard pairs.
        tolerance: how far the AUC on a guard set may fall.
        judged: guard pairs that are judged, before and after.
        mix: where the user's pairs come from.
        loss: what is real is anchored where the weights that ship have it; set `loss.anchor` for others.
    """

    start: Path = WEIGHTS
    guard: Path | None = None
    train: tuple[Literal["msmr", "msca", "heads", "all"], ...] = ("all",)
    steps: int | None = Field(default=None, ge=1)
    pairs: int = Field(default=2, ge=1)
    frames: int = Field(default=24, ge=16, multiple_of=8)
    rate: float = Field(default=1e-4, gt=0)
    ema: float = Field(default=0.95, ge=0, lt=1)
    checkpoint_every: int = Field(default=20, ge=1)
    drift: float = Field(default=0.01, ge=0)
    distillation: float = Field(default=1.0, ge=0)
    tolerance: float = Field(default=0.02, ge=0, le=1)
    judged: int = Field(default=64, ge=8)
    mix: Mix = Mix(forged=0.3, genuine=0.7, photographs=0.0)
    loss: LossWeights = LossWeights(anchor=-2.0)


@dataclass(frozen=True)
class _Material:
    """What there is to train on and to judge by.

    Attributes:
        pairs: of the user's videos.
        held_out: those of the user's that are not trained on.
        groups: what each of these is made from.
        guards: by name, pairs to train on and pairs to judge by.
        digest: of all of it.
    """

    pairs: ClipPairs
    held_out: list[Source]
    groups: dict[Path, str]
    guards: dict[str, tuple[ClipPairs, ClipPairs]]
    digest: str


@dataclass(frozen=True, eq=False)
class GuardedObjective:
    """The clips' loss on the user's pairs; distillation on guard pairs; and the drift from the start.

    A batch is `Pair` of the user's and `Pair` of guards.

    Attributes:
        clips: the loss.
        teacher: the network as it was; never changed.
        distillation, drift: weights.
    """

    clips: ClipObjective
    teacher: TwoStream
    distillation: float
    drift: float

    def __call__(self, network: TwoStream, batch: tuple[object, ...]) -> tuple[Tensor, Parts]:
        """The loss and its parts."""
        own, guard = (Pair._make(part) for part in batch)  # type: ignore[arg-type] # as the loader collates them
        loss, parts = self.clips(network, own)
        parts["distillation"] = self.distillation * self._distance(network, guard)
        parts["drift"] = shared(self.drift * self._drift(network))
        return loss + parts["distillation"] + parts["drift"], parts

    def _distance(self, network: TwoStream, guard: Pair) -> Tensor:
        """Mean squared difference of the logits of every curve."""
        rgb, motion = (torch.as_tensor(part).flatten(0, 1) for part in (guard.rgb, guard.motion))
        with torch.autocast(rgb.device.type, torch.bfloat16, enabled=self.clips.bf16):
            with torch.no_grad():
                before = self.teacher(rgb, motion)
            now = network(rgb, motion)
        pairs = zip(now, before, strict=True)
        return torch.stack([F.mse_loss(together(new), together(old)) for new, old in pairs]).mean()

    def _drift(self, network: TwoStream) -> Tensor:
        """Half the squared distance of the weights that learn from where they began."""
        learning = [
            (own, old) for own, old in zip(network.parameters(), self.teacher.parameters(), strict=True)
        ]
        return (
            torch.stack([(own - old).square().sum() for own, old in learning if own.requires_grad]).sum() / 2
        )


def finetune(config: FinetuneConfig) -> Outcome:
    """Fine-tune, and compare with before; a network that forgot too much is not called final.

    Raises:
        ValueError: no weights to start from, or videos that cannot teach (the message says what is missing).
    """
    teacher = _start(config.start)
    with processes(config.device) as place:
        torch.manual_seed(config.seed)
        material = _material(config, teacher.config, place)
        network = deepcopy(teacher)
        teacher = teacher.to(place.device).requires_grad_(requires_grad=False)
        before = _judged(config, teacher, material, place)
        pairs = material.pairs
        steps = config.steps or steps_for(len(pairs.real) + len(pairs.fake), config.pairs)
        stage = _stage(config, material, teacher, steps, place)
        weights = fit(config, network, [stage], digest=material.digest, place=place, to="tuned.safetensors")
        after = _judged(config, load_network(weights).to(place.device), material, place)
        wait()  # until all have read it
        held_out, *guards = (compare(old, new) for old, new in zip(before, after, strict=True))
        accepted = not any(guard.fell(config.tolerance) for guard in guards)
        name = weights.with_name("final.safetensors" if accepted else "rejected.safetensors")
        if place.leads:
            weights.replace(name)
    return Outcome(
        name,
        held_out,
        tuple(guards),
        config.tolerance,
        accepted,
        config.train,
        steps,
        len(pairs.real),
        len(pairs.fake),
        OnnxNetwork(default_model(), ["cpu"]).spec.rgb_discount if config.start == WEIGHTS else 0.0,
    )


def steps_for(videos: int, pairs: int) -> int:
    """Steps in which every video is seen about three times; at least 40, at most 240."""
    return min(240, max(40, round(3 * videos / (2 * pairs))))


def frozen_parts(train: tuple[str, ...]) -> frozenset[Part]:
    """The parts that stay when only these learn; `heads` are also what weighs the streams."""
    learning = {*train, "fusion"} if "heads" in train else set(train)
    return frozenset() if "all" in train else frozenset(part for part in PARTS if part not in learning)


def _start(path: Path) -> TwoStream:
    if not path.exists():
        where = "the weights that ship are not installed" if path == WEIGHTS else f"{path} is not there"
        raise ValueError(f"{where}: give final.safetensors of a training run with --from")
    return load_network(path)


def _material(config: FinetuneConfig, size: NetworkConfig, place: Place) -> _Material:
    clips = read_clips(config.data, allow_missing=config.allow_missing)
    clips = hold_out(clips, keep=True, seed=config.seed)
    train, held_out = _sources(config, clips, size, place)
    require_both(train, config.frames, f"{config.data}, to train on")
    require_both(held_out, config.frames, f"{config.data}, held out")
    reals = [[source for source in part if not source.clip.fake] for part in (train, held_out)]
    forged = Mix(forged=1.0, genuine=0.0, photographs=0.0)
    seeds = (config.seed, config.seed + _JUDGED)
    guards = {"forgeries made of your real videos": _pairs(config, size, reals, seeds, forged)}
    digest = data_digest(clips, config.data, [config.start])
    if config.guard is not None:
        theirs = hold_out(read_clips(config.guard), keep=True, seed=config.seed)
        parts = _sources(config, theirs, size, place)
        for part in parts:
            require_both(part, config.frames, str(config.guard))
        guards[str(config.guard)] = _pairs(config, size, parts, seeds, Mix(photographs=0.0))
        digest += data_digest(theirs, config.guard)
    names = sources_of(clips)
    return _Material(
        pairs=_pairs(config, size, (train, held_out), seeds, config.mix)[0],
        held_out=held_out,
        groups={clip.path: name for clip, name in zip(clips, names, strict=True)},
        guards=guards,
        digest=digest,
    )


def _sources(
    config: FinetuneConfig, clips: list[Clip], size: NetworkConfig, place: Place
) -> tuple[list[Source], list[Source]]:
    """Those to train on, and those held out."""
    found = load_sources(clips, config.cache, size_px=size.size_px, workers=config.workers, place=place)
    train, held_out = (
        [source for source in found if source.clip.split == split] for split in ("train", "val")
    )
    return train, held_out


def _pairs(
    config: FinetuneConfig,
    size: NetworkConfig,
    parts: Sequence[Sequence[Source]],
    seeds: tuple[int, int],
    mix: Mix,
) -> tuple[ClipPairs, ClipPairs]:
    """Pairs to train on and pairs to judge by."""
    motion = size.motion
    train, judged = (
        ClipPairs(
            part,
            [],
            frames=config.frames,
            size_px=size.size_px,
            motion=motion,
            seed=seed,
            mix=mix,
            menu=config.menu,
            corruptions=config.corruptions,
        )
        for part, seed in zip(parts, seeds, strict=True)
    )
    return train, judged


def _stage(
    config: FinetuneConfig, material: _Material, teacher: TwoStream, steps: int, place: Place
) -> Stage:
    guards = [trained for trained, _ in material.guards.values()]

    def pair(number: int) -> tuple[Pair, Pair]:
        return material.pairs.pair(number), guards[number % len(guards)].pair(number)

    clips = ClipObjective(config.loss, place.computes_in_bf16(config.precision))
    return Stage(
        "fine-tuning",
        steps,
        config.pairs,
        pair,
        GuardedObjective(clips, teacher, config.distillation, config.drift),
        rate=config.rate,
        factors=dict.fromkeys(frozen_parts(config.train), 0.0),
        keep_statistics=True,
    )


def _judged(config: FinetuneConfig, network: TwoStream, material: _Material, place: Place) -> list[Logits]:
    """What a network says of the held-out videos, then of each guard."""
    sharpness = config.loss.pooling_sharpness
    total = len(material.held_out) + config.judged * len(material.guards)
    with progress_bar(quiet=not place.leads) as bar:
        advance = partial(
            bar.advance, bar.add_task("judging", total=total, note="videos held out, guard pairs")
        )
        own = judge_videos(
            "your held-out videos", network, material.held_out, material.groups, sharpness, judged=advance
        )
        return [own] + [
            judge_pairs(
                name, network, pairs, config.judged, sharpness, workers=config.workers, judged=advance
            )
            for name, (_, pairs) in material.guards.items()
        ]
