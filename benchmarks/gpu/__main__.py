"""What a GPU gives, and what it changes: `python -m benchmarks.gpu [--clip VIDEO] [--json FILE]`.

Parts, what is not known yet first; figures are printed as they come, and none is lost where another fails:

    whole      `Detector.score` at 360 rows on the GPU and on the CPU, a video at a time and 16, beside a bare decode
    network    milliseconds by options, what a length costs at its first sight, I/O binding; frames a second by batch
    accuracy   answers and verdicts of every form of the model on the GPU against the CPU's in single precision
    more       `whole` at 1080 and 720 rows, with processes in place of threads, and with the other forms
    peers      networks of other systems in half precision on the same card, by PyTorch

Forms: `grouped` is the file that ships (four pictures at a time), `whole` the same with all pictures at once (as
`dmcl export --for-gpu` writes it), `half` that in half precision (`dmcl quantize --to fp16`). Wall time on a machine
that should be quiet, the median after a warm-up. `--provider cpu --quick` tries it out without a GPU.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import av
import cv2
import numpy as np
import onnx
import onnxruntime
import torch
import typer

from benchmarks.gpu import accuracy, network, peers, whole
from benchmarks.gpu.rows import Bench
from dmcl_sdk.network import default_model
from dmcl_sdk.sessions import CUDA_OPTIONS
from examples import demo
from training.half_precision import halve
from training.pictures import at_once

HEIGHTS = 360, 720, 1080
PARTS = {
    "whole": whole.measure,
    "network": network.measure,
    "accuracy": accuracy.measure,
    "more": whole.measure_more,
    "peers": peers.measure,
}


def main(
    clip: Annotated[Path | None, typer.Option(help="A video with a face; else the demo's forgery.")] = None,
    out: Annotated[Path, typer.Option("--json", help="The file for all figures.")] = Path("gpu.json"),
    provider: Annotated[str, typer.Option(help="cuda; or cpu, to try this out.")] = "cuda",
    seconds: Annotated[float, typer.Option(help="Begin nothing new after so long.")] = 105.0,
    parts: Annotated[str, typer.Option(help="Which, in which order.")] = ",".join(PARTS),
    *,
    quick: Annotated[bool, typer.Option("--quick", help="The least of everything.")] = False,
) -> None:
    """Measure what a GPU gives, and what it changes."""
    bench = Bench(out, provider, quick, time.monotonic() + seconds)
    with tempfile.TemporaryDirectory() as folder:
        bench.note("conditions", **_conditions())
        bench.forms = _forms(Path(folder))
        bench.clip = clip or _forged(Path(folder))
        began = time.monotonic()
        heights, long_s = (HEIGHTS[:1], 2) if quick else (HEIGHTS, 8)
        bench.videos = whole.versions(bench.clip, heights, Path(folder), seconds=long_s)
        bench.note("took", what="videos", seconds=time.monotonic() - began)
        for part in parts.split(","):
            began = time.monotonic()
            bench.attempt(part, part, PARTS[part])
            bench.note("took", what=part, seconds=time.monotonic() - began)


def _forms(folder: Path) -> dict[str, Path]:
    """The shipped model as it is, with all pictures at once, and so in half precision."""
    forms = {"grouped": default_model(), "whole": folder / "whole.onnx", "half": folder / "half.onnx"}
    model = onnx.load(default_model())
    at_once(model)
    onnx.save(model, forms["whole"])
    halve(model)
    onnx.save(model, forms["half"])
    return forms


def _forged(folder: Path) -> Path:
    """The demo's video, which has a span that the model finds."""
    real = demo.read(demo.example_video())
    demo.write(folder / "forged.mp4", demo.forge(real), real.rate)
    return folder / "forged.mp4"


def _conditions() -> dict[str, Any]:
    packages = {module.__name__: module.__version__ for module in (av, cv2, np, onnxruntime, torch)}
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        **packages,
        "options": CUDA_OPTIONS,
    }


if __name__ == "__main__":
    typer.run(main)
