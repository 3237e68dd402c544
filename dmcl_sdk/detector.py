"""The detector: load once, score many.

path | bytes | file ─ video ─> frames ─ tracking ─> runs of aligned crops
  ─ judging (motion, network) ─> frame curves ─ assembly (localization, calibration) ─> Verdict
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any, Self

from dmcl_sdk.assembly import FaceCurve, JudgementRule, assemble, face_curves
from dmcl_sdk.errors import VideoError, VideoProblem
from dmcl_sdk.explanation import Explanation, Peak, most_probable, show, stretches_of
from dmcl_sdk.faces import FaceDetector, Mtcnn, YuNet
from dmcl_sdk.frame import Frame
from dmcl_sdk.judging import Judge, JudgeBeside, JudgedRun, Stopwatch, crop_sizes
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.network import ModelSpec, Network, OnnxNetwork, preprocessing_digest
from dmcl_sdk.tracking import FaceTracker, TrackingRule
from dmcl_sdk.verdict import (
    Asset,
    CalibrationInfo,
    FrameRate,
    ModelInfo,
    Reason,
    ReasonCode,
    Runtime,
    Timings,
    Verdict,
)
from dmcl_sdk.video import Video, VideoLimits, VideoSource, open_video, video_name

_PROGRESS_STEP_S = 0.25
_REASONS: dict[VideoProblem, ReasonCode] = {
    "over_limit": "limit_reached",
    "missing": "unreadable",
    "unreadable": "unreadable",
    "encrypted": "encrypted",
}

OnProgress = Callable[[float, float | None], None]
"""Called with the seconds of video scanned so far, and with those in all when the file says so."""


class Detector:
    """Scores videos. Safe to share between threads; pickled, it is opened again where it arrives.

    Args:
        model: a model file, or anything that is a `Network`; None for the model that ships.
        providers: execution providers in order of preference: "cuda", "openvino", "cpu". The first must start.
            None takes OpenVINO where it is installed, else the CPU; CUDA is taken when it is asked for.
        face_model: a YuNet ONNX file, or anything that is a `FaceDetector`; None for MTCNN.
        rule: how frame curves become spans; None for the model's own.
        limits: what a video may cost.
        tracking: how faces are found and followed.
        judgement: which faces are good enough to be judged.

    Raises:
        DeploymentError: the model does not fit, or the provider asked for does not start.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Network | None = None,
        *,
        providers: Sequence[str] | None = None,
        face_model: str | os.PathLike[str] | FaceDetector | None = None,
        rule: SpanRule | None = None,
        limits: VideoLimits | None = None,
        tracking: TrackingRule | None = None,
        judgement: JudgementRule | None = None,
    ) -> None:
        self._model = model
        self._settings = {
            "providers": providers,
            "face_model": face_model,
            "rule": rule,
            "limits": limits,
            "tracking": tracking,
            "judgement": judgement,
        }
        self._network: Network = (
            OnnxNetwork(Path(model) if model else None, providers)
            if model is None or isinstance(model, (str, os.PathLike))
            else model
        )
        self._faces = _face_detector(face_model)
        self._limits = limits or VideoLimits()
        self._tracking = tracking or TrackingRule()
        self._judgement = judgement or JudgementRule()
        self._rule = rule or self._network.spec.span_rule
        self._runtime = self._describe_runtime()

    @property
    def spec(self) -> ModelSpec:
        """What the model file says of itself."""
        return self._network.spec

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers that run, first the one that takes the graph."""
        return self._network.providers

    @property
    def limits(self) -> VideoLimits:
        """What a video may cost."""
        return self._limits

    @property
    def judgement(self) -> JudgementRule:
        """Which faces are good enough to be judged."""
        return self._judgement

    @property
    def runtime(self) -> Runtime:
        """What runs, as verdicts name it."""
        return self._runtime

    @property
    def model(self) -> ModelInfo:
        """The model as verdicts name it."""
        spec = self._network.spec
        calibration = CalibrationInfo(
            method=spec.calibration.method, version=spec.calibration.version, sha256=spec.calibration.digest()
        )
        return ModelInfo(
            name=spec.name, version=spec.version, sha256=self._network.sha256, calibration=calibration
        )

    def score(self, video: VideoSource, *, on_progress: OnProgress | None = None) -> Verdict:
        """Find manipulated faces in one video.

        A video in which nothing can be judged has a verdict all the same; its status and reasons say why.

        Raises:
            VideoError: the file is not a video that can be decoded, or is over a limit.
        """
        return self._score(video, on_progress)[0]

    def explain(
        self, video: VideoSource, *, most_peaks: int = 12, on_progress: OnProgress | None = None
    ) -> Explanation:
        """`score`, and the evidence: frame curves, and what was seen where the most probable spans are strongest.

        The video is read a second time, up to the last of those moments.

        Args:
            video: a path, bytes, or a file object that can be read twice.
            most_peaks: at how many spans to look again.
            on_progress: as for `score`; of both readings together.

        Raises:
            VideoError: as `score`; or the file cannot be read twice, or is not the same the second time.
        """
        if not isinstance(video, (str, os.PathLike, bytes)) and not video.seekable():
            raise VideoError(video_name(video), "unreadable", "evidence takes a file that can be read twice")
        verdict, runs = self._score(video, on_progress and _share(on_progress, 0, 2))
        stretches = stretches_of(most_probable(verdict.spans, most_peaks), runs, self.spec)
        peaks: list[Peak] = []
        if stretches:
            with open_video(video, self._limits, max_fps=self.spec.max_fps) as frames:
                if frames.info.sha256 != verdict.asset.sha256:
                    raise VideoError(frames.info.name, "unreadable", "the file changed while it was read")
                again = on_progress and _share(on_progress, 1, 2)
                told = _told(frames, again, frames.container_duration_s)
                peaks = show(told, stretches, self._network)
        curves = face_curves(runs, self._judgement)
        return Explanation(verdict, self.spec, tuple(curves), tuple(peaks))

    def curves(self, video: VideoSource) -> list[FaceCurve]:
        """The frame curves behind a verdict, a face each, not calibrated: for evaluation, calibration and plots.

        A face that was judged for less than `judgement.min_judged_s` has a curve too, but no probability in a verdict.

        Raises:
            VideoError: as `score`.
        """
        return face_curves(self._judge(video, Stopwatch(), None)[1], self._judgement)

    def score_many(self, videos: Iterable[VideoSource], *, progress: bool = False) -> Iterator[Verdict]:
        """Score videos in order; a file that is no video has a verdict with status `failed`.

        Args:
            videos: what to score.
            progress: whether to show a progress bar on standard error.
        """
        if progress:
            from rich.console import Console  # noqa: PLC0415 - only where a person watches
            from rich.progress import track  # noqa: PLC0415

            videos = track(list(videos), "scoring", console=Console(stderr=True))
        for video in videos:
            try:
                yield self.score(video)
            except VideoError as error:
                yield failed_verdict(error)

    async def score_async(self, video: VideoSource, *, on_progress: OnProgress | None = None) -> Verdict:
        """`score` in a thread, for an event loop; cancelled, it has stopped when that is told.

        Raises:
            VideoError: as `score`.
        """
        import asyncio  # noqa: PLC0415 - a tenth of a second, which nobody without a loop needs

        cancelled = Event()

        def told(scanned_s: float, duration_s: float | None) -> None:
            if cancelled.is_set():
                raise _CancelledError
            if on_progress is not None:
                on_progress(scanned_s, duration_s)

        work = asyncio.create_task(asyncio.to_thread(self.score, video, on_progress=told))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.gather(work, return_exceptions=True)
            raise

    def close(self) -> None:
        """Nothing is held open between videos; here so that `with Detector() as detector` reads well."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Detector], tuple[Any, ...]]:
        """Only the settings travel; sessions are opened again."""
        return _reopened, (self._model, self._settings)

    def _score(self, video: VideoSource, on_progress: OnProgress | None) -> tuple[Verdict, list[JudgedRun]]:
        """The verdict, and the runs that it was made of."""
        began, clock = perf_counter(), Stopwatch()
        asset, runs, reasons = self._judge(video, clock, on_progress)
        rule, judgement = self._rule, self._judgement
        verdict = assemble(asset, runs, reasons, spec=self.spec, rule=rule, judgement=judgement)
        timings = _timings(clock, perf_counter() - began, asset)
        whole = {"model": self.model, "runtime": self._runtime, "timings": timings}
        return verdict.model_copy(update=whole), runs

    def _judge(
        self, video: VideoSource, clock: Stopwatch, on_progress: OnProgress | None
    ) -> tuple[Asset, list[JudgedRun], list[Reason]]:
        """The video itself, every finished run, and what is to be said of the file."""
        with (
            open_video(video, self._limits, max_fps=self.spec.max_fps) as frames,
            JudgeBeside(Judge(self._network, clock)) as judge,
        ):
            tracker = FaceTracker(self._faces, crop_sizes(self.spec), self._tracking)
            for frame in _told(frames, on_progress, frames.container_duration_s):
                judge.take(clock.time("faces", partial(tracker.push, frame)))
            judge.take(clock.time("faces", tracker.finish))
            clock.seconds["decode"] = frames.decode_s
            return _asset(frames), judge.finish(), [*frames.reasons, *_left_out(tracker)]

    def _describe_runtime(self) -> Runtime:
        settings = {
            "rule": asdict(self._rule),
            "limits": asdict(self._limits),
            "tracking": asdict(self._tracking),
            "judgement": asdict(self._judgement),
        }
        config = json.dumps(settings, sort_keys=True).encode()
        return Runtime(
            sdk=_version("dmcl-sdk"),
            preprocess_sha256=preprocessing_digest(self.spec, self._faces.name, self._faces.sha256),
            config_sha256=hashlib.sha256(config).hexdigest(),
            onnxruntime=_version("onnxruntime", "onnxruntime-gpu"),
            execution_providers=self.providers,
            precision=self.spec.precision,
            face_detector=self._faces.name,
        )


class _CancelledError(Exception):
    """Nobody waits for a verdict any more."""


def failed_verdict(error: VideoError) -> Verdict:
    """The verdict of a file that cannot be scored: it has no tracks, and its reason says what is wrong."""
    reason = Reason(code=_REASONS.get(error.problem, "not_a_video"), message=error.message)
    uri = error.name if error.name.startswith("<") else Path(error.name).absolute().as_uri()
    return Verdict(status="failed", asset=Asset(uri=uri), reasons=(reason,))


def _reopened(model: str | os.PathLike[str] | Network | None, settings: dict[str, Any]) -> Detector:
    return Detector(model, **settings)


def _face_detector(model: str | os.PathLike[str] | FaceDetector | None) -> FaceDetector:
    if model is None:
        return Mtcnn()
    return YuNet(Path(model)) if isinstance(model, (str, os.PathLike)) else model


def _asset(video: Video) -> Asset:
    info = video.info
    rate = info.frame_rate
    return Asset(
        uri=info.uri,
        sha256=info.sha256,
        size_bytes=info.size_bytes,
        duration_ms=round(video.duration_s * 1000),
        frame_rate=FrameRate(num=rate.numerator, den=rate.denominator) if rate else None,
        vfr=video.vfr,
        width=info.width,
        height=info.height,
        rotation=info.rotation,
        codec=info.codec,
    )


def _share(on_progress: OnProgress, part: int, parts: int) -> OnProgress:
    """Progress of one of several equal parts of the work."""

    def told(seconds: float, total: float | None) -> None:
        whole = None if total is None else parts * total
        on_progress(seconds + part * (total or 0.0), whole)

    return told


def _told(frames: Video, on_progress: OnProgress | None, total_s: float | None) -> Iterator[Frame]:
    """The frames, telling of each quarter of a second."""
    told_s = 0.0
    for frame in frames:
        if on_progress is not None and frame.end_s - told_s >= _PROGRESS_STEP_S:
            told_s = frame.end_s
            on_progress(told_s, total_s)
        yield frame


def _left_out(tracker: FaceTracker) -> list[Reason]:
    count = tracker.faces_left_out
    code: ReasonCode = "too_many_faces"
    message = f"{count} further {'face was' if count == 1 else 'faces were'} seen at once and not followed"
    return [Reason(code=code, message=message)] if count else []


def _timings(clock: Stopwatch, total_s: float, asset: Asset) -> Timings:
    seconds = clock.seconds
    return Timings(
        decode_s=seconds.get("decode", 0.0),
        faces_s=seconds.get("faces", 0.0),
        motion_s=seconds.get("motion", 0.0),
        network_s=seconds.get("network", 0.0),
        total_s=total_s,
        real_time_factor=(asset.duration_ms or 0) / 1000 / total_s if total_s > 0 else None,
    )


def _version(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
