"""How good a model file is: whole videos, pairs, generators, short spans, and what perturbations leave of it.

Whole videos are scored as they are served: the frames and faces count that a verdict judges.
Probabilities are also judged by cross-fitting: calibrated on the people of one half of the set, measured on the other,
and the other way round, because the calibration that ships was fitted to validation videos. Spliced spans are never
fitted to.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import typer
from rich.console import Console
from rich.progress import track

from dmcl_sdk import Detector
from training.data.manifest import Clip, Split, read_manifest, require_generators
from training.figures import COUNTED, Labelled, Report, cross_fitted, video_figures
from training.robustness import ALL_LEVELS, chosen, perturb_and_score, robustness_figures
from training.scores import Scored, Scorer
from training.span_figures import COUNTED as SPANS_COUNTED
from training.span_figures import Localised, remembered_splices, span_figures
from training.tables import as_markdown

T = TypeVar("T")
_console = Console(stderr=True)


def evaluate(
    model: Path,
    data: Path,
    *,
    split: Split = "val",
    unseen: Sequence[str] = (),
    allow_missing: bool = False,
    out: Path | None = None,
    robustness: bool = False,
    levels: Sequence[int] = ALL_LEVELS,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Report:
    """Every figure of one split, with 95 % intervals bootstrapped over people and sources.

    Args:
        model: a model file.
        data: what `read_manifest` reads.
        split: which part of it.
        unseen: generators that the model was trained without: only their fakes count, but those of every split.
        allow_missing: go on with the files that are there.
        out: a folder for report.json, report.md and the plots; scores and spliced videos are kept there, so that a
            second run is quick and one that was cut off goes on.
        robustness: also score every video after seven perturbations at each of the levels.
        levels: of 1..5.
        limit: at most so many real videos and so many fakes in all that.
        seed: of splices, choices and resampling.
        resamples: of the bootstrap; of spans, which take longer, two fifths of it.

    Raises:
        ValueError: the data cannot be read, or the split lacks a class.
    """
    clips = read_manifest(data, split=split, allow_missing=allow_missing)
    if unseen:
        clips = [clip for clip in clips if not clip.fake] + _fakes_of(
            unseen, data, allow_missing=allow_missing
        )
    clips = chosen(clips, limit, seed=seed)
    for fake in (False, True):
        if not any(clip.fake == fake for clip in clips):
            raise ValueError(f"{data}: the split {split} has no {'fake' if fake else 'real'} videos")
    with Detector(model) as detector, tempfile.TemporaryDirectory() as temporary:
        kept = temporary if out is None else out
        scorer = Scorer(detector, None if out is None else out / "scores")
        scored = [scorer.score(clip.path) for clip in _watched(clips, len(clips), "whole videos")]
        labelled = Labelled.of(clips, scored, detector.spec)
        report: Report = {
            "model": describe(detector),
            "data": {"name": data.name, "split": split, "unseen": list(unseen), "seed": seed, "limit": limit},
            "counted": [*COUNTED, *SPANS_COUNTED],
        }
        report |= video_figures(labelled, detector.spec, seed=seed, resamples=resamples)
        report |= _spans(
            scorer, labelled, scored, Path(kept) / "splices", seed=seed, resamples=2 * resamples // 5
        )
        if robustness:
            perturbed = perturb_and_score(
                scorer, clips, levels, watched=lambda jobs, count: _watched(jobs, count, "perturbed videos")
            )
            threshold = detector.spec.abstention.manipulated_above
            report["robustness"] = robustness_figures(perturbed, threshold, seed=seed, resamples=resamples)
    if out is not None:
        _write(report, labelled, out)
    return report


def _fakes_of(generators: Sequence[str], data: Path, *, allow_missing: bool) -> list[Clip]:
    fakes = [clip for clip in read_manifest(data, allow_missing=allow_missing) if clip.fake]
    require_generators(fakes, generators, where=str(data))
    return [clip for clip in fakes if clip.generator in generators]


def describe(detector: Detector) -> dict[str, str]:
    """Which model it was."""
    return {"name": detector.model.name, "version": detector.model.version, "sha256": detector.model.sha256}


def _spans(
    scorer: Scorer, data: Labelled, scored: list[Scored], folder: Path, *, seed: int, resamples: int
) -> dict[str, Report]:
    """Labelled spans beside the real videos of the set; spliced ones alone, and beside the real videos."""
    spec, sections = scorer.detector.spec, {}
    real = [row for row, clip in enumerate(data.clips) if not clip.fake]
    edited = [row for row, clip in enumerate(data.clips) if clip.spans is not None]
    if edited:
        rows = real + edited
        true = [list(data.clips[row].spans or ()) for row in rows]
        groups = [data.groups[row] for row in rows]
        found = Localised.of([scored[row] for row in rows], true, groups, spec)
        sections["spans"] = span_figures(found, seed=seed, resamples=resamples)
    splices = remembered_splices(_watched(data.clips, len(data.clips), "making splices"), folder, seed=seed)
    if splices:
        judged = [scorer.score(one.path) for one in _watched(splices, len(splices), "spliced spans")]
        sources: list[object] = [one.source for one in splices]
        truth = [[one.truth] for one in splices]
        sections["spliced"] = span_figures(
            Localised.of(judged, truth, sources, spec), seed=seed, resamples=resamples
        )
        together = Localised.of(
            judged + [scored[row] for row in real],
            truth + [[] for _ in real],
            [*sources, *(data.groups[row] for row in real)],
            spec,
        )
        sections["spliced"]["beside_real_videos"] = span_figures(together, seed=seed, resamples=resamples)[
            "ap@0.5"
        ]
    return sections


def _write(report: Report, data: Labelled, out: Path) -> None:
    from training.plots import plot_report

    out.mkdir(parents=True, exist_ok=True)
    crossed = cross_fitted(data, report["data"]["seed"])
    plots = plot_report(report, data, out, probability=crossed[0] if crossed else None)
    (out / "report.json").write_text(json.dumps(_finite(report), indent=2) + "\n")
    pictures = "".join(f"\n![{file.stem}]({file.name})\n" for file in plots)
    (out / "report.md").write_text(as_markdown(report) + pictures)


def _finite(value: Any) -> Any:  # noqa: ANN401 - any part of a report
    """NaN is no JSON: what has no answer is null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN alone differs from itself


def _watched(items: Iterable[T], count: int, title: str) -> Iterator[T]:
    """The items, with a progress bar on standard error."""
    return iter(track(items, title, total=count, console=_console, transient=True))


def command(
    model: Annotated[Path, typer.Argument(help="A model file.", exists=True, dir_okay=False)],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A manifest CSV, a folder with real/ and fake/, or a published data set.", exists=True
        ),
    ] = None,
    *,
    split: Annotated[str, typer.Option(help="Which split: train, val or test.")] = "val",
    unseen: Annotated[
        list[str] | None,
        typer.Option(
            help="A generator that the model was trained without: only such fakes count, of every split. Repeatable."
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on with the files of a data set that are there.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for report.json, report.md and plots; scores are kept there for the next run."
        ),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also perturb every video: seven ways, five levels each.")
    ] = False,
    level: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=5, help="Only this level of perturbation, 1 to 5. Repeatable; all by default."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many real videos, and so many fakes.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="A published protocol instead of DATA, such as ff++-cross.")
    ] = None,
    root: Annotated[
        list[str] | None, typer.Option(help="Where a data set of the protocol lies: name=folder. Repeatable.")
    ] = None,
) -> None:
    """Measure a model on labelled videos, and print the figures as Markdown.

    Whole videos: AUC, EER, true positive rates, calibration, per generator and on pairs of a fake and its real. Spans:
    AP and AR of labelled spans, and of short spans that are spliced into the real videos of pairs. All with
    95 % intervals.

        dmcl evaluate model.onnx data/manifest.csv --out results

        dmcl evaluate model.onnx data/manifest.csv --robustness --limit 20 --out results

        dmcl evaluate model.onnx --protocol ff++-cross --root ff++=/data/FaceForensics++ --out results
    """
    try:
        if protocol is not None:
            typer.echo(_protocol(model, protocol, root or [], out, allow_missing=allow_missing))
            return
        if data is None:
            raise typer.BadParameter("give a data set, or a --protocol with a --root for each of its sets")
        if split not in {"train", "val", "test"}:
            raise typer.BadParameter(f"a split is train, val or test, got {split}", param_hint="--split")
        report = evaluate(
            model,
            data,
            split=cast("Split", split),
            unseen=unseen or (),
            allow_missing=allow_missing,
            out=out,
            robustness=robustness,
            levels=sorted(set(level or ALL_LEVELS)),
            limit=limit,
        )
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(as_markdown(report))


def _protocol(model: Path, name: str, roots: list[str], out: Path | None, *, allow_missing: bool) -> str:
    from training.protocols import run_protocol

    named = dict(_named(root) for root in roots)
    if not named:
        raise typer.BadParameter("a protocol needs at least one --root name=folder", param_hint="--root")
    report = run_protocol(model, name, named, out, allow_missing=allow_missing)
    return report.as_markdown()


def _named(root: str) -> tuple[str, Path]:
    name, equals, folder = root.partition("=")
    if not (name and equals and folder):
        raise typer.BadParameter(f"a root is written name=folder, got {root}", param_hint="--root")
    return name, Path(folder)
