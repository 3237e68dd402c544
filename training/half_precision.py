"""A model file that computes in half precision up to its last convolutions, as GPUs do at several times the rate.

What no convolution follows (heads, attention, the logarithms that join spans) is little work and wants the range of
single precision, so it stays. Inputs and outputs keep their types; answers differ by rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmcl_sdk.network import SPEC_KEY, ModelSpec
from training.export import about
from training.pictures import at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

_MOST = float(np.finfo(np.float16).max)


def halve(model: onnx.ModelProto) -> None:
    """Make a model compute in half precision, all pictures of a chunk at once, and say so in its specification.

    Raises:
        ValueError: it is not of single precision, or holds a weight beyond the range of half precision.
    """
    import onnx

    metadata = {entry.key: entry.value for entry in model.metadata_props}
    spec = ModelSpec.model_validate_json(metadata[SPEC_KEY])
    if spec.precision != "fp32":
        raise ValueError(f"it computes in {spec.precision}; start from the file that dmcl export wrote")
    at_once(model)
    _halve(model)
    onnx.helper.set_model_props(model, metadata | about(spec.model_copy(update={"precision": "fp16"})))
    onnx.checker.check_model(model)


def _halve(model: onnx.ModelProto) -> None:
    """Give every value on the way to a convolution a half sibling, and cast where one kind is needed of the other."""
    from onnx import TensorProto, helper

    graph = model.graph
    floats, weights = _floats(model), {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    halves: dict[
        str, onnx.TensorProto | None
    ] = {}  # what there is in half precision; the tensor, if it is a weight

    def cast(name: str, to: str, kind: int) -> None:
        nodes.append(helper.make_node("Cast", [name], [to], to=kind))

    for node, chosen in zip(graph.node, _lead_to_convolutions(graph.node), strict=True):
        if chosen:
            for name in floats.intersection(node.input).difference(halves):
                halves[name] = _half_weight(weights[name]) if name in weights else None
                if name not in weights:
                    cast(name, _half(name), TensorProto.FLOAT16)
            if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT:
                node.attribute[0].i = TensorProto.FLOAT16
            made = [name for name in node.output if name in floats]
            node.input[:] = [_half(name) if name in floats else name for name in node.input]
            node.output[:] = [_half(name) if name in floats else name for name in node.output]
            nodes.append(node)
            for name in made:
                halves[name] = None
                cast(_half(name), name, TensorProto.FLOAT)
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    kept = [node for node in nodes if read.intersection(node.output)]
    tensors = [
        tensor
        for tensor in (*weights.values(), *halves.values())
        if tensor is not None and tensor.name in read
    ]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensors)


def _floats(model: onnx.ModelProto) -> set[str]:
    """Names of all values and weights of single precision."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    single = onnx.TensorProto.FLOAT
    return {value.name for value in values if value.type.tensor_type.elem_type == single} | {
        tensor.name for tensor in graph.initializer if tensor.data_type == single
    }


def _lead_to_convolutions(nodes: Sequence[onnx.NodeProto]) -> list[bool]:
    """Whether each node is a convolution, or one reads what comes of it."""
    wanted, leads = set[str](), list[bool]()
    for node in reversed(nodes):
        leads.append(node.op_type == "Conv" or not wanted.isdisjoint(node.output))
        if leads[-1]:
            wanted.update(node.input)
    return leads[::-1]


def _half(name: str) -> str:
    return f"{name}_half"


def _half_weight(weight: onnx.TensorProto) -> onnx.TensorProto:
    from onnx import numpy_helper

    values = numpy_helper.to_array(weight)
    if np.abs(values).max(initial=0.0) > _MOST:
        raise ValueError(f"{weight.name} goes up to {np.abs(values).max():g}, half precision to {_MOST:g}")
    return numpy_helper.from_array(values.astype(np.float16), _half(weight.name))
