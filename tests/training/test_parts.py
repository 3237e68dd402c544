from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.training.worlds import TINY
from training.networks.two_stream import NetworkConfig, TwoStream
from training.parts import PARTS, parameter_groups, part_of, set_trainable


@pytest.fixture(scope="module", params=["plain", "lite0"])
def network(request: pytest.FixtureRequest) -> TwoStream:
    return TwoStream(NetworkConfig() if request.param == "lite0" else TINY)


def test_every_parameter_and_every_norm_is_in_a_part_and_no_part_is_empty(network: TwoStream) -> None:
    names = [name for name, _ in network.named_parameters()]
    assert {part_of(name) for name in names} == set(PARTS)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert part_of(name) in {"backbone", "streams"}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("rgb.paths.0.1.pick.weight", "msmr"),
        ("flow.downs.0.path.weight.weight", "msmr"),
        ("rgb.scales.downs.1.path.pick.weight", "msmr"),
        ("explain.0.bias", "msmr"),
        ("priorities.2.motion.weight", "msmr"),
        ("attention.0.1.rgb_asks_flow.out.weight", "msca"),
        ("span_weight", "fusion"),
        ("stream_weight", "fusion"),
        ("rgb_head.logit.bias", "heads"),
        ("rgb.backbone.scales.0.0.0.weight", "backbone"),
        ("rgb.scales.scales.0.0.norm.weight", "backbone"),
        ("rgb.times.0.conv.weight", "streams"),
        ("flow_stem.norm.bias", "streams"),
    ],
)
def test_a_parameter_belongs_to_the_part_that_the_paper_or_we_name(name: str, part: str) -> None:
    assert part_of(name) == part


def test_a_name_that_belongs_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="new_thing"):
        part_of("new_thing.weight")


def test_groups_hold_every_parameter_once_and_decay_only_matrices_of_features(network: TwoStream) -> None:
    groups = parameter_groups(network, 0.1)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(held) == len(set(held)) == len(list(network.parameters()))
    for group in groups:
        decayed = group["weight_decay"] > 0
        assert all(decayed == (p.ndim > 1 and group["part"] != "fusion") for p in group["params"])


def test_what_is_frozen_neither_learns_nor_renews_its_statistics() -> None:
    network = TwoStream(replace(TINY))
    set_trainable(network, {"backbone", "streams", "msmr", "heads", "fusion"})
    learning = {part_of(name) for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {"msca"}
    assert not any(m.training for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_statistics_can_be_kept_while_everything_learns() -> None:
    network = TwoStream(TINY)
    set_trainable(network, set(), keep_statistics=True)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(m.training for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
