"""Forgeries of one known place each, to ask of a map whether it points there.

What the menu makes changes most of the face, so that a map which never looks is right about it. These lie to the
left or to the right, above or below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np

from training.forgeries import lip_sync, resynthesis, self_blended
from training.forgeries.forged import Clip, Forged, Mask, compare
from training.forgeries.lip_sync import LipSyncSettings
from training.forgeries.regions import Part
from training.forgeries.resynthesis import ResynthesisSettings
from training.forgeries.self_blended import SelfBlendedSettings
from training.forgeries.splice import Forger

_SEAM = 0.03  # of the crop, as soft as the other edges of a blend
_LEAST = 1 / 512  # less of a blend moves no pixel by half a grey level


def _blended(part: Part) -> Forger:
    plain = SelfBlendedSettings()
    return partial(self_blended.forge, settings=replace(plain, ranges=replace(plain.ranges, parts=(part,))))


def _redrawn(part: Part) -> Forger:
    return partial(resynthesis.forge, settings=ResynthesisSettings(parts=(part,)))


def _half(clip: Clip, rng: np.random.Generator, *, left: bool) -> Forged:
    """A blended face of which only the viewer's left or right half is kept."""
    whole = _blended("whole_face")(clip, rng)
    across = (np.arange(clip.shape[2]) + 0.5) / clip.shape[2] - 0.5
    kept: Mask = (1 / (1 + np.exp((across if left else -across) / (_SEAM / 4)))).astype(np.float32)
    mixed = clip + (whole.clip.astype(np.float32) - clip) * kept[:, None]
    return compare(
        clip, np.rint(mixed).astype(np.uint8), whole.mask * np.where(kept > _LEAST, kept, 0), "half"
    )


ONE_PLACE: Mapping[str, Forger] = MappingProxyType(
    {
        "left half": partial(_half, left=True),
        "right half": partial(_half, left=False),
        "eyes": _blended("eyes"),
        "nose": _blended("nose"),
        "mouth": _blended("mouth"),
        "lower face": _blended("lower_face"),
        "eyes drawn anew": _redrawn("eyes"),
        "mouth drawn anew": _redrawn("mouth"),
        "lip-sync": partial(lip_sync.forge, settings=LipSyncSettings(tops=(0.5,))),
    }
)
"""By what is changed: blended with a changed copy of itself, or drawn anew."""
