"""What a run leaves on disk: one checkpoint, replaced in one move, and weights that say which network they are of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.config import RunConfig, differences
from training.networks.two_stream import NetworkConfig, TwoStream

# what may change between a run and its going on: where things lie and how fast they come, not what is computed
_MAY_DIFFER = frozenset(
    {
        "data",
        "photographs",
        "guard",
        "start",
        "flow_start",
        "cache",
        "out",
        "workers",
        "device",
        "checkpoint_every",
    }
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimisation steps done.
        best: the best validation so far, as (what is compared, higher is better); None before the first.
        best_step: when that was.
        stopped: whether validation ended it early.
    """

    step: int = 0
    best: tuple[float, ...] | None = None
    best_step: int = 0
    stopped: bool = False


class Checkpoint:
    """A run's one checkpoint: network, running mean, optimizer, random states, and how far it is.

    Args:
        config: of the run; a checkpoint of another one is refused.
        digest: of its data; a checkpoint of other data is refused.
    """

    def __init__(self, config: RunConfig, digest: str) -> None:
        self.path = config.out / "checkpoint.safetensors"
        self.config = {
            key: value for key, value in config.model_dump(mode="json").items() if key not in _MAY_DIFFER
        }
        del self.config["tensorboard"]
        self.digest = digest

    def save(
        self, progress: Progress, network: nn.Module, mean: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Replace the checkpoint; who kills the process at any moment finds the last one or this one."""
        tensors = _named("network", network.state_dict()) | _named("mean", mean.state_dict())
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= _named(f"optimizer.{number}", state)
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        about = {
            "progress": json.dumps(asdict(progress)),
            "config": json.dumps(self.config),
            "data": self.digest,
        }
        write(self.path, tensors, about)

    def load(self, network: nn.Module, mean: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Restore all of it; a run without a checkpoint is at its beginning.

        Raises:
            ValueError: the checkpoint is of another configuration or other data, or no checkpoint.
        """
        if not self.path.exists():
            return Progress()
        self._check(metadata(self.path))
        tensors = load_file(self.path)
        network.load_state_dict(_under("network.", tensors))
        mean.load_state_dict(_under("mean.", tensors))
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            number, _, key = name.partition(".")
            states.setdefault(int(number), {})[key] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        return TypeAdapter(Progress).validate_json(metadata(self.path)["progress"])

    def _check(self, about: Mapping[str, str]) -> None:
        way_out = f"choose another `out`, or delete {self.path} to begin anew"
        if not {"progress", "config", "data"} <= about.keys():
            raise ValueError(f"{self.path} is no checkpoint of this version; {way_out}")
        changed = differences(json.loads(about["config"]), self.config)
        if changed:
            raise ValueError(
                f"{self.path} is of another configuration, so the run cannot go on from it: "
                f"{', '.join(changed)}; {way_out}"
            )
        if about["data"] != self.digest:
            raise ValueError(
                f"{self.path}: the data have changed since (compare run.json), so the run cannot go on; {way_out}"
            )


def save_weights(path: Path, network: TwoStream, about: Mapping[str, str]) -> None:
    """A network's weights, its configuration and what else there is to say, as one safetensors file."""
    write(path, network.state_dict(), {**about, "network": json.dumps(asdict(network.config))})


def load_network(path: Path) -> TwoStream:
    """A trained network from weights, ready to answer.

    Raises:
        ValueError: the file holds no weights of a network of this version.
    """
    name = metadata(path).get("network")
    if name is None:
        raise ValueError(f"{path} does not say which network it is of; it takes final.safetensors of a run")
    config = (
        TypeAdapter(NetworkConfig).validate_json(name) if name.startswith("{") else NetworkConfig.named(name)
    )
    network = TwoStream(config)
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:  # names and shapes that differ, hundreds of lines of them
        raise ValueError(
            f"{path} is of another version of the network: {str(error).splitlines()[1].strip()[:200]}"
        ) from error
    return network.eval()


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """A safetensors file that is there whole, or as it was."""
    partial = path.with_suffix(".partial")
    save_file(
        {name: torch.as_tensor(t).detach().clone().contiguous() for name, t in tensors.items()},
        partial,
        dict(about),
    )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself.

    Raises:
        ValueError: it is none, or not there.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error


def _named(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": torch.as_tensor(value) for name, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named: Iterable[tuple[str, Tensor]] = tensors.items()
    return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}
