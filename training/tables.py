"""The report of an evaluation as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from training.figures import Report

_VIDEOS = {
    "auc": "AUC, all videos",
    "auc_judged_only": "AUC, videos with a judged face",
    "auc_by_person": "AUC, every person weighing the same",
    "auc_mean_over_generators": "AUC, mean over generators",
    "auc_rgb": "AUC, RGB stream alone",
    "auc_flow": "AUC, flow stream alone",
    "eer": "EER",
    "tpr_at_1_fpr": "TPR at 1 % FPR",
    "tpr_at_5_fpr": "TPR at 5 % FPR",
}
_PAIRS = {
    "count": "pairs: fakes",
    "sources": "pairs: real sources",
    "auc": "pairs: AUC",
    "auc_rgb": "pairs: AUC, RGB stream alone",
    "auc_flow": "pairs: AUC, flow stream alone",
    "ranked_right": "pairs: ranked right",
}
_OPERATING = {
    "threshold": "operating threshold",
    "accuracy": "accuracy at the operating threshold",
    "false_positive_rate": "false positive rate there",
    "true_positive_rate": "true positive rate there",
    "abstained": "share without a label",
    "expected_calibration_error": "expected calibration error, people and classes alike",
    "calibration_error_by_chance": "what it would be if every probability were true",
}
_SPANS = {
    "videos": "videos",
    "spans": "true spans",
    "ap@0.5": "AP@.5",
    "beside_real_videos": "AP@.5 beside the real videos",
    "ap@0.75": "AP@.75",
    "ap@0.95": "AP@.95",
    "ar@1": "AR@1",
    "ar@5": "AR@5",
    "ar@10": "AR@10",
    "ar@20": "AR@20",
    "boundary_error_ms": "boundary error in ms",
    "shown_recall@0.5": "as shown: recall at IoU .5",
    "shown_precision@0.5": "as shown: precision at IoU .5",
    "shown": "as shown: spans a video",
}


def as_markdown(report: Report) -> str:
    """The tables of a report, and how things were counted."""
    counts, model, data = report["videos"], report["model"], report["data"]
    head = (
        f"Model {model['name']} {model['version']} (sha256 {model['sha256'][:12]}), split `{data['split']}` of "
        f"{data['name']}: {counts['real']} real and {counts['fake']} fake videos in {counts['groups']} independent "
        f"groups, of them {counts['not_judged']} without a judged face and {counts['unreadable']} unreadable."
    )
    lines = [
        head,
        "",
        *_table(
            ["whole videos", "value (95 % interval)"], _rows(report, _VIDEOS) + _rows(report["pairs"], _PAIRS)
        ),
        *_table(
            ["probabilities", "cross-fitted", "as the model is calibrated"],
            [
                [
                    name,
                    figure(report["cross_fitted"].get(key, "")),
                    figure(report["as_calibrated"].get(key, "")),
                ]
                for key, name in _OPERATING.items()
            ],
        ),
    ]
    if data["split"] == "val":
        lines += ["A model is calibrated on its validation videos: read the cross-fitted column there.", ""]
    lines += _table(
        ["generator", "fakes", "AUC against all real videos", "pairs", "AUC on pairs"],
        [
            [name, str(one["fakes"]), figure(one["auc"]), str(one["pairs"]), figure(one["auc_pairs"])]
            for name, one in report["generators"].items()
        ],
    )
    for key, title in (("spans", "labelled spans"), ("spliced", "spliced spans")):
        if key in report:
            lines += _span_table(report[key], title)
    if "robustness" in report:
        lines += _robustness(report["robustness"])
    return "\n".join([*lines, *(f"* {sentence}" for sentence in report["counted"])]) + "\n"


def figure(value: Any) -> str:  # noqa: ANN401 - a number, or one with an interval
    """A figure as it is printed, with its interval if it has one; a dash where there is no answer."""
    if isinstance(value, dict):
        if math.isnan(value["value"]):
            return "-"
        digits = 0 if abs(value["value"]) >= 10 else 3
        middle = f"{value['value']:.{digits}f}"
        return (
            middle
            if math.isnan(value["low"])
            else f"{middle} ({value['low']:.{digits}f}-{value['high']:.{digits}f})"
        )
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def _rows(section: Report, names: dict[str, str]) -> list[list[str]]:
    return [[name, figure(section[key])] for key, name in names.items() if key in section]


def _span_table(section: Report, title: str) -> list[str]:
    rows = _rows(section, _SPANS)
    chance = section.get("ap@0.5_misplaced")
    if chance is not None:
        rows.append(
            [
                "AP@.5, the same proposals misplaced",
                f"{chance['value']:.3f}, at most {chance['highest_of_20']:.3f}",
            ]
        )
    return _table([title, "value (95 % interval)"], rows)


def _robustness(section: Report) -> list[str]:
    counts = section["videos"]
    head = (
        f"AUC after perturbation, {counts['real']} real and {counts['fake']} fake videos. As they are: "
        f"{figure(section['clean'])}; mean of all perturbed: {figure(section['mean_auc'])}. Of the real ones "
        f"{figure(section['false_positive_rate'])} reach the threshold {section['threshold']:g} as they are."
    )
    auc_rows = [
        [kind, *(figure(one["auc"]["value"]) for one in levels)] for kind, levels in section["kinds"].items()
    ]
    loss_rows = [
        [kind, *(figure(one["loss"]) for one in levels)] for kind, levels in section["kinds"].items()
    ]
    accused_rows = [
        [kind, *(figure(one["false_positive_rate"]) for one in levels)]
        for kind, levels in section["kinds"].items()
    ]
    unjudged_rows = [
        [kind, *(f"{one['not_judged']}; {figure(one['auc_judged_only']['value'])}" for one in levels)]
        for kind, levels in section["kinds"].items()
    ]
    numbers = [str(one["level"]) for one in next(iter(section["kinds"].values()))]
    return [
        head,
        "",
        *_table(["AUC at level", *numbers], auc_rows),
        *_table(["AUC lost at level", *numbers], loss_rows),
        *_table(["False positive rate at level", *numbers], accused_rows),
        *_table(["Not judged, and AUC of the others, at level", *numbers], unjudged_rows),
    ]


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines, ""] if lines else []
