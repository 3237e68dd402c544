"""Train a network: one loop, top to bottom. Interrupted, it goes on from the last checkpoint.

sources (runs of crops) ─> pairs ─> network ─> losses ─> AdamW ─> running mean of the weights ─> final.safetensors
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dmcl_sdk.motion import MotionSpec
from training.config import TrainConfig, read_config
from training.data.clips import ClipPairs, Pair, PicturePair, Source, read_photographs
from training.data.manifest import read_manifest
from training.data.runs import cache_runs
from training.losses import LossWeights, dmcl_loss, picture_loss
from training.networks.two_stream import NetworkConfig, TwoStream

_console = Console(stderr=True)


class _Numbered(Dataset[Any]):
    """Pairs `first` up to `end`: a resumed run goes on with the very pairs it would have seen."""

    def __init__(self, pair: Callable[[int], Any], first: int, end: int) -> None:
        self.pair, self.first, self.end = pair, first, end

    def __len__(self) -> int:
        return self.end - self.first

    def __getitem__(self, number: int) -> Any:  # noqa: ANN401 - a Pair or a PicturePair
        return self.pair(self.first + number)


def train(config: TrainConfig) -> Path:
    """Train to the configured number of steps; returns the file of the final weights."""
    cv2.setNumThreads(1)  # before workers are forked: a child would wait for ever for the pool's threads
    torch.manual_seed(config.seed)
    size = NetworkConfig.named(config.network)
    network = TwoStream(size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
    )
    optimizer = torch.optim.AdamW(_groups(network, config), lr=config.rate)
    start = _resume(config, network, mean, optimizer)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.json").write_text(config.model_dump_json(indent=2))
    pairs = load_pairs(config, size)
    total = config.picture_steps + config.steps
    with _progress() as progress, (config.out / "log.jsonl").open("a") as log:
        task = progress.add_task("training", total=total, completed=start, loss="")
        for step, batch in enumerate(_batches(pairs, config, start), start=start):
            parts = _step(network, optimizer, batch, config, step)
            mean.update_parameters(network)
            progress.update(task, advance=1, loss=f"loss {sum(parts.values()):.3f}")
            log.write(json.dumps({"step": step} | parts) + "\n")
            log.flush()
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == total:
                _checkpoint(config, step + 1, network, mean, optimizer)
    return save_weights(config, mean.module)


def load_pairs(config: TrainConfig, size: NetworkConfig) -> ClipPairs:
    """The training pairs of a configuration; crops that are not cached yet are made."""
    clips = [clip for clip in read_manifest(config.data) if clip.split == "train"]
    with _progress() as progress:
        task = progress.add_task("face crops", total=len(clips), loss="")
        sources = []
        runs = cache_runs(
            [clip.path for clip in clips], config.cache, size_px=size.size_px, workers=max(1, config.workers)
        )
        for clip, found in zip(clips, runs, strict=True):
            progress.advance(task)
            if found:
                sources.append(Source(clip, tuple(found)))
    photographs = []
    if config.photographs is not None:
        photographs = read_photographs(config.photographs, split="train", size_px=size.size_px)
    return ClipPairs(
        sources,
        photographs,
        frames=config.frames,
        size_px=size.size_px,
        motion=MotionSpec(size.baselines),
        seed=config.seed,
    )


def _batches(pairs: ClipPairs, config: TrainConfig, start: int) -> Iterator[PicturePair | Pair]:
    """Single pictures first, then clips; from step `start` on."""
    first = min(start, config.picture_steps)
    pictures = _Numbered(
        pairs.picture_pair, first * config.picture_pairs, config.picture_steps * config.picture_pairs
    )
    clips = _Numbered(pairs.pair, (start - first) * config.pairs, config.steps * config.pairs)
    for numbered, size in ((pictures, config.picture_pairs), (clips, config.pairs)):
        yield from DataLoader(
            numbered,
            batch_size=size,
            num_workers=config.workers,
            worker_init_fn=_one_thread,
            multiprocessing_context="fork" if config.workers else None,
        )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _step(
    network: TwoStream,
    optimizer: torch.optim.Optimizer,
    batch: PicturePair | Pair,
    config: TrainConfig,
    step: int,
) -> dict[str, float]:
    """One optimisation step over (pairs, 2, ...); returns the parts of the loss."""
    for group in optimizer.param_groups:
        group["lr"] = schedule(step, config)
    network.train()
    loss, parts = _losses(network, batch, bf16=config.precision == "bf16")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return {name: float(part.detach()) for name, part in parts.items()}


def _losses(network: TwoStream, batch: PicturePair | Pair, *, bf16: bool) -> tuple[Tensor, dict[str, Tensor]]:
    folded = [torch.as_tensor(part).flatten(0, 1) for part in batch]
    if len(folded) == len(PicturePair._fields):
        rgb, fake, masks = folded
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits, places = network.look(rgb)
        return picture_loss(logits, places, fake, masks)
    rgb, motion, labels, fake, masks = folded
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        curves, extra = network.learn(rgb, motion)
    spans = network.config.spans
    return dmcl_loss(curves, extra, labels, fake, masks, spans=spans, weights=LossWeights())


def schedule(step: int, config: TrainConfig) -> float:
    """Learning rate: pictures and clips each warm up over 3 %, then fall by cosine, to a tenth or to zero."""
    in_pictures = step < config.picture_steps
    peak, least, done, steps = (
        (config.picture_rate, 0.1, step, config.picture_steps)
        if in_pictures
        else (config.rate, 0.0, step - config.picture_steps, config.steps)
    )
    warm = max(1, round(0.03 * steps))
    if done < warm:
        return peak * (done + 1) / warm
    return peak * (least + (1 - least) * 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, steps - warm))))


def _groups(network: TwoStream, config: TrainConfig) -> list[dict[str, Any]]:
    """Decay for matrices and kernels; none for norms, biases and embeddings."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": config.decay}, {"params": free, "weight_decay": 0.0}]


def _checkpoint(
    config: TrainConfig,
    step: int,
    network: TwoStream,
    mean: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Network, running mean and optimizer in one safetensors file, replaced in one move."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"mean.{name}": value for name, value in mean.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
    partial = config.out / "checkpoint.partial"
    save_file(
        {name: value.detach().clone().contiguous() for name, value in tensors.items()},
        partial,
        {"step": str(step)},
    )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(config.out / "checkpoint.safetensors")


def _resume(
    config: TrainConfig, network: TwoStream, mean: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Load the last checkpoint, if there is one; returns the number of steps done."""
    from safetensors import safe_open

    path = config.out / "checkpoint.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
    tensors = load_file(path)
    network.load_state_dict(_under("network.", tensors))
    mean.load_state_dict(_under("mean.", tensors))
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer.", tensors).items():
        number, _, key = name.partition(".")
        states.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    _console.print(f"going on from step {step} of {path}")
    return step


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def save_weights(config: TrainConfig, network: torch.nn.Module) -> Path:
    """The running mean's weights and the network's size, as one safetensors file."""
    path = config.out / "final.safetensors"
    state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, {"network": config.network})
    return path


def load_network(path: Path) -> TwoStream:
    """A trained network from `final.safetensors`, ready to answer."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        name = file.metadata()["network"]
    network = TwoStream(NetworkConfig.named(name))
    network.load_state_dict(load_file(path))
    return network.eval()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=_console,
    )


def command(
    config: Annotated[
        Path, typer.Argument(help="A TOML file, such as configs/small.toml.", exists=True, dir_okay=False)
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value: --set steps=500.")
    ] = None,
) -> None:
    """Train a network on real videos, forgeries made of them, and genuine fakes.

    Run it again with the same configuration to go on where it was interrupted.
    """
    try:
        settings = read_config(config, changes or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(train(settings))
