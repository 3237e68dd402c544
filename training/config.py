"""One frozen configuration of a training run, from a TOML file; an unknown key is an error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainConfig(BaseModel):
    """Everything that decides what comes out, besides the data.

    Attributes:
        data: a manifest CSV, or a folder with `real/` and `fake/`.
        photographs: a CSV of photographs with landmarks; none when empty.
        cache: where face crops are kept between runs.
        out: where checkpoints, logs and the final weights go.
        network: `small` or `base`.
        frames: frames a clip, a multiple of 8.
        pairs: real and fake pairs a step.
        steps: optimisation steps of the whole network.
        picture_steps: steps before those, in which the RGB stream learns from single pictures: for the cost of one
            clip it sees two dozen different people.
        picture_pairs: real and fake pictures a step.
        rate: peak learning rate of the whole network; warmed up over the first 3 %, then cosine to zero.
        picture_rate: the same for single pictures, falling to a tenth.
        decay: weight decay.
        ema: decay of the running mean of weights, which is what is kept.
        seed: of weights and data.
        workers: processes that make pairs.
        checkpoint_every: steps between checkpoints.
        precision: `bf16` or `fp32`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    photographs: Path | None = None
    cache: Path = Path("runs/cache")
    out: Path = Path("runs/default")
    network: Literal["small", "base"] = "small"
    frames: int = Field(default=24, ge=16, multiple_of=8)
    pairs: int = Field(default=4, ge=1)
    steps: int = Field(default=2000, ge=1)
    picture_steps: int = Field(default=600, ge=0)
    picture_pairs: int = Field(default=64, ge=1)
    rate: float = Field(default=6e-4, gt=0)
    picture_rate: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=0.02, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    seed: int = 0
    workers: int = Field(default=2, ge=0)
    checkpoint_every: int = Field(default=100, ge=1)
    precision: Literal["bf16", "fp32"] = "bf16"


def read_config(path: Path, changes: list[str]) -> TrainConfig:
    """A configuration file with changes like `steps=500` laid over it; paths are relative to the file's folder.

    Raises:
        ValueError: an unknown key, a value out of range, or a change that is not `key=value`.
    """
    values: dict[str, Any] = tomllib.loads(path.read_text())
    for key in ("data", "photographs", "cache", "out"):
        if key in values:
            values[key] = path.parent / values[key]
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"a change is written key=value, got {change!r}")
        values[key.strip()] = value.strip()
    return TrainConfig.model_validate(values)
