"""Does a model read the forgery, or the file? How much of label and score the file's properties alone explain.

Real and fake videos of a collection often come from different places, and then size, rate and codec tell them apart
before any picture is seen. Three questions, each answered with an interval over people and sources:

1. How well do file properties alone tell the label? (Out of fold, by gradient boosting; folds keep people together.)
2. How well does the score tell the label among files that look alike? (Within strata of the answer to 1, after the part
   of the score that properties predict is taken away, and on pairs of a fake and the real it was made from.)
3. How much of the score do properties explain among real videos alone, and among fakes alone? (R2, out of fold.)
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from dmcl_sdk import Detector
from training.data.manifest import Split, read_manifest
from training.figures import Bootstrap, Labelled, Report
from training.file_properties import NUMBERS, FileProperties, as_table, file_properties
from training.metrics import auc, stratified_auc
from training.scores import Scorer
from training.tables import figure

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
FOLDS = 5
STRATA = 5
_BOOSTING = {"n_estimators": 60, "max_depth": 2, "subsample": 0.7, "random_state": 0}


def audit(
    data: Labelled, properties: list[FileProperties], *, seed: int = 0, resamples: int = 1000
) -> Report:
    """Answer the three questions for a scored set.

    Args:
        data: N videos.
        properties: N, of their files.
        seed: of folds and resampling.
        resamples: of the bootstrap.

    Raises:
        ValueError: a class has fewer than two independent groups, so that nothing can be held out.
    """
    table, groups = as_table(properties), np.array(data.groups)
    for kind, name in ((False, "real"), (True, "fake")):
        if len(set(groups[data.fake == kind])) < 2:
            raise ValueError(f"an audit needs at least two independent groups of {name} videos")
    interval = Bootstrap(data.groups, seed, resamples)
    fake, scores = data.fake, data.log_odds
    told, fold = _label_from_properties(table, fake, groups, seed)
    strata = np.searchsorted(np.quantile(told, np.arange(1, STRATA) / STRATA), told, side="right")
    rest = scores - _predicted(table, scores, groups)
    report: Report = {
        "videos": {"real": int((~fake).sum()), "fake": int(fake.sum()), "groups": len(set(data.groups))},
        "auc_of_properties": interval(lambda rows: stratified_auc(fake[rows], told[rows], fold[rows])),
        "auc_of_each_property": {
            name: interval(lambda rows, column=column: _undirected(fake[rows], column[rows]))  # type: ignore[misc]
            for name, column in zip(NUMBERS, table.T, strict=False)
        },
        "auc_of_score": interval(lambda rows: auc(fake[rows], scores[rows])),
        "auc_of_score_in_strata": interval(
            lambda rows: stratified_auc(fake[rows], scores[rows], strata[rows])
        ),
        "auc_of_score_residual": interval(lambda rows: auc(fake[rows], rest[rows])),
        "auc_of_score_on_pairs": _on_pairs(data, interval),
        "r2_within_real": _explained(table[~fake], scores[~fake], groups[~fake], seed, resamples),
        "r2_within_fake": _explained(table[fake], scores[fake], groups[fake], seed, resamples),
    }
    report["conclusion"] = conclusion(report)
    return report


def conclusion(report: Report) -> list[str]:
    """What the figures say, in sentences; an interval decides, not a value."""
    leak, pairs = report["auc_of_properties"], report["auc_of_score_on_pairs"]
    # strata of a strong leak still differ inside, and the residual then tells; where it is the harder test it decides
    tests = {
        "among files that look alike": report["auc_of_score_in_strata"],
        "beyond what file properties predict": report["auc_of_score_residual"],
    }
    harder = min(tests, key=lambda where: tests[where]["low"])
    sentences = []
    if leak["low"] > 0.5:
        sentences.append(
            f"File properties alone tell real from fake in this set (AUC {figure(leak)}): the plain AUC of the score, "
            f"{figure(report['auc_of_score'])}, does not show by itself that forgeries are seen."
        )
    else:
        sentences.append(
            f"File properties alone do not tell real from fake reliably in this set (AUC {figure(leak)})."
        )
    for value, where in ((tests[harder], harder), (pairs, "on pairs of a fake and its real")):
        if math.isnan(value["value"]):
            sentences.append(f"How the score does {where} cannot be said: there are none.")
        elif value["low"] > 0.5:
            sentences.append(f"The score tells real from fake {where} (AUC {figure(value)}).")
        else:
            sentences.append(
                f"It is not shown that the score tells real from fake {where} (AUC {figure(value)})."
            )
    for kind in ("real", "fake"):
        value = report[f"r2_within_{kind}"]
        if math.isnan(value["value"]):
            continue
        if value["low"] > 0:
            sentences.append(
                f"Among {kind} videos alone, file properties explain part of the score (R2 {figure(value)})."
            )
        else:
            sentences.append(
                f"Among {kind} videos alone, file properties are not shown to explain the score (R2 {figure(value)})."
            )
    return sentences


def as_markdown(report: Report) -> str:
    """The audit as tables and its conclusion."""
    names = {
        "auc_of_properties": "AUC of file properties alone",
        "auc_of_score": "AUC of the score",
        "auc_of_score_in_strata": "AUC of the score among files that look alike",
        "auc_of_score_residual": "AUC of the score without what properties predict",
        "auc_of_score_on_pairs": "AUC of the score on pairs",
        "r2_within_real": "R2 of the score by properties, real videos",
        "r2_within_fake": "R2 of the score by properties, fakes",
    }
    counts = report["videos"]
    single = sorted(report["auc_of_each_property"].items(), key=lambda one: -one[1]["value"])
    lines = [
        f"{counts['real']} real and {counts['fake']} fake videos in {counts['groups']} independent groups.",
        "",
        "| figure | value (95 % interval) |",
        "|---|---|",
        *(f"| {name} | {figure(report[key])} |" for key, name in names.items()),
        "",
        "| one property alone | AUC, in its better direction |",
        "|---|---|",
        *(f"| {name} | {figure(value)} |" for name, value in single),
        "",
        *(f"* {sentence}" for sentence in report["conclusion"]),
    ]
    return "\n".join(lines) + "\n"


def _label_from_properties(
    table: Floats, fake: npt.NDArray[np.bool_], groups: Rows, seed: int
) -> tuple[Floats, Rows]:
    """Probability of the label by classifiers that did not see the video or its people, and the fold; (N,) both."""
    folds = StratifiedGroupKFold(_fold_count(groups, fake), shuffle=True, random_state=seed)
    told, fold = np.full(len(fake), 0.5), np.zeros(len(fake), np.intp)
    for number, (fit, test) in enumerate(folds.split(table, fake, groups)):
        fold[test] = number
        if len(set(fake[fit].tolist())) == 2:
            weight = np.where(fake[fit], 1 / fake[fit].mean(), 1 / (~fake[fit]).mean())
            model = GradientBoostingClassifier(**_BOOSTING).fit(table[fit], fake[fit], weight)
            told[test] = model.predict_proba(table[test])[:, 1]
    return told, fold


def _predicted(table: Floats, scores: Floats, groups: Rows) -> Floats:
    """The score as properties predict it, by models that did not see the video or its people; (N,)."""
    predicted = np.full(len(scores), scores.mean())
    for fit, test in GroupKFold(min(FOLDS, len(set(groups.tolist())))).split(table, scores, groups):
        predicted[test] = (
            GradientBoostingRegressor(**_BOOSTING).fit(table[fit], scores[fit]).predict(table[test])
        )
    return predicted


def _explained(table: Floats, scores: Floats, groups: Rows, seed: int, resamples: int) -> Report:
    """Out-of-fold R2, against the mean of all; under 0 where properties predict worse than that mean."""
    if len(scores) < 2 * FOLDS:
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    missed = (scores - _predicted(table, scores, groups)) ** 2

    def r2(rows: Rows) -> float:
        spread = float(np.var(scores[rows]))
        return 1 - float(missed[rows].mean()) / spread if spread > 0 else math.nan

    return Bootstrap(groups.tolist(), seed, resamples)(r2)


def _on_pairs(data: Labelled, interval: Bootstrap) -> Report:
    rows = np.unique(np.array([row for pair in data.pairs for row in pair], np.intp))
    return interval(lambda drawn: auc(data.fake[drawn], data.log_odds[drawn]), rows)


def _undirected(fake: npt.NDArray[np.bool_], values: Floats) -> float:
    area = auc(fake, values)
    return max(area, 1 - area)


def _fold_count(groups: Rows, fake: npt.NDArray[np.bool_]) -> int:
    """As many folds as the rarer class has groups, at most `FOLDS`."""
    return max(2, min(FOLDS, *(len(set(groups[fake == kind].tolist())) for kind in (False, True))))


def command(
    model: Annotated[Path, typer.Argument(help="A model file.", exists=True, dir_okay=False)],
    data: Annotated[
        Path,
        typer.Argument(
            help="A manifest CSV, a folder with real/ and fake/, or a published data set.", exists=True
        ),
    ],
    split: Annotated[str, typer.Option(help="Which split: train, val or test.")] = "val",
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for audit.json and audit.md; may be that of `dmcl evaluate`, whose scores it takes."
        ),
    ] = None,
) -> None:
    """Ask whether a model reads forgeries or files: what size, rate, codec and key frames alone explain.

    Prints how well file properties alone tell the label, how well the score does among files that look alike and on
    pairs, and a conclusion.
    """
    if split not in {"train", "val", "test"}:
        raise typer.BadParameter(f"a split is train, val or test, got {split}", param_hint="--split")
    try:
        clips = read_manifest(data, split=cast("Split", split))
        with Detector(model) as detector:
            scorer = Scorer(detector, None if out is None else out / "scores")
            bar = track(clips, "scoring", console=Console(stderr=True), transient=True)
            scored = [scorer.score(clip.path) for clip in bar]
            labelled = Labelled.of(clips, scored, detector.spec)
        properties = [
            file_properties(clip.path, one.face_px) for clip, one in zip(clips, scored, strict=True)
        ]
        report = audit(labelled, properties)
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(f"{data}: {error}", param_hint="DATA") from error
    text = as_markdown(report)
    if out is not None:
        rows: list[dict[str, Any]] = [
            {"file": clip.path.name, "fake": clip.fake, **asdict(one)}
            for clip, one in zip(clips, properties, strict=True)
        ]
        (out / "audit.json").write_text(json.dumps(report | {"files": rows}, indent=2) + "\n")
        (out / "audit.md").write_text(text)
    typer.echo(text)
