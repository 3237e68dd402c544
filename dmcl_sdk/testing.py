"""What a detector must do, as checks that any can be put through; and stand-ins for tests.

Describe how a detector is opened and name a video with a face, and run each check, with any test runner:

    @pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
    def test_my_detector_behaves(check):
        check(DetectorBench(open=open_detector, video=Path("clip.mp4")))

A check fails with an `AssertionError`.

The stand-ins are a network whose answers are scripted, and a detector of faces that are known. They keep to the
protocols that the real ones keep to, so everything around them is the real thing.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.errors import VideoError
from dmcl_sdk.faces import Face
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.motion import MotionFields
from dmcl_sdk.network import PREPROCESSING_VERSION, FrameCurves, ModelSpec
from dmcl_sdk.plugins import Scorer
from dmcl_sdk.verdict import Verdict

Crops = npt.NDArray[np.uint8]


def scripted_spec(**changes: object) -> ModelSpec:
    """A specification whose calibration changes nothing: probability = sigmoid(logit)."""
    plain = Platt(1.0, 0.0, ((0.0, 0.0), (0.0, 0.0)))
    spec = ModelSpec(
        name="scripted",
        version="0",
        preprocessing=PREPROCESSING_VERSION,
        size_px=64,
        baselines=(1, 4, 15),
        spans=(1, 4, 16),
        frames_multiple=8,
        max_fps=32.0,
        pooling_sharpness=2.0,
        calibration=plain,
        frame_calibration=plain,
        rgb_calibration=plain,
        flow_calibration=plain,
        abstention=AbstentionRule(manipulated_above=0.6, not_manipulated_below=0.4),
        span_rule=SpanRule(),
        weights_sha256="0" * 64,
    )
    return ModelSpec.model_validate(spec.model_dump() | changes)


@dataclass(frozen=True)
class ScriptedNetwork:
    """A network that answers by a function of each crop.

    Attributes:
        logit: the fused, RGB and flow logit of one crop, RGB (S, S, 3).
        spec: what it says of itself.
    """

    logit: Callable[[Crops], tuple[float, float, float]]
    spec: ModelSpec = field(default_factory=scripted_spec)
    providers: tuple[str, ...] = ("ScriptedExecutionProvider",)

    @property
    def sha256(self) -> str:
        """Digest of its specification."""
        return hashlib.sha256(self.spec.model_dump_json().encode()).hexdigest()

    def run(self, rgb: Crops, motion: MotionFields) -> FrameCurves:
        """Answer every frame by the crop it is looked at in; motion is checked for its shape alone."""
        stride = self.spec.rgb_stride
        batch, frames = rgb.shape[0], rgb.shape[1] * stride
        expected = (batch, frames, self.spec.motion.channels, self.spec.motion_px, self.spec.motion_px)
        if motion.shape != expected:
            raise ValueError(f"motion has the shape {expected}, got {motion.shape}")
        looked = np.array([[self.logit(crop) for crop in clip] for clip in rgb], np.float32)
        answers = looked.repeat(stride, 1)  # (B, T, 3)
        fused = answers[..., 0]
        spans = np.repeat(fused[..., None], len(self.spec.spans), -1)
        return FrameCurves(fused, spans, answers[..., 1], answers[..., 2])


@dataclass(frozen=True)
class KnownFaces:
    """A face detector that finds the faces it was given, in every picture.

    Attributes:
        faces: in fractions of the picture's width and height.
    """

    faces: tuple[Face, ...]
    name: str = "known"
    sha256: str = "0" * 64

    def detect(self, image: Crops) -> list[Face]:
        """The known faces in pixels of the picture (H, W, 3)."""
        scale = np.array([image.shape[1], image.shape[0]], np.float32)
        found = []
        for face in self.faces:
            x0, y0, x1, y1 = np.array(face.box) * np.tile(scale, 2)
            found.append(
                Face((float(x0), float(y0), float(x1), float(y1)), face.landmarks * scale, face.confidence)
            )
        return found


@dataclass(frozen=True, slots=True)
class DetectorBench:
    """A detector and what it is to be tried on.

    Attributes:
        open: a detector that is ready; called once a check.
        video: a file with a face in it, a few seconds long.
    """

    open: Callable[[], Scorer]
    video: Path


def a_verdict_is_about_the_very_file(bench: DetectorBench) -> None:
    """It names the file or its digest, survives its way over a wire, and leaves the file as it was."""
    content = bench.video.read_bytes()
    verdict = bench.open().score(bench.video)
    _expect(isinstance(verdict, Verdict), f"not a Verdict but a {type(verdict).__name__}")
    digest = hashlib.sha256(content).hexdigest()
    named = verdict.asset.sha256 == digest or (
        verdict.asset.sha256 is None and verdict.asset.uri.endswith(bench.video.name)
    )
    _expect(named, "neither the digest nor the name of the file that was scored")
    _expect(Verdict.model_validate_json(verdict.to_json()) == verdict, "not the same after JSON")
    _expect(bench.video.read_bytes() == content, "the file was changed")


def the_same_video_has_the_same_verdict(bench: DetectorBench) -> None:
    """Byte for byte but for timings: also by another detector, under another name, and from several threads at once."""
    detector = bench.open()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        copy = Path(folder) / bench.video.name
        copy.write_bytes(bench.video.read_bytes())
        verdicts = [bench.open().score(bench.video), *pool.map(detector.score, [bench.video, copy])]
    texts = {_content(verdict) for verdict in verdicts}
    _expect(len(texts) == 1, "verdicts on the same bytes differ")


def what_it_finds_lies_inside_the_video(bench: DetectorBench) -> None:
    """Spans inside their tracks, tracks inside the video, and a summary that is not calmer than its worst face."""
    verdict = bench.open().score(bench.video)
    judged = verdict.status == "scored" or verdict.summary.label == "uncertain"
    _expect(judged, f"a video with a face is {verdict.status}: {verdict.reasons}")
    tracks = {track.track_id: track for track in verdict.tracks}
    for span in verdict.spans:
        track = tracks[span.track_id]
        inside = track.start_ms <= span.start_ms <= span.peak_ms <= span.end_ms <= track.end_ms
        _expect(inside, f"span {span.span_id} and its peak are not inside track {span.track_id}")
    ends = [track.end_ms for track in verdict.tracks]
    duration_ms = verdict.asset.duration_ms
    _expect(duration_ms is None or max(ends, default=0) <= duration_ms, "a track ends after the video")
    worst = max((track.probability for track in verdict.tracks if track.probability is not None), default=0.0)
    summary = verdict.summary.probability
    _expect(summary is not None and summary >= worst, "the summary is calmer than the worst face")
    _expect(verdict.summary.label is not None, "a video that was judged has a label")


def a_video_without_a_face_is_not_called_clean(bench: DetectorBench) -> None:
    """It has a verdict, which is not `scored` and says why."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.mp4"
        _write_grey(path)
        verdict = bench.open().score(path)
    _expect(verdict.status in {"not_applicable", "abstained"}, f"two seconds of grey are {verdict.status}")
    _expect(verdict.summary.label is None, f"two seconds of grey are {verdict.summary.label}")


def a_file_that_is_no_video_is_refused(bench: DetectorBench) -> None:
    """With a `VideoError`, which is what goes to the next file; whatever else is raised stops a daemon."""
    detector = bench.open()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("empty.mp4", b""), ("text.mp4", b"not a video\n" * 99), ("missing.mp4", None)):
            path = Path(folder) / name
            if content is not None:
                path.write_bytes(content)
            try:
                detector.score(path)
            except VideoError:
                continue
            raise AssertionError(f"{name} was scored")


DETECTOR_CHECKS: tuple[Callable[[DetectorBench], None], ...] = (
    a_verdict_is_about_the_very_file,
    the_same_video_has_the_same_verdict,
    what_it_finds_lies_inside_the_video,
    a_video_without_a_face_is_not_called_clean,
    a_file_that_is_no_video_is_refused,
)
"""All of them."""


def _content(verdict: Verdict) -> str:
    plain = verdict.without_timings()
    return plain.model_copy(update={"asset": plain.asset.model_copy(update={"uri": ""})}).to_json()


def _write_grey(path: Path) -> None:
    """Two seconds without anything to see."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height = 160, 96
        grey = av.VideoFrame.from_ndarray(np.full((96, 160, 3), 128, np.uint8), format="rgb24")
        for _ in range(50):
            container.mux(stream.encode(grey))
        container.mux(stream.encode(None))


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as `assert`, which may be switched off
    if not holds:
        raise AssertionError(otherwise)
