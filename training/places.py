"""Whether a model's heat maps are true: held against the masks of forgeries made for it, place by place.

Forgeries change faces, so any map that points at the middle of the crop looks right; a model may have learned no
more. Hence each of them changes one place alone (`training.forgeries.one_place`), and others stand beside the plain
figure. First the same for how near the crop's middle a place is; for the mean mask of all other videos, which is the
best map that never looks; and for that mask and the map together. Then *place by place*: a place is compared with
itself in other clips. A map that is always the same has .5 there. One that is the same, only stronger on some clips,
says how suspect a clip is and not where: so that it has no more, a map's level and its share of the usual map are taken
away first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from dmcl_sdk.motion import MotionEstimator
from dmcl_sdk.network import OnnxNetwork
from training.data.manifest import Split, read_manifest
from training.data.runs import Run, cache_runs, without_margin
from training.export import respecify
from training.forgeries.one_place import ONE_PLACE
from training.metrics import auc

Floats = npt.NDArray[np.float64]

STREAMS = "rgb", "flow"
FRAMES = 32
_CHANGED = 0.5  # share of a place from which on it counts as changed
_TRUST = 0.5  # a map's logits are about twice too sure: chosen on videos of training
_LEAST_SIDES = 3  # clips with and without, for a place to be compared


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One clip's truth and what was said of it.

    Attributes:
        video: number of the real video.
        kind: the forgery; "real" for none.
        changed: (P, P) bool.
        maps: mean logits of places over the changed frames, (P, P), one a stream.
    """

    video: int
    kind: str
    changed: npt.NDArray[np.bool_]
    maps: dict[str, Floats]


def samples_of(network: OnnxNetwork, runs: Sequence[Run], *, seed: int) -> Iterator[Sample]:
    """One video's first stretch, real and forged in one place after another.

    Raises:
        ValueError: the model says nothing of places.
    """
    spec = network.spec
    estimator = MotionEstimator(spec.motion)
    longest = max(runs, key=lambda run: run.frames)
    frames = min(FRAMES, longest.frames) // spec.frames_multiple * spec.frames_multiple
    real = without_margin(longest.crops()[:frames])
    rng = np.random.default_rng(seed)
    for kind, forge in {"real": None, **ONE_PLACE}.items():
        made = None if forge is None else forge(real, rng)
        clip = real if made is None else made.clip
        fields = estimator.of(clip)
        curves = network.run(clip[None, spec.looks], fields[None])
        if curves.rgb_places is None or curves.flow_places is None:
            raise ValueError("this model says nothing of places; export it again with this version")
        places = {"rgb": curves.rgb_places[0], "flow": curves.flow_places[0]}
        shown = np.ones(frames, bool) if made is None else made.labels
        if not shown.any():
            continue
        side = max(logits.shape[-1] for logits in places.values())
        cell = spec.size_px // side
        mask = np.zeros(real.shape[:3]) if made is None else made.mask
        share = mask[shown].reshape(-1, side, cell, side, cell).mean((0, 2, 4))
        maps = {name: _spread(logits[shown].mean(0), side) for name, logits in places.items()}
        yield Sample(seed, kind, share > _CHANGED, maps)


def _spread(places: npt.NDArray[np.float32], side: int) -> Floats:
    """A map of fewer places, each repeated; streams may answer for places of different sizes."""
    factor = side // len(places)
    return places.astype(np.float64).repeat(factor, 0).repeat(factor, 1)


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """How right maps are about places: each stream's, the crop's middle, the other videos' mean mask, a map with that.

    AUC over places by kind and of all, and the overlap of all: IoU of what was changed and as many of a map's highest
    places. `beaten`: in how many videos the mean mask has a lower mean AUC than with a stream's map.

    Raises:
        ValueError: no forgery left a place unchanged and another changed.
    """
    forged = [sample for sample in samples if sample.changed.any() and not sample.changed.all()]
    if not forged:
        raise ValueError("no forgery left a place unchanged and another changed")
    by_kind: dict[str, list[dict[str, float]]] = {}
    by_video: dict[int, list[dict[str, float]]] = {}
    overlaps = []
    for sample in forged:
        others = [one for one in forged if one.video != sample.video]
        maps = _maps(sample, others or [one for one in forged if one is not sample])
        row = {name: auc(sample.changed.ravel(), said.ravel()) for name, said in maps.items()}
        by_kind.setdefault(sample.kind, []).append(row)
        by_video.setdefault(sample.video, []).append(row)
        overlaps.append({name: overlap(sample.changed, said) for name, said in maps.items()})
    every = [row for rows in by_kind.values() for row in rows]
    videos = [_means(rows) for rows in by_video.values()]
    return {
        "kinds": {kind: _means(rows) | {"clips": len(rows)} for kind, rows in by_kind.items()},
        "all": _means(every) | {"clips": len(every)},
        "overlap": _means(overlaps),
        "beaten": {name: sum(one[f"{name} + mean"] > one["mean"] for one in videos) for name in STREAMS},
        "place by place": {name: place_by_place(samples, name) for name in STREAMS},
        "videos": len({sample.video for sample in samples}),
    }


def overlap(changed: npt.NDArray[np.bool_], said: Floats) -> float:
    """IoU of the places changed, (P, P), and as many of a map's highest, the first ones where it is level."""
    highest = np.argsort(-said.ravel(), kind="stable")[: int(changed.sum())]
    hit = int(changed.ravel()[highest].sum())
    return hit / (2 * len(highest) - hit)


def _maps(sample: Sample, others: Sequence[Sample]) -> dict[str, Floats]:
    """By column: what the streams say, how near the middle it is, what the other videos' masks say, and both together.

    Together is the log-odds of the mean mask, and what a stream says beyond what it says of the others on average.
    """
    changed = np.zeros(sample.changed.shape) + sum(one.changed for one in others)
    prior = (changed + 0.5) / (len(others) + 1)
    expected = np.log(prior / (1 - prior))
    maps = {name: sample.maps[name] for name in STREAMS} | {"middle": _near(len(expected)), "mean": expected}
    for name in STREAMS:
        usual = np.mean([one.maps[name] for one in others], axis=0) if others else sample.maps[name]
        beyond = (sample.maps[name] - usual).round(9)  # rounding errors are no map
        maps[f"{name} + mean"] = expected + _TRUST * beyond
    return maps


def _near(side: int) -> Floats:
    """How near the middle of the crop each place is, (P, P)."""
    off = np.arange(side) - (side - 1) / 2
    near: Floats = -(off[:, None] ** 2 + off**2)
    return near


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def place_by_place(samples: Sequence[Sample], stream: str) -> float:
    """Mean AUC of a place against itself in other clips, of what a map says besides how much it says in all.

    .5 for any map that does not look at the clip, or sees of it only how suspect it is.
    """
    changed = np.stack([sample.changed.ravel() for sample in samples], 1)  # (P * P, N)
    said = np.stack([one.ravel() for one in _besides_the_usual(samples, stream)], 1)
    kept = [
        auc(truth, values)
        for truth, values in zip(changed, said, strict=True)
        if min(truth.sum(), (~truth).sum()) >= _LEAST_SIDES
    ]
    return float(np.mean(kept)) if kept else float("nan")


def _besides_the_usual(samples: Sequence[Sample], stream: str) -> list[Floats]:
    """Each map without its mean, and without its share of the mean map of other videos."""
    centred = [sample.maps[stream] - sample.maps[stream].mean() for sample in samples]
    left = []
    for sample, own in zip(samples, centred, strict=True):
        others = [
            one for other, one in zip(samples, centred, strict=True) if other.video != sample.video
        ] or centred
        usual = np.mean(others, axis=0)
        power = float((usual * usual).sum())
        share = float((own * usual).sum()) / power if power > 0 else 0.0
        left.append((own - share * usual).round(9))  # rounding errors are no map
    return left


def as_markdown(report: dict[str, Any]) -> str:
    """The figures as a table, with what they mean."""
    lines = [
        "| changed (clips) | RGB | flow | middle of the crop | mean mask | mean mask and RGB | mean mask and flow |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = "rgb", "flow", "middle", "mean", "rgb + mean", "flow + mean"
    rows = {f"{kind} ({row['clips']})": row for kind, row in report["kinds"].items()}
    rows |= {f"**all** ({report['all']['clips']})": report["all"], "overlap of all, IoU": report["overlap"]}
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{row[column]:.3f}' for column in columns)} |")
    apart, beaten = report["place by place"], report["beaten"]
    best = max(report["all"][name] for name in STREAMS)
    better = "more than" if best > report["all"]["mean"] else "no more than"
    lines += [
        "",
        f"Place by place: RGB {apart['rgb']:.3f}, flow {apart['flow']:.3f}; a map that never looks has .500,",
        "and so has one that only says how suspect a clip is.",
        f"By itself the better stream says {better} the mean mask of other videos does. Together with RGB that mask",
        f"says more in {beaten['rgb']} of {report['videos']} videos, together with flow in {beaten['flow']}.",
    ]
    return "\n".join(lines) + "\n"


def command(  # noqa: PLR0917 - typer makes options of them
    model: Annotated[Path, typer.Argument(help="A model file.", exists=True, dir_okay=False)],
    data: Annotated[
        Path, typer.Argument(help="Real videos: a manifest CSV, or a folder with real/.", exists=True)
    ],
    split: Annotated[str, typer.Option(help="Which split: train, val or test.")] = "val",
    videos: Annotated[int, typer.Option(min=1, help="At most so many real videos.")] = 20,
    cache: Annotated[Path, typer.Option(help="Where face crops are kept.")] = Path("runs/cache"),
    out: Annotated[Path | None, typer.Option(help="A JSON file for the figures.")] = None,
    *,
    store: Annotated[
        bool,
        typer.Option("--store", help="Write the figures place by place into the model; reports need them."),
    ] = False,
) -> None:
    """Ask whether a model's heat maps are true, on forgeries of one known place each.

    Prints the AUC over places by what was changed, beside that of a map that never looks, and the overlap with the
    truth. A report shows a map only of a stream that was measured to look.
    """
    network = OnnxNetwork(model, ["cpu"])
    try:
        clips = [clip for clip in read_manifest(data, split=cast("Split", split)) if not clip.fake][:videos]
        found = cache_runs([clip.path for clip in clips], cache, size_px=network.spec.size_px, workers=1)
        bar = track(found, "forging", total=len(clips), console=Console(stderr=True), transient=True)
        samples = [
            sample for seed, runs in enumerate(bar) if runs for sample in samples_of(network, runs, seed=seed)
        ]
        report = figures(samples)
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(f"{data}: {error}", param_hint="DATA") from error
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    typer.echo(as_markdown(report))
    if store:
        apart = report["place by place"]
        found_auc = round(apart["rgb"], 3), round(apart["flow"], 3)
        respecify(model, network.spec.model_copy(update={"places_auc": found_auc}))
