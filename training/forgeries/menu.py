"""Draws one kind of forgery for a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Protocol

import numpy as np

from training.forgeries import (
    delay,
    drift,
    driven,
    drop,
    flicker,
    generated,
    jitter,
    lip_sync,
    reenactment,
    repeat,
    resynthesis,
    self_blended,
    splice,
)
from training.forgeries.forged import Clip, Forged, Points, check_clip, compare
from training.forgeries.self_blended import likeness
from training.forgeries.splice import Forger, SpliceSettings

_RETRIES = 4


class Kind(Protocol):
    """A forgery at its own settings."""

    def __call__(self, clip: Clip, rng: np.random.Generator, /, *, template: Points | None = None) -> Forged:
        """Forge the whole clip."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        self_blended.KIND: self_blended.forge,
        flicker.KIND: flicker.forge,
        jitter.KIND: jitter.forge,
        drift.KIND: drift.forge,
        delay.KIND: delay.forge,
        repeat.KIND: repeat.forge,
        drop.KIND: drop.forge,
        resynthesis.KIND: resynthesis.forge,
        reenactment.KIND: reenactment.forge,
        driven.KIND: driven.forge,
        lip_sync.KIND: lip_sync.forge,
        generated.KIND: generated.forge,
    }
)
"""Every kind by its name, at its default settings."""


def _default_weights() -> Mapping[str, float]:
    often = {self_blended.KIND: 3.0} | dict.fromkeys(
        (resynthesis.KIND, reenactment.KIND, driven.KIND, lip_sync.KIND, generated.KIND), 2.0
    )
    # players and cameras repeat and drop frames too: these two teach timing, and mislead when they abound
    seldom = {repeat.KIND: 0.3, drop.KIND: 0.3}
    return dict.fromkeys(KINDS, 1.0) | often | seldom


@dataclass(frozen=True, slots=True)
class Menu:
    """How often each kind is drawn.

    Attributes:
        weights: by name of the kind; a kind that is not named is never drawn.
        spliced: share of clips in which only a span is forged.
        combined: share of clips that a second kind is laid over.
        swapped: share of self-blended clips that take another face instead, when one is given.
        least_likeness: how alike another face must be, as `likeness` says, to be taken.
        splice: the spans.
    """

    weights: Mapping[str, float] = field(default_factory=_default_weights)
    spliced: float = 0.5
    combined: float = 0.2
    swapped: float = 0.5
    least_likeness: float = 0.3
    splice: SpliceSettings = field(default_factory=SpliceSettings)

    def __post_init__(self) -> None:
        if unknown := set(self.weights) - set(KINDS):
            raise ValueError(f"a menu names the kinds {sorted(KINDS)}, got {sorted(unknown)}")
        if min(self.weights.values(), default=0) < 0 or sum(self.weights.values()) <= 0:
            raise ValueError(f"a menu needs weights >= 0, one of them above 0, got {dict(self.weights)}")
        if not all(0 <= share <= 1 for share in (self.spliced, self.combined, self.swapped)):
            raise ValueError(f"spliced, combined and swapped are shares in 0..1, got {self}")


STILLS_MENU = Menu(
    weights={
        self_blended.KIND: 3.0,
        flicker.KIND: 1.0,
        jitter.KIND: 1.0,
        resynthesis.KIND: 2.0,
        lip_sync.KIND: 1.0,
        generated.KIND: 2.0,
    }
)
"""For animated stills: they are a smoothly warped picture themselves, so kinds that are no more stay out."""


def forge(
    clip: Clip,
    rng: np.random.Generator,
    menu: Menu = Menu(),
    *,
    template: Points | None = None,
    source: Clip | None = None,
) -> Forged:
    """Forge `clip` by kinds drawn from the menu, throughout or in a span.

    A draw that changes nothing, such as a repeated frame of a still, is made again a few times; a clip that
    nothing on the menu can change comes back as it was, with no frame labelled.

    Args:
        clip: (T, S, S, 3) uint8.
        rng: source of all draws.
        menu: how often each kind is drawn.
        template: the five landmarks in pixels of the crop; None when they lie at `TEMPLATE * S`.
        source: aligned crops (T', S, S, 3) of another face, for swaps.
    """
    check_clip(clip)
    if source is not None and likeness(clip, source, template=template) < menu.least_likeness:
        source = None
    forger = partial(_forge_throughout, menu=menu, template=template, source=source)
    forged = _forge_somewhere(clip, rng, menu, forger)
    for _ in range(_RETRIES):
        if forged.labels.any():
            break
        forged = _forge_somewhere(clip, rng, menu, forger)
    return forged


def _forge_somewhere(clip: Clip, rng: np.random.Generator, menu: Menu, forger: Forger) -> Forged:
    """The whole clip, or a span of it."""
    if rng.random() < menu.spliced:
        return splice.forge(clip, rng, forger, menu.splice)
    return forger(clip, rng)


def _forge_throughout(
    clip: Clip, rng: np.random.Generator, menu: Menu, template: Points | None, source: Clip | None
) -> Forged:
    """One kind, or two on top of each other, over the whole clip."""
    first = _forge_by_one(clip, rng, menu, template, source)
    if rng.random() >= menu.combined:
        return first
    second = _forge_by_one(first.clip, rng, menu, template, None)
    mask = np.maximum(first.mask, second.mask)
    return compare(clip, second.clip, mask, f"{first.kind}+{second.kind}")


def _forge_by_one(
    clip: Clip, rng: np.random.Generator, menu: Menu, template: Points | None, source: Clip | None
) -> Forged:
    names = sorted(menu.weights)
    weights = np.array([menu.weights[name] for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    if name == self_blended.KIND and source is not None and rng.random() < menu.swapped:
        return self_blended.forge(clip, rng, template=template, source=source)
    return KINDS[name](clip, rng, template=template)
