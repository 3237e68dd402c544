"""The figures of an evaluation as pictures (SVG): drawn from the report alone, without a display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.figures import Labelled, Report
from training.grouping import shares_of_classes
from training.metrics import reliability, roc_curve
from training.tables import figure

_SIZE = (5.0, 4.0)
_BINS = 8


def plot_report(
    report: Report, data: Labelled, folder: Path, *, probability: npt.NDArray[np.float64] | None = None
) -> list[Path]:
    """Draw what the report holds: ROC, reliability, generators, AP over IoU, robustness.

    Args:
        report: of `evaluate`.
        data: the videos of the ROC.
        folder: where the files go; it is there.
        probability: (N,) for the reliability diagram; without, there is none.

    Returns:
        The files written.
    """
    files = [_drawn(folder / "roc.svg", lambda axes: _roc(axes, report, data))]
    if probability is not None:
        files.append(_drawn(folder / "reliability.svg", lambda axes: _reliability(axes, data, probability)))
    if report["generators"]:
        files.append(_drawn(folder / "generators.svg", lambda axes: _generators(axes, report)))
    if any(report[key].get("ap_over_iou") for key in ("spans", "spliced") if key in report):
        files.append(_drawn(folder / "spans.svg", lambda axes: _spans(axes, report)))
    if "robustness" in report:
        files.append(_drawn(folder / "robustness.svg", lambda axes: _robustness(axes, report["robustness"])))
    return files


def _drawn(file: Path, draw: Callable[[Axes], None]) -> Path:
    drawing = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(drawing)
    draw(drawing.subplots())
    # no date and no random identifiers: the same report, the same file
    with rc_context({"svg.hashsalt": "dmcl", "svg.fonttype": "none"}):
        drawing.savefig(file, metadata={"Date": None})
    return file


def _roc(axes: Axes, report: Report, data: Labelled) -> None:
    for name, scores in (
        ("both streams", data.log_odds),
        ("RGB alone", data.streams[:, 0]),
        ("flow alone", data.streams[:, 1]),
    ):
        roc = roc_curve(data.fake, scores)
        key = {"both streams": "auc", "RGB alone": "auc_rgb", "flow alone": "auc_flow"}[name]
        label = f"{name}: AUC {figure(report[key])}"
        axes.plot(roc.false_positive_rate, roc.true_positive_rate, label=label, drawstyle="default")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(loc="lower right", fontsize="small")


def _reliability(axes: Axes, data: Labelled, probability: npt.NDArray[np.float64]) -> None:
    weights = shares_of_classes(data.groups, data.fake)
    diagram = reliability(data.fake, probability, bins=_BINS, weights=weights)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.plot(diagram.probability, diagram.share, marker="o")
    axes.set(
        xlabel="stated probability",
        ylabel="share manipulated, people and classes alike",
        xlim=(0, 1),
        ylim=(-0.02, 1.02),
    )


def _generators(axes: Axes, report: Report) -> None:
    names = list(report["generators"])
    figures = [report["generators"][name]["auc"] for name in names]
    _bars(axes, [f"{name} ({report['generators'][name]['fakes']})" for name in names], figures)
    mean = report["auc_mean_over_generators"]["value"]
    axes.axvline(mean, color="0.3", linewidth=0.8, linestyle="--", label=f"mean {mean:.3f}")
    axes.axvline(0.5, color="0.7", linewidth=0.8)
    axes.set(xlabel="AUC against all real videos", xlim=(0, 1.02))
    axes.legend(loc="lower left", fontsize="small")


def _bars(axes: Axes, names: list[str], figures: list[Report]) -> None:
    values = np.array([one["value"] for one in figures])
    reach = np.array(
        [[one["value"] - one["low"] for one in figures], [one["high"] - one["value"] for one in figures]]
    )
    places = np.arange(len(names))[::-1]
    axes.barh(places, values, xerr=np.clip(np.nan_to_num(reach), 0, None), color="0.75", capsize=2)
    axes.set_yticks(places, names, fontsize="small")


def _spans(axes: Axes, report: Report) -> None:
    for key, name in (("spans", "labelled spans"), ("spliced", "spliced spans")):
        curve = report.get(key, {}).get("ap_over_iou")
        if curve:
            axes.plot([float(iou) for iou in curve], list(curve.values()), marker=".", label=name)
    axes.set(xlabel="temporal IoU", ylabel="average precision", xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(fontsize="small")


def _robustness(axes: Axes, report: Report) -> None:
    for kind, levels in report["kinds"].items():
        values = [report["clean"]["value"], *(one["auc"]["value"] for one in levels)]
        axes.plot([0, *(one["level"] for one in levels)], values, marker=".", label=kind)
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.set(xlabel="level (0: as it is)", ylabel="AUC", ylim=(0, 1.005))
    axes.legend(fontsize="small", ncols=2, loc="lower left")
