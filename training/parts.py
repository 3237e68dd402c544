"""Which part of the network a parameter belongs to: what has a rate of its own, and what stays as it is."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal, get_args

from torch import nn

from training.networks.two_stream import TwoStream

Part = Literal["backbone", "streams", "msmr", "msca", "heads", "fusion"]
PARTS: tuple[Part, ...] = get_args(Part)

# the first that matches, from the start of the name
_NAMES: tuple[tuple[str, Part], ...] = (
    (r"(rgb\.paths|rgb\.scales\.downs|flow\.downs|priorities|explain)\b", "msmr"),
    (r"attention\b", "msca"),
    (r"(rgb_head|flow_head|rgb_places|flow_places)\b", "heads"),
    (r"(span_weight|stream_weight)\b", "fusion"),
    (r"rgb\.(backbone|stem|norm|scales)\b", "backbone"),
    (r"(rgb|flow|flow_stem)\b", "streams"),
)


def part_of(name: str) -> Part:
    """The part of a parameter or module of `TwoStream`, by its dotted name.

    `backbone` is what RGB features are made of in space; `streams` the flow's tower, and the RGB blocks over time that
    a pretrained backbone is given; `fusion` the few numbers by which streams and spans are weighed.

    Raises:
        ValueError: a name that belongs nowhere.
    """
    for pattern, part in _NAMES:
        if re.match(pattern, name):
            return part
    raise ValueError(f"{name} is in no part of the network that is known")


def parameter_groups(network: TwoStream, decay: float) -> list[dict[str, Any]]:
    """For the optimizer: a group for each part, decayed (matrices and kernels) and not (norms, biases, fusion)."""
    groups: dict[tuple[Part, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        part = part_of(name)
        groups.setdefault((part, parameter.ndim > 1 and part != "fusion"), []).append(parameter)
    return [
        {"params": parameters, "part": part, "weight_decay": decay if decayed else 0.0}
        for (part, decayed), parameters in groups.items()
    ]


def set_trainable(network: TwoStream, frozen: Collection[Part], *, keep_statistics: bool = False) -> None:
    """Put the network in training mode, except for these parts: neither weights nor running statistics change.

    Args:
        network: changed in place.
        frozen: parts that stay.
        keep_statistics: every batch norm keeps its running statistics, also in parts that learn.
    """
    network.train()
    for name, parameter in network.named_parameters():
        if part_of(name) in frozen:
            parameter.requires_grad = False
    for name, module in network.named_modules():
        norm = isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm)
        if norm and (keep_statistics or part_of(name) in frozen):
            module.eval()
