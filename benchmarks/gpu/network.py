"""The network by itself, on noise: forms, batches, cuDNN's search, I/O binding; and the same weights in PyTorch."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from benchmarks.gpu.rows import Bench, median_s, wall_s
from dmcl_sdk.judging import CHUNK_FRAMES
from dmcl_sdk.network import ModelSpec, OnnxNetwork
from training.checkpoint import load_network
from training.export import Served
from training.finetune import WEIGHTS

BATCHES = 1, 2, 4, 8, 16
LENGTHS = 24, 96
"""Of a run's last chunk, in frames; each costs every row seconds of planning."""
OPTIONS: tuple[dict[str, str], ...] = (
    {"cudnn_conv_algo_search": "HEURISTIC"},
    {"prefer_nhwc": "1"},
    {"use_tf32": "1"},
    {"cudnn_conv_algo_search": "DEFAULT"},
    {"cudnn_conv_algo_search": "EXHAUSTIVE"},
)
"""Of ONNX Runtime's CUDA provider, each in place of what `dmcl_sdk.sessions` sets."""

Feed = dict[str, npt.NDArray[Any]]


def measure(bench: Bench) -> None:
    """One thing after the other, whatever becomes of any."""
    spec = OnnxNetwork(bench.forms["grouped"], ["cpu"]).spec
    frames = 32 if bench.quick else CHUNK_FRAMES
    batches = BATCHES[:2] if bench.quick else BATCHES
    feeds = {batch: noise(spec, batch, frames) for batch in batches}
    for form in ("half", "whole"):
        for options in OPTIONS if bench.provider == "cuda" else ({},):
            bench.attempt("network", f"{form} {options}", _options, form, options, spec, feeds[1])
    for form in ("half", "whole"):
        bench.attempt("network", f"{form} bound", _bound, form, feeds[1])
    for bf16 in (True, False):
        bench.attempt("network", f"torch, bf16 {bf16}", _torch, feeds, bf16)
    for form in ("half", "whole", "grouped"):
        bench.attempt("network", form, _form, form, feeds)


def noise(spec: ModelSpec, batch: int, frames: int) -> Feed:
    """Crops and motion without meaning, of B chunks."""
    rng, side = np.random.default_rng(0), spec.motion_px
    rgb = rng.integers(0, 256, (1, frames // spec.rgb_stride, spec.size_px, spec.size_px, 3), np.uint8)
    motion = rng.integers(-40, 41, (1, frames, spec.motion.channels, side, side), np.int8)
    return {"rgb": np.repeat(rgb, batch, 0), "motion": np.repeat(motion, batch, 0)}


def _form(bench: Bench, form: str, feeds: dict[int, Feed]) -> None:
    session = bench.session(form)
    for batch, feed in feeds.items():
        took = median_s(partial(session.run, None, feed))
        _note(bench, form, batch, feed, took)
        if bench.late or took > 1:
            break


def _note(bench: Bench, form: str, batch: int, feed: Feed, took_s: float) -> None:
    frames = batch * feed["rgb"].shape[1]
    bench.note("network", form=form, batch=batch, ms=1000 * took_s, frames_a_s=frames / took_s)


def _options(bench: Bench, form: str, options: dict[str, str], spec: ModelSpec, feed: Feed) -> None:
    """What a chunk takes the first time and later, and what lengths that were not seen yet cost."""
    session = bench.session(form, options)
    first = wall_s(partial(session.run, None, feed))
    row: dict[str, Any] = {"first_ms": 1000 * first, "ms": 1000 * median_s(partial(session.run, None, feed))}
    extra = []
    for length in LENGTHS[:1] if bench.quick else LENGTHS:
        new, *later = [wall_s(partial(session.run, None, noise(spec, 1, length))) for _ in range(3)]
        extra.append(new - min(later))
    bench.note("network", form=form, **options, **row, new_length_costs_ms=1000 * statistics.median(extra))


def _bound(bench: Bench, form: str, feed: Feed) -> None:
    session = bench.session(form)
    named = ["fused", "rgb_curve", "flow_curve"]
    runs: dict[str, Callable[[], object]] = {
        "not bound": partial(session.run, None, feed),
        "not bound, curves alone": partial(session.run, named, feed),
        "bound, inputs in main memory": _binding(session, feed, "cpu"),
        "bound, inputs on the device": _binding(session, feed, bench.provider),
    }
    for how, run in runs.items():
        bench.note("network", form=form, how=how, ms=1000 * median_s(run))


def _binding(session: Any, feed: Feed, where: str) -> Callable[[], None]:  # noqa: ANN401
    """A run whose inputs lie there already, and whose outputs come back."""
    binding = session.io_binding()
    for name, value in feed.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value, where, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return partial(session.run_with_iobinding, binding)


def _torch(bench: Bench, feeds: dict[int, Feed], bf16: bool) -> None:  # noqa: FBT001 - one of two rows
    """As training has it: channels last, autocast."""
    device = torch.device(bench.provider)
    network = Served(load_network(WEIGHTS)).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def answered(inputs: Sequence[torch.Tensor]) -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            network(*(value.to(device) for value in inputs))[0].float().cpu()

    for batch, feed in feeds.items():
        took = median_s(partial(answered, [torch.from_numpy(value) for value in feed.values()]))
        _note(bench, f"torch {'bf16' if bf16 else 'fp32'}", batch, feed, took)
        if bench.late or took > 1:
            break
