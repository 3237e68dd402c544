"""Which part's motion an answer rests on: each part in turn is made to follow the head, and the network is asked again.

A face whose mouth moves as its head does is an ordinary one, so the network is asked nothing that it never saw. What
the answer then loses is measured, not read off the network's inside: it holds for any network. Nothing of the kind is
said of the picture: to take a part of it away is to forge it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk.motion import CHANNELS_PER_BASELINE, MotionFields
from dmcl_sdk.network import Network

Part = Literal["eyes", "nose", "mouth", "chin", "forehead", "cheeks", "surroundings"]
Floats = npt.NDArray[np.float32]

PARTS: dict[Part, tuple[tuple[float, float, float, float], ...]] = {
    "eyes": ((0.36, 0.40, 0.12, 0.08), (0.64, 0.40, 0.12, 0.08)),
    "nose": ((0.50, 0.54, 0.08, 0.09),),
    "mouth": ((0.50, 0.71, 0.17, 0.08),),
    "chin": ((0.50, 0.90, 0.20, 0.11),),
    "forehead": ((0.50, 0.22, 0.26, 0.12),),
    "cheeks": ((0.50, 0.55, 0.34, 0.44),),
    "surroundings": ((0.50, 0.50, 1.00, 1.00),),
}
"""Ellipses of a crop of side 1, centre and radii (x, y, rx, ry); a place belongs to the first part that holds it."""

_CLIPS_AT_ONCE = 3  # as much memory as a chunk of scoring


@dataclass(frozen=True, slots=True)
class Removal:
    """What one part's own motion was worth.

    Attributes:
        part: which part of the crop.
        before: the fused logit of the moment looked at.
        after: the same if the part had followed the head.
    """

    part: Part
    before: float
    after: float


def attribute(
    network: Network, rgb: npt.NDArray[np.uint8], motion: MotionFields, moment: slice
) -> tuple[Removal, ...]:
    """The worth of every part's motion to the answer of a moment.

    Args:
        network: who answers.
        rgb: crops (T, S, S, 3), T as the network wants it.
        motion: their fields, (T, 4K, M, M).
        moment: the frames whose mean answer is looked at.
    """
    masks = part_masks(motion.shape[-1])
    clips = [motion, *(_following(motion, mask) for mask in masks.values())]
    answers: list[float] = []
    for first in range(0, len(clips), _CLIPS_AT_ONCE):
        fields = np.stack(clips[first : first + _CLIPS_AT_ONCE])
        crops = np.broadcast_to(rgb, (len(fields), *rgb.shape))
        answers += network.run(np.ascontiguousarray(crops), fields).fused[:, moment].mean(1).tolist()
    return tuple(Removal(part, answers[0], after) for part, after in zip(masks, answers[1:], strict=True))


@lru_cache(maxsize=4)
def part_masks(side: int) -> dict[Part, Floats]:
    """How much of each place belongs to each part, (side, side) in 0..1; soft at the borders, and 1 together."""
    ys, xs = (np.mgrid[:side, :side] + 0.5) / side
    left = np.ones((side, side), np.float32)
    masks: dict[Part, Floats] = {}
    for part, ellipses in PARTS.items():
        inside = np.zeros((side, side), bool)
        for x, y, rx, ry in ellipses:
            inside |= ((xs - x) / rx) ** 2 + ((ys - y) / ry) ** 2 <= 1
        own = left * inside
        left = left - own
        masks[part] = np.asarray(cv2.GaussianBlur(own, (0, 0), side / 64), np.float32)
    return masks


def _following(motion: MotionFields, mask: Floats) -> MotionFields:
    """No motion besides the head's, and no change, inside the mask; it stays known that there is none."""
    kept = motion * (1 - mask)
    validity = np.arange(motion.shape[1]) % CHANNELS_PER_BASELINE == CHANNELS_PER_BASELINE - 1
    kept[:, validity] = motion[:, validity]
    return np.asarray(np.rint(kept), np.int8)
