"""Which nodes of an exported network may compute in 8 bits: told by what they do and feed, never by their names."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_FINE_PX = 64
"""From this side on, what a picture network tells by is finer than an eight-bit step of its few strongest values."""
_CARRIES = frozenset(
    {"Relu", "Clip", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Transpose", "Reshape"}
)
"""What 8 bits pass through between two convolutions without loss of range."""


def eight_bit_nodes(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes to quantise: convolutions, and what lies between two of them.

    In float stay heads and attention (no convolution follows them), normalisations, convolutions of single channels,
    which gain no speed and whose ranges differ from channel to channel, those of fine pictures, and convolutions that
    read a difference of two activations: second temporal differences are tiny beside their few peaks, and 8 bits over
    that range would hold nothing but the peaks.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    channelwise = {
        tensor.name for tensor in model.graph.initializer if tensor.dims[1:2] == [1] and tensor.dims[0] > 1
    }
    maker = {name: node for node in model.graph.node for name in node.output}
    side = _sides(model)
    convolutions = {
        node.name
        for node in model.graph.node
        if node.op_type == "Conv"
        and node.input[1] not in channelwise
        and side.get(node.input[0], 0) < _FINE_PX
        and not _reads_difference(node.input[0], maker, constants)
    }
    ahead = _reached(model, convolutions, maker, constants)
    behind = _reaching(model, convolutions)
    return convolutions | (ahead & behind)


def _sides(model: onnx.ModelProto) -> dict[str, int]:
    """The height of every picture (N, C, H, W) whose height does not change from clip to clip, by name."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    known = ((value.name, value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.value_info))
    return {
        name: dims[2].dim_value for name, dims in known if len(dims) == 4 and dims[2].HasField("dim_value")
    }


def _reads_difference(name: str, maker: dict[str, onnx.NodeProto], constants: set[str]) -> bool:
    """Whether a value comes from a difference of two activations, with no convolution in between."""
    waiting, seen = [name], set[str]()
    while waiting:
        node = maker.get(waiting.pop())
        if node is None or node.name in seen or node.op_type == "Conv":
            continue
        seen.add(node.name)
        if node.op_type == "Sub" and not _constant(node, maker, constants):
            return True
        waiting += node.input
    return False


def _constant(node: onnx.NodeProto, maker: dict[str, onnx.NodeProto], constants: set[str]) -> bool:
    """Whether one of a node's inputs is a constant."""
    return any(
        name in constants or (name in maker and maker[name].op_type == "Constant") for name in node.input
    )


def _reached(
    model: onnx.ModelProto, convolutions: set[str], maker: dict[str, onnx.NodeProto], constants: set[str]
) -> set[str]:
    """Nodes all of whose activations come from these convolutions by what carries 8 bits, the first input at least."""
    known = set(convolutions)
    for node in model.graph.node:  # in the order of computation
        if node.op_type not in _CARRIES:
            continue
        inputs = node.input if node.op_type in {"Add", "Concat"} else node.input[:1]
        made = [maker[name] for name in inputs if name in maker and name not in constants]
        if len(made) == len(inputs) and all(one.name in known for one in made):
            known.add(node.name)
    return known - convolutions


def _reaching(model: onnx.ModelProto, convolutions: set[str]) -> set[str]:
    """Nodes from which one of these convolutions is reached by what carries 8 bits."""
    readers = defaultdict[str, list["onnx.NodeProto"]](list)
    for node in model.graph.node:
        for name in node.input[:1] if node.op_type == "Conv" else node.input:
            readers[name].append(node)
    known = set(convolutions)
    for node in reversed(model.graph.node):
        if node.op_type in _CARRIES and any(
            reader.name in known for name in node.output for reader in readers[name]
        ):
            known.add(node.name)
    return known - convolutions
