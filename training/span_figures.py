"""How well short forged spans are found: on videos whose spans are labelled, and on spans spliced into real videos."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmcl_sdk.curve import FloatArray
from dmcl_sdk.localization import find_spans
from dmcl_sdk.network import ModelSpec
from dmcl_sdk.proposals import propose_spans
from dmcl_sdk.segment import Segment
from training.data.manifest import Clip
from training.figures import Bootstrap, Report
from training.scores import Scored, file_key
from training.span_metrics import (
    VideoMatch,
    average_precision,
    average_precision_spans,
    best_ious,
    match_spans,
    mean_boundary_error_ms,
    mean_recall,
)
from training.splices import Splice, make_splices

AP_IOUS = (0.5, 0.75, 0.95)
CURVE_IOUS = tuple(percent / 100 for percent in range(10, 100, 5))
"""Of the plot of AP over IoU."""
COUNTED = (
    "Proposals of all faces of a video are pooled; they are matched in order of confidence.",
    "A video in which no face was judged proposes nothing, and its true spans are missed.",
    "Shown are the spans of a verdict, by the model's own rule, in every face whatever it is called.",
    "The boundary error is of proposals that overlap a true span by an IoU of .5 or more: read it beside the AR.",
)
_CHANCE_DRAWS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Localised:
    """Proposals and the spans that a verdict would show, beside the truth; a row a video.

    Attributes:
        found: N lists, by falling score.
        shown: N lists; every face's, whatever it is called.
        true: N lists; empty for a real video.
        groups: (N,) what is not independent.
        end_s: (N,) how long each video is.
    """

    found: list[list[Segment]]
    shown: list[list[Segment]]
    true: list[list[Segment]]
    groups: list[object]
    end_s: list[float]

    @classmethod
    def of(
        cls, scored: Sequence[Scored], true: list[list[Segment]], groups: Sequence[object], spec: ModelSpec
    ) -> Localised:
        """From what a model said of each video."""
        ends = [max((float(face.times[-1, 1]) for face in one.faces), default=1.0) for one in scored]
        found, seen = [proposals(one, spec) for one in scored], [shown(one, spec) for one in scored]
        return cls(found, seen, true, list(groups), ends)


def shown(one: Scored, spec: ModelSpec) -> list[Segment]:
    """The spans of all faces of a video, as a verdict shows them of a face that is not cleared."""
    return [span for curve in _curves(one, spec) for span in find_spans(*curve, spec.span_rule)]


def proposals(one: Scored, spec: ModelSpec) -> list[Segment]:
    """Ranked proposals of all faces of a video."""
    found = [span for curve in _curves(one, spec) for span in propose_spans(*curve)]
    return sorted(found, key=lambda span: (-span.score, span.start_s, span.end_s))


def _curves(one: Scored, spec: ModelSpec) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Every face's probabilities over time."""
    for face in one.faces:
        yield face.over_time(spec.frame_calibration.probability(face.logits[:, 0]))


def span_figures(data: Localised, *, seed: int = 0, resamples: int = 400) -> Report:
    """Precision, recall and boundary error, with intervals; and what the same proposals earn in other places."""
    if not any(data.true):
        return {"spans": 0}
    interval = Bootstrap(data.groups, seed, resamples)
    figures: Report = {
        "videos": len(data.true),
        "spans": sum(map(len, data.true)),
        "groups": len(set(data.groups)),
    }
    matches = {
        iou: [match_spans(found, true, iou) for found, true in zip(data.found, data.true, strict=True)]
        for iou in AP_IOUS
    }
    for iou, matched in matches.items():
        figures[f"ap@{iou}"] = interval(
            lambda rows, matched=matched: average_precision([matched[row] for row in rows])  # type: ignore[misc]
        )
    for count in (1, 5, 10, 20):
        best = best_ious(data.found, data.true, count)
        figures[f"ar@{count}"] = interval(
            lambda rows, best=best: mean_recall([best[row] for row in rows])  # type: ignore[misc]
        )
    figures["boundary_error_ms"] = interval(
        lambda rows: mean_boundary_error_ms([matches[0.5][row] for row in rows])
    )
    seen = [match_spans(spans, true, 0.5) for spans, true in zip(data.shown, data.true, strict=True)]
    figures["shown_recall@0.5"] = interval(lambda rows: _hits(seen, rows) / _count(data.true, rows))
    figures["shown_precision@0.5"] = interval(lambda rows: _hits(seen, rows) / _count(data.shown, rows))
    figures["shown"] = sum(map(len, data.shown)) / len(data.shown)
    figures["ap@0.5_misplaced"] = _at_chance(data, seed)
    figures["ap_over_iou"] = {
        str(iou): average_precision_spans(data.found, data.true, iou) for iou in CURVE_IOUS
    }
    return figures


def _hits(matches: Sequence[VideoMatch], rows: Iterable[int]) -> int:
    return sum(int((matches[row].partner >= 0).sum()) for row in rows)


def _count(spans: Sequence[Sequence[Segment]], rows: Iterable[int]) -> float:
    """How many; NaN for none, of which there is no share."""
    return sum(len(spans[row]) for row in rows) or math.nan


def remembered_splices(clips: Iterable[Clip], folder: Path, *, seed: int = 0) -> list[Splice]:
    """`make_splices` of the clips, which are made once: a list beside the videos says what is there."""
    splices: list[Splice] = []
    for clip in clips:
        if clip.fake and clip.spans is None and clip.pair is not None and clip.pair.exists():
            key = f"{seed} {file_key(clip.path)} {file_key(clip.pair)}"
            own = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
            splices += _read(own) if (own / "splices.json").exists() else _made(clip, own, seed)
    return splices


def _made(clip: Clip, folder: Path, seed: int) -> list[Splice]:
    splices = list(make_splices([clip], folder, seed=seed))
    rows = [[one.path.name, one.truth.start_s, one.truth.end_s, one.source, one.generator] for one in splices]
    (folder / "splices.json").write_text(json.dumps(rows))
    return splices


def _read(folder: Path) -> list[Splice]:
    rows = json.loads((folder / "splices.json").read_text())
    return [
        Splice(folder / name, Segment(start_s, end_s), source, generator)
        for name, start_s, end_s, source, generator in rows
    ]


def _at_chance(data: Localised, seed: int) -> Report:
    """AP of the same proposals, each somewhere else in its video: what their number and lengths earn alone."""
    rng = np.random.default_rng(seed)
    drawn = [
        average_precision_spans(
            [_misplaced(spans, end, rng) for spans, end in zip(data.found, data.end_s, strict=True)],
            data.true,
            0.5,
        )
        for _ in range(_CHANCE_DRAWS)
    ]
    return {"value": float(np.mean(drawn)), "highest_of_20": float(np.max(drawn))}


def _misplaced(spans: Sequence[Segment], end_s: float, rng: np.random.Generator) -> list[Segment]:
    moved = []
    for span in spans:
        length = min(span.duration_s, end_s)
        start = float(rng.uniform(0, max(end_s - length, 1e-6)))
        moved.append(Segment(start, start + length, span.score))
    return moved
