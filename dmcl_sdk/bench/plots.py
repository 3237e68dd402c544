"""How cost and memory grow, drawn (SVG) without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dmcl_sdk.bench.scale import Series

_SIZE = (9.0, 5.0)


def draw(series: Sequence[Series], file: Path) -> None:
    """Two rows: CPU time and memory with duration, faces; rows and videos at once."""
    named = {one.name: one for one in series}
    drawing = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(drawing)
    (time, faces, rows), (memory, crowd, at_once) = drawing.subplots(2, 3)
    _cpu_s(time, named["duration"])
    _peak(memory, named["duration"], "duration [s]")
    _cost(faces, {"": named["faces"]}, "faces at once")
    _peak(crowd, named["faces"], "faces at once")
    _cost(rows, {"": named["rows"]}, "rows of the picture")
    _cost(at_once, {name: named[name] for name in ("threads", "processes")}, "videos at once")
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


def _cost(axes: Axes, series: Mapping[str, Series], label: str) -> None:
    for name, one in series.items():
        costs = [point.cpu_s / point.video_s for point in one.points]
        axes.plot([point.at for point in one.points], costs, "o-", label=name)
    axes.set(xlabel=label, ylabel="CPU time a second of video [s]", xlim=(0, None), ylim=(0, None))
    if len(series) > 1:
        axes.legend(fontsize="small")
