from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from typer import Typer
from typer.testing import CliRunner

from dmcl_sdk.motion import MotionFields, motion_fields
from dmcl_sdk.network import FrameCurves, OnnxNetwork, default_model, read_spec
from tests.training.worlds import drawn, small_world
from training.export import CARD_KEY
from training.graph import eight_bit_nodes
from training.quantize import Stretch, command, compare, quantize

MODEL = default_model()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model that ships, and its 8-bit sibling."""
    out = tmp_path_factory.mktemp("quantize") / "int8.onnx"
    quantize(MODEL, out, (stretch(seed) for seed in range(3)))
    return MODEL, out


def stretch(seed: int, frames: int = 16) -> Stretch:
    """A drawn face, as the shipped model reads it."""
    spec = read_spec(MODEL, metadata(MODEL))
    crops = drawn(frames, spec.size_px, seed)
    return crops[None, spec.looks], motion_fields(crops, spec.motion)[None]


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_the_sibling_answers_nearly_as_the_model_does(models: tuple[Path, Path]) -> None:
    first, second = (OnnxNetwork(path, ["cpu"]) for path in models)
    rgb, motion = stretch(9)
    answers = [network.run(rgb, motion).fused for network in (first, second)]
    assert 0 < np.abs(answers[1] - answers[0]).max() < 0.2 * max(1.0, float(answers[0].std()))


def test_the_sibling_answers_other_batches_and_lengths(models: tuple[Path, Path]) -> None:
    network = OnnxNetwork(models[1], ["cpu"])
    rgb, motion = stretch(0, 24)
    assert network.run(np.repeat(rgb, 2, axis=0), np.repeat(motion, 2, axis=0)).fused.shape == (2, 24)


def test_the_sibling_keeps_the_specification_and_says_its_precision(models: tuple[Path, Path]) -> None:
    first, second = (OnnxNetwork(path, ["cpu"]) for path in models)
    assert first.spec.model_copy(update={"precision": "int8"}) == second.spec
    assert first.sha256 != second.sha256
    assert "computes in: int8" in metadata(models[1])[CARD_KEY]


def test_weights_are_stored_in_eight_bits_with_a_scale_a_channel(models: tuple[Path, Path]) -> None:
    graph = onnx.load(models[1]).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    weights = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored]
    kernels = [node for node in weights if len(stored[node.input[0]].dims) == 4]
    assert kernels
    assert all(stored[node.input[0]].data_type == TensorProto.INT8 for node in kernels)
    assert all(list(stored[node.input[1]].dims) == [stored[node.input[0]].dims[0]] for node in kernels)
    assert models[1].stat().st_size < models[0].stat().st_size


def test_softmax_normalisation_and_answers_stay_in_float(models: tuple[Path, Path]) -> None:
    graph = onnx.load(models[1]).graph
    maker = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in {"Softmax", "LayerNormalization"}:
            assert maker.get(node.input[0]) != "DequantizeLinear"
    assert all(maker[output.name] != "DequantizeLinear" for output in graph.output)


def test_a_sibling_is_not_quantised_again(models: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of 8 bits already"):
        quantize(models[1], tmp_path / "again.onnx", iter([stretch(0)]))


def test_a_model_beside_itself_differs_in_nothing(models: tuple[Path, Path], tmp_path: Path) -> None:
    network = OnnxNetwork(models[0], ["cpu"])
    found = compare(network, network, small_world(tmp_path, size_px=network.spec.size_px))
    assert found.auc == found.quantized_auc
    assert found.median == found.largest == 0
    assert found.spread > 0


def test_a_model_beside_one_that_says_the_same_of_all_is_the_one_that_tells(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    class Indifferent(OnnxNetwork):
        def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
            said = super().run(rgb, motion)
            return replace(said, fused=0 * said.fused, rgb=0 * said.rgb)

    network, other = (kind(models[0], ["cpu"]) for kind in (OnnxNetwork, Indifferent))
    found = compare(network, other, small_world(tmp_path, size_px=network.spec.size_px))
    assert found.quantized_auc == 0.5 != found.auc


def test_videos_of_one_class_tell_nothing(models: tuple[Path, Path], tmp_path: Path) -> None:
    network = OnnxNetwork(models[0], ["cpu"])
    with pytest.raises(ValueError, match="real and fake"):
        compare(network, network, small_world(tmp_path, size_px=network.spec.size_px, fakes=False))


def test_the_command_refuses_a_manifest_that_is_none(models: tuple[Path, Path], tmp_path: Path) -> None:
    app = Typer()
    app.command()(command)
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    asked = [str(models[0]), str(tmp_path / "out.onnx"), "--data", str(tmp_path / "data.csv")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 2
    assert "data.csv" in re.sub(r"[\s│]", "", result.output)  # a path is broken where the box ends
    assert not (tmp_path / "out.onnx").exists()


Nodes = Callable[..., set[str]]


@pytest.fixture
def chosen() -> Nodes:
    """The names that are chosen in a graph of (op, name, inputs) rows; `w` and the channel-wise `c` are constants."""

    def of(*rows: tuple[str, str, list[str]], side: int = 8) -> set[str]:
        nodes = [helper.make_node(op, inputs, [name], name=name) for op, name, inputs in rows]
        weights = [
            helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [1.0]),
            helper.make_tensor("c", TensorProto.FLOAT, [2, 1, 1, 1], [1.0, 1.0]),
        ]
        shape: list[str | int | None] = ["n", 1, side, side]
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", rows[-1][1])]
        return eight_bit_nodes(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)))

    return of


def test_what_lies_between_convolutions_is_chosen_with_them(chosen: Nodes) -> None:
    assert chosen(
        ("Conv", "first", ["x", "w"]),
        ("Relu", "relu", ["first"]),
        ("Conv", "second", ["relu", "w"]),
        ("Add", "residual", ["second", "relu"]),
        ("Conv", "third", ["residual", "w"]),
        ("Softmax", "answer", ["third"]),
    ) == {"first", "relu", "second", "residual", "third"}


def test_a_convolution_of_a_fine_picture_stays_in_float(chosen: Nodes) -> None:
    rows = (
        ("Conv", "fine", ["x", "w"]),
        ("GlobalAveragePool", "pooled", ["fine"]),
        ("Conv", "coarse", ["pooled", "w"]),
    )
    assert chosen(*rows, side=128) == {"coarse"}
    assert "fine" in chosen(*rows, side=32)


def test_a_convolution_of_single_channels_stays_in_float(chosen: Nodes) -> None:
    rows = ("Conv", "first", ["x", "w"]), ("Conv", "each", ["first", "c"]), ("Conv", "last", ["each", "w"])
    assert chosen(*rows) == {"first", "last"}


def test_what_follows_the_last_convolution_stays_in_float(chosen: Nodes) -> None:
    assert chosen(("Conv", "only", ["x", "w"]), ("Relu", "relu", ["only"]), ("Exp", "answer", ["relu"])) == {
        "only"
    }


def test_a_convolution_of_a_difference_of_activations_stays_in_float(chosen: Nodes) -> None:
    assert chosen(
        ("Conv", "first", ["x", "w"]),
        ("Sub", "difference", ["first", "x"]),
        ("Abs", "size", ["difference"]),
        ("Conv", "second", ["size", "w"]),
        ("Conv", "third", ["second", "w"]),
    ) == {"first", "third"}


def test_a_convolution_of_what_was_centred_by_a_constant_is_chosen(chosen: Nodes) -> None:
    assert chosen(("Sub", "centred", ["x", "w"]), ("Conv", "first", ["centred", "w"])) == {"first"}


def test_a_sum_with_what_is_not_of_eight_bits_stays_in_float(chosen: Nodes) -> None:
    assert chosen(
        ("Conv", "first", ["x", "w"]),
        ("Softmax", "float", ["first"]),
        ("Add", "sum", ["first", "float"]),
        ("Conv", "second", ["sum", "w"]),
    ) == {"first", "second"}
