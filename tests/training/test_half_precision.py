from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from typer import Typer
from typer.testing import CliRunner

from dmcl_sdk.motion import motion_fields
from dmcl_sdk.network import OnnxNetwork, default_model
from tests.sdk.footage import carphone
from tests.training.folders import folder_of, tinted
from tests.training.worlds import drawn
from training.export import CARD_KEY
from training.half_precision import halve
from training.quantize import command


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that ships, in half precision."""
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    model = onnx.load(default_model())
    halve(model)
    onnx.save(model, path)
    return path


def test_the_half_answers_as_the_model_does_but_for_rounding(half: Path) -> None:
    first, second = (OnnxNetwork(path, ["cpu"]) for path in (default_model(), half))
    crops = drawn(16, first.spec.size_px, seed=1)
    rgb, motion = crops[None, 2::4], motion_fields(crops, first.spec.motion)[None]
    expected, found = first.run(rgb, motion), second.run(rgb, motion)
    assert 0 < np.abs(found.fused - expected.fused).max() < 0.02
    assert np.abs(found.rgb - expected.rgb).max() < 0.02
    assert np.abs(found.flow - expected.flow).max() < 0.02


def test_all_convolutions_are_halved_and_what_follows_the_last_is_not(half: Path) -> None:
    graph = onnx.load(half).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert {kinds[name] for node in convolutions for name in node.input[1:]} == {TensorProto.FLOAT16}
    heads = [node for node in graph.node if node.op_type in {"LayerNormalization", "Gemm"}]
    assert {kinds[name] for node in heads for name in node.input if name in kinds} == {TensorProto.FLOAT}
    assert sum(node.op_type == "Cast" for node in graph.node) < 20, "none back and forth"


def test_the_specification_says_fp16_and_keeps_the_rest(half: Path) -> None:
    first, second = (OnnxNetwork(path, ["cpu"]) for path in (default_model(), half))
    assert first.spec.model_copy(update={"precision": "fp16"}) == second.spec
    metadata = {entry.key: entry.value for entry in onnx.load(half).metadata_props}
    assert "computes in: fp16" in metadata[CARD_KEY]


def test_only_single_precision_is_halved(half: Path) -> None:
    with pytest.raises(ValueError, match="it computes in fp16; start from"):
        halve(onnx.load(half))


def test_a_weight_beyond_half_precision_is_refused_by_name() -> None:
    model = onnx.load(default_model())
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.startswith("network.flow"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 1e5, weight.name))
    with pytest.raises(ValueError, match=r"network\.flow.* goes up to .*, half precision to 65504"):
        halve(model)


@pytest.mark.slow
def test_the_command_writes_it_and_compares_it_with_the_model(tmp_path: Path) -> None:
    app = Typer()
    app.command()(command)
    data = folder_of(tmp_path / "data", real=carphone(), fake=tinted(tmp_path / "tinted.mp4"))
    out, cache = tmp_path / "half.onnx", str(tmp_path / "cache")
    asked = [str(default_model()), str(out), "--data", str(data), "--check", str(data), "--to", "fp16"]
    result = CliRunner().invoke(app, [*asked, "--cache", cache])
    assert result.exit_code == 0, result.output
    assert "AUC" in result.output
    assert OnnxNetwork(out, ["cpu"]).spec.precision == "fp16"
