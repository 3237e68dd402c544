from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import typer

from dmcl_sdk.calibration import AbstentionRule
from dmcl_sdk.network import OnnxNetwork, default_model
from tests.training.worlds import TINY
from training.checkpoint import load_network, save_weights
from training.export import (
    CARD_KEY,
    TOLERANCE,
    command,
    largest_difference,
    random_input,
    respecify,
    take_mean,
    weights_digest,
)
from training.finetune import WEIGHTS
from training.networks.two_stream import NetworkConfig, TwoStream


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[TwoStream, Path]:
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    network = TwoStream(TINY).eval()
    for parameter in network.parameters():  # nothing may hide behind the zeros that training starts from
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    weights, path = folder / "final.safetensors", folder / "model.onnx"
    save_weights(weights, network, {})
    command(weights, path, name="tiny", version="0", flow_weight=1.0, rgb_discount=0.2)
    return load_network(path.with_suffix(".safetensors")).eval(), path


def test_the_served_file_answers_as_pytorch_does(exported: tuple[TwoStream, Path]) -> None:
    network, path = exported
    assert largest_difference(network, OnnxNetwork(path, ["cpu"])) <= TOLERANCE


def test_a_served_file_is_given_only_what_its_rgb_stream_looks_at(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = TwoStream(replace(TINY, size_px=128, motion_shrink=4, rgb_stride=4)).eval()
    weights, path = tmp_path / "final.safetensors", tmp_path / "model.onnx"
    save_weights(weights, network, {})
    command(weights, path)
    served = OnnxNetwork(path, ["cpu"])
    rgb, motion = random_input(served.spec, batch=2, frames=24, seed=0)
    assert rgb.shape == (2, 6, 128, 128, 3)
    every = rgb.repeat_interleave(4, 1)
    every[:, ::4] = 0  # what lies between is never seen
    with torch.inference_mode():
        expected = network(every, motion).fused.numpy()
    assert np.abs(served.run(rgb.numpy(), motion.numpy()).fused - expected).max() < TOLERANCE


@pytest.mark.slow
def test_an_export_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    config = NetworkConfig(size_px=256, backbone="lite0", motion_shrink=4, rgb_stride=4)
    weights, path = tmp_path / "final.safetensors", tmp_path / "model.onnx"
    save_weights(weights, TwoStream(config), {})
    code = "from dmcl_sdk.cli import main; main()"
    alone = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "export", str(weights), str(path)],
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert OnnxNetwork(path, ["cpu"]).spec.rgb_stride == 4


def test_a_file_that_answers_otherwise_is_noticed(exported: tuple[TwoStream, Path]) -> None:
    network, path = exported
    other = TwoStream(TINY).eval()
    assert largest_difference(other, OnnxNetwork(path, ["cpu"])) > TOLERANCE
    assert largest_difference(network, OnnxNetwork(path, ["cpu"])) <= TOLERANCE


def test_the_weights_that_ship_are_those_of_the_model_that_ships() -> None:
    served = OnnxNetwork(default_model(), ["cpu"])
    assert weights_digest(WEIGHTS) == served.spec.weights_sha256
    assert largest_difference(load_network(WEIGHTS), served) <= TOLERANCE


def test_the_flow_streams_weight_can_be_set_and_the_changed_weights_are_kept(
    exported: tuple[TwoStream, Path],
) -> None:
    changed, path = exported
    asked_for = load_network(path.with_name("final.safetensors"))
    assert changed.stream_weight[1].tolist() == [1.0] * 3
    assert changed.stream_weight[0].tolist() == asked_for.stream_weight[0].tolist()
    assert OnnxNetwork(path, ["cpu"]).spec.weights_sha256 == weights_digest(path.with_suffix(".safetensors"))


def test_faces_are_pooled_as_sharply_as_in_training_and_short_spans_can_be_served(tmp_path: Path) -> None:
    config = replace(TINY, spans=(1, 4, 4), rgb_stride=4)
    save_weights(tmp_path / "w.safetensors", TwoStream(config).eval(), {"pooling_sharpness": "4.0"})
    command(tmp_path / "w.safetensors", tmp_path / "m.onnx", name="short", version="0", rgb_weight=0.5)
    spec = OnnxNetwork(tmp_path / "m.onnx", ["cpu"]).spec

    assert (spec.pooling_sharpness, spec.frames_multiple) == (4.0, 8)


def test_what_cannot_be_exported_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no weights")
    with pytest.raises(typer.BadParameter, match=r"README\.md is no safetensors file"):
        command(tmp_path / "README.md", tmp_path / "m.onnx")
    with pytest.raises(typer.BadParameter, match=r"the folder .*nowhere is not there"):
        command(WEIGHTS, tmp_path / "nowhere" / "m.onnx")


def test_a_streams_weight_is_left_as_it_was_learned_unless_it_is_set() -> None:
    network = TwoStream(TINY)
    network.weigh(rgb=0.3)
    assert network.stream_weight.tolist() == [pytest.approx([0.3] * 3), [0.5] * 3]
    network.weigh(flow=1.0)
    assert network.stream_weight.tolist() == [pytest.approx([0.3] * 3), [1.0] * 3]


def test_a_mean_of_networks_is_one_weight_by_weight_whatever_their_stride() -> None:
    torch.manual_seed(0)
    first, second = TwoStream(replace(TINY, rgb_stride=2)), TwoStream(TINY)
    expected = {name: (value + second.state_dict()[name]) / 2 for name, value in first.state_dict().items()}
    take_mean(first, [second])
    assert first.config.rgb_stride == 2
    for name, value in first.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, expected[name])


def test_a_mean_of_different_networks_is_refused() -> None:
    with pytest.raises(ValueError, match="networks of one kind"):
        take_mean(TwoStream(TINY), [TwoStream(replace(TINY, token_width=32))])


def test_places_are_what_the_network_learned_of_masks(exported: tuple[TwoStream, Path]) -> None:
    network, path = exported
    rgb, motion = random_input(OnnxNetwork(path, ["cpu"]).spec, batch=1, frames=16, seed=9)
    with torch.inference_mode():
        _, extra = network.learn(rgb, motion)
    served = OnnxNetwork(path, ["cpu"]).run(rgb.numpy(), motion.numpy())
    for learned, ours in zip(extra.places, (served.rgb_places, served.flow_places), strict=True):
        assert ours is not None
        assert np.abs(learned.numpy() - ours).max() <= TOLERANCE
        assert ours.std() > 0


def test_the_specification_travels_inside(exported: tuple[TwoStream, Path]) -> None:
    spec = OnnxNetwork(exported[1], ["cpu"]).spec
    assert (spec.name, spec.size_px, spec.baselines, spec.frames_multiple) == ("tiny", 64, (1, 4, 15), 8)
    assert spec.calibration.version == "uncalibrated"
    assert spec.rgb_discount == 0.2


def test_a_card_travels_inside_and_says_what_the_file_is(exported: tuple[TwoStream, Path]) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(exported[1]).metadata_props}
    spec = OnnxNetwork(exported[1], ["cpu"]).spec
    assert "computes in: fp32" in metadata[CARD_KEY]
    assert metadata[CARD_KEY].startswith("# tiny 0\n")
    assert spec.weights_sha256 in metadata[CARD_KEY]
    assert "(B, T, 12, 32, 32)" in metadata[CARD_KEY]
    assert "reconstruction" in metadata[CARD_KEY]


def test_a_calibration_is_stored_without_touching_the_weights(
    exported: tuple[TwoStream, Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported[1].read_bytes())
    before = OnnxNetwork(path, ["cpu"])
    respecify(path, before.spec.model_copy(update={"abstention": AbstentionRule(0.9, 0.1)}))
    after = OnnxNetwork(path, ["cpu"])
    assert after.spec.abstention == AbstentionRule(0.9, 0.1)
    assert CARD_KEY in {entry.key for entry in onnx.load(path).metadata_props}
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (1, 16, 64, 64, 3), np.uint8)
    motion = rng.integers(-40, 40, (1, 16, 12, 32, 32), np.int8)
    assert np.array_equal(before.run(rgb, motion).fused, after.run(rgb, motion).fused)


def test_nothing_of_the_machine_is_left_in_the_file(exported: tuple[TwoStream, Path]) -> None:
    content = exported[1].read_bytes()
    assert b".py" not in content
    assert str(Path.home()).encode() not in content
    assert not any(node.metadata_props for node in onnx.load(exported[1]).graph.node)
