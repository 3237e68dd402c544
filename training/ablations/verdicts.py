"""From the figures of every seed to "holds" or "does not hold", by rules that were written down before.

A condition is met when the unfavourable end of its 95 % interval (bootstrap over seeds) meets the bound; a claim holds
when all of its conditions are met, and is not decided on fewer than `LEAST_SEEDS` seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.ablations.claims import AMPLITUDES_PX, HEAD_PX, KINDS, NETWORKS, Figures, cell
from training.metrics import Estimate, bootstrap_interval

LEAST_SEEDS = 5
NEVER = 1000.0
"""Stands for infinity among figures whose quantiles are taken."""
HALF_GAIN = 0.75
"""AUC half-way between guessing (.5) and certainty (1)."""

Answer = Literal["holds", "does not hold", "not decided"]
Statistic = Callable[[Sequence[Figures]], float]

TITLES = {
    1: "inapparent temporal changes are undermined by abundant spatial cues, and MSMR prevents it",
    2: "small inconsistent regions are concealed by larger motion during downsampling, and MSMR prevents it",
    3: "transient inconsistencies and persistent motions are hard to capture at once, and several spans do it",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One figure with its interval, and the bound that it has to meet.

    Attributes:
        text: what the figure is.
        estimate: the figure over seeds, with its 95 % interval.
        bound: least or most.
        at_least: whether the bound is a least.
    """

    text: str
    estimate: Estimate
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether even the unfavourable end of the interval meets the bound; never without an interval."""
        if self.at_least:
            return self.estimate.low >= self.bound
        return self.estimate.high <= self.bound


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the figures say of one claim."""

    claim: int
    seeds: int
    conditions: tuple[Condition, ...]

    @property
    def answer(self) -> Answer:
        """Whether every condition is met, on seeds enough."""
        if self.seeds < LEAST_SEEDS:
            return "not decided"
        return "holds" if all(condition.met for condition in self.conditions) else "does not hold"


def judge(claim: int, rows: Sequence[Figures]) -> Verdict:
    """Decide a claim by the figures of its seeds."""
    conditions = {1: _spatial_cues, 2: _head_motion, 3: _spans}[claim]
    return Verdict(claim, len(rows), tuple(conditions(rows)))


def mean(rows: Sequence[Figures], network: str, figure: str) -> float:
    """Mean of one figure over seeds."""
    return float(np.mean([row[network][figure] for row in rows]))


def half_amplitude(
    amplitudes_px: Sequence[float], aucs: Sequence[float], *, level: float = HALF_GAIN
) -> float:
    """The amplitude at which AUC first reaches `level`, straight between the points over log amplitude.

    An AUC that falls again with more amplitude is noise: the curve is taken as the highest so far.

    Returns:
        Pixels; the smallest amplitude where that already reaches the level, inf where none does.
    """
    highest = np.maximum.accumulate(np.asarray(aucs, np.float64))
    if highest[-1] < level:
        return math.inf
    above = int(np.argmax(highest >= level))
    if above == 0:
        return float(amplitudes_px[0])
    share = (level - highest[above - 1]) / (highest[above] - highest[above - 1])
    least, most = np.log(amplitudes_px[above - 1]), np.log(amplitudes_px[above])
    return float(np.exp(least + share * (most - least)))


def growth(head_px: Sequence[float], needed_px: Sequence[float]) -> float:
    """Pixels of amplitude needed more for a pixel of head motion: slope of the least-squares line; inf if any is."""
    if not np.isfinite(needed_px).all():
        return math.inf
    return float(np.polyfit(head_px, needed_px, 1)[0])


def needed(rows: Sequence[Figures], network: str) -> list[float]:
    """The amplitude needed at each head motion, from AUCs averaged over seeds."""
    return [
        half_amplitude(AMPLITUDES_PX, [mean(rows, network, cell(head, a)) for a in AMPLITUDES_PX])
        for head in HEAD_PX
    ]


def relative_growth(rows: Sequence[Figures]) -> float:
    """Growth with MSMR over growth without; `NEVER` where either cannot be had.

    A plain network that never gets there is taken to get there at the largest amplitude tested, which flatters it.
    """
    ours, plain = (needed(rows, network) for network in ("MSMR, stabilised flow", "plain pooling, raw flow"))
    reference = growth(HEAD_PX, np.minimum(plain, AMPLITUDES_PX[-1]).tolist())
    return min(growth(HEAD_PX, ours) / reference, NEVER) if reference > 0 else NEVER


def over_seeds(rows: Sequence[Figures], statistic: Statistic) -> Estimate:
    """A figure of all seeds, with the interval that drawing seeds anew gives."""
    return bootstrap_interval(
        lambda drawn: statistic([rows[row] for row in drawn]), range(len(rows)), np.random.default_rng(0)
    )


def _spatial_cues(rows: Sequence[Figures]) -> list[Condition]:
    def gain(test: str) -> Statistic:
        return lambda drawn: mean(drawn, "with MSMR", test) - mean(drawn, "without MSMR", test)

    return [
        Condition(
            "AUC gained by MSMR where the tint says nothing",
            over_seeds(rows, gain("decorrelated")),
            0.05,
            at_least=True,
        ),
        Condition(
            "AUC gained by MSMR where the tint is all there is",
            over_seeds(rows, gain("spatial only")),
            -0.02,
            at_least=True,
        ),
    ]


def _head_motion(rows: Sequence[Figures]) -> list[Condition]:
    text = "growth of the amplitude needed, MSMR on stabilised flow / plain pooling on raw flow"
    return [Condition(text, over_seeds(rows, relative_growth), 0.5, at_least=False)]


def _spans(rows: Sequence[Figures]) -> list[Condition]:
    single = [name for name in NETWORKS if name != "all spans"]

    def weaker(name: str) -> Statistic:
        return lambda drawn: min(mean(drawn, name, kind) for kind in KINDS)

    def share(kind: str) -> Statistic:
        return lambda drawn: (
            mean(drawn, "all spans", kind) / max(1e-9, *(mean(drawn, name, kind) for name in single))
        )

    return [
        *(
            Condition(
                f"{name} alone: recall of its weaker kind",
                over_seeds(rows, weaker(name)),
                0.6,
                at_least=False,
            )
            for name in single
        ),
        *(
            Condition(
                f"all spans: share of the best single span's recall of {kind}s",
                over_seeds(rows, share(kind)),
                0.9,
                at_least=True,
            )
            for kind in KINDS
        ),
    ]
