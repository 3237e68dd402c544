"""Forgeries made from real clips: what differs is known for every frame and every pixel.

One file a kind. Every kind is `forge(clip, rng, settings, *, template)`, deterministic by its generator, and
leaves every frame that it does not forge as it was, bit by bit.
"""

from __future__ import annotations

from training.forgeries.animate import animate
from training.forgeries.forged import Clip, Forged
from training.forgeries.hard_reals import harden
from training.forgeries.menu import KINDS, STILLS_MENU, Menu, forge
from training.forgeries.self_blended import likeness

__all__ = ["KINDS", "STILLS_MENU", "Clip", "Forged", "Menu", "animate", "forge", "harden", "likeness"]
