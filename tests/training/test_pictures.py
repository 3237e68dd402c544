from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from dmcl_sdk.network import OnnxNetwork, default_model
from training.pictures import at_once, in_groups

MODELS = [default_model(), default_model().with_name("default-int8.onnx")]


def answers(path: Path, frames: int = 24) -> list[npt.NDArray[np.float32]]:
    network = OnnxNetwork(path, ["cpu"])
    rng, spec = np.random.default_rng(0), network.spec
    rgb = rng.integers(0, 256, (1, frames // spec.rgb_stride, spec.size_px, spec.size_px, 3), np.uint8)
    motion = rng.integers(-40, 41, (1, frames, spec.motion.channels, spec.motion_px, spec.motion_px), np.int8)
    curves = network.run(rgb, motion)
    return [curves.fused, curves.rgb, curves.flow]


def groups(path: Path) -> list[onnx.NodeProto]:
    return [node for node in onnx.load(path).graph.node if node.op_type == "Scan"]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_models_that_ship_look_at_two_pictures_at_a_time(path: Path) -> None:
    (scan,) = groups(path)
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    assert body.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    assert sum(node.op_type == "Conv" for node in body.node) > 10


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_groups_change_no_answer_and_can_be_undone_and_made_again(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    assert at_once(model) == 2
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "whole.onnx")
    in_groups(model, 2)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "grouped.onnx")

    assert not groups(tmp_path / "whole.onnx")
    assert len(groups(tmp_path / "grouped.onnx")) == 1
    expected = answers(path)
    for other in ("whole.onnx", "grouped.onnx"):
        for ours, theirs in zip(answers(tmp_path / other), expected, strict=True):
            assert np.abs(ours - theirs).max() < 1e-4


def test_a_model_without_pictures_is_left_as_it_is() -> None:
    node = onnx.helper.make_node("Relu", ["rgb"], ["fused"])
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 8]) for n in ("rgb", "fused")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "plain", value[:1], value[1:]))
    before = model.SerializeToString()
    in_groups(model, 8)
    at_once(model)
    assert model.SerializeToString() == before
