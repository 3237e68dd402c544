"""A model file's smaller siblings: nearly the same answers, in less time on hardware made for it.

In 8 bits for processors, by static quantisation as ONNX Runtime does it: QuantizeLinear and DequantizeLinear about the
convolutions, ranges measured on training clips, one scale a channel for weights. In half precision for GPUs
(`training.half_precision`). The files run wherever the first one does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from dmcl_sdk.assembly import pool_face
from dmcl_sdk.motion import MotionEstimator
from dmcl_sdk.network import SPEC_KEY, ModelSpec, OnnxNetwork
from training.data.clips import ClipPairs, Source
from training.data.manifest import Split, read_manifest
from training.data.runs import Run, cache_runs, without_margin
from training.export import about
from training.graph import eight_bit_nodes
from training.half_precision import halve
from training.metrics import auc
from training.pictures import at_once, in_groups

if TYPE_CHECKING:
    import onnx

LOST_AUC = 0.005
CLIP_FRAMES, MOST_FRAMES = 24, 128

Stretch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]
"""Crops (B, T, S, S, 3) and motion (B, T, 4K, M, M), as the network reads them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of labelled videos' answers.

    Attributes:
        auc: of the first model.
        quantized_auc: of its sibling.
        median: median absolute difference of frames' logits.
        largest: the largest.
        spread: standard deviation of the first model's frame logits, to judge differences by.
    """

    auc: float
    quantized_auc: float
    median: float
    largest: float
    spread: float


def quantize(model: Path, out: Path, stretches: Iterator[Stretch]) -> None:
    """Write the 8-bit sibling of `model`, with its specification and precision inside.

    Args:
        model: a model file of `dmcl export`.
        out: the file to write.
        stretches: what ranges are measured on, of the training split, so that no validation is spent.

    Raises:
        ValueError: the model is of 8 bits already, or nothing in it can be.
    """
    import onnx
    from onnxruntime import quantization as ort

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        """Hands stretches to the calibration, one after the other."""

        def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
            """Inputs by name; None at the end."""
            stretch = next(stretches, None)
            return None if stretch is None else {"rgb": stretch[0], "motion": stretch[1]}

    graph = onnx.load(model)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    spec = ModelSpec.model_validate_json(metadata[SPEC_KEY]).model_copy(update={"precision": "int8"})
    if any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
        raise ValueError(f"{model} is of 8 bits already; start from the file that dmcl export wrote")
    group = at_once(graph)
    _name_nodes(graph)
    chosen = eight_bit_nodes(graph)
    if not chosen:
        raise ValueError(f"{model}: nothing in it can be of 8 bits")
    kinds = sorted({node.op_type for node in graph.graph.node if node.name in chosen})
    logging.getLogger().addFilter(_no_advice)
    try:
        ort.quantize_static(
            graph,
            out,
            Reader(),
            quant_format=ort.QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            nodes_to_quantize=sorted(chosen),
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,  # unsigned times signed is what VNNI and AMX multiply
            weight_type=ort.QuantType.QInt8,
            calibrate_method=ort.CalibrationMethod.MinMax,
        )
    finally:
        logging.getLogger().removeFilter(_no_advice)
    written = onnx.load(out)
    onnx.helper.set_model_props(written, metadata | about(spec))
    if group is not None:
        in_groups(written, group)
    onnx.checker.check_model(written)
    out.write_bytes(written.SerializeToString())


def compare(first: OnnxNetwork, second: OnnxNetwork, sources: Sequence[Source]) -> Comparison:
    """Both models' answers to the beginnings of every run of `sources`, which hold real and fake videos.

    Raises:
        ValueError: one class is missing, or no run is long enough.
    """
    spec = first.spec
    kept = [source for source in sources if any(run.frames >= spec.frames_multiple for run in source.runs)]
    fake = np.array([source.clip.fake for source in kept], bool)
    if fake.all() or not fake.any():
        raise ValueError("a comparison needs real and fake videos with a face in them")
    estimator = MotionEstimator(spec.motion)
    logits, away, level = [], [], []
    for source in kept:
        faces = []
        for run in source.runs:
            if run.frames < spec.frames_multiple:
                continue
            stretch = beginning(run, estimator, spec)
            before, after = (
                network.run(*stretch).logits[0].astype(np.float64) for network in (first, second)
            )
            times_s = np.asarray(run.time_s[: len(before)], np.float64)
            faces.append([pool_face(curves, times_s, spec) for curves in (before, after)])
            away.append(np.abs(after[:, 0] - before[:, 0]))
            level.append(before[:, 0])
        logits.append(np.max(faces, axis=0))
    scores, apart = np.array(logits), np.concatenate(away)
    return Comparison(
        auc(fake, scores[:, 0]),
        auc(fake, scores[:, 1]),
        float(np.median(apart)),
        float(apart.max()),
        float(np.concatenate(level).std()),
    )


def beginning(run: Run, estimator: MotionEstimator, spec: ModelSpec) -> Stretch:
    """The first frames of a run, as a model of this specification takes them."""
    frames = min(run.frames, MOST_FRAMES) // spec.frames_multiple * spec.frames_multiple
    crops = without_margin(run.crops()[:frames])
    return crops[None, spec.looks], estimator.of(crops)[None]


def command(  # noqa: PLR0917 - typer makes options of them
    model: Annotated[Path, typer.Argument(help="The model file that dmcl export wrote.", exists=True)],
    out: Annotated[Path, typer.Argument(help="The model file to write.")],
    data: Annotated[
        Path,
        typer.Option(
            help="The data set it was trained on: a manifest CSV or a folder, as for dmcl train.", exists=True
        ),
    ],
    check: Annotated[
        Path | None,
        typer.Option(
            help="Labelled videos that tell whether it still answers right; the val split of DATA without."
        ),
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Where face crops are kept, as in the training configuration.")
    ] = Path("runs/cache"),
    clips: Annotated[
        int, typer.Option(min=1, help="Pairs of training clips that the ranges of 8 bits are measured on.")
    ] = 32,
    to: Annotated[
        Literal["int8", "fp16"],
        typer.Option(
            help="int8: for processors with 8-bit arithmetic (VNNI, AMX). fp16: for GPUs; looks at all pictures of a "
            "chunk at once."
        ),
    ] = "int8",
) -> None:
    """Write a model file that computes in 8 bits, or in half precision, and see whether it still answers right.

    Ranges of 8 bits come from the train split of DATA; half precision needs none. The file is then compared with MODEL
    on videos that it was not made from, and is deleted again when its AUC there is lower by more than 0.005.
    """
    network = OnnxNetwork(model, ["cpu"])
    judged = _sources(check or data, None if check else "val", cache, network.spec.size_px)
    try:
        if to == "fp16":
            _write_half(model, out)
        else:
            spec = network.spec
            sources = _sources(data, "train", cache, spec.size_px)
            pairs = ClipPairs(
                sources, [], frames=CLIP_FRAMES, size_px=spec.size_px, motion=spec.motion, seed=0
            )
            quantize(model, out, _stretches(pairs, clips, spec.looks))
        found = compare(network, OnnxNetwork(out, ["cpu"]), judged)
    except ValueError as error:
        out.unlink(missing_ok=True)
        raise typer.BadParameter(str(error)) from error
    typer.echo(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, AUC {found.quantized_auc:.4f} (before: {found.auc:.4f}) on "
        f"{len(judged)} videos; a frame's logit is off by {found.median:.3f} (median), {found.largest:.2f} (largest), "
        f"where logits spread by {found.spread:.2f}"
    )
    if found.quantized_auc < found.auc - LOST_AUC:
        out.unlink()
        typer.echo(
            f"It lost more than {LOST_AUC} of AUC and is not kept: serve {model}"
            + (", or measure ranges on more --clips." if to == "int8" else "."),
            err=True,
        )
        raise typer.Exit(1)


def _write_half(model: Path, out: Path) -> None:
    import onnx

    graph = onnx.load(model)
    halve(graph)
    out.write_bytes(graph.SerializeToString())


def _sources(data: Path, split: Split | None, cache: Path, size_px: int) -> list[Source]:
    try:
        clips = read_manifest(data, split=split)
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error), param_hint="DATA") from error
    runs = cache_runs([clip.path for clip in clips], cache, size_px=size_px, workers=1)
    shown = track(zip(clips, runs, strict=True), "faces", total=len(clips), console=Console(stderr=True))
    return [Source(clip, tuple(found)) for clip, found in shown if found]


def _stretches(pairs: ClipPairs, count: int, looks: slice) -> Iterator[Stretch]:
    for number in track(range(count), "measuring ranges", console=Console(stderr=True)):
        pair = pairs.pair(number)
        yield pair.rgb[:, looks], pair.motion


def _name_nodes(model: onnx.ModelProto) -> None:
    """Every node a name of its own: the quantiser chooses by name."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"


def _no_advice(record: logging.LogRecord) -> bool:
    """Whether a message is anything else than the quantiser's advice to optimise first: exported graphs are."""
    return "pre-processing before quantization" not in record.getMessage()
