"""What every forgery returns: the clip, which frames differ from the real one, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Clip: TypeAlias = NDArray[np.uint8]
"""Aligned face crops of one run of a track, RGB, (T, S, S, 3)."""

Mask: TypeAlias = NDArray[np.float32]
"""Strength of a change, 0..1: (S, S) for all frames alike, or (T, S, S)."""

Points: TypeAlias = NDArray[np.float32]
"""Points (x, y), (N, 2), in pixels of the crop or in unit crop coordinates, as the docstring says."""

REFERENCE_PX = 128
"""Settings in pixels are those of a crop of this side, whatever the crop's own."""


def check_clip(clip: Clip) -> None:
    """Raise ValueError unless `clip` is (T >= 1, S, S, 3) uint8."""
    square = clip.ndim == 4 and clip.shape[1] == clip.shape[2] and clip.shape[3] == 3
    if not square or clip.shape[0] < 1 or clip.dtype != np.uint8:
        raise ValueError(f"a clip is uint8 (T >= 1, S, S, 3), got {clip.dtype} {clip.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Forged:
    """A clip made from a real one.

    Attributes:
        clip: (T, S, S, 3) uint8; a frame whose label is False equals the real one in every bit.
        labels: (T,) bool; True where the frame differs from the real one.
        mask: (T, S, S) float32 in 0..1, how strongly a pixel may have been changed. Pixels that differ have a
            mask above 0; frames that do not differ have a mask of 0. It is soft at its edges, and also covers
            pixels inside the forged region that happen to have kept their value. It may be a view: copy it to write.
        kind: the name of the forgery.
    """

    clip: Clip
    labels: NDArray[np.bool_]
    mask: Mask
    kind: str

    def __post_init__(self) -> None:
        check_clip(self.clip)
        if self.labels.shape != self.clip.shape[:1] or self.labels.dtype != np.bool_:
            raise ValueError(
                f"labels are bool {self.clip.shape[:1]}, got {self.labels.dtype} {self.labels.shape}"
            )
        if self.mask.shape != self.clip.shape[:3] or self.mask.dtype != np.float32:
            raise ValueError(
                f"a mask is float32 {self.clip.shape[:3]}, got {self.mask.dtype} {self.mask.shape}"
            )


def compare(real: Clip, forged: Clip, strength: Mask, kind: str) -> Forged:
    """The forgery `forged` of `real`, labelled by what differs.

    Labels are measured, not planned: a drift's first frame, or a delay inside a still moment, changes nothing
    and must not be learned as forged.

    Args:
        real: the clip that was forged.
        forged: the same clip after the forgery.
        strength: (S, S) or (T, S, S), above 0 wherever a pixel was changed.
        kind: the name of the forgery.
    """
    labels = np.array([not np.array_equal(before, after) for before, after in zip(real, forged, strict=True)])
    if labels.all():
        mask = np.broadcast_to(strength, real.shape[:3])  # a held mask is kept once, not for every frame
    else:
        mask = np.zeros(real.shape[:3], np.float32)
        mask[labels] = strength if strength.ndim == 2 else strength[labels]
    return Forged(clip=forged, labels=labels, mask=mask, kind=kind)
