"""Fit what turns logits into probabilities and labels, on validation videos alone, and store it in the model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from dmcl_sdk import Detector
from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.network import SPEC_KEY, ModelSpec
from training.data.manifest import read_manifest
from training.scores import Scored, score_videos

Floats = npt.NDArray[np.float64]
FALSE_ALARMS = 0.05
MISSES = 0.2


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


def fit_abstention(probabilities: Floats, fake: npt.NDArray[np.bool_]) -> AbstentionRule:
    """Labels that are wrong seldom: at most 5 % of real videos called manipulated, 20 % of fakes called genuine.

    The first bound is the conformal quantile of the real videos, the ceil((n + 1) (1 - .05))-th smallest, so that an
    unseen real video exceeds it with a probability of at most 5 % if it is like them.
    """
    real, found = np.sort(probabilities[~fake]), np.sort(probabilities[fake])
    rank = min(len(real), int(np.ceil((len(real) + 1) * (1 - FALSE_ALARMS))))
    above = float(np.clip(np.nextafter(real[rank - 1], 1), 0.5, 0.9999))
    below = float(np.clip(found[int(MISSES * len(found))], 0.0, min(0.5, above)))
    return AbstentionRule(manipulated_above=above, not_manipulated_below=below)


def calibrated(
    spec: ModelSpec, scored: list[Scored], fake: npt.NDArray[np.bool_], *, version: str
) -> ModelSpec:
    """The specification with everything fitted to these videos."""
    judged = np.array([one.logit is not None for one in scored])
    logits = np.array([one.logit for one in scored if one.logit is not None])
    label = fake[judged]
    face = fit_platt(logits, label, version=version)
    frames, owners = _frame_logits(scored)
    each = 1 / np.bincount(owners, minlength=len(scored))[owners]  # every video counts once
    streams = [fit_platt(frames[:, n], fake[owners], version=version, weights=each) for n in range(3)]
    return spec.model_copy(
        update={
            "calibration": face,
            "frame_calibration": streams[0],
            "rgb_calibration": streams[1],
            "flow_calibration": streams[2],
            "abstention": fit_abstention(face.probability(logits), label),
        }
    )


def _frame_logits(scored: list[Scored]) -> tuple[Floats, npt.NDArray[np.intp]]:
    """The logits of all judged frames, (N, 3), and which video each is from, (N,)."""
    rows, owners = [], []
    for number, one in enumerate(scored):
        if one.curve is not None:
            known = one.curve.logits[~np.isnan(one.curve.logits[:, 0])]
            rows.append(known)
            owners.append(np.full(len(known), number, np.intp))
    return np.concatenate(rows), np.concatenate(owners)


def store(path: Path, spec: ModelSpec) -> None:
    """Replace the specification inside a model file."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {SPEC_KEY: spec.model_dump_json()})
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString())
    partial.replace(path)


def command(
    model: Annotated[Path, typer.Argument(help="A model file; its calibration is replaced.", exists=True)],
    data: Annotated[
        Path, typer.Argument(help="A manifest CSV, or a folder with real/ and fake/.", exists=True)
    ],
    version: Annotated[str, typer.Option(help="What the fit is called in verdicts.")] = "1",
) -> None:
    """Fit probabilities and thresholds to validation videos, and store them in the model file."""
    clips = [clip for clip in read_manifest(data) if clip.split == "val"]
    with Detector(model) as detector:
        found = score_videos(detector, (clip.path for clip in clips))
        scored = list(track(found, "scoring", total=len(clips), console=Console(stderr=True)))
        spec = calibrated(detector.spec, scored, np.array([clip.fake for clip in clips]), version=version)
    store(model, spec)
    rule = spec.abstention
    typer.echo(
        f"{model}: manipulated from {rule.manipulated_above:.3f}, not manipulated below "
        f"{rule.not_manipulated_below:.3f}, slope {spec.calibration.slope:.3f}"
    )
