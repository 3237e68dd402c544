"""One frozen configuration of a run, from a TOML file; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from training.data.clips import Mix
from training.data.corruptions import CorruptionRanges
from training.distributed import Precision
from training.forgeries import Menu
from training.losses import LossWeights
from training.networks.two_stream import NetworkConfig

_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_PATHS = ("data", "photographs", "start", "flow_start", "cache", "out")


class Table(BaseModel):
    """A table of the file: frozen, and nothing in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pictures(Table):
    """The first stage: the RGB stream learns from single pictures, for it then sees many more people.

    Attributes:
        steps: optimisation steps; 0 leaves the stage out.
        pairs: real and fake pictures a step, over all processes.
        rate: peak learning rate; warmed up over the first 3 %, then falling by cosine to a tenth.
        held: how many of the lite0 backbone's finest scales stay as they are.
        mix: where pictures come from; as for clips when left out.
    """

    steps: int = Field(default=600, ge=0)
    pairs: int = Field(default=64, ge=1)
    rate: float = Field(default=1e-3, gt=0)
    held: int = Field(default=0, ge=0, le=5)
    mix: Mix | None = None


class Clips(Table):
    """The second stage: the whole network learns from clips.

    Attributes:
        steps: optimisation steps; 0 leaves the stage out.
        pairs: real and fake clips a step, over all processes.
        frames: frames a clip, a multiple of 8.
        rate: peak learning rate; warmed up over the first 3 %, then falling by cosine to zero.
        rgb_rate: factor on the RGB backbone's rate; 0 freezes it.
        fusion_rate: factor on the rate of the few weights of streams and spans: AdamW moves a weight by about the rate
            a step, and these have a long way to go.
        held: how many of the lite0 backbone's finest scales stay as they are.
        hold_statistics: whether its norms keep their running statistics: frames of a few clips are much alike.
    """

    steps: int = Field(default=2000, ge=0)
    pairs: int = Field(default=4, ge=1)
    frames: int = Field(default=24, ge=16, multiple_of=8)
    rate: float = Field(default=6e-4, gt=0)
    rgb_rate: float = Field(default=1.0, ge=0)
    fusion_rate: float = Field(default=1.0, ge=0)
    held: int = Field(default=0, ge=0, le=5)
    hold_statistics: bool = False


class Validation(Table):
    """Fixed pairs of the `val` split, between steps on clips; the best weights are then what is kept.

    Attributes:
        every: steps between validations; 0 for none.
        pairs: how many pairs, always the same.
        by: what is best: the highest AUC of the clips, or the lowest loss.
        patience: validations without a better one after which training stops; 0 never stops early.
    """

    every: int = Field(default=0, ge=0)
    pairs: int = Field(default=32, ge=2)
    by: Literal["auc", "loss"] = "auc"
    patience: int = Field(default=0, ge=0)


class TensorBoard(Table):
    """What is written to `tensorboard/` in the run's folder.

    Attributes:
        every: steps between points of the curves; 0 writes nothing.
        samples: clips shown at each validation, with their labels and the network's curve.
    """

    every: int = Field(default=10, ge=0)
    samples: int = Field(default=4, ge=0)


class RunConfig(Table):
    """What every run has, whether it trains from nothing or fine-tunes.

    Attributes:
        data: a manifest CSV, a folder with `real/` and `fake/`, a published data set, or a pack of one.
        allow_missing: go on with the files of a data set that are there.
        cache: where face crops are kept between runs.
        out: where the checkpoint, logs and final weights go.
        seed: of weights and data.
        workers: processes that make pairs.
        precision: `bf16` (autocast) or `fp32`; `auto` takes bf16 where the processor has instructions for it, without
            which it is slower than fp32.
        device: `auto` takes a GPU if there is one.
        decay: weight decay of matrices and kernels.
        ema: decay of the running mean of weights, which is what is kept.
        checkpoint_every: steps between checkpoints.
        loss: shares of the loss's parts.
        menu: which forgeries are made of real videos, and how often.
        corruptions: what happens to both clips of a pair alike, how often and how strongly.
        tensorboard: curves and sample clips.
    """

    data: Path
    allow_missing: bool = False
    cache: Path = Path("runs/cache")
    out: Path = Path("runs/default")
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=2, ge=0)
    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    decay: float = Field(default=0.02, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    checkpoint_every: int = Field(default=100, ge=1)
    loss: LossWeights = LossWeights()
    menu: Menu = Menu()
    corruptions: CorruptionRanges = CorruptionRanges()
    tensorboard: TensorBoard = TensorBoard()


class TrainConfig(RunConfig):
    """Everything that decides what comes out of training, besides the data.

    Attributes:
        photographs: a CSV of photographs with landmarks, or a pack; when left out, those of a pack that is `data`, or
            none.
        without: generators whose fakes are left out, to learn how well a network does on what it has not seen.
        rights: only videos and photographs whose `rights` in their CSV begin with one of these; all by default.
        pretrained: start the RGB backbone from its ImageNet weights, where it has any.
        start: weights of an earlier run to start from instead.
        flow_start: weights whose flow stream is taken over, whatever RGB stream they are of.
        network: `size = "small"` or `"base"`, and any field of `NetworkConfig` over it.
        pictures: the first stage.
        clips: the second.
        mix: where pairs of clips come from.
        validation: choosing the best weights, and stopping early.
    """

    photographs: Path | None = None
    without: tuple[str, ...] = ()
    rights: tuple[str, ...] = ()
    pretrained: bool = True
    start: Path | None = None
    flow_start: Path | None = None
    network: NetworkConfig = NetworkConfig()
    pictures: Pictures = Pictures()
    clips: Clips = Clips()
    mix: Mix = Mix()
    validation: Validation = Validation()

    @field_validator("network", mode="before")
    @classmethod
    def _over_its_size(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        changes = dict(value)
        return asdict(NetworkConfig.named(changes.pop("size", "small"))) | changes

    @model_validator(mode="after")
    def _held_is_there(self) -> TrainConfig:
        if not self.pictures.steps + self.clips.steps:
            raise ValueError("a run needs steps: pictures.steps or clips.steps")
        held = self.pictures.held or self.clips.held or self.clips.hold_statistics
        if held and self.network.backbone == "plain":
            raise ValueError("only the lite0 backbone can be held: the plain one starts from nothing")
        return self


C = TypeVar("C", bound=RunConfig)


def read_config(path: Path, changes: list[str]) -> TrainConfig:
    """A configuration file with changes like `clips.steps=500` laid over it.

    Paths in the file are relative to its folder, those in changes to the working directory.

    Raises:
        ValueError: no TOML, an unknown key, a value out of range, or a change that is not `key=value`.
    """
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    for key in _PATHS:
        if key in values:
            values[key] = path.parent / values[key]
    return checked(TrainConfig, values, changes)


def checked(kind: type[C], values: dict[str, Any], changes: list[str]) -> C:
    """A configuration of these values with changes laid over them.

    Raises:
        ValueError: as for `read_config`.
    """
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"a change is written key=value, got {change!r}")
        _lay(values, key.strip().split("."), _value(text.strip()))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        names = list(_names(kind))
        raise ValueError("; ".join(_explained(one, names) for one in error.errors())) from error


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two configurations that were dumped, as `clips.steps: 10 -> 20`."""
    first, second = dict(_flat(before)), dict(_flat(after))
    return [
        f"{key}: {first.get(key)} -> {second.get(key)}"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def _value(text: str) -> Any:  # noqa: ANN401 - whatever TOML says
    """A TOML value; what is none is a string, so that `precision=fp32` needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lay(values: dict[str, Any], keys: list[str], value: object) -> None:
    for number, key in enumerate(keys[:-1], start=1):
        values = values.setdefault(key, {})
        if not hasattr(values, "setdefault"):
            raise ValueError(f"{'.'.join(keys[:number])} is no table, so it has no {'.'.join(keys[number:])}")
    values[keys[-1]] = value


def _explained(error: ErrorDetails, names: list[str]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] not in _UNKNOWN:
        return f"{key}: {error['msg']}, got {error['input']!r}"
    by_last = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = difflib.get_close_matches(key, names, 1, 0.75)
    near = near or [by_last[last] for last in difflib.get_close_matches(key.rpartition(".")[2], by_last, 1)]
    return f"{key}: there is no such key" + (f"; did you mean {near[0]}?" if near else "")


def _names(kind: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401 - a model or a dataclass
    """All keys of a configuration, dotted."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield prefix + name
            yield from _names(field.annotation, f"{prefix}{name}.")
    elif is_dataclass(kind):
        yield from (prefix + field.name for field in fields(kind))
        if kind is NetworkConfig:
            yield prefix + "size"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
