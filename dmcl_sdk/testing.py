"""Stand-ins for tests: a network whose answers are scripted, and a detector of faces that are known.

Both keep to the protocols that the real ones keep to, so everything around them is the real thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.faces import Face
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.motion import MotionFields
from dmcl_sdk.network import PREPROCESSING_VERSION, FrameCurves, ModelSpec

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
        """Answer every crop of (B, T, S, S, 3); motion is checked for its shape alone."""
        batch, frames, size = rgb.shape[:3]
        expected = (batch, frames, self.spec.motion.channels, size // 2, size // 2)
        if motion.shape != expected:
            raise ValueError(f"motion has the shape {expected}, got {motion.shape}")
        answers = np.array([[self.logit(crop) for crop in clip] for clip in rgb], np.float32)  # (B, T, 3)
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
