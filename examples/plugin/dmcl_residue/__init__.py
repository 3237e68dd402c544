"""A detector of faces that have lost their fine detail: a teaching example, with a method of ten lines.

Whoever puts a face into a picture resamples it, and that costs detail. So what a blur takes away, the residue, is
measured in the middle of the aligned crop and at its rim, where hair and background are left as they were. A frame is
suspect when the middle has little of it beside the rim. Decoding, faces, tracks, spans and the verdict are those of
dmcl_sdk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk import Detector, SpanRule, VideoLimits
from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.ensemble import Ensemble
from dmcl_sdk.motion import MotionFields
from dmcl_sdk.network import PREPROCESSING_VERSION, FrameCurves, ModelSpec, OnnxNetwork

__all__ = ["Residue", "loss_of_detail", "open_detector", "open_ensemble"]

SIZE_PX, MOTION_SHRINK, EVERY = 256, 4, 4  # one picture for four frames, as the model that ships takes them
SMOOTH_PICTURES = 3
BLUR_PX = 2
MIDDLE, RIM = 0.5, 0.85  # of half the crop's side
LEAST = 0.3  # grey levels: below that is noise of the codec
AS_FITTED = Platt(9.6, -3.7, ((0.0, 0.0), (0.0, 0.0)))  # by measure.py, to one video

Crops = npt.NDArray[np.uint8]


class Residue:
    """A network, as far as `Detector` can tell: it answers for every frame."""

    providers = ("CPUExecutionProvider",)

    @property
    def sha256(self) -> str:
        """Digest of the method: with it, verdicts change."""
        return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()

    @property
    def spec(self) -> ModelSpec:
        """Crops and motion as the model that ships has them, so that the two go together."""
        return ModelSpec(
            name="residue",
            version=version("dmcl-residue"),
            preprocessing=PREPROCESSING_VERSION,
            size_px=SIZE_PX,
            motion_shrink=MOTION_SHRINK,
            rgb_stride=EVERY,
            baselines=(1, 4, 15),
            spans=(SMOOTH_PICTURES * EVERY,),
            frames_multiple=8,
            max_fps=32.0,
            pooling_sharpness=2.0,
            calibration=AS_FITTED,
            frame_calibration=AS_FITTED,
            rgb_calibration=AS_FITTED,
            flow_calibration=AS_FITTED,
            abstention=AbstentionRule(manipulated_above=0.8, not_manipulated_below=0.4),
            span_rule=SpanRule(min_duration_s=0.2),
            weights_sha256=self.sha256,
        )

    def run(self, rgb: Crops, motion: MotionFields) -> FrameCurves:  # noqa: ARG002 - it looks at pictures alone
        """Logits of (B, T, ...) frames, of which the crops are (B, T / 4, S, S, 3)."""
        logits = (
            np.stack([loss_of_detail(clip) for clip in rgb]).astype(np.float32).repeat(EVERY, 1)
        )  # (B, T)
        return FrameCurves(fused=logits, spans=logits[..., None], rgb=logits, flow=np.full_like(logits, -10))


def loss_of_detail(clip: Crops) -> npt.NDArray[np.float64]:
    """How little residue the middle of (P, S, S, 3) crops has beside the rim, as a logarithm; (P,), smoothed."""
    middle, rim = rings()
    grey = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) for crop in clip]
    residue = [np.abs(picture - cv2.GaussianBlur(picture, (0, 0), BLUR_PX)) for picture in grey]
    loss = [np.log((one[rim].mean() + LEAST) / (one[middle].mean() + LEAST)) for one in residue]
    return moving_mean(loss, SMOOTH_PICTURES)


def rings() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The middle of the crop and its rim, (S, S) each."""
    half = (SIZE_PX - 1) / 2
    y, x = (np.mgrid[:SIZE_PX, :SIZE_PX] - half) / half
    radius = np.hypot(x, y)
    return radius < MIDDLE, radius > RIM


def moving_mean(values: Sequence[float], count: int) -> npt.NDArray[np.float64]:
    """The mean of an odd number of neighbours; the ends are repeated."""
    padded = np.pad(np.asarray(values, np.float64), count // 2, mode="edge")
    return np.convolve(padded, np.full(count, 1 / count), "valid")


def open_detector(*, max_seconds: float | None = None) -> Detector:
    """What `dmcl score --detector residue` opens.

    Args:
        max_seconds: how much of each video is read.
    """
    limits = None if max_seconds is None else VideoLimits(max_duration_s=max_seconds)
    return Detector(Residue(), limits=limits)


def open_ensemble(*, weight: float = 0.2, model: str | None = None) -> Detector:
    """The model that ships, or another, and this one: `dmcl score --detector with-residue`.

    Args:
        weight: of this one's opinion, 0..1.
        model: a model file; the one that ships without.
    """
    lead = OnnxNetwork(None if model is None else Path(model))
    return Detector(Ensemble(lead, Residue(), weights=(1 - weight, weight)))
