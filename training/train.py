"""Train a network: single pictures first, then clips.

sources (runs of crops) ─> numbered pairs ─> two stages of `fit` ─> final.safetensors
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from training.checkpoint import load_network
from training.config import TrainConfig
from training.data.clips import ClipPairs, read_photographs
from training.data.manifest import Clip, require_generators
from training.data.packs import is_pack
from training.distributed import Place, processes
from training.fit import Judge, Stage, fit
from training.networks.two_stream import TwoStream
from training.objectives import ClipObjective, PictureObjective
from training.provenance import data_digest
from training.sources import load_sources, read_clips
from training.validation import Validation


def train(config: TrainConfig) -> Path:
    """Train to the configured number of steps; returns the file of the final weights.

    Raises:
        ValueError: the data cannot teach (no such folder, no faces, no real videos), or the folder of the run holds
            a checkpoint of another one.
    """
    clips, photographs = chosen_clips(config), photographs_of(config)
    with processes(config.device) as place:
        torch.manual_seed(config.seed)
        network = _started(config)
        digest = data_digest(clips, config.data, [photographs] if photographs else [])
        pairs = load_pairs(config, clips, place)
        return fit(
            config,
            network,
            stages(config, pairs, place),
            digest=digest,
            place=place,
            judge=_judge(config, clips, place),
        )


def chosen_clips(config: TrainConfig) -> list[Clip]:
    """The videos that are trained on and validated by.

    Raises:
        ValueError: there are none, or no such data.
    """
    clips = read_clips(config.data, allow_missing=config.allow_missing)
    require_generators(clips, config.without, where=f"without: {config.data}")
    clips = [clip for clip in clips if clip.generator not in config.without]
    allowed = [clip for clip in clips if not config.rights or clip.rights.startswith(config.rights)]
    if not allowed:
        named = sorted({clip.rights for clip in clips if clip.rights})
        raise ValueError(f"rights: no video's begin with any of {config.rights}; {config.data} has {named}")
    return allowed


def photographs_of(config: TrainConfig) -> Path | None:
    """Where photographs are read from, if anywhere: a pack brings its own.

    Raises:
        ValueError: there is no such file.
    """
    if config.photographs is None:
        return config.data if is_pack(config.data) else None
    if not config.photographs.exists():
        raise ValueError(
            f"photographs: {config.photographs} is not there; leave the key out to do without"
            + (f", or with those of {config.data}" if is_pack(config.data) else "")
        )
    return config.photographs


def _started(config: TrainConfig) -> TwoStream:
    """The network as training begins.

    Raises:
        ValueError: the weights to start from are of another network.
    """
    network = _begun(config)
    if config.flow_start is not None:
        try:
            network.take_flow(load_network(config.flow_start))
        except RuntimeError as error:
            raise ValueError(f"flow_start: {config.flow_start} holds another flow stream") from error
    return network


def _begun(config: TrainConfig) -> TwoStream:
    if config.start is not None:
        network = load_network(config.start)
        stride = config.network.rgb_stride  # how often RGB is looked at changes no weight's shape
        if replace(network.config, rgb_stride=stride) != config.network:
            raise ValueError(f"start: {config.start} holds another network: {network.config}")
        network.config = config.network
        return network
    network = TwoStream(config.network)
    if config.pretrained:
        network.load_imagenet()
    return network


def stages(config: TrainConfig, pairs: ClipPairs, place: Place) -> list[Stage]:
    """The recipe: the RGB stream learns from single pictures, then the whole network from clips."""
    pictures, clips, bf16 = config.pictures, config.clips, place.computes_in_bf16(config.precision)
    return [
        Stage(
            "pictures",
            pictures.steps,
            pictures.pairs,
            pairs.picture_pair,
            PictureObjective(bf16, config.loss.anchor),
            rate=pictures.rate,
            floor=0.1,
            held=pictures.held,
        ),
        Stage(
            "clips",
            clips.steps,
            clips.pairs,
            pairs.pair,
            ClipObjective(config.loss, bf16),
            rate=clips.rate,
            factors={"backbone": clips.rgb_rate, "fusion": clips.fusion_rate},
            held=clips.held,
            hold_statistics=clips.hold_statistics,
        ),
    ]


def load_pairs(config: TrainConfig, clips: list[Clip], place: Place, *, split: str = "train") -> ClipPairs:
    """The pairs of one split; crops that are not cached yet are made.

    Raises:
        ValueError: the split has no video in which a real face is seen for long enough, or no photograph of the
            rights that are asked for.
    """
    size = config.network
    chosen = [clip for clip in clips if clip.split == split]
    if not chosen:
        raise ValueError(f"{config.data}: none of its {len(clips)} videos is in the split {split}")
    source = photographs_of(config)
    photographs = (
        read_photographs(source, split=split, size_px=size.size_px, rights=config.rights) if source else []
    )
    sources = load_sources(chosen, config.cache, size_px=size.size_px, workers=config.workers, place=place)
    return ClipPairs(
        sources,
        photographs,
        frames=config.clips.frames,
        size_px=size.size_px,
        motion=size.motion,
        seed=config.seed,
        mix=config.mix,
        pictures=config.pictures.mix,
        menu=config.menu,
        corruptions=config.corruptions,
    )


def _judge(config: TrainConfig, clips: list[Clip], place: Place) -> Judge | None:
    asked = config.validation
    if not asked.every:
        return None
    try:
        pairs = load_pairs(config, clips, place, split="val")
    except ValueError as error:
        raise ValueError(
            f"validation is not possible; turn it off with validation.every=0: {error}"
        ) from error
    objective = ClipObjective(config.loss, place.computes_in_bf16(config.precision), alone=True)
    validation = Validation(
        pairs.pair, asked.pairs, config.clips.pairs, config.workers, objective, config.tensorboard.samples
    )
    return Judge(validation, asked.every, asked.by, asked.patience, first=config.pictures.steps)
