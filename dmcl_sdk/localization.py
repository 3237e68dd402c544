"""From frame curves to the spans of a verdict.

overlapping chunks ─ stitch ─> one curve ─ propose_spans ─ find_spans ─> spans, few and apart
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmcl_sdk.curve import Curve, FloatArray, Runs, as_segments, check_times, join, long_enough, near, runs_of
from dmcl_sdk.proposals import ProposalRule, propose_spans
from dmcl_sdk.segment import Segment


@dataclass(frozen=True, slots=True)
class SpanRule:
    """When a stretch of a face's curve is a span.

    Attributes:
        min_contrast: how far it stands out of the face's own time, 0..1, as `propose_spans` scores it; a face that is
            manipulated throughout stands out of even odds.
        min_duration_s: shorter stretches are no spans.
        max_gap_s: stretches at most this far apart are one, and as much unjudged time is passed over.
    """

    min_contrast: float = 0.1
    min_duration_s: float = 0.1
    max_gap_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.min_contrast <= 1:
            raise ValueError(f"a span rule needs 0 <= min_contrast <= 1, got {self}")
        check_times(self, self.min_duration_s, self.max_gap_s)


def find_spans(
    scores: ArrayLike, edges_s: ArrayLike, rule: SpanRule | None = None, *, at_least_one: bool = False
) -> list[Segment]:
    """The stretches that stand out most and do not overlap, in order of time.

    Proposals are taken by falling contrast, each unless it overlaps one taken before, and broken where more than
    `max_gap_s` was not judged: a span neither begins nor ends with unjudged frames.

    Args:
        scores: (N,) probabilities, NaN where not judged.
        edges_s: (N + 1,) strictly rising, from 0.
        rule: `SpanRule()` by default.
        at_least_one: where nothing stands out so far, give what does most, or else all that was judged.

    Returns:
        Segments that do not overlap. Their score is the mean over the higher-scoring half of their judged time:
        soft flanks do not pull it down and one frame does not make it.

    Raises:
        ValueError: the arrays are not a curve.
    """
    rule = rule or SpanRule()
    curve = Curve.of(scores, edges_s)
    proposals = ProposalRule(min_duration_s=rule.min_duration_s, max_gap_s=rule.max_gap_s)
    # all of them: a ranking may end somewhere, but a span that is left out is time that nobody looks at
    clear = replace(
        proposals,
        max_proposals=max(1, len(curve.values)),
        min_score=max(rule.min_contrast, proposals.min_score),
    )
    runs = _judged(curve, _disjoint(propose_spans(scores, edges_s, clear)), rule)
    if at_least_one and not len(runs) and curve.judged_frames[-1]:
        whole = Segment(float(curve.edges_s[0]), float(curve.edges_s[-1]))
        most = propose_spans(scores, edges_s, replace(proposals, max_proposals=1))
        runs = _judged(curve, most or [whole], replace(rule, min_duration_s=0.0))
    return as_segments(curve.edges_s[runs], _top_half_means(curve, runs))


def _disjoint(ranked: list[Segment]) -> list[Segment]:
    """Each segment unless it overlaps one before it; in order of time."""
    taken: list[Segment] = []
    for one in ranked:
        at = bisect(taken, one)
        if (at == 0 or taken[at - 1].end_s <= one.start_s) and (
            at == len(taken) or one.end_s <= taken[at].start_s
        ):
            taken.insert(at, one)
    return taken


def _judged(curve: Curve, segments: list[Segment], rule: SpanRule) -> Runs:
    """The frames of segments, without unjudged ends, broken where too much between was not judged; (R, 2)."""
    pieces = [np.empty((0, 2), np.intp)]
    for segment in segments:
        first, end = np.searchsorted(curve.edges_s, (segment.start_s, segment.end_s))
        judged = first + runs_of(~np.isnan(curve.values[first:end]))
        pieces.append(join(judged, near(judged, curve.edges_s, rule.max_gap_s)))
    return long_enough(np.concatenate(pieces), curve.edges_s, rule.min_duration_s)


def stitch(length: int, chunks: Iterable[tuple[int, NDArray[Any]]]) -> NDArray[Any]:
    """Join the curves of overlapping chunks into one, cross-fading linearly where they overlap.

    Args:
        length: frames of the whole.
        chunks: first frame and values (n, ...) of each chunk, in any order; all of one dtype.

    Returns:
        (length, ...) of the chunks' dtype. Where chunks agree exactly, so does the result.

    Raises:
        ValueError: there is no chunk, one reaches outside, or a frame lies in none.
    """
    ordered = sorted(chunks, key=lambda chunk: (chunk[0], -len(chunk[1])))
    if not ordered:
        raise ValueError("stitching needs at least one chunk")
    whole = np.empty((length, *ordered[0][1].shape[1:]), ordered[0][1].dtype)
    done = 0
    for start, values in ordered:
        end = start + len(values)
        if start < 0 or end > length:
            raise ValueError(f"chunk [{start}, {end}) reaches outside [0, {length})")
        if start > done:
            raise ValueError(f"no chunk covers the frames [{done}, {start})")
        if end <= done:
            continue  # it lies inside the one before: fading to it and not back would make a step
        shared = done - start
        fade = (np.arange(1, shared + 1) / (shared + 1)).astype(whole.dtype)
        fade = fade.reshape(-1, *[1] * (whole.ndim - 1))
        # a + (b - a) * fade, not (1 - fade) * a + fade * b: exact where a == b
        whole[start:done] += (values[:shared] - whole[start:done]) * fade
        whole[done:end] = values[shared:]
        done = end
    if done != length:
        raise ValueError(f"no chunk covers the frames [{done}, {length})")
    return whole


def _top_half_means(curve: Curve, runs: Runs) -> FloatArray:
    """Mean over the higher-scoring half of each run's judged time; (R, 2) -> (R,)."""
    length = runs[:, 1] - runs[:, 0]
    run = np.repeat(np.arange(len(runs)), length)
    frame = np.arange(length.sum()) + np.repeat(runs[:, 0] - (np.cumsum(length) - length), length)
    judged = ~np.isnan(curve.values[frame])
    run, frame = run[judged], frame[judged]
    order = np.lexsort((-curve.values[frame], run))
    run, frame = run[order], frame[order]
    seconds = np.diff(curve.edges_s)[frame]
    total_s = np.bincount(run, seconds, len(runs))
    before_s = np.cumsum(seconds) - seconds - (np.cumsum(total_s) - total_s)[run]
    counted_s = np.clip(total_s[run] / 2 - before_s, 0.0, seconds)
    area = np.bincount(run, counted_s * curve.values[frame], len(runs))
    return np.clip(area / np.bincount(run, counted_s, len(runs)), 0.0, 1.0)
