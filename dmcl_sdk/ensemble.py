"""Several networks that look at the same crops, as one.

crops, motion ─┬─ lead ──> logits ─────────────────────────────┐
               └─ member ─> logits ─ its calibration ─ log-odds ┴─ weighted mean ─> fused logits
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dmcl_sdk.errors import ModelError
from dmcl_sdk.motion import MotionFields
from dmcl_sdk.network import FrameCurves, ModelSpec, Network


class Ensemble:
    """A network made of several: `Detector(Ensemble(OnnxNetwork(), Flicker()))`.

    A frame's log-odds are the weighted mean of what the members say, each by its own calibration; a logarithmic opinion
    pool. They are given back on the scale of the first member, the lead, whose calibration, thresholds and spans then
    hold for them. Those were fitted to the lead alone: weights of (1, 0) change nothing, and others want checking on
    labelled videos. What each stream says, and where, is the lead's.

    Args:
        members: the lead, and others that read the same crops and motion.
        weights: one a member, not negative, not all 0; equal without.

    Raises:
        ModelError: members need other crops, motion or numbers of frames than the lead.
        ValueError: the weights are wrong.
    """

    def __init__(self, *members: Network, weights: Sequence[float] | None = None) -> None:
        given = [1.0] * len(members) if weights is None else [float(weight) for weight in weights]
        if not members or len(given) != len(members):
            raise ValueError(f"an ensemble needs members and a weight for each, got {len(members)}, {given}")
        if not all(math.isfinite(weight) and weight >= 0 for weight in given) or sum(given) == 0:
            raise ValueError(f"weights are finite and not negative, and one is above 0, got {given}")
        for member in members[1:]:
            _check_fits(member.spec, members[0].spec)
        self.members, self.weights = members, tuple(weight / sum(given) for weight in given)

    @cached_property
    def spec(self) -> ModelSpec:
        """The lead's, under a name of all members."""
        lead = self.members[0].spec
        specs = [member.spec for member in self.members]
        digests = [spec.weights_sha256 for spec in specs]
        named = {
            "name": "+".join(spec.name for spec in specs),
            "version": "+".join(spec.version for spec in specs),
            "weights_sha256": _digest([digests, self.weights]),
        }
        return lead.model_copy(update=named)

    @cached_property
    def sha256(self) -> str:
        """Digest of the members' digests and the weights."""
        return _digest([[member.sha256 for member in self.members], self.weights])

    @property
    def providers(self) -> tuple[str, ...]:
        """Where the lead runs."""
        return self.members[0].providers

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        """Answer every frame of (B, T, 4K, M, M) motion fields, with (B, T / R, S, S, 3) crops."""
        lead, *others = self.members
        answer = lead.run(rgb, motion)
        scale, fused = lead.spec.frame_calibration, self.weights[0] * answer.fused.astype(np.float64)
        for member, weight in zip(others, self.weights[1:], strict=True):
            if weight:
                own = member.spec.frame_calibration
                log_odds = own.slope * member.run(rgb, motion).fused.astype(np.float64) + own.intercept
                fused += weight * (log_odds - scale.intercept) / scale.slope
        return replace(answer, fused=fused.astype(np.float32))


def _check_fits(member: ModelSpec, lead: ModelSpec) -> None:
    for what in ("preprocessing", "size_px", "motion_shrink", "rgb_stride", "baselines", "max_fps"):
        needed, given = getattr(member, what), getattr(lead, what)
        if needed != given:
            raise ModelError(f"{member.name} does not go with {lead.name}: {what} {needed}, not {given}")
    if lead.frames_multiple % member.frames_multiple:
        raise ModelError(
            f"{member.name} does not go with {lead.name}: it takes multiples of {member.frames_multiple} frames"
        )


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
