"""How good a model file is, in the field's terms: whole videos, pairs, generators, and short spliced spans.

Whole videos are scored as they are served. Probabilities are judged by cross-fitting: calibrated on the people of one
half of the set, measured on the other, and the other way round, because the calibration that ships was fitted to
validation videos too. Spliced spans are never fitted to.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from dmcl_sdk import Detector
from dmcl_sdk.assembly import pool
from dmcl_sdk.localization import propose_spans
from dmcl_sdk.segment import Segment
from training.calibrate import fit_abstention, fit_platt
from training.data.manifest import Clip, read_manifest
from training.metrics import (
    Estimate,
    auc,
    average_precision_spans,
    average_recall,
    bootstrap_interval,
    eer,
    expected_calibration_error,
    pair_auc,
    tpr_at_fpr,
)
from training.scores import Scored, score_videos
from training.splices import Splice, make_splices

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
CHANCE_DRAWS = 20
_console = Console(stderr=True)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A scored set of whole videos; videos without a judged face are left out, and counted.

    Attributes:
        clips: N.
        fake: (N,).
        logits: (N,).
        groups: (N,) what is not independent: the source of a pair, else the person, else the file.
        streams: RGB and flow logit of each video, (N, 2).
        unjudged: how many were left out.
    """

    clips: list[Clip]
    fake: Bools
    logits: Floats
    groups: list[str]
    streams: Floats
    unjudged: int


def evaluate(model: Path, data: Path, *, split: str = "val", seed: int = 0) -> dict[str, Any]:
    """Every figure of one split, with 95 % intervals bootstrapped over people and sources."""
    clips = [clip for clip in read_manifest(data) if clip.split == split]
    with Detector(model) as detector, tempfile.TemporaryDirectory() as folder:
        found = score_videos(detector, (clip.path for clip in clips))
        scored = list(track(found, "whole videos", total=len(clips), console=_console))
        splices = list(make_splices(clips, Path(folder), seed=seed))
        curves = score_videos(detector, (splice.path for splice in splices))
        spliced = list(track(curves, "spliced spans", total=len(splices), console=_console))
        report = {"model": asdict_model(detector), "split": split, "seed": seed}
        labelled = _labelled(clips, scored, detector.spec.pooling_sharpness)
        return report | _videos(labelled, seed) | {"spans": _spans(detector, splices, spliced, seed)}


def asdict_model(detector: Detector) -> dict[str, str]:
    """Which model it was."""
    return {"name": detector.model.name, "version": detector.model.version, "sha256": detector.model.sha256}


def _labelled(clips: list[Clip], scored: list[Scored], sharpness: float) -> Labelled:
    kept = [(clip, one) for clip, one in zip(clips, scored, strict=True) if one.logit is not None]
    streams = []
    for _, one in kept:
        assert one.curve is not None  # noqa: S101 - a logit comes with its curve
        known = ~np.isnan(one.curve.logits[:, 0])
        times = one.curve.times[known, 0]
        streams.append([pool(one.curve.logits[known, n], times, sharpness) for n in (1, 2)])
    return Labelled(
        clips=[clip for clip, _ in kept],
        fake=np.array([clip.fake for clip, _ in kept]),
        logits=np.array([one.logit for _, one in kept], np.float64),
        groups=[_group(clip) for clip, _ in kept],
        streams=np.array(streams, np.float64).reshape(-1, 2),
        unjudged=len(clips) - len(kept),
    )


def _group(clip: Clip) -> str:
    if clip.pair is not None:
        return clip.pair.name
    return clip.identity if clip.identity and not clip.fake else clip.path.name


def _videos(data: Labelled, seed: int) -> dict[str, Any]:
    def interval(rows: npt.NDArray[np.intp], scores: Floats) -> dict[str, float]:
        groups = [data.groups[row] for row in rows]
        estimate = bootstrap_interval(
            lambda drawn: auc(data.fake[rows[drawn]], scores[rows[drawn]]),
            groups,
            np.random.default_rng(seed),
        )
        return _figure(estimate)

    everything = np.arange(len(data.clips))
    paired, pairs = _pairs(data)
    report: dict[str, Any] = {
        "videos": {"real": int((~data.fake).sum()), "fake": int(data.fake.sum()), "unjudged": data.unjudged},
        "auc": interval(everything, data.logits),
        "auc_rgb": interval(everything, data.streams[:, 0]),
        "auc_flow": interval(everything, data.streams[:, 1]),
        "eer": eer(data.fake, data.logits),
        "tpr_at_5_fpr": tpr_at_fpr(data.fake, data.logits, 0.05),
        "cross_fitted": _cross_fitted(data, seed),
        "generators": {name: {"fakes": count, "auc": value} for name, count, value in _generators(data)},
    }
    if pairs:
        reals, fakes = (np.array(side) for side in zip(*pairs, strict=True))
        estimate = bootstrap_interval(
            lambda drawn: pair_auc(data.logits[reals[drawn]], data.logits[fakes[drawn]]),
            [data.groups[fake] for fake in fakes],
            np.random.default_rng(seed),
        )
        report["pairs"] = {
            "count": len(pairs),
            "sources": len(set(reals.tolist())),
            "auc": interval(paired, data.logits),
            "auc_rgb": interval(paired, data.streams[:, 0]),
            "auc_flow": interval(paired, data.streams[:, 1]),
            "ranked_right": _figure(estimate),
        }
    return report


def _pairs(data: Labelled) -> tuple[npt.NDArray[np.intp], list[tuple[int, int]]]:
    """Rows of videos that are in a pair, and the (real, fake) rows."""
    row = {clip.path: number for number, clip in enumerate(data.clips)}
    pairs = [
        (row[clip.pair], number)
        for number, clip in enumerate(data.clips)
        if clip.pair is not None and clip.pair in row
    ]
    return np.array(sorted({one for pair in pairs for one in pair}), np.intp), pairs


def _generators(data: Labelled) -> list[tuple[str, int, float]]:
    """Each generator's fakes against all real videos."""
    found = []
    for name in sorted({clip.generator for clip in data.clips if clip.fake}):
        rows = np.array([not clip.fake or clip.generator == name for clip in data.clips])
        found.append(
            (name or "unknown", int((rows & data.fake).sum()), auc(data.fake[rows], data.logits[rows]))
        )
    return found


def _cross_fitted(data: Labelled, seed: int) -> dict[str, float]:
    """Calibration error and error rates of probabilities fitted to other people than they are measured on."""
    names = sorted(set(data.groups))
    half = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2].tolist())
    side = np.array([group in half for group in data.groups])
    probability, flagged = np.zeros(len(side)), np.zeros(len(side), bool)
    for fit, test in ((side, ~side), (~side, side)):
        try:
            platt = fit_platt(data.logits[fit], data.fake[fit], version="cross-fitted")
        except ValueError:
            return {}  # one half has a single class, or nothing was learned
        rule = fit_abstention(platt.probability(data.logits[fit]), data.fake[fit])
        probability[test] = platt.probability(data.logits[test])
        flagged[test] = probability[test] >= rule.manipulated_above
    return {
        "expected_calibration_error": expected_calibration_error(data.fake, probability, bins=8),
        "false_positive_rate": float(flagged[~data.fake].mean()),
        "true_positive_rate": float(flagged[data.fake].mean()),
    }


def _spans(detector: Detector, splices: list[Splice], scored: list[Scored], seed: int) -> dict[str, Any]:
    """Average precision and recall of proposals on spliced videos, beside those of the same proposals misplaced."""
    if not splices:
        return {"videos": 0}
    found = [_proposals(detector, one) for one in scored]
    true = [[splice.truth] for splice in splices]
    rng = np.random.default_rng(seed)
    ends = [one.curve.times[-1, 1] if one.curve is not None else 1.0 for one in scored]
    chance = [
        average_precision_spans(
            [_misplaced(spans, end, rng) for spans, end in zip(found, ends, strict=True)], true, 0.5
        )
        for _ in range(CHANCE_DRAWS)
    ]
    figures: dict[str, Any] = {"videos": len(splices), "sources": len({splice.source for splice in splices})}
    for iou in (0.5, 0.75, 0.95):
        estimate = bootstrap_interval(
            lambda rows, iou=iou: average_precision_spans(
                [found[r] for r in rows], [true[r] for r in rows], iou
            ),  # type: ignore[misc]
            [splice.source for splice in splices],
            np.random.default_rng(seed),
            resamples=400,
        )
        figures[f"ap@{iou}"] = _figure(estimate)
    figures |= {f"ar@{count}": average_recall(found, true, count) for count in (1, 5, 10, 20)}
    figures["ap@0.5_at_chance"] = {"value": float(np.mean(chance)), "highest_of_20": float(np.max(chance))}
    return figures


def _proposals(detector: Detector, one: Scored) -> list[Segment]:
    if one.curve is None:
        return []
    probability = detector.spec.frame_calibration.probability(one.curve.logits[:, 0])
    return propose_spans(*one.curve.over_time(probability))


def _misplaced(spans: list[Segment], end_s: float, rng: np.random.Generator) -> list[Segment]:
    """The same spans, each somewhere else in its video."""
    moved = []
    for span in spans:
        length = min(span.duration_s, end_s)
        start = float(rng.uniform(0, max(end_s - length, 1e-6)))
        moved.append(Segment(start, start + length, span.score))
    return moved


def _figure(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def as_markdown(report: dict[str, Any]) -> str:
    """The report as tables for a model card."""

    def cell(figure: Any) -> str:  # noqa: ANN401 - a number, or one with an interval
        if isinstance(figure, dict) and "low" in figure:
            return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
        return f"{figure:.3f}" if isinstance(figure, float) else str(figure)

    counts, spans = report["videos"], report["spans"]
    rows = [
        (
            "videos: real / fake / no face judged",
            f"{counts['real']} / {counts['fake']} / {counts['unjudged']}",
        )
    ]
    rows += [(name, cell(report[key])) for key, name in _VIDEO_ROWS.items()]
    pairs = report.get("pairs", {})
    rows += [(f"pairs: {name}", cell(pairs[key])) for key, name in _PAIR_ROWS.items() if pairs]
    rows += [
        (f"cross-fitted {key.replace('_', ' ')}", cell(value))
        for key, value in report["cross_fitted"].items()
    ]
    rows += [
        (f"AUC, {name} ({one['fakes']})", cell(one["auc"])) for name, one in report["generators"].items()
    ]
    rows += [
        (f"spliced spans: {key}", cell(value)) for key, value in spans.items() if not key.endswith("chance")
    ]
    if "ap@0.5_at_chance" in spans:
        chance = spans["ap@0.5_at_chance"]
        rows.append(
            (
                "spliced spans: ap@0.5, misplaced at random",
                f"{chance['value']:.3f}, at most {chance['highest_of_20']:.3f}",
            )
        )
    lines = [
        "| figure | value (95 % interval) |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines) + "\n"


_VIDEO_ROWS = {
    "auc": "AUC, all videos",
    "auc_rgb": "AUC, RGB stream alone",
    "auc_flow": "AUC, flow stream alone",
    "eer": "EER",
    "tpr_at_5_fpr": "TPR at 5 % FPR",
}
_PAIR_ROWS = {
    "count": "fakes",
    "sources": "real sources",
    "auc": "AUC",
    "auc_rgb": "AUC, RGB stream alone",
    "auc_flow": "AUC, flow stream alone",
    "ranked_right": "ranked right",
}


def command(
    model: Annotated[Path, typer.Argument(help="A model file.", exists=True)],
    data: Annotated[
        Path, typer.Argument(help="A manifest CSV, or a folder with real/ and fake/.", exists=True)
    ],
    split: Annotated[str, typer.Option(help="Which split: val or train.")] = "val",
    out: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
) -> None:
    """Print how good a model is on labelled videos, and on short spans spliced into real ones."""
    report = evaluate(model, data, split=split)
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n")
    typer.echo(as_markdown(report))
