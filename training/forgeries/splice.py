"""A forgery confined to a span of a real clip: what localisation learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from training.forgeries.forged import Clip, Forged, check_clip, compare

Forger: TypeAlias = Callable[[Clip, np.random.Generator], Forged]
"""Any kind, with its settings and template bound."""


@dataclass(frozen=True, slots=True)
class SpliceSettings:
    """Ranges of the draws.

    Attributes:
        least_frames: shortest span.
        most_share: longest span, as a share of the clip.
        fades: lengths in frames of the cross fade at either edge, of which one is drawn; 0 is a hard cut.
    """

    least_frames: int = 3
    most_share: float = 0.5
    fades: tuple[int, ...] = (0, 0, 1, 2, 3)

    def __post_init__(self) -> None:
        if self.least_frames < 1 or not 0 < self.most_share <= 1 or min(self.fades) < 0:
            raise ValueError(f"a splice needs least_frames >= 1, 0 < most_share <= 1, fades >= 0, got {self}")


def draw_span(rng: np.random.Generator, frames: int, settings: SpliceSettings) -> tuple[int, int]:
    """The span [first, end) of frames; short ones are as likely as long ones by logarithm of length."""
    least = min(settings.least_frames, frames)
    most = max(least, int(frames * settings.most_share))
    length = round(float(np.exp(rng.uniform(np.log(least), np.log(most)))))
    first = int(rng.integers(frames - length + 1))
    return first, first + length


def forge(
    clip: Clip, rng: np.random.Generator, forger: Forger, settings: SpliceSettings = SpliceSettings()
) -> Forged:
    """Apply `forger` only inside a drawn span.

    The forger sees the span's frames alone, so that its slow changes start at the span's first frame. Cross
    fades lie inside the span: frames outside keep every bit.
    """
    check_clip(clip)
    first, end = draw_span(rng, len(clip), settings)
    inside = forger(clip[first:end], rng)
    fade = min(settings.fades[rng.integers(len(settings.fades))], (end - first) // 2)
    spliced, mask = clip.copy(), np.zeros(clip.shape[:3], np.float32)
    presence = _presence(end - first, fade)
    for offset, share in enumerate(presence):
        t = first + offset
        forged = inside.clip[offset]
        spliced[t] = forged if share == 1 else _mix(clip[t], forged, float(share))
        mask[t] = inside.mask[offset] * share
    return compare(clip, spliced, mask, f"splice:{inside.kind}")


def _presence(frames: int, fade: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """How much of the forgery shows in each frame of the span, (frames,)."""
    distance = np.minimum(np.arange(frames), np.arange(frames)[::-1]) + 1
    return np.minimum(distance / (fade + 1), 1).astype(np.float32)


def _mix(real: Clip, forged: Clip, share: float) -> Clip:
    mixed = real + np.float32(share) * (forged.astype(np.float32) - real)
    return np.rint(mixed).astype(np.uint8)
