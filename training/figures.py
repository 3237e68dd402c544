"""How well whole videos are told apart: every figure with a 95 % interval, bootstrapped over people and sources.

Scores are log-odds of the calibration in the model file. A video without a judged face, or that cannot be read, is
counted as undecided, at log-odds 0; how many there are is said, and what the AUC is without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dmcl_sdk.assembly import pool
from dmcl_sdk.calibration import Platt
from dmcl_sdk.network import ModelSpec
from training.calibrate import fit_abstention, fit_platt
from training.data.manifest import Clip
from training.grouping import independent_groups, shares_of_classes, shares_of_groups
from training.metrics import (
    accuracy,
    auc,
    bootstrap_interval,
    calibration_error_by_chance,
    eer,
    expected_calibration_error,
    pair_auc,
    tpr_at_fpr,
)
from training.scores import Scored

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Report = dict[str, Any]
COUNTED = (
    "Equal scores are one operating point: half a win each in an AUC.",
    "A video in which no face was judged, or that cannot be read, counts as undecided (log-odds 0).",
    "Intervals are 95 %, bootstrapped over groups of videos that share a person or a source; under 5 groups, none.",
)
_BINS = 8
_LEAST_GROUPS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A scored set of whole videos.

    Attributes:
        clips: N.
        fake: (N,).
        log_odds: (N,), 0 where nothing was judged.
        judged: (N,) whether there was a face to judge.
        unreadable: how many of those not judged could not be read at all.
        groups: (N,) what is not independent.
        streams: (N, 2) log-odds of the RGB and of the flow stream alone, 0 where nothing was judged.
    """

    clips: list[Clip]
    fake: Bools
    log_odds: Floats
    judged: Bools
    unreadable: int
    groups: list[int]
    streams: Floats

    @classmethod
    def of(cls, clips: list[Clip], scored: Sequence[Scored], spec: ModelSpec) -> Labelled:
        """From what a model said of each clip."""
        logits = np.array([math.nan if one.logit is None else one.logit for one in scored], np.float64)
        return cls(
            clips=clips,
            fake=np.array([clip.fake for clip in clips], bool),
            log_odds=_log_odds(spec.calibration, logits),
            judged=~np.isnan(logits),
            unreadable=sum(bool(one.problem) for one in scored),
            groups=independent_groups(clips),
            streams=np.array([_streams(one, spec) for one in scored], np.float64).reshape(-1, 2),
        )

    @property
    def probability(self) -> Floats:
        """Calibrated, (N,); one half where nothing was judged."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.log_odds, -500, 500))), np.float64)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Rows of the real video and of the fake made from it, of every pair."""
        row = {clip.path: number for number, clip in enumerate(self.clips)}
        return [
            (row[clip.pair], number)
            for number, clip in enumerate(self.clips)
            if clip.fake and clip.pair is not None and clip.pair in row
        ]


class Bootstrap:
    """Figures of a set as `{"value", "low", "high"}`.

    Args:
        groups: (N,) what each row belongs to.
        seed: of the resampling.
        resamples: how many.
    """

    def __init__(self, groups: Sequence[object], seed: int, resamples: int = 1000) -> None:
        self._groups, self._seed, self._resamples = groups, seed, resamples

    def __call__(self, statistic: Callable[[Rows], float], rows: Rows | None = None) -> Report:
        """The interval of `statistic`, which takes row numbers, over all rows or over some.

        With under five groups the ends are NaN: resampling two or three of them shows next to no spread.
        """
        taken = np.arange(len(self._groups)) if rows is None else rows
        if len({self._groups[row] for row in taken}) < _LEAST_GROUPS:
            value = statistic(taken) if len(taken) else math.nan
            return {"value": value, "low": math.nan, "high": math.nan}
        estimate = bootstrap_interval(
            lambda drawn: statistic(taken[drawn]),
            [self._groups[row] for row in taken],
            np.random.default_rng(self._seed),
            resamples=self._resamples,
        )
        figure = asdict(estimate)
        del figure["resamples"]
        return figure


def video_figures(data: Labelled, spec: ModelSpec, *, seed: int = 0, resamples: int = 1000) -> Report:
    """Every figure of whole videos, in the order in which a reader wants them."""
    interval = Bootstrap(data.groups, seed, resamples)
    fake, scores = data.fake, data.log_odds
    weights = shares_of_groups(data.groups, fake)
    report: Report = {
        "videos": {
            "real": int((~fake).sum()),
            "fake": int(fake.sum()),
            "groups": len(set(data.groups)),
            "not_judged": int((~data.judged).sum()) - data.unreadable,
            "unreadable": data.unreadable,
        },
        "auc": interval(lambda rows: auc(fake[rows], scores[rows])),
        "auc_by_person": interval(lambda rows: auc(fake[rows], scores[rows], weights[rows])),
        "auc_mean_over_generators": interval(lambda rows: _mean_over_generators(data, rows)),
        "auc_rgb": interval(lambda rows: auc(fake[rows], data.streams[rows, 0])),
        "auc_flow": interval(lambda rows: auc(fake[rows], data.streams[rows, 1])),
        "eer": interval(lambda rows: eer(fake[rows], scores[rows])),
        "tpr_at_1_fpr": interval(lambda rows: tpr_at_fpr(fake[rows], scores[rows], 0.01)),
        "tpr_at_5_fpr": interval(lambda rows: tpr_at_fpr(fake[rows], scores[rows], 0.05)),
    }
    if not data.judged.all():
        report["auc_judged_only"] = interval(
            lambda rows: auc(fake[rows], scores[rows]), np.flatnonzero(data.judged)
        )
    report["pairs"] = _pair_figures(data, interval)
    report["generators"] = _generator_figures(data, interval)
    shipped = data.probability, np.full(len(scores), spec.abstention.manipulated_above)
    report["as_calibrated"] = {
        "threshold": spec.abstention.manipulated_above,
        **_operating(data, *shipped, interval, seed),
        "abstained": _abstained(data, spec),
    }
    crossed = cross_fitted(data, seed)
    report["cross_fitted"] = _operating(data, *crossed, interval, seed) if crossed else {}
    return report


def cross_fitted(data: Labelled, seed: int) -> tuple[Floats, Floats] | None:
    """Probability and operating threshold for each video, (N,) both, fitted to the other half of the people.

    None where one half has a single class, or where nothing was learned.
    """
    names = sorted(set(data.groups))
    half = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2].tolist())
    side = np.array([group in half for group in data.groups], bool)
    probability, threshold = np.zeros(len(side)), np.zeros(len(side))
    for fit, test in ((side, ~side), (~side, side)):
        try:
            members = [group for group, one in zip(data.groups, fit, strict=True) if one]
            weights = shares_of_groups(members, data.fake[fit])
            platt = fit_platt(data.log_odds[fit], data.fake[fit], version="cross-fitted", weights=weights)
            bound = fit_abstention(platt.probability(data.log_odds[fit]), data.fake[fit], members)
        except ValueError:
            return None
        probability[test] = platt.probability(data.log_odds[test])
        threshold[test] = bound.rule.manipulated_above
    return probability, threshold


def _operating(
    data: Labelled, probability: Floats, threshold: Floats, interval: Bootstrap, seed: int
) -> Report:
    """What happens at the operating threshold, and how true the probabilities are."""
    fake, flagged = data.fake, (probability >= threshold).astype(np.float64)
    return {
        "accuracy": interval(lambda rows: accuracy(fake[rows], flagged[rows], 0.5)),
        "false_positive_rate": interval(lambda rows: _mean(flagged[rows][~fake[rows]])),
        "true_positive_rate": interval(lambda rows: _mean(flagged[rows][fake[rows]])),
        "expected_calibration_error": interval(
            lambda rows: expected_calibration_error(
                fake[rows],
                probability[rows],
                bins=_BINS,
                weights=shares_of_classes([data.groups[row] for row in rows], fake[rows]),
            )
        ),
        "calibration_error_by_chance": calibration_error_by_chance(
            probability,
            np.random.default_rng(seed),
            bins=_BINS,
            weights=shares_of_classes(data.groups, fake),
        ),
    }


def _abstained(data: Labelled, spec: ModelSpec) -> float:
    """Share of videos that get no label."""
    labels = [spec.abstention.label(float(p)) for p in data.probability]
    return float(np.mean([one == "uncertain" for one in labels] | ~data.judged))


def _pair_figures(data: Labelled, interval: Bootstrap) -> Report:
    pairs = data.pairs
    if not pairs:
        return {}
    reals, fakes = (np.array(side, np.intp) for side in zip(*pairs, strict=True))
    real_of = dict(zip(fakes.tolist(), reals.tolist(), strict=True))
    rows = np.unique(np.concatenate([reals, fakes]))
    scores, streams, fake = data.log_odds, data.streams, data.fake

    def ranked(drawn: Rows) -> float:
        return pair_auc(scores[[real_of[row] for row in drawn.tolist()]], scores[drawn])

    return {
        "count": len(pairs),
        "sources": len(set(reals.tolist())),
        "auc": interval(lambda drawn: auc(fake[drawn], scores[drawn]), rows),
        "auc_rgb": interval(lambda drawn: auc(fake[drawn], streams[drawn, 0]), rows),
        "auc_flow": interval(lambda drawn: auc(fake[drawn], streams[drawn, 1]), rows),
        "ranked_right": interval(ranked, fakes),
    }


def _generator_figures(data: Labelled, interval: Bootstrap) -> Report:
    """Each generator's fakes against all real videos, and against those that they were made from."""
    found: Report = {}
    for name in sorted({clip.generator for clip in data.clips if clip.fake}):
        of = _of_generator(data, name)
        paired = [(real, row) for real, row in data.pairs if of[row]]
        found[name or "unknown"] = {
            "fakes": int(of.sum()),
            "auc": interval(
                lambda rows: auc(data.fake[rows], data.log_odds[rows]), np.flatnonzero(of | ~data.fake)
            ),
            "pairs": len(paired),
            "auc_pairs": interval(
                lambda rows: auc(data.fake[rows], data.log_odds[rows]),
                np.unique(np.array([row for pair in paired for row in pair], np.intp)),
            ),
        }
    return found


def _mean_over_generators(data: Labelled, rows: Rows) -> float:
    """Each generator weighs the same, however many fakes it has."""
    reals = rows[~data.fake[rows]]
    names = np.array([clip.generator for clip in data.clips])
    values = []
    for name in np.unique(names[rows[data.fake[rows]]]):
        some = np.concatenate([reals, rows[data.fake[rows] & (names[rows] == name)]])
        values.append(auc(data.fake[some], data.log_odds[some]))
    return _mean(np.array(values))


def _of_generator(data: Labelled, name: str) -> Bools:
    return np.array([clip.fake and clip.generator == name for clip in data.clips], bool)


def _log_odds(platt: Platt, logits: Floats) -> Floats:
    odds = platt.slope * logits + platt.intercept
    return np.where(np.isnan(odds), 0.0, odds)


def _streams(one: Scored, spec: ModelSpec) -> tuple[float, float]:
    """Log-odds of each stream alone, pooled over the worst face as its logit is."""
    curve = one.curve
    if curve is None:
        return 0.0, 0.0
    times = curve.times[curve.judged, 0]
    rgb, flow = (pool(curve.logits[curve.judged, n], times, spec.pooling_sharpness) for n in (1, 2))
    fits = spec.rgb_calibration, spec.flow_calibration
    return fits[0].slope * rgb + fits[0].intercept, fits[1].slope * flow + fits[1].intercept


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else math.nan
