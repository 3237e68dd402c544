"""From frame curves to a verdict: which faces could be judged, their spans, and what all of it is called."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from dmcl_sdk.curve import running_median, runs_of
from dmcl_sdk.judging import JudgedRun
from dmcl_sdk.localization import SpanRule, find_spans
from dmcl_sdk.network import ModelSpec
from dmcl_sdk.segment import Segment, covered_s
from dmcl_sdk.sighting import Sighting, Sightings
from dmcl_sdk.verdict import (
    Asset,
    Box,
    Keyframe,
    Label,
    Modalities,
    Quality,
    Reason,
    ReasonCode,
    Span,
    Status,
    Summary,
    Track,
    Verdict,
)

Floats = npt.NDArray[np.float64]

POOLING_WINDOW_S = 4.0
"""A face's logit is the worst window's: a short forgery in a long video is not averaged away."""
STEADY_S = 0.5
"""A running median over this long takes out of every curve what lasts less than half of it: a spike decides nothing."""
_MOST_KEYFRAMES = 100
_KEYFRAME_STEP_S = 0.5
_CONFLICT = 0.5  # streams that differ by this much are worth a word
_SUSPECT = 0.5  # a stream alone calls it more likely manipulated than not


@dataclass(frozen=True, slots=True)
class JudgementRule:
    """Which frames of a face are good enough to be judged, and how many it takes.

    Attributes:
        min_face_px: width of the face in pixels of the displayed frame.
        min_sharpness: of the crop, 0..1.
        min_brightness: of the face, 0..1.
        max_noise: of the crop, in grey levels: motion that noise makes up looks forged. Chosen for crops of 128 px; in
            much smaller ones a face's own texture is as fine as noise.
        max_yaw: turn of the head, 0..1; beyond it one half of the face is hidden.
        min_visible: share of the crop inside the frame.
        min_judged_s: less judged time than this is too short to say anything.
        min_coverage: a face that was judged for a smaller share of its time is never called genuine.
    """

    min_face_px: float = 32.0
    min_sharpness: float = 0.1
    min_brightness: float = 0.06
    max_noise: float = 1.6
    max_yaw: float = 0.85
    min_visible: float = 0.7
    min_judged_s: float = 0.5
    min_coverage: float = 0.5

    def __post_init__(self) -> None:
        shares = (self.min_sharpness, self.min_brightness, self.max_yaw, self.min_visible, self.min_coverage)
        if (
            not all(0 <= share <= 1 for share in shares)
            or min(self.min_face_px, self.max_noise, self.min_judged_s) < 0
        ):
            raise ValueError(f"shares lie in 0..1 and sizes and times are not negative, got {self}")


def assemble(
    asset: Asset,
    runs: Sequence[JudgedRun],
    reasons: Sequence[Reason],
    *,
    spec: ModelSpec,
    rule: SpanRule,
    judgement: JudgementRule,
) -> Verdict:
    """The verdict on a video, but for who judged it and how long that took.

    Args:
        asset: the video.
        runs: every finished run, in any order.
        reasons: what is to be said of the file itself.
        spec: calibration and thresholds.
        rule: how curves become spans.
        judgement: which frames count.
    """
    faces = [_Face(curve, spec, judgement) for curve in face_curves(runs, judgement)]
    spans: list[Span] = []
    for face in faces:
        spans += face.spans(rule, first_id=len(spans))
    summary = _summary(faces, spans, asset)
    why = [*reasons, *(reason for face in faces for reason in face.reasons())]
    status, label, more = _status(faces, summary, asset, spec, judgement)
    why += more + [reason for span in spans for reason in _findings(span)]
    return Verdict(
        status=status,
        asset=asset.model_copy(update={"quality": _quality(faces)}),
        reasons=tuple(why),
        summary=summary.model_copy(update={"label": label}),
        tracks=tuple(face.track for face in faces),
        spans=tuple(spans),
    )


@dataclass(frozen=True, slots=True, eq=False)
class FaceCurve:
    """All that was seen of one face, its curves steadied by a running median over `STEADY_S`.

    Attributes:
        track_id: which face.
        sightings: N, in order of time.
        logits: (N, 3), the fused, RGB and flow logit of every frame; NaN where it was not judged.
        times: (N, 2), start and end of every frame in seconds.
    """

    track_id: int
    sightings: Sightings
    logits: Floats
    times: Floats

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """(N,), which frames were judged."""
        return ~np.isnan(self.logits[:, 0])

    @property
    def judged_s(self) -> float:
        """For how long the face was judged."""
        return float((self.times[:, 1] - self.times[:, 0])[self.judged].sum())

    def over_time(self, values: Floats) -> tuple[Floats, Floats]:
        """One value a frame, (N,), as a curve for `localization`: (M,) values and M + 1 edges in seconds.

        Time in which the face was not seen is NaN.
        """
        cells, edges_s = _with_gaps(self.times)
        return np.where(cells >= 0, values[cells], np.nan), edges_s


def face_curves(runs: Sequence[JudgedRun], judgement: JudgementRule) -> list[FaceCurve]:
    """Every face's runs joined, in order of its number; NaN where the face was not good enough to be judged."""
    ordered = sorted(runs, key=lambda run: (run.track_id, run.sightings[0].start_s))
    faces = groupby(ordered, lambda run: run.track_id)
    return [_joined(track_id, list(group), judgement) for track_id, group in faces]


def _joined(track_id: int, runs: list[JudgedRun], judgement: JudgementRule) -> FaceCurve:
    sightings = Sightings.joined([run.sightings for run in runs])
    logits = np.concatenate([_steady(run) for run in runs])
    logits[np.any([bad for _, _, bad in _checks(sightings, judgement)], axis=0)] = np.nan
    return FaceCurve(track_id, sightings, logits, sightings.times)


def _steady(run: JudgedRun) -> Floats:
    if run.logits is None:
        return np.full((len(run.sightings), 3), np.nan)
    return running_median(run.logits.astype(np.float64), run.sightings.column("start_s"), STEADY_S)


def pool(logits: Floats, starts_s: Floats, sharpness: float, window_s: float = POOLING_WINDOW_S) -> float:
    """A face's logit from its judged frames': LogSumExp within a window, the highest of all windows.

    Args:
        logits: (N,), N >= 1.
        starts_s: (N,) ascending; windows begin at every half window of the time since the first.
        sharpness: 0 would be the mean, infinity the maximum.
        window_s: length of a window.
    """
    since = starts_s - starts_s[0]
    count = max(1, int(np.ceil(2 * since[-1] / window_s)) - 1)
    begin = np.arange(count) * window_s / 2
    first = np.searchsorted(since, begin)
    end = np.searchsorted(since, begin + window_s)
    end[-1] = len(since)
    peak = logits.max()
    sums = np.concatenate([[0.0], np.cumsum(np.exp(sharpness * (logits - peak)))])
    kept = end - first >= min(len(since), 8)  # a window that is mostly gap would decide by a frame or two
    if not kept.any():
        first, end, kept = np.array([0]), np.array([len(since)]), np.array([True])
    means = (sums[end] - sums[first])[kept] / (end - first)[kept]
    return float(peak + np.log(np.maximum(means, 1e-300)).max() / sharpness)


def pool_face(logits: Floats, starts_s: Floats, spec: ModelSpec) -> float:
    """A face's logit by a model's rule, of its judged frames.

    Args:
        logits: (N, 3), fused, RGB and flow, N >= 1.
        starts_s: (N,) ascending.
        spec: the model's.
    """
    return pool(logits[:, 0] - spec.rgb_discount * logits[:, 1], starts_s, spec.pooling_sharpness)


class _Face:
    """One track: its frames in order of time, what was judged, and what came of it."""

    def __init__(self, curve: FaceCurve, spec: ModelSpec, judgement: JudgementRule) -> None:
        self.curve, self.spec, self.judgement = curve, spec, judgement
        self.sightings, self.times, self.logits = curve.sightings, curve.times, curve.logits
        self.judged, self.judged_s = curve.judged, curve.judged_s
        self.track = self._track(curve.track_id)

    @property
    def seen_s(self) -> float:
        """Time in which the face was seen."""
        return float((self.times[:, 1] - self.times[:, 0]).sum())

    def judged_segments(self) -> list[Segment]:
        """The judged time."""
        values, edges_s = self.curve.over_time(self.logits[:, 0])
        return [Segment(*bounds) for bounds in edges_s[runs_of(~np.isnan(values))].tolist()]

    def _track(self, track_id: int) -> Track:
        spec, times = self.spec, self.times
        start_ms, end_ms = round(times[0, 0] * 1000), round(times[-1, 1] * 1000)
        base = Track(
            track_id=track_id,
            start_ms=start_ms,
            end_ms=max(end_ms, start_ms + 1),
            judged_ms=round(self.judged_s * 1000),
            keyframes=self._keyframes(),
        )
        if self.judged_s < self.judgement.min_judged_s:
            return base
        raw = pool_face(self.logits[self.judged], times[self.judged, 0], spec)
        probability = spec.calibration.probability(raw)
        return base.model_copy(
            update={
                "label": spec.abstention.label(probability),
                "probability": probability,
                "interval": spec.calibration.interval(raw),
                "score_raw": raw,
            }
        )

    def _keyframes(self) -> tuple[Keyframe, ...]:
        step_s = max(_KEYFRAME_STEP_S, (self.times[-1, 1] - self.times[0, 0]) / _MOST_KEYFRAMES)
        starts_s, frames, at = self.times[:, 0], [], 0
        while at < len(starts_s):
            sighting = self.sightings[at]
            frames.append(Keyframe(t_ms=round(sighting.start_s * 1000), box=_box(sighting)))
            at = int(np.searchsorted(starts_s, sighting.start_s + step_s))
        return tuple(frames)

    def spans(self, rule: SpanRule, *, first_id: int) -> list[Span]:
        """The stretches that stand out, at least one if it is manipulated; none in a face cleared or not judged."""
        if self.track.label not in ("manipulated", "uncertain"):
            return []
        scores = self.spec.frame_calibration.probability(self.logits[:, 0])
        certain = self.track.label == "manipulated"
        found = find_spans(*self.curve.over_time(scores), rule, at_least_one=certain)
        return [self._span(segment, first_id + number) for number, segment in enumerate(found)]

    def _span(self, segment: Segment, span_id: int) -> Span:
        first, after = (bisect_left(self.times[:, 0], at_s) for at_s in (segment.start_s, segment.end_s))
        inside = np.arange(first, after)
        judged = inside[self.judged[inside]]
        peak = judged[int(np.argmax(self.logits[judged, 0]))]
        rgb = self.spec.rgb_calibration.probability(_top_half(self.logits[judged, 1]))
        flow = self.spec.flow_calibration.probability(_top_half(self.logits[judged, 2]))
        label: Label = "manipulated" if self.track.label == "manipulated" else "uncertain"
        return Span(
            span_id=span_id,
            track_id=self.track.track_id,
            start_ms=round(segment.start_s * 1000),
            end_ms=max(round(segment.end_s * 1000), round(segment.start_s * 1000) + 1),
            start_frame=self.sightings[inside[0]].frame_index,
            end_frame=self.sightings[inside[-1]].frame_index + 1,
            peak_ms=round(self.sightings[peak].start_s * 1000),
            label=label,
            score_raw=float(self.logits[peak, 0]),
            probability=segment.score,
            modalities=Modalities(rgb=rgb, flow=flow, disagreement=abs(rgb - flow)),
            box_at_peak=_box(self.sightings[peak]),
            media_fragment=f"#t={segment.start_s:.3f},{segment.end_s:.3f}",
        )

    def reasons(self) -> list[Reason]:
        """Why parts of this face, or all of it, were not judged."""
        track, found = self.track, []
        for code, words, bad in _checks(self.sightings, self.judgement):
            if bad.mean() >= 0.2 or (bad.any() and track.label is None):
                found.append(self._reason(code, f"{words} in {_percent(bad.mean())} of its frames", bad))
        if track.label is None and not found:
            message = f"{self.judged_s:.1f} s could be judged, {self.judgement.min_judged_s:g} s are needed"
            found.append(self._reason("too_short", message, np.ones(len(self.sightings), np.bool_)))
        return found

    def _reason(self, code: ReasonCode, message: str, where: npt.NDArray[np.bool_]) -> Reason:
        at = np.flatnonzero(where)
        start_ms, end_ms = (round(t * 1000) for t in (self.times[at[0], 0], self.times[at[-1], 1]))
        text = f"face {self.track.track_id}: {message}"
        return Reason(code=code, message=text, track_id=self.track.track_id, start_ms=start_ms, end_ms=end_ms)


def _checks(sightings: Sightings, rule: JudgementRule) -> list[tuple[ReasonCode, str, npt.NDArray[np.bool_]]]:
    """What can be wrong with a frame: code, words, and in which of N it is."""
    of = sightings.column
    return [
        (
            "face_too_small",
            f"the face is narrower than {rule.min_face_px:g} px",
            of("face_px") < rule.min_face_px,
        ),
        ("face_too_blurred", "the face is too blurred", of("sharpness") < rule.min_sharpness),
        ("too_dark", "the face is too dark", of("brightness") < rule.min_brightness),
        ("too_noisy", "the picture is too noisy", of("noise") > rule.max_noise),
        ("face_in_profile", "the head is turned too far", np.abs(of("yaw")) > rule.max_yaw),
        ("face_partly_visible", "the face reaches out of the picture", of("visible") < rule.min_visible),
    ]


def _with_gaps(times: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """Cells over unbroken edges: the sighting that fills each cell, -1 where the face was not seen."""
    holes = 1 + np.flatnonzero(times[1:, 0] - times[:-1, 1] > 1e-6)
    cells = np.insert(np.arange(len(times)), holes, -1)
    edges = np.insert(times[:, 0], holes, times[holes - 1, 1])
    return cells, np.append(edges, times[-1, 1])


def _top_half(logits: Floats) -> float:
    return float(np.sort(logits)[len(logits) // 2 :].mean())


def _summary(faces: list[_Face], spans: list[Span], asset: Asset) -> Summary:
    """The worst face speaks for the video."""
    judged = [face for face in faces if face.track.probability is not None]
    scanned_s = covered_s(segment for face in judged for segment in face.judged_segments())
    duration_s = (asset.duration_ms or 0) / 1000
    flagged = [Segment(s.start_ms / 1000, s.end_ms / 1000) for s in spans if s.label == "manipulated"]
    summary = Summary(
        flagged_ms=round(covered_s(flagged) * 1000),
        scanned_ms=round(scanned_s * 1000),
        coverage=min(1.0, scanned_s / duration_s) if duration_s > 0 else 0.0,
        faces=len(faces),
    )
    if not judged:
        return summary
    worst = max(judged, key=lambda face: face.track.probability or 0.0).track
    of_worst = [span for span in spans if span.track_id == worst.track_id]
    return summary.model_copy(
        update={
            "probability": worst.probability,
            "interval": worst.interval,
            "worst_track_id": worst.track_id,
            "worst_span_id": max(of_worst, key=lambda span: span.probability).span_id if of_worst else None,
        }
    )


def _status(
    faces: list[_Face], summary: Summary, asset: Asset, spec: ModelSpec, judgement: JudgementRule
) -> tuple[Status, Label | None, list[Reason]]:
    """What the verdict is called, and why it is withheld if it is."""
    shown_s = (asset.duration_ms or 0) / 1000
    if not faces and 0 < shown_s < judgement.min_judged_s:  # a face is followed once it was seen twice
        message = (
            f"the video lasts {shown_s:.2g} s, and a face is judged from {judgement.min_judged_s:g} s on"
        )
        return "abstained", None, [Reason(code="too_short", message=message)]
    if not faces:
        return "not_applicable", None, [Reason(code="no_face", message="no face was found")]
    if summary.probability is None:
        return "abstained", None, []
    label = spec.abstention.label(summary.probability)
    if label == "uncertain":
        low, high = spec.abstention.not_manipulated_below, spec.abstention.manipulated_above
        message = (
            f"{_percent(summary.probability)} lies between {_percent(low)} and {_percent(high)}, "
            "where no label is given"
        )
        return "abstained", label, [Reason(code="near_threshold", message=message)]
    seen_s, judged_s = (sum(times) for times in zip(*((f.seen_s, f.judged_s) for f in faces), strict=True))
    if label == "not_manipulated" and judged_s < judgement.min_coverage * seen_s:
        message = f"only {_percent(judged_s / seen_s)} of the time that faces were seen could be judged"
        return "abstained", "uncertain", [Reason(code="low_coverage", message=message)]
    return "scored", label, []


def _findings(span: Span) -> list[Reason]:
    """A span in words: which stream saw what."""
    where = {"track_id": span.track_id, "start_ms": span.start_ms, "end_ms": span.end_ms}
    rgb, flow = span.modalities.rgb, span.modalities.flow
    stretch = f"face {span.track_id}, {span.start_ms / 1000:.2f}-{span.end_ms / 1000:.2f} s"
    found = []
    if rgb >= flow or rgb >= _SUSPECT:
        found.append(
            Reason(
                code="appearance_anomaly",
                message=f"{stretch}: its picture {_stands_out(rgb)}",
                **where,
            )
        )
    if flow > rgb or flow >= _SUSPECT:
        found.append(
            Reason(code="motion_anomaly", message=f"{stretch}: its motion {_stands_out(flow)}", **where)
        )
    if span.modalities.disagreement >= _CONFLICT:
        message = f"{stretch}: picture ({_percent(rgb)}) and motion ({_percent(flow)}) disagree"
        found.append(Reason(code="modality_conflict", message=message, **where))
    return found


def _stands_out(share: float) -> str:
    """What a stream sees by itself."""
    if share >= _SUSPECT:
        return f"stands out ({_percent(share)})"
    return f"stands out more, and yet is not suspect by itself ({_percent(share)})"


def _quality(faces: list[_Face]) -> Quality | None:
    if not faces:
        return None
    medians = {
        name: round(float(np.median(np.concatenate([face.sightings.column(name) for face in faces]))), 4)
        for name in ("face_px", "sharpness", "brightness")
    }
    return Quality(**medians)


def _box(sighting: Sighting) -> Box:
    left, top, width, height = (round(edge, 5) for edge in sighting.box)
    return Box(left=left, top=top, width=max(width, 1e-5), height=max(height, 1e-5))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
