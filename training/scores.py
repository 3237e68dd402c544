"""What a model file says of a labelled set: a logit a video, and the frame curve of its worst face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk import Detector, VideoError
from dmcl_sdk.assembly import FaceCurve, pool

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One video as the detector saw it.

    Attributes:
        logit: of its worst face, before calibration; None when no face could be judged.
        curve: of that face; None likewise.
    """

    logit: float | None
    curve: FaceCurve | None


def score_videos(detector: Detector, videos: Iterable[Path]) -> Iterator[Scored]:
    """The raw scores of videos, in order, by the very path that serves them."""
    cv2.setNumThreads(1)
    for video in videos:
        try:
            curves = detector.curves(video)
        except VideoError:
            curves = []
        judged = [
            (face_logit(curve, detector), curve) for curve in curves if not np.isnan(curve.logits).all()
        ]
        yield Scored(*max(judged, key=lambda pair: pair[0])) if judged else Scored(None, None)


def face_logit(curve: FaceCurve, detector: Detector) -> float:
    """A face's logit, pooled as in a verdict."""
    known = ~np.isnan(curve.logits[:, 0])
    return pool(curve.logits[known, 0], curve.times[known, 0], detector.spec.pooling_sharpness)
