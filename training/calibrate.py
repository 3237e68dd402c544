"""Fit what turns logits into probabilities and labels, on validation videos alone, and store it in the model file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from dmcl_sdk import Detector
from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.network import ModelSpec
from dmcl_sdk.segment import Segment
from training.data.manifest import manipulated, read_manifest
from training.grouping import independent_groups, shares_of_groups
from training.scores import Scored, Scorer

Floats = npt.NDArray[np.float64]
FALSE_ALARMS = 0.05
MISSES = 0.2
LIKELY = 0.6
"""The least probability of what is called manipulated: three to two."""
_ROUNDING = 1e-9


def fit_platt(
    logits: Floats, fake: npt.NDArray[np.bool_], *, version: str, weights: Floats | None = None
) -> Platt:
    """Logistic regression of the label on the logit, both classes weighing the same, by Newton's method.

    Targets are Platt's smoothed ones, so that separable data does not give an infinite slope. The covariance is the
    inverse Hessian.

    Args:
        logits: (N,).
        fake: (N,), with both classes.
        version: what the fit is called in verdicts.
        weights: (N,) how much each row counts; one by default.

    Raises:
        ValueError: one class is missing, or higher logits do not mean manipulated.
    """
    base = np.ones(len(logits)) if weights is None else weights
    positive, negative = base[fake].sum(), base[~fake].sum()
    if not positive or not negative:
        raise ValueError("a calibration needs real and fake videos")
    share = np.where(fake, 0.5 / positive, 0.5 / negative) * base * base.sum()
    target = np.where(fake, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.column_stack([logits, np.ones_like(logits)])
    fit, hessian = np.array([1.0, 0.0]), np.eye(2)
    for _ in range(100):
        probability = 1 / (1 + np.exp(-np.clip(design @ fit, -60, 60)))
        curvature = share * np.maximum(probability * (1 - probability), 1e-9)
        hessian = design.T @ (design * curvature[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (share * (target - probability)))
        fit = fit + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            break
    if fit[0] <= 0:
        raise ValueError(
            f"higher logits do not mean manipulated here (slope {fit[0]:.3f}): the model has not learned"
        )
    covariance = np.linalg.inv(hessian)
    shared = float(covariance[0, 1])
    return Platt(
        float(fit[0]),
        float(fit[1]),
        ((float(covariance[0, 0]), shared), (shared, float(covariance[1, 1]))),
        version=version,
    )


@dataclass(frozen=True, slots=True)
class Abstention:
    """Thresholds, and what is promised of them for videos of people who were not fitted to.

    Attributes:
        rule: the thresholds.
        false_alarms: at most this share of real videos is called manipulated.
        misses: at most this share of fakes is called not manipulated.
        real_groups: from how many independent groups of real videos the first promise comes.
        fake_groups: the second, from fakes.
    """

    rule: AbstentionRule
    false_alarms: float
    misses: float
    real_groups: int
    fake_groups: int


def fit_abstention(
    probabilities: Floats,
    fake: npt.NDArray[np.bool_],
    groups: Sequence[object] | None = None,
    *,
    false_alarms: float = FALSE_ALARMS,
    misses: float = MISSES,
) -> Abstention:
    """Labels that are wrong seldom, by split-conformal bounds that hold for people who were not fitted to.

    Both thresholds are `conformal_bound`s. With G groups no share under 1 / (G + 1) can be promised: then that is what
    is promised, and returned. The probabilities may be fitted to the same videos, because a rising curve changes no
    rank. "Manipulated" begins at `LIKELY` at the lowest, "not manipulated" ends at .5: videos that are unlike all of
    the split are mostly between.

    Args:
        probabilities: (N,) of calibration videos, which the model was not trained on.
        fake: (N,) with both classes.
        groups: (N,) what is not independent, such as the person; every video for itself by default.
        false_alarms: share of real videos that may be called manipulated.
        misses: share of fakes that may be called not manipulated.

    Raises:
        ValueError: one class is missing, or a share is not between 0 and 1.
    """
    names = list(range(len(fake))) if groups is None else list(groups)
    of = [[name for name, one in zip(names, fake, strict=True) if one == kind] for kind in (False, True)]
    counts = [len(set(members)) for members in of]
    if not all(counts):
        raise ValueError("thresholds need real and fake videos")
    promised = [
        max(share, 1 / (count + 1)) for share, count in zip((false_alarms, misses), counts, strict=True)
    ]
    highest = conformal_bound(probabilities[~fake], of[0], promised[0])
    lowest = -conformal_bound(-probabilities[fake], of[1], promised[1])
    above = max(LIKELY, float(np.nextafter(min(highest, 1.0), 1.0)))
    below = float(np.clip(lowest, 0.0, min(0.5, above)))
    return Abstention(AbstentionRule(above, below), promised[0], promised[1], counts[0], counts[1])


def conformal_bound(scores: Floats, groups: Sequence[object], share: float) -> float:
    """What the score of a video of a new group exceeds with a probability of at most `share`.

    Split-conformal for grouped data: of G groups each has a mass of 1 / (G + 1), spread evenly over its videos, and
    the new one the same at infinity; the bound is the smallest score with a mass of 1 - share at or below it. With
    groups of one video it is the ceil((n + 1) (1 - share))-th smallest of n. It holds in expectation if the groups are
    exchangeable, whatever the distribution. (V. Vovk et al., "Algorithmic Learning in a Random World", 2005; for groups
    Y. Lee, R. F. Barber and R. Willett, "Distribution-free inference with hierarchical data", 2023.)

    Returns:
        One of the scores; infinity if there are too few groups for this share.
    """
    if not 0 < share < 1 or not len(scores):
        raise ValueError(
            f"a conformal bound needs scores and a share between 0 and 1, got {len(scores)}, {share}"
        )
    _, group, size = np.unique(_numbered(groups), return_inverse=True, return_counts=True)
    mass = 1 / (len(size) + 1) / size[group]
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(mass[order]) >= 1 - share - _ROUNDING
    return float(scores[order][np.argmax(reached)]) if reached.any() else math.inf


def _numbered(groups: Sequence[object]) -> npt.NDArray[np.intp]:
    number = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    return np.array([number[name] for name in groups], np.intp)


def calibrated(
    spec: ModelSpec,
    scored: Sequence[Scored],
    fake: npt.NDArray[np.bool_],
    groups: Sequence[object] | None = None,
    *,
    version: str,
    false_alarms: float = FALSE_ALARMS,
    spans: Sequence[Sequence[Segment] | None] | None = None,
) -> tuple[ModelSpec, Abstention]:
    """The specification with everything fitted to these videos, and what its thresholds promise.

    Every group weighs the same, however many videos it has. Those without a judged face are left out: they get no
    label. Frames of a fake outside its spans are real ones.

    Args:
        spec: of the model.
        scored: N videos.
        fake: (N,).
        groups: (N,) what is not independent; every video for itself by default.
        version: what the fit is called in verdicts.
        false_alarms: share of real videos that may be called manipulated.
        spans: N, when each fake is manipulated; None for all of it.

    Raises:
        ValueError: one class is missing, or higher logits do not mean manipulated.
    """
    judged = np.array([one.logit is not None for one in scored], bool)
    logits = np.array([one.logit for one in scored if one.logit is not None], np.float64)
    label = fake[judged]
    members = [group for group, one in zip(groups or range(len(scored)), judged, strict=True) if one]
    weights = np.zeros(len(scored))
    weights[judged] = shares_of_groups(members, label)
    face = fit_platt(logits, label, version=version, weights=weights[judged])
    frames, inside, owners = _frames(scored, spans or [None] * len(scored))
    each = (weights / np.maximum(np.bincount(owners, minlength=len(scored)), 1))[owners]
    streams = [
        fit_platt(frames[:, n], fake[owners] & inside, version=version, weights=each) for n in range(3)
    ]
    abstention = fit_abstention(face.probability(logits), label, members, false_alarms=false_alarms)
    changes = {
        "calibration": face,
        "frame_calibration": streams[0],
        "rgb_calibration": streams[1],
        "flow_calibration": streams[2],
        "abstention": abstention.rule,
    }
    return spec.model_copy(update=changes), abstention


def _frames(
    scored: Sequence[Scored], spans: Sequence[Sequence[Segment] | None]
) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Of all judged frames the logits, (N, 3), whether each lies in a span, and which video it is from, (N,) both."""
    rows, inside, owners = [], [], []
    for number, (one, own) in enumerate(zip(scored, spans, strict=True)):
        if one.curve is not None:
            judged = one.curve.judged
            rows.append(one.curve.logits[judged])
            inside.append(manipulated(own, one.curve.times[judged].mean(1)))
            owners.append(np.full(int(judged.sum()), number, np.intp))
    return np.concatenate(rows), np.concatenate(inside), np.concatenate(owners)


def command(
    model: Annotated[Path, typer.Argument(help="A model file; its calibration is replaced.", exists=True)],
    data: Annotated[
        Path,
        typer.Argument(
            help="A manifest CSV, a folder with real/ and fake/, or a published data set.", exists=True
        ),
    ],
    version: Annotated[str, typer.Option(help="What the fit is called in verdicts.")] = "1",
    false_alarms: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Share of real videos that may be called manipulated.")
    ] = FALSE_ALARMS,
    scores: Annotated[
        Path | None,
        typer.Option(help="A folder where scores are kept, such as `scores` in one of dmcl evaluate."),
    ] = None,
) -> None:
    """Fit probabilities and thresholds to validation videos, and store them in the model file.

    Only the `val` split is looked at. The thresholds are conformal: of real videos of people who are like those of
    the split but not among them, at most the stated share is called manipulated. With few people only a larger share
    can be promised; what is promised is printed.
    """
    from training.export import respecify

    try:
        clips = read_manifest(data, split="val")
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error), param_hint="DATA") from error
    with Detector(model) as detector:
        scorer = Scorer(detector, scores)
        scored = [scorer.score(clip.path) for clip in track(clips, "scoring", console=Console(stderr=True))]
        try:
            spec, promise = calibrated(
                detector.spec,
                scored,
                np.array([clip.fake for clip in clips], bool),
                independent_groups(clips),
                version=version,
                false_alarms=false_alarms,
                spans=[clip.spans for clip in clips],
            )
        except ValueError as error:
            raise typer.BadParameter(f"{data}: {error}", param_hint="DATA") from error
    respecify(model, spec)
    rule = promise.rule
    typer.echo(
        f"{model}: slope {spec.calibration.slope:.3f}\n"
        f"manipulated from {rule.manipulated_above:.4f}: at most {promise.false_alarms:.1%} of real videos, "
        f"promised from {promise.real_groups} independent groups\n"
        f"not manipulated below {rule.not_manipulated_below:.4f}: at most {promise.misses:.1%} of fakes, "
        f"promised from {promise.fake_groups} independent groups"
    )
    if promise.false_alarms > false_alarms:
        needed = math.ceil(1 / false_alarms) - 1
        typer.echo(f"{false_alarms:.1%} cannot be promised from so few groups; it takes {needed}.", err=True)
