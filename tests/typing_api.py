"""How users write it, read by mypy and never run: a change that breaks their types breaks the check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, assert_type

from dmcl_sdk import (
    DeploymentError,
    Detector,
    DeviceError,
    DmclError,
    JudgementRule,
    ModelError,
    Span,
    SpanRule,
    TrackingRule,
    Verdict,
    VideoError,
    VideoLimits,
)
from dmcl_sdk.errors import VideoProblem
from dmcl_sdk.testing import ScriptedNetwork
from dmcl_sdk.verdict import Box, Label, ModelInfo, Reason, Status


def construct() -> list[Detector]:
    return [
        Detector(),
        Detector("model.onnx"),
        Detector(Path("model.onnx"), providers=["openvino", "cpu"], face_model="yunet.onnx"),
        Detector(rule=SpanRule(min_contrast=0.2), limits=VideoLimits(max_duration_s=60.0)),
        Detector(tracking=TrackingRule(detect_every=3), judgement=JudgementRule()),
        Detector(ScriptedNetwork(lambda _: (0.0, 0.0, 0.0))),
    ]


def score(detector: Detector, file: BinaryIO) -> list[Verdict]:
    def show(seconds: float, total: float | None) -> None:
        pass

    return [
        detector.score("clip.mp4"),
        detector.score(Path("clip.mp4"), on_progress=show),
        detector.score(b"..."),
        detector.score(file),
    ]


def score_many(detector: Detector) -> None:
    assert_type(detector.score_many(["a.mp4", Path("b.mp4")]), Iterator[Verdict])
    assert_type(detector.score_many([b"..."], progress=True), Iterator[Verdict])


async def score_async(detector: Detector) -> None:
    assert_type(await detector.score_async("clip.mp4"), Verdict)


def use_as_context() -> None:
    with Detector() as detector:
        assert_type(detector, Detector)
        assert_type(detector.model, ModelInfo)
        assert_type(detector.providers, tuple[str, ...])
    detector.close()


def read(verdict: Verdict, span: Span) -> None:
    assert_type(verdict.status, Status)
    assert_type(verdict.summary.label, Label | None)
    assert_type(verdict.summary.interval, tuple[float, float] | None)
    assert_type(verdict.spans, tuple[Span, ...])
    assert_type(verdict.reasons, tuple[Reason, ...])
    assert_type(span.start_ms, int)
    assert_type(span.probability, float)
    assert_type(span.box_at_peak, Box)
    assert_type(verdict.to_json(indent=2), str)


def answer(detector: Detector) -> VideoProblem | None:
    try:
        detector.score("clip.mp4")
    except VideoError as error:
        return error.problem
    except (ModelError, DeviceError) as error:
        deployment: DeploymentError = error
        _: DmclError = deployment
    return None
