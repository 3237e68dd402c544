"""The loop: stages of steps, each over numbered pairs. Interrupted at any moment, it goes on to the same result.

pairs ─> network ─> objective ─> AdamW ─> running mean of the weights ─> (validation) ─> final.safetensors
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.batches import moved, numbered, share
from training.checkpoint import Checkpoint, Progress, save_weights
from training.config import RunConfig
from training.distributed import Place, said_by_leader, sync_norms, wait, world_size
from training.journal import Journal, console
from training.networks.two_stream import TwoStream
from training.objectives import Objective
from training.parts import Part, parameter_groups, set_trainable
from training.provenance import run_info
from training.validation import Validation

WARM_UP = 0.03
CLIP_NORM = 1.0
BEST = "best.safetensors"


@dataclass(frozen=True)
class Stage:
    """Steps of one kind.

    Attributes:
        name: in logs.
        steps: how many.
        pairs: a step's, over all processes.
        pair: gives pair number n, the same every time.
        objective: what is made smaller.
        rate: peak learning rate, after a warm-up over the first 3 %.
        floor: share of the peak that a cosine falls to.
        factors: of the rate, by part of the network; 1 by default, 0 keeps a part as it is.
        held: the lite0 backbone's finest scales that stay (see `TwoStream.hold`).
        hold_statistics: that backbone's norms keep their running statistics.
        keep_statistics: so do all norms of the network.
    """

    name: str
    steps: int
    pairs: int
    pair: Callable[[int], Any]
    objective: Objective
    rate: float
    floor: float = 0.0
    factors: Mapping[Part, float] = field(default_factory=dict)
    held: int = 0
    hold_statistics: bool = False
    keep_statistics: bool = False

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        warm = max(1, round(WARM_UP * self.steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        fallen = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
        return self.rate * (self.floor + (1 - self.floor) * fallen)


@dataclass(frozen=True)
class Judge:
    """When to validate, and what follows from it.

    Attributes:
        validation: the judge.
        every: steps between validations.
        by: what is compared.
        patience: validations without a better one before it stops; 0 never.
        first: the first step after which it may happen.
    """

    validation: Validation
    every: int
    by: Literal["auc", "loss"]
    patience: int
    first: int = 0

    def due(self, step: int, total: int) -> bool:
        """Whether to validate after so many steps."""
        return step > self.first and ((step - self.first) % self.every == 0 or step == total)


class _Step(nn.Module):
    """Network and objective as one module, which is what several processes can share."""

    def __init__(self, network: TwoStream, objective: Objective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, *batch: Any) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ANN401 - tensors, or tuples of them
        return self.objective(self.network, batch)


def fit(
    config: RunConfig,
    network: TwoStream,
    stages: list[Stage],
    *,
    digest: str,
    place: Place,
    judge: Judge | None = None,
    to: str = "final.safetensors",
) -> Path:
    """Train through the stages; returns the file of the weights to keep.

    Those are the running mean's: the best by validation, or else the last. Only the leading process writes; where
    several train, all see the same `out`.

    Raises:
        ValueError: the folder holds a checkpoint of another configuration, or of other data.
    """
    cv2.setNumThreads(1)  # before workers are forked: a child would wait for ever for the pool's threads
    run = _Run.begin(config, network, stages[0].rate, place)
    checkpoint = Checkpoint(config, digest)
    progress = checkpoint.load(run.network, run.mean, run.optimizer)
    total = sum(stage.steps for stage in stages)
    if place.leads:
        _describe(config, progress.step, digest, place)
    with Journal(config, start=progress.step, total=total, quiet=not place.leads) as journal:
        for step, stage, parts in run.steps(stages, progress):
            journal.step(step, stage.name, parts, run.rates())
            progress = replace(progress, step=step + 1)
            if judge is not None and judge.due(step + 1, total):
                progress = run.judged(judge, progress, journal)
            last = progress.stopped or step + 1 == total
            if place.leads and (last or (step + 1) % config.checkpoint_every == 0):
                checkpoint.save(progress, run.network, run.mean, run.optimizer)
            if last:
                break
    path = config.out / to
    if place.leads:
        run.keep(path, progress)
    wait()
    return path


@dataclass(frozen=True)
class _Run:
    """What changes from step to step, and where."""

    config: RunConfig
    network: TwoStream
    mean: AveragedModel
    optimizer: torch.optim.Optimizer
    place: Place

    @classmethod
    def begin(cls, config: RunConfig, network: TwoStream, rate: float, place: Place) -> _Run:
        """The network on its device, with norms that all processes share."""
        network = network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        sync_norms(network, place)
        optimizer = torch.optim.AdamW(parameter_groups(network, config.decay), lr=rate)
        return cls(config, network, mean, optimizer, place)

    def rates(self) -> dict[str, float]:
        """The learning rate of each part of the network."""
        return {group["part"]: group["lr"] for group in self.optimizer.param_groups}

    def steps(self, stages: list[Stage], progress: Progress) -> Iterator[tuple[int, Stage, dict[str, float]]]:
        """Take all steps that are left, giving out each one's number, stage and parts of the loss."""
        before = 0
        for stage in [] if progress.stopped else stages:
            start = max(0, progress.step - before)
            if start < stage.steps:
                module = _prepared(self.network, stage, self.place)
                loader = numbered(
                    stage.pair,
                    share(start, stage.steps, stage.pairs, self.place),
                    batch=stage.pairs // self.place.world,
                    workers=self.config.workers,
                    pinned=self.place.device.type == "cuda",
                )
                for step, batch in enumerate(loader, start=start):
                    for group in self.optimizer.param_groups:
                        group["lr"] = stage.rate_at(step) * stage.factors.get(group["part"], 1.0)
                    parts = _step(module, self.optimizer, moved(batch, self.place.device))
                    self.mean.update_parameters(self.network)
                    yield before + step, stage, parts
            before += stage.steps

    def judged(self, judge: Judge, progress: Progress, journal: Journal) -> Progress:
        """Validate the running mean, and keep it if it is the best; the leading process decides for all."""
        if self.place.leads:
            found = judge.validation.judge(cast("TwoStream", self.mean.module), self.place.device)
            journal.validated(progress.step - 1, found)
            rank = found.rank(judge.by)
            if progress.best is None or rank > progress.best:
                progress = replace(progress, best=rank, best_step=progress.step)
                self._save(self.config.out / BEST, progress.step)
            waited = (progress.step - progress.best_step) // judge.every
            progress = replace(progress, stopped=0 < judge.patience <= waited)
            if progress.stopped:
                console.print(f"no better validation since step {progress.best_step}: stopped")
        return cast("Progress", said_by_leader(progress))

    def keep(self, path: Path, progress: Progress) -> None:
        """Write the weights to keep: the best by validation, or else the last."""
        if progress.best is None:
            self._save(path, progress.step)
            return
        partial = path.with_suffix(".partial")
        shutil.copyfile(self.config.out / BEST, partial)
        partial.replace(path)

    def _save(self, path: Path, step: int) -> None:
        about = {"step": str(step), "pooling_sharpness": str(self.config.loss.pooling_sharpness)}
        save_weights(path, cast("TwoStream", self.mean.module), about)


def _prepared(network: TwoStream, stage: Stage, place: Place) -> nn.Module:
    """The network, with what this stage keeps as it is, ready to take steps."""
    network.requires_grad_(requires_grad=True)
    if network.config.backbone == "lite0":
        network.hold(stage.held, statistics=stage.hold_statistics)
    frozen = {part for part, factor in stage.factors.items() if factor == 0}
    set_trainable(network, frozen, keep_statistics=stage.keep_statistics)
    module = _Step(network, stage.objective)
    if place.world == 1:
        return module
    # single pictures leave the flow's stream out, and ablations leave out what they switch off
    return DistributedDataParallel(module, find_unused_parameters=True)


def _step(module: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Any, ...]) -> dict[str, float]:
    """One optimisation step; returns the parts of the loss."""
    loss, parts = module(*batch)
    optimizer.zero_grad(set_to_none=True)
    # processes hold parts of one gradient (see `together`), of which DistributedDataParallel takes the mean
    (loss * world_size()).backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP_NORM)
    optimizer.step()
    return {name: float(part.detach()) for name, part in parts.items()}


def _describe(config: RunConfig, step: int, digest: str, place: Place) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.json").write_text(config.model_dump_json(indent=2))
    (config.out / "run.json").write_text(json.dumps(run_info(digest, place), indent=2))
    if step:
        console.print(f"going on from step {step} of {config.out / 'checkpoint.safetensors'}")
