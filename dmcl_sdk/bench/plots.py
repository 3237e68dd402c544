"""How cost and memory grow, drawn (SVG) without a display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dmcl_sdk.bench.scale import Series

_SIZE = (9.0, 5.0)


def draw(series: Sequence[Series], file: Path) -> None:
    """CPU time and memory with duration and faces, CPU time with rows and videos at once; what is there of it."""
    named = {one.name: one for one in series}
    panels: list[Callable[[Axes], None]] = []
    if duration := named.get("duration"):
        panels += [partial(_cpu_s, series=duration), partial(_peak, series=duration, label="duration [s]")]
    if faces := named.get("faces"):
        panels += [partial(_cost, series=[faces], label="faces at once")]
        panels += [partial(_peak, series=faces, label="faces at once")]
    if rows := named.get("rows"):
        panels += [partial(_cost, series=[rows], label="rows of the picture")]
    if at_once := [named[name] for name in ("threads", "processes") if name in named]:
        panels += [partial(_cost, series=at_once, label="videos at once")]
    drawing = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(drawing)
    for number, panel in enumerate(panels, 1):
        panel(drawing.add_subplot(2, max(1, -(-len(panels) // 2)), number))
    # no date and no random identifiers: the same figures, the same file
    with rc_context({"svg.hashsalt": "dmcl", "svg.fonttype": "none"}):
        drawing.savefig(file, metadata={"Date": None})


def _cpu_s(axes: Axes, series: Series) -> None:
    axes.plot([point.at for point in series.points], [point.cpu_s for point in series.points], "o-")
    axes.set(xlabel="duration [s]", ylabel="CPU time [s]", xlim=(0, None), ylim=(0, None))


def _peak(axes: Axes, series: Series, label: str) -> None:
    told = [(point.at, point.peak_mib) for point in series.points if point.peak_mib is not None]
    axes.plot([at for at, _ in told], [peak for _, peak in told], "o-")
    axes.set(xlabel=label, ylabel="most memory [MiB]", xlim=(0, None), ylim=(0, None))


def _cost(axes: Axes, series: Sequence[Series], label: str) -> None:
    for one in series:
        costs = [point.cpu_s / point.video_s for point in one.points]
        axes.plot([point.at for point in one.points], costs, "o-", label=one.name)
    axes.set(xlabel=label, ylabel="CPU time a second of video [s]", xlim=(0, None), ylim=(0, None))
    if len(series) > 1:
        axes.legend(fontsize="small")
