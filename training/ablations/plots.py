"""Plots of the claims' figures, one SVG a claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.ablations.claims import AMPLITUDES_PX, HEAD_PX, KINDS, NETWORKS, Figures, cell
from training.ablations.verdicts import HALF_GAIN, mean, needed

_COLOURS = ("#1b6ca8", "#c8553d")


def save_plot(claim: int, rows: Sequence[Figures], path: Path) -> None:
    """Draw the figures of all seeds of a claim; the same figures give the same file."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    {1: _spatial_cues, 2: _head_motion, 3: _spans}[claim](figure, rows)
    with mpl.rc_context({"svg.hashsalt": "claims"}):
        figure.savefig(path, metadata={"Date": None})


def _spatial_cues(figure: Figure, rows: Sequence[Figures]) -> None:
    axes = figure.subplots(1, 2, sharey=True)
    titles = {"decorrelated": "the tint says nothing", "spatial only": "the tint is all there is"}
    networks = ("without MSMR", "with MSMR")
    for axis, (test, title) in zip(axes, titles.items(), strict=True):
        for row in rows:
            values = [row[name][test] for name in networks]
            axis.plot(networks, values, "o-", color="0.7", lw=1, ms=4)
        axis.plot(
            networks, [mean(rows, name, test) for name in networks], "s-", color=_COLOURS[0], label="mean"
        )
        axis.axhline(0.5, color="0.85", zorder=0)
        _label(axis, title, "", "AUC")
        axis.margins(x=0.3)
    axes[0].legend(frameon=False)


def _head_motion(figure: Figure, rows: Sequence[Figures]) -> None:
    networks = tuple(rows[0])
    axes = figure.subplots(1, 3)
    for axis, name in zip(axes, networks, strict=False):
        for number, head in enumerate(HEAD_PX):
            values = [mean(rows, name, cell(head, amplitude)) for amplitude in AMPLITUDES_PX]
            axis.plot(
                AMPLITUDES_PX,
                values,
                "o-",
                ms=4,
                color=str(0.7 - 0.7 * number / len(HEAD_PX)),
                label=f"head {head:g} px",
            )
        axis.axhline(HALF_GAIN, color=_COLOURS[1], lw=1, ls=":")
        axis.set(
            xscale="log",
            xticks=AMPLITUDES_PX,
            xticklabels=[f"{a:g}" for a in AMPLITUDES_PX],
            ylim=(0.4, 1.02),
        )
        axis.minorticks_off()
        _label(axis, name, "jitter [px]", "AUC")
    axes[0].legend(frameon=False, fontsize=8)
    for name, colour in zip(networks, _COLOURS, strict=True):
        amplitudes = np.array(needed(rows, name))
        known = np.isfinite(amplitudes)
        axes[2].plot(np.array(HEAD_PX)[known], amplitudes[known], "o-", color=colour, label=name)
        never = np.array(HEAD_PX)[~known]
        axes[2].plot(never, np.full(len(never), AMPLITUDES_PX[-1]), "^", color=colour)
    axes[2].set_ylim(bottom=0)
    axes[2].legend(frameon=False, fontsize=8)
    _label(axes[2], "jitter needed for AUC .75", "head motion [px]", "jitter [px]")


def _spans(figure: Figure, rows: Sequence[Figures]) -> None:
    axis = figure.subplots()
    places = np.arange(len(NETWORKS))
    for number, (kind, colour) in enumerate(zip(KINDS, _COLOURS, strict=True)):
        at = places + 0.36 * number - 0.18
        axis.bar(
            at, [mean(rows, name, kind) for name in NETWORKS], 0.34, color=colour, alpha=0.6, label=f"{kind}s"
        )
        for row in rows:
            axis.plot(at, [row[name][kind] for name in NETWORKS], "o", color=colour, ms=3)
    axis.axhline(0.6, color="0.5", lw=1, ls=":")
    axis.set(xticks=places, xticklabels=list(NETWORKS), ylim=(0, 1.05))
    axis.legend(frameon=False)
    _label(
        axis,
        "transients and drifts found, by the spans that a network has",
        "",
        "recall at 5 % false positives",
    )


def _label(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set(xlabel=x, ylabel=y)
    axis.spines[["top", "right"]].set_visible(False)
