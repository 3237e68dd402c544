"""The network as a file: what it needs, whether it fits this version, and what it answers.

A model is one ONNX file that carries its own specification. It reads crops and motion of whole stretches of
frames, and answers for every frame.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.errors import ModelError
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.motion import MotionFields, MotionSpec
from dmcl_sdk.sessions import EXECUTION_PROVIDERS, SessionPerShape, open_session, start

SPEC_KEY = "dmcl.spec"
PREPROCESSING_VERSION = "1"
"""Changes whenever decoding, alignment or motion would give a model other numbers than it was trained on."""

_CURVES = "fused", "spans", "rgb_curve", "flow_curve"
_PLACES = "rgb_places", "flow_places"  # models of an earlier export have none
Logits = npt.NDArray[np.float32]
Share = Annotated[float, Field(ge=0, le=1)]


class ModelSpec(BaseModel):
    """What travels inside a model file: everything that serving must do as training did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["dmcl.model/1"] = "dmcl.model/1"
    name: str
    version: str
    preprocessing: str
    """Version of decoding, alignment and motion that the weights were trained behind."""
    size_px: Annotated[int, Field(gt=0, multiple_of=2)]
    """Side of the aligned crop, S."""
    motion_shrink: Annotated[int, Field(gt=0)] = 2
    """The crop's side over that of the pictures that motion is taken of."""
    rgb_stride: Literal[1, 2, 4, 8] = 1
    """So many frames in turn, R, the RGB stream sees by one picture of their middle, the frame R // 2 of them."""
    baselines: tuple[int, ...]
    """Frames between the two pictures of a flow."""
    spans: tuple[int, ...]
    """Window lengths in frames, one a curve of `FrameCurves.spans`."""
    frames_multiple: Annotated[int, Field(gt=0)]
    """T is a multiple of this."""
    max_fps: Annotated[float, Field(gt=0)]
    """Frames above this rate are thinned: spans and baselines are in frames of ordinary rates."""
    pooling_sharpness: Annotated[float, Field(gt=0)]
    """Of the LogSumExp that makes a face's logit of its frames'."""
    rgb_discount: Annotated[float, Field(ge=0)] = 0.0
    """How much of a frame's RGB logit is taken from its fused one before a face's logit is made of them. On a stranger
    it may be off by as much in every frame: that hides no span, but a whole face is judged by it."""
    calibration: Platt
    """Of a face's logit."""
    frame_calibration: Platt
    """Of a frame's fused logit; spans are cut from what it gives."""
    rgb_calibration: Platt
    """Of a frame's logit by the RGB stream alone."""
    flow_calibration: Platt
    """Of a frame's logit by the flow stream alone."""
    abstention: AbstentionRule
    span_rule: SpanRule
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the trained weights that were exported."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """What convolutions compute in."""
    places_auc: tuple[Share, Share] | None = None
    """How true the RGB and the flow stream's places are, each place against itself in other clips: .5 is chance, 1 is
    perfect; None where nobody measured it, or the model says nothing of places."""
    training: dict[str, str] = Field(default_factory=dict)
    """Where the weights come from: configuration and data digests, for people."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.size_px % self.motion_shrink:
            raise ValueError(
                f"size_px is a multiple of motion_shrink, got {self.size_px} and {self.motion_shrink}"
            )
        if self.frames_multiple % self.rgb_stride:
            raise ValueError(
                f"frames_multiple is a multiple of rgb_stride, got {self.frames_multiple} and {self.rgb_stride}"
            )
        return self

    @property
    def looks(self) -> slice:
        """Which of a stretch's frames the RGB stream is given; see `rgb_stride`."""
        return slice(self.rgb_stride // 2, None, self.rgb_stride)

    @property
    def motion(self) -> MotionSpec:
        """What is compared, for `dmcl_sdk.motion`, in crops for the RGB stream."""
        return MotionSpec(self.baselines, self.motion_shrink)

    @property
    def coarse_motion(self) -> MotionSpec:
        """The same in crops of `coarse_px`."""
        return MotionSpec(self.baselines, self.coarse_px // self.motion_px)

    @property
    def coarse_px(self) -> int:
        """Side of the crop that motion and a face's quality are taken from, C: fine enough for both.

        It is cut of every frame; one of `size_px` only where the RGB stream looks.
        """
        return min(self.size_px, 2 * self.motion_px)

    @property
    def motion_px(self) -> int:
        """Side of a motion field, M."""
        return self.size_px // self.motion_shrink


@dataclass(frozen=True, slots=True, eq=False)
class FrameCurves:
    """The network's logits for B stretches of T frames.

    Attributes:
        fused: (B, T), all spans together: what verdicts are made of.
        spans: (B, T, K), one curve a span.
        rgb: (B, T), the RGB stream alone.
        flow: (B, T), the flow stream alone.
        rgb_places: (B, T, P, P), which places of the crop, rows from the top, the RGB stream holds to be
            manipulated; None from a model that does not say.
        flow_places: (B, T, P, P), the same by the flow stream, whose P may be another.
    """

    fused: Logits
    spans: Logits
    rgb: Logits
    flow: Logits
    rgb_places: Logits | None = None
    flow_places: Logits | None = None

    @property
    def logits(self) -> Logits:
        """(B, T, 3): fused, RGB and flow, which is what is kept of every frame."""
        return np.stack([self.fused, self.rgb, self.flow], -1)


class Network(Protocol):
    """What a detector asks of a network."""

    @property
    def spec(self) -> ModelSpec:
        """What it needs."""

    @property
    def sha256(self) -> str:
        """Digest of the model file."""

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers, first the one that takes the graph."""

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        """Answer every frame, with what is only lent.

        Args:
            rgb: (B, T / R, S, S, 3), one crop for every R frames; see `ModelSpec.rgb_stride`.
            motion: (B, T, 4K, M, M).
        """


class OnnxNetwork:
    """A model file on ONNX Runtime.

    Args:
        path: the model; None for the one that ships.
        providers: names from `dmcl_sdk.sessions.PROVIDERS` in order of preference; the first must be there. None
            takes the first of those that starts, never CUDA where the CPU does.

    Raises:
        ModelError: the file is missing, damaged, or does not fit this version.
        DeviceError: the provider asked for is not installed or does not start.
        DeploymentError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path | None = None, providers: Sequence[str] | None = None) -> None:
        path = path or default_model()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        session = open_session(path, content, providers)
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.spec = read_spec(path, session.get_modelmeta().custom_metadata_map)
        offered = {output.name for output in session.get_outputs()}
        on_cuda = self.providers[0] == EXECUTION_PROVIDERS["cuda"]
        self._session = (
            SessionPerShape(session, partial(start, path, content, "cuda")) if on_cuda else session
        )
        self._outputs = [*_CURVES, *_PLACES] if offered.issuperset(_PLACES) else list(_CURVES)

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        """Answer every frame of (B, T, 4K, M, M) motion fields, with (B, T / R, S, S, 3) crops."""
        return FrameCurves(*self._session.run(self._outputs, {"rgb": rgb, "motion": motion}))


def default_model() -> Path:
    """The model that ships with this package."""
    return Path(__file__).with_name("models") / "default.onnx"


def read_spec(path: Path, metadata: dict[str, str]) -> ModelSpec:
    """The specification inside a model file, checked against this version.

    Raises:
        ModelError: it has none, one of another format, or one made for other preprocessing.
    """
    if SPEC_KEY not in metadata:
        raise ModelError(
            f"{path}: carries no specification under {SPEC_KEY!r}: not a model exported by dmcl export"
        )
    try:
        spec = ModelSpec.model_validate_json(metadata[SPEC_KEY])
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all'}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{path}: its specification does not fit this version: {where}") from error
    if spec.preprocessing != PREPROCESSING_VERSION:
        raise ModelError(
            f"{path}: made for preprocessing {spec.preprocessing}, this version has {PREPROCESSING_VERSION}: "
            "export the model again with this version"
        )
    return spec


def preprocessing_digest(spec: ModelSpec, detector: str, detector_sha256: str) -> str:
    """SHA-256 of all that decides what the network sees: version, sizes, baselines, face detector."""
    parts = {
        "preprocessing": spec.preprocessing,
        "size_px": spec.size_px,
        "baselines": spec.baselines,
        "max_fps": spec.max_fps,
        "face_detector": detector,
        "face_detector_sha256": detector_sha256,
    }
    # the digests of models from before these could be chosen stay as they are
    parts |= {
        name: chosen
        for name, before in (("motion_shrink", 2), ("rgb_stride", 1))
        if (chosen := getattr(spec, name)) != before
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
