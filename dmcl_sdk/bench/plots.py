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
    _line(axes, [(point.at, point.cpu_s) for point in series.points])
    axes.set(xlabel="duration [s]", ylabel="CPU time [s]")


def _peak(axes: Axes, series: Series, label: str) -> None:
    _line(axes, [(point.at, point.peak_mib) for point in series.points if point.peak_mib is not None])
    axes.set(xlabel=label, ylabel="most memory [MiB]")


def _cost(axes: Axes, series: Sequence[Series], label: str) -> None:
    for one in series:
        _line(axes, [(point.at, point.cpu_s / point.video_s) for point in one.points], one.name)
    axes.set(xlabel=label, ylabel="CPU time [s a video second]")
    if len(series) > 1:
        axes.legend(fontsize="small")


def _line(axes: Axes, points: Sequence[tuple[float, float]], name: str = "") -> None:
    axes.plot([at for at, _ in points], [value for _, value in points], "o-", label=name)
    axes.set(xlim=(0, None), ylim=(0, 1.1 * float(axes.dataLim.y1)))
