"""One part of the face late or early: mouth, eyes or brows out of step with the rest."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.regions import Part, bounds, layout, region

KIND = "delay"


@dataclass(frozen=True, slots=True)
class DelaySettings:
    """Ranges of the draws.

    Attributes:
        parts: regions, of which one is drawn.
        frames: least and most delay.
        early: share of clips in which the region runs ahead instead.
        feather: narrowest and widest soft edge, in face units.
    """

    parts: tuple[Part, ...] = ("mouth", "mouth", "lower_face", "eyes", "brows")
    frames: tuple[int, int] = (1, 5)
    early: float = 0.5
    feather: tuple[float, float] = (0.015, 0.04)

    def __post_init__(self) -> None:
        if not 1 <= self.frames[0] <= self.frames[1] or not 0 <= self.early <= 1:
            raise ValueError(f"a delay needs 1 <= least <= most frames and a share in 0..1, got {self}")


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: DelaySettings = DelaySettings(),
    *,
    template: Points | None = None,
) -> Forged:
    """Show one region at another moment than the rest; arguments as for `self_blended.forge`.

    At the clip's end that has no such moment the region rests: there the forgery is a still region.
    """
    check_clip(clip)
    face = layout(clip, template)
    part = settings.parts[rng.integers(len(settings.parts))]
    alpha = region(face, part, feather_px=float(rng.uniform(*settings.feather)) * face.face_px)
    late = int(rng.integers(settings.frames[0], settings.frames[1] + 1))
    if rng.random() < settings.early:
        late = -late
    moments = np.clip(np.arange(len(clip)) - late, 0, len(clip) - 1)
    box = bounds(alpha)
    inside, outside = alpha[box], 1 - alpha[box]
    forged = clip.copy()
    for t, moment in enumerate(moments):
        forged[t][box] = cv2.blendLinear(clip[moment][box], clip[t][box], inside, outside)
    return compare(clip, forged, alpha, KIND)
