"""What an exported network does with each picture by itself, done a few pictures at a time.

The first scales of the RGB stream hold the largest activations of the whole network, and no frame of theirs knows of
another. Computed for all frames of a chunk at once they take half of the memory, and none of it stays in a cache. So
they become the body of one ONNX `Scan`; the same arithmetic, the same bits. GPUs, which want many pictures at once,
are better served by a file without.

Nodes are told by what they do and feed, never by their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx

_SCAN = "pictures"
_BY_FRAME = frozenset(
    {"Cast", "Sub", "Div", "Mul", "Add", "Conv", "Clip", "Relu", "AveragePool", "MaxPool", "Pad", "Transpose"}
    | {"QuantizeLinear", "DequantizeLinear"}
)
"""What leaves the first axis, frames, alone; a transposition only if it says so."""


def in_groups(model: onnx.ModelProto, frames: int) -> None:
    """Compute what knows a single picture `frames` pictures at a time; they come in multiples of that.

    A model whose crops are not laid out as pictures first is left as it is.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = model.graph
    seen = ["rgb", *(n.output[0] for n in graph.node if n.op_type == "Slice" and n.input[0] == "rgb")]
    start = next((n for n in graph.node if n.op_type == "Reshape" and n.input[0] in seen), None)
    if start is None:
        return
    source = start.input[0]  # all frames, or those that the stream looks at
    body = _by_picture(graph, start.output[0])
    made = {name for node in body for name in node.output}
    outside = [node for node in graph.node if node not in body]
    crossing = [name for name in _read(outside, graph.output) if name in made]
    if not crossing:
        return
    typed = {
        info.name: info.type.tensor_type for info in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    shapes = {name: [d.dim_value for d in typed[name].shape.dim[1:]] for name in crossing}
    side = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim[2:]]  # S, S, 3
    fixed = _feeding(_fixed(graph), body)
    pictures = helper.make_graph(
        [*fixed, *body],
        _SCAN,
        [helper.make_tensor_value_info(start.output[0], TensorProto.UINT8, [frames, *side])],
        [helper.make_tensor_value_info(n, typed[n].elem_type, [frames, *shapes[n]]) for n in crossing],
        [tensor for tensor in graph.initializer if tensor.name in _read([*fixed, *body])],
    )
    groups = [f"{name}_groups" for name in crossing]
    scan = helper.make_node("Scan", ["rgb_groups"], groups, _SCAN, body=pictures, num_scan_inputs=1)
    reshapes = [(source, "rgb_groups", [-1, frames, *side])]
    reshapes += [(group, name, [-1, *shapes[name]]) for group, name in zip(groups, crossing, strict=True)]
    sizes = [helper.make_tensor(f"{to}_size", TensorProto.INT64, [len(s)], s) for _, to, s in reshapes]
    first, *last = [helper.make_node("Reshape", [a, f"{b}_size"], [b]) for a, b, _ in reshapes]
    read = {*_read(outside, graph.output)}
    before = _feeding(graph.node, [first])
    outside = [node for node in outside if read.intersection(node.output) and node not in before]
    _replace(graph, [*before, first, scan, *last, *outside], [*graph.initializer, *sizes])


def at_once(model: onnx.ModelProto) -> int | None:
    """Undo `in_groups`: whoever changes the graph, as quantisation does, finds every node in one place.

    Returns how many pictures a group held; None where there were no groups.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    scan = next((node for node in graph.node if node.op_type == "Scan" and node.name == _SCAN), None)
    if scan is None:
        return None
    grouping = next(node for node in graph.node if scan.input[0] in node.output)
    pictures = scan.attribute[0].g if scan.attribute[0].name == "body" else scan.attribute[1].g
    size = helper.make_tensor(
        "rgb_size",
        TensorProto.INT64,
        [4],
        [-1, *(d.dim_value for d in pictures.input[0].type.tensor_type.shape.dim[1:])],
    )
    start = helper.make_node("Reshape", [grouping.input[0], "rgb_size"], [pictures.input[0].name])
    inside = {name for node in pictures.node for name in node.output}
    around = {*scan.input, *scan.output}
    others = [
        node
        for node in graph.node
        if node is not scan
        and not around.intersection([*node.input, *node.output])
        and not inside.intersection(node.output)
    ]
    before = _feeding(others, [start])
    others = [node for node in others if node not in before]
    tensors = {tensor.name: tensor for tensor in [*graph.initializer, *pictures.initializer, size]}
    _replace(graph, [*before, start, *pictures.node, *others], tensors.values())
    return int(pictures.input[0].type.tensor_type.shape.dim[0].dim_value)


def _by_picture(graph: onnx.GraphProto, pictures: str) -> list[onnx.NodeProto]:
    """The nodes that know `pictures` and constants alone, and look at each by itself."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {name for node in _fixed(graph) for name in node.output}
    known, found = {pictures}, []
    for node in graph.node:  # in the order of computation
        read = [name for name in node.input if name and name not in constants]
        if node.op_type in _BY_FRAME and read and known.issuperset(read) and _keeps_frames(node):
            found.append(node)
            known.update(node.output)
    return found


def _keeps_frames(node: onnx.NodeProto) -> bool:
    return node.op_type != "Transpose" or node.attribute[0].ints[0] == 0


def _fixed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that depend on constants alone, such as weights that are dequantised."""
    known, found = {tensor.name for tensor in graph.initializer}, []
    for node in graph.node:
        if known.issuperset(name for name in node.input if name):
            found.append(node)
            known.update(node.output)
    return found


def _feeding(nodes: Sequence[onnx.NodeProto], readers: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Those of the nodes, in order, that the readers need."""
    read, found = set(_read(readers)), []
    for node in reversed(nodes):
        if read.intersection(node.output):
            found.append(node)
            read.update(node.input)
    return found[::-1]


def _read(nodes: Iterable[onnx.NodeProto], outputs: Iterable[onnx.ValueInfoProto] = ()) -> list[str]:
    """What nodes read, and what is answered, each name once."""
    names = [name for node in nodes for name in node.input] + [output.name for output in outputs]
    return list(dict.fromkeys(names))


def _replace(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], tensors: Iterable[onnx.TensorProto]
) -> None:
    """Give a graph these nodes, and of these tensors those that they read."""
    read = set(_read(nodes))
    kept = [tensor for tensor in tensors if tensor.name in read]
    nodes = list(nodes)
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
