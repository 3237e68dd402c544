"""What an evaluation reports of spans, in the field's terms: temporal forgery localisation.

* Spans are matched in order of confidence. Equal scores are one operating point, whatever the order of the input.
* A video in which no face was judged has no spans, so its true ones are missed.
* NaN where the question has no answer: an AP without a true span.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmcl_sdk.proposals import iou_matrix
from dmcl_sdk.segment import Segment
from training.metrics import FloatArray, Indices, last_of_ties

RECALL_IOUS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU .5:.05:.95, over which AR is averaged."""

# 19 of 20 frames are an IoU of .95, whatever the rounding of their times.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class VideoMatch:
    """The spans found in one video, ranked, and the true ones that they were matched with."""

    found: tuple[Segment, ...]
    true: tuple[Segment, ...]
    scores: FloatArray  # (found,) falling
    partner: Indices  # (found,) number of the true span, -1 for a false positive


def match_spans(found: Sequence[Segment], true: Sequence[Segment], iou: float) -> VideoMatch:
    """Match the spans found in one video with the true ones, in order of confidence.

    Each takes the free true span that it overlaps most, if their IoU is at least `iou`; equal confidence goes
    by time. This is ActivityNet's rule. (LAV-DF's own script goes through the true spans instead and asks for
    more than `iou`.)
    """
    ranked = _ranked(found)
    overlap = iou_matrix(_bounds(ranked), _bounds(true))
    partner = np.full(len(ranked), -1, np.intp)
    for row in np.flatnonzero((overlap >= iou - _ROUNDING).any(axis=1)):
        best = overlap[row].argmax()
        if overlap[row, best] >= iou - _ROUNDING:
            partner[row] = best
            overlap[:, best] = -1.0
    return VideoMatch(tuple(ranked), tuple(true), np.array([span.score for span in ranked]), partner)


def average_precision(matches: Sequence[VideoMatch]) -> float:
    """AP of spans pooled over videos, with ActivityNet's interpolation.

    Precision at a recall is the highest precision at that recall or a higher one (Pascal VOC from 2010 on);
    AP is the area under that, over all recalls. Spans of equal score are one point of the curve, where
    ActivityNet's script leaves their order to its sort.
    """
    true = sum(len(match.true) for match in matches)
    if not true:
        return math.nan
    scores = np.concatenate([match.scores for match in matches])
    hits = np.concatenate([match.partner >= 0 for match in matches])
    order = np.argsort(-scores, kind="stable")
    last_of_tie = last_of_ties(scores[order])
    hits_so_far = np.cumsum(hits[order])[last_of_tie]
    precision = hits_so_far / (last_of_tie + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits_so_far / true, prepend=0.0) * envelope))


def average_precision_spans(
    found: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]], iou: float
) -> float:
    """AP at one IoU; both have one row a video, empty for a real video or one without a face."""
    return average_precision(_match_all(found, true, iou))


def average_recall(
    found: Sequence[Sequence[Segment]],
    true: Sequence[Sequence[Segment]],
    count: int,
    *,
    ious: Sequence[float] = RECALL_IOUS,
) -> float:
    """AR@count: share of all true spans that the `count` most confident of their video reach, mean over IoUs.

    As in ActivityNet's proposal task, one found span may serve two true ones. NaN without true spans.
    """
    return mean_recall(best_ious(found, true, count), ious=ious)


def best_ious(
    found: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]], count: int
) -> list[FloatArray]:
    """For every video, the best IoU that each of its true spans has with the `count` most confident found."""
    return [
        iou_matrix(_bounds(truth), _bounds(_ranked(spans)[:count])).max(axis=1, initial=0.0)
        for spans, truth in zip(found, true, strict=True)
    ]


def mean_recall(best: Sequence[FloatArray], *, ious: Sequence[float] = RECALL_IOUS) -> float:
    """Share of the true spans whose best IoU reaches a threshold, mean over thresholds."""
    pooled = np.concatenate(best) if best else np.empty(0)
    if not pooled.size:
        return math.nan
    return float((pooled[:, None] >= np.asarray(ious) - _ROUNDING).mean())  # (true spans, IoUs)


def boundary_error_ms(
    found: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]], *, iou: float = 0.5
) -> float:
    """Mean distance of the start and end of a found span from those of its true one, in milliseconds.

    Over matched pairs only: read it next to the recall.
    """
    return mean_boundary_error_ms(_match_all(found, true, iou))


def mean_boundary_error_ms(matches: Sequence[VideoMatch]) -> float:
    """`boundary_error_ms` of what has been matched; NaN without a match."""
    errors_s = [
        np.abs(_bounds(match.found)[hit] - _bounds(match.true)[match.partner[hit]]).ravel()
        for match in matches
        for hit in [match.partner >= 0]
    ]
    pooled_s = np.concatenate(errors_s) if errors_s else np.empty(0)
    return float(1000 * pooled_s.mean()) if pooled_s.size else math.nan


def _match_all(
    found: Sequence[Sequence[Segment]], true: Sequence[Sequence[Segment]], iou: float
) -> list[VideoMatch]:
    return [match_spans(spans, truth, iou) for spans, truth in zip(found, true, strict=True)]


def _ranked(spans: Sequence[Segment]) -> list[Segment]:
    return sorted(spans, key=lambda span: (-span.score, span.start_s, span.end_s))


def _bounds(spans: Sequence[Segment]) -> FloatArray:
    """(S, 2) starts and ends in seconds."""
    return np.array([(span.start_s, span.end_s) for span in spans], np.float64).reshape(-1, 2)
