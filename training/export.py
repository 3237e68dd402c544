"""From trained weights to the one file that is served: ONNX, with its specification inside."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.network import PREPROCESSING_VERSION, SPEC_KEY, ModelSpec, OnnxNetwork
from training.checkpoint import load_network, metadata, save_weights
from training.losses import LossWeights
from training.networks.two_stream import TwoStream
from training.pictures import in_groups

OPSET = 18
TOLERANCE = 1e-4
MAX_FPS = 32.0
OUTPUTS = ["fused", "spans", "rgb_curve", "flow_curve", "rgb_places", "flow_places"]
CARD_KEY = "dmcl.card"


class Served(torch.nn.Module):
    """What a model file answers: the curves, and which places of the crop each stream holds to be manipulated."""

    def __init__(self, network: TwoStream) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: torch.Tensor, motion: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `TwoStream.answer`; then the logits of places by the RGB and by the flow stream, (B, T, P, P) each."""
        curves, extra = self.network.answer(rgb, motion)
        return (*curves, *extra.places)


def export(network: TwoStream, spec: ModelSpec, path: Path, *, groups: bool = True) -> float:
    """Write the model file; returns the largest difference between ONNX and PyTorch on random input.

    Args:
        network: what was trained.
        spec: what travels inside.
        path: the file to write.
        groups: whether pictures are looked at a few at a time (`training.pictures`).

    Raises:
        ValueError: they differ by more than `TOLERANCE`; the file is not left behind.
    """
    import onnx

    network = network.eval().to("cpu", torch.float32, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    batch, frames = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("eights", min=2, max=128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            Served(network).eval(),
            random_input(spec, batch=2, frames=32, seed=0),
            input_names=["rgb", "motion"],
            output_names=OUTPUTS,
            opset_version=OPSET,
            dynamic_shapes={
                "rgb": {0: batch, 1: 8 // spec.rgb_stride * frames},
                "motion": {0: batch, 1: 8 * frames},
            },
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter gave nothing back")
    model: onnx.ModelProto = program.model_proto
    onnx.helper.set_model_props(model, about(spec))
    for node in model.graph.node:
        del node.metadata_props[
            :
        ]  # the exporter writes stack traces, with paths of the machine, into every node
        node.doc_string = ""
    if groups:
        in_groups(model, spec.frames_multiple // spec.rgb_stride)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    difference = largest_difference(network, OnnxNetwork(path, ["cpu"]))
    if difference > TOLERANCE:
        path.unlink()
        raise ValueError(f"{path}: ONNX and PyTorch differ by {difference:.2e}, more than {TOLERANCE:.0e}")
    return difference


def about(spec: ModelSpec) -> dict[str, str]:
    """What travels in a model file: its specification, and a short card for people.

    The card says what holds whatever is calibrated later; figures stand in the one that is published with the file.
    """
    trained = "".join(f"\n- {name}: {value}" for name, value in sorted(spec.training.items()))
    card = f"""# {spec.name} {spec.version}

Finds manipulated faces in video. Two streams (RGB, optical flow) after Dual-Modality Co-Learning (ICMR 2023,
doi 10.1145/3591106.3592284), of which only the abstract was at hand: modules and equations are a reconstruction.

- reads: `rgb` uint8 (B, T / {spec.rgb_stride}, {spec.size_px}, {spec.size_px}, 3), aligned face crops one for every \
{spec.rgb_stride} frames; `motion` int8 (B, T, {spec.motion.channels}, {spec.motion_px}, {spec.motion_px}), T a \
multiple of {spec.frames_multiple}; preprocessing {spec.preprocessing} of dmcl_sdk
- answers: logits of every frame: `fused` (B, T), `spans` (B, T, {len(spec.spans)}), `rgb_curve`, `flow_curve` \
(B, T); and of places of the crop, a row and a column each: `rgb_places`, `flow_places` (B, T, P, P)
- computes in: {spec.precision}
- weights: sha256 {spec.weights_sha256}{trained}

Meant to order videos for human review. It says where to look and is no proof; an answer on one video may be wrong.
"""
    return {SPEC_KEY: spec.model_dump_json(), CARD_KEY: card}


def respecify(path: Path, spec: ModelSpec) -> None:
    """Replace the specification inside a model file, and its card, which is made of it."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, about(spec))
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString())
    partial.replace(path)


def take_mean(network: TwoStream, others: Sequence[TwoStream]) -> None:
    """Make a network the mean of itself and others, weight by weight ("model soup", Wortsman et al., ICML 2022).

    It helps where all went from one start, so that they lie in one basin. How often RGB is looked at is the first's.

    Raises:
        ValueError: another kind of network is among them.
    """
    for other in others:
        if replace(other.config, rgb_stride=network.config.rgb_stride) != network.config:
            raise ValueError(f"a mean is of networks of one kind, got {other.config} and {network.config}")
    states = [one.state_dict() for one in (network, *others)]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    network.load_state_dict(mean)


def random_input(spec: ModelSpec, *, batch: int, frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops and motion of the right shapes, without meaning."""
    rng = np.random.default_rng(seed)
    size, channels = spec.size_px, spec.motion.channels
    rgb = rng.integers(0, 256, (batch, frames // spec.rgb_stride, size, size, 3), np.uint8)
    motion = rng.integers(-40, 41, (batch, frames, channels, spec.motion_px, spec.motion_px), np.int8)
    return torch.from_numpy(rgb), torch.from_numpy(motion)


def largest_difference(network: TwoStream, served: OnnxNetwork) -> float:
    """Largest absolute difference of any output, over batches and lengths that the export did not see."""
    worst, whole = 0.0, Served(network).eval()
    for seed, (batch, frames) in enumerate([(1, 16), (3, 40), (2, 64)], start=1):
        rgb, motion = random_input(served.spec, batch=batch, frames=frames, seed=seed)
        with torch.inference_mode():
            expected = whole(rgb, motion)
        curves = served.run(rgb.numpy(), motion.numpy())
        answers = [curves.fused, curves.spans, curves.rgb, curves.flow, curves.rgb_places, curves.flow_places]
        for theirs, ours in zip(expected, answers, strict=True):
            if ours is not None:  # a file of an earlier export names no places
                worst = max(worst, float(np.abs(theirs.numpy() - ours).max()))
    return worst


def weights_digest(path: Path) -> str:
    """SHA-256 of a weights file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain_spec(
    network: TwoStream, weights: Path, *, name: str, version: str, rgb_discount: float = 0.0
) -> ModelSpec:
    """A specification that is not calibrated yet: probability = sigmoid(logit).

    Faces are pooled as sharply as the weights were trained to be.
    """
    config = network.config
    trained = metadata(weights).get("pooling_sharpness")
    plain = Platt(1.0, 0.0, ((0.0, 0.0), (0.0, 0.0)), version="uncalibrated")
    return ModelSpec(
        name=name,
        version=version,
        preprocessing=PREPROCESSING_VERSION,
        size_px=config.size_px,
        motion_shrink=config.motion.shrink,
        rgb_stride=config.rgb_stride,
        baselines=config.baselines,
        spans=config.spans,
        frames_multiple=max(8, *(span // 2 for span in config.spans)),
        max_fps=MAX_FPS,
        pooling_sharpness=LossWeights().pooling_sharpness if trained is None else float(trained),
        rgb_discount=rgb_discount,
        calibration=plain,
        frame_calibration=plain,
        rgb_calibration=plain,
        flow_calibration=plain,
        abstention=AbstentionRule(manipulated_above=0.5, not_manipulated_below=0.5),
        span_rule=SpanRule(),
        weights_sha256=weights_digest(weights),
    )


def command(
    weights: Annotated[Path, typer.Argument(help="final.safetensors of a training run.", exists=True)],
    out: Annotated[Path, typer.Argument(help="The model file to write.")],
    name: Annotated[str, typer.Option(help="What verdicts call the model.")] = "dmcl-small",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    flow_weight: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="What the flow stream's own logit counts in the fused answer, in place of what was learned; the "
            "weights so changed are written beside OUT.",
        ),
    ] = None,
    *,
    rgb_weight: Annotated[float | None, typer.Option(min=0.0, help="The same of the RGB stream.")] = None,
    rgb_discount: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="How much less it counts for a whole face than for spans: what it makes of a stranger may be off "
            "throughout.",
        ),
    ] = 0.0,
    mean_with: Annotated[
        list[Path] | None,
        typer.Option(
            help="Weights of another run from the same start: the mean of all is exported, which often does better on "
            "what none has seen. Repeatable; the mean is written beside OUT.",
            exists=True,
        ),
    ] = None,
    for_gpu: Annotated[
        bool,
        typer.Option(
            "--for-gpu",
            help="Look at all pictures of a chunk at once, as GPUs like it; by default a few at a time, in half of the "
            "memory. The answers are the same.",
        ),
    ] = False,
) -> None:
    """Write a model file for dmcl_sdk from trained weights; dmcl calibrate comes next."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"the folder {out.parent} is not there", param_hint="OUT")
    try:
        network = load_network(weights)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="WEIGHTS") from error
    try:
        take_mean(network, [load_network(other) for other in mean_with or ()])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--mean-with") from error
    network.weigh(rgb=rgb_weight, flow=flow_weight)
    changes = {
        "mean_with": mean_with and len(mean_with),
        "flow_weight": flow_weight,
        "rgb_weight": rgb_weight,
    }
    about = {name: str(value) for name, value in changes.items() if value is not None}
    if about:
        about = metadata(weights) | about
        weights = out.with_suffix(".safetensors")
        save_weights(weights, network, about)
    spec = plain_spec(network, weights, name=name, version=version, rgb_discount=rgb_discount)
    difference = export(network, spec, out, groups=not for_gpu)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, within {difference:.1e} of PyTorch")
