"""Every form's logits, probabilities and verdicts against the CPU's in single precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.rows import TWO_FRAMES_MS, Bench
from dmcl_sdk import Detector, Verdict
from dmcl_sdk.motion import MotionFields
from dmcl_sdk.network import FrameCurves, ModelSpec, Network, OnnxNetwork


@dataclass
class Overheard:
    """A network, and what it was asked and answered."""

    network: OnnxNetwork
    heard: list[tuple[dict[str, npt.NDArray[Any]], FrameCurves]] = field(default_factory=list)

    @property
    def spec(self) -> ModelSpec:
        """The network's."""
        return self.network.spec

    @property
    def sha256(self) -> str:
        """The network's."""
        return self.network.sha256

    @property
    def providers(self) -> tuple[str, ...]:
        """The network's."""
        return self.network.providers

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        """The network's answer, which is kept with the question."""
        curves = self.network.run(rgb, motion)
        self.heard.append(({"rgb": rgb.copy(), "motion": motion.copy()}, curves))
        return curves


def measure(bench: Bench) -> None:
    """The clip as it is, and at every size."""
    cpu = Overheard(OnnxNetwork(bench.forms["grouped"], ["cpu"]))
    expected = _verdicts(bench, cpu)
    for name, verdict in expected.items():
        told = {"label": verdict.summary.label, "probability": verdict.summary.probability}
        bench.note("accuracy", form="grouped", on="cpu", video=name, **told, spans=_spans(verdict))
    for form in bench.forms:
        bench.attempt("accuracy", form, _form, form, cpu, expected)
    if bench.provider == "cuda":
        for form in ("whole", "half"):
            bench.attempt("accuracy", f"{form}, tf32", _with_tf32, form, cpu)


def _verdicts(bench: Bench, network: Network) -> dict[str, Verdict]:
    """Of the clip as it was given, and at every size."""
    videos: dict[str, Path] = {"as given": bench.clip}
    videos |= {f"{rows} rows": video for rows, video in bench.videos.items()}
    detector = Detector(network)
    with ThreadPoolExecutor(len(videos)) as pool:
        return dict(zip(videos, pool.map(detector.score, videos.values()), strict=True))


def _form(bench: Bench, form: str, cpu: Overheard, expected: dict[str, Verdict]) -> None:
    network = OnnxNetwork(bench.forms[form], [bench.provider])
    away, chances = dict.fromkeys(("fused", "rgb", "flow"), 0.0), 0.0
    calibration = network.spec.frame_calibration
    for feed, curves in cpu.heard:
        answer = network.run(**feed)
        for kind in away:
            gap = np.abs(getattr(answer, kind) - getattr(curves, kind))
            away[kind] = max(away[kind], float(gap.max()))
        here, there = (calibration.probability(each.fused.astype(np.float64)) for each in (answer, curves))
        chances = max(chances, float(np.abs(here - there).max()))
    bench.note("accuracy", form=form, on=bench.provider, logits_off=away, frame_probability_off=chances)
    for name, verdict in _verdicts(bench, network).items():
        bench.note("accuracy", form=form, on=bench.provider, video=name, **_compared(verdict, expected[name]))


def _with_tf32(bench: Bench, form: str, cpu: Overheard) -> None:
    session, away = bench.session(form, {"use_tf32": "1"}), 0.0
    for feed, curves in cpu.heard:
        away = max(away, float(np.abs(session.run(["fused"], feed)[0] - curves.fused).max()))
    bench.note("accuracy", form=f"{form}, tf32", on=bench.provider, logits_off={"fused": away})


def _compared(verdict: Verdict, expected: Verdict) -> dict[str, Any]:
    a, b = verdict.summary.probability, expected.summary.probability
    edges = [
        max(abs(span.start_ms - other.start_ms), abs(span.end_ms - other.end_ms))
        for span, other in zip(verdict.spans, expected.spans, strict=False)
    ]
    close = len(verdict.spans) == len(expected.spans) and all(edge <= TWO_FRAMES_MS for edge in edges)
    return {
        "same_label": verdict.summary.label == expected.summary.label,
        "probability_off": None if a is None or b is None else abs(a - b),
        "spans": _spans(verdict),
        "spans_within_2_frames": close,
    }


def _spans(verdict: Verdict) -> str:
    return " ".join(f"{span.start_ms}-{span.end_ms}" for span in verdict.spans) or "none"
