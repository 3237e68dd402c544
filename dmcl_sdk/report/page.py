"""One self-contained HTML page a video: what was found, where, why, and what was not judged.

The page loads nothing: scripts, styles and pictures lie inside, and its content security policy names them by their
digests. Whatever comes from the video or its name passes through the template's escaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from dmcl_sdk.assembly import FaceCurve
from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.explanation import Explanation, Peak
from dmcl_sdk.report import charts, pictures, words
from dmcl_sdk.verdict import Box, Span, Track, Verdict

if TYPE_CHECKING:
    from jinja2 import Environment

_CONTEXT_S = 2.0  # shown on each side of a span


@dataclass(frozen=True, slots=True)
class Film:
    """The video as the page refers to it.

    Attributes:
        url: relative to the page, or a data: URI; None for a page without a video.
        kind: `original`, or `redacted` for a copy in which faces without a finding are unrecognisable.
    """

    url: str | None
    kind: Literal["original", "redacted"] = "original"


def page(
    verdict: Verdict, explanation: Explanation | None, *, name: str, film: Film, redact: bool = False
) -> str:
    """The page of one video.

    Args:
        verdict: what is shown; with its decision and item, if it has them.
        explanation: of the same verdict; None where there was nothing to score.
        name: what the reader calls the video.
        film: the video itself.
        redact: whether faces without a finding are made unrecognisable in pictures.

    Raises:
        DeploymentError: jinja2 is not installed.
    """
    curves = {} if explanation is None else {curve.track_id: curve for curve in explanation.curves}
    peaks = {} if explanation is None else {peak.span_id: peak for peak in explanation.peaks}
    duration_s = _duration_s(verdict)
    context = {
        "verdict": verdict,
        "name": name,
        "film": film,
        "label": words.verdict_label(verdict),
        "headline": words.headline(verdict),
        "faces": [
            _face(track, verdict, curves.get(track.track_id), explanation, duration_s) for track in verdict.tracks
        ],
        "spans": [_span(span, peaks.get(span.span_id), verdict, explanation, redact=redact) for span in verdict.spans],
        "ticks": charts.ticks(0, duration_s) if duration_s else [],
        "limits": words.limits(verdict),
        "explained": explanation is not None,
        "places": _places(explanation),
        "redact": redact,
        "data": {
            "duration": duration_s,
            "rate": _rate(verdict),
            "spans": [
                {"id": s.span_id, "face": s.track_id, "start": s.start_ms / 1000, "end": s.end_ms / 1000,
                 "probability": s.probability}
                for s in verdict.spans
            ],
            "boxes": [
                {"face": track.track_id, "flagged": any(span.track_id == track.track_id for span in verdict.spans),
                 "at": _boxes(track, curves.get(track.track_id))}
                for track in verdict.tracks
            ],
        },
    }  # fmt: skip
    return render("page.html.j2", "report.js", context, style=_stage(verdict))


def render(template: str, script: str, context: dict[str, Any], *, style: str = "") -> str:
    """A template with its script and the common style inside, under a policy that allows nothing else.

    Raises:
        DeploymentError: jinja2 is not installed.
    """
    environment = _environment()
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2

    css, js = _text("report.css") + style, _text(script)
    policy = (
        f"default-src 'none'; style-src {_digest(css)}; script-src {_digest(js)}; img-src data:; "
        "media-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )
    whole = context | {"css": Markup(css), "js": Markup(js), "policy": policy}  # noqa: S704 - our own files
    return environment.get_template(template).render(whole)


def require() -> None:
    """Say before any work is done whether pages can be made.

    Raises:
        DeploymentError: jinja2 is not installed.
    """
    _environment()


@cache
def _environment() -> Environment:
    try:
        import jinja2  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise DeploymentError("reports need jinja2: pip install 'dmcl-sdk[report]'") from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": words.clock, "percent": words.percent, "decision": words.decision_words}
    environment.globals["labels"] = words.LABELS
    return environment


def _text(name: str) -> str:
    return files("dmcl_sdk.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _stage(verdict: Verdict) -> str:
    """The video's shape, so that boxes lie right before it has loaded."""
    width, height = verdict.asset.width or 16, verdict.asset.height or 9
    return f".stage{{aspect-ratio:{width}/{height};max-width:min(100%,{64 * width / height:.1f}vh)}}\n"


def _rate(verdict: Verdict) -> float:
    rate = verdict.asset.frame_rate
    return 25.0 if rate is None else rate.num / rate.den


def _duration_s(verdict: Verdict) -> float:
    """The length of the time line; a detector that does not know the video's has seen as much as its faces lasted."""
    known_ms = verdict.asset.duration_ms
    return (
        max((track.end_ms for track in verdict.tracks), default=0) if known_ms is None else known_ms
    ) / 1000


def _boxes(track: Track, curve: FaceCurve | None) -> list[list[int]]:
    """Where a face was, as `charts.boxes`; of a face without a curve only as often as its verdict says."""
    if curve is not None:
        return charts.boxes(curve)
    places = [(one.t_ms, one.box) for one in track.keyframes]
    return [
        [at, *(round(10_000 * side) for side in (box.left, box.top, box.width, box.height))]
        for at, box in places
    ]


def _face(
    track: Track,
    verdict: Verdict,
    curve: FaceCurve | None,
    explanation: Explanation | None,
    duration_s: float,
) -> dict[str, Any]:
    """One row of the timeline."""
    spans = [span for span in verdict.spans if span.track_id == track.track_id]
    drawn = None
    if curve is not None and explanation is not None:
        drawn = charts.chart(curve, explanation.spec, 0.0, max(duration_s, 0.001))
    return {
        "track": track,
        "chart": drawn,
        "seen": _place(track.start_ms, track.end_ms, 0, duration_s),
        "spans": [_place(span.start_ms, span.end_ms, 0, duration_s) | {"span": span} for span in spans],
        "summary": _in_words(track, drawn, spans),
        "findings": [] if explanation else words.told(verdict, track),
    }


def _in_words(track: Track, drawn: charts.Chart | None, spans: Sequence[Span]) -> str:
    """The chart for those who do not see it."""
    if drawn is not None and drawn.highest is None:
        return f"Face {track.track_id} was not judged at any time."
    stretches = "; ".join(f"{words.clock(s.start_ms)} to {words.clock(s.end_ms)}" for s in spans)
    found = f"Spans: {stretches}." if spans else "No span."
    if drawn is None or drawn.highest is None:
        return f"When face {track.track_id} was seen. {found}"
    at = words.clock(round(drawn.highest_s * 1000))
    return f"Probability over time of face {track.track_id}: highest {words.percent(drawn.highest)} at {at}. {found}"


def _span(
    span: Span, peak: Peak | None, verdict: Verdict, explanation: Explanation | None, *, redact: bool
) -> dict[str, Any]:
    """One finding, with its evidence if it was looked at again."""
    if explanation is None:
        return {"span": span, "findings": words.told(verdict, span), "pictures": [], "zoom": None}
    curve = next(curve for curve in explanation.curves if curve.track_id == span.track_id)
    start_s = max(0.0, span.start_ms / 1000 - _CONTEXT_S)
    end_s = min(_duration_s(verdict), span.end_ms / 1000 + _CONTEXT_S)
    return {
        "span": span,
        "findings": words.findings(span, peak, explanation.spec),
        "pictures": [] if peak is None else _pictures(span, peak, verdict, explanation, redact=redact),
        "zoom": {
            "chart": charts.chart(curve, explanation.spec, start_s, end_s),
            "inside": _place(span.start_ms, span.end_ms, start_s, end_s),
            "ticks": charts.ticks(start_s, end_s),
        },
    }


def _place(start_ms: int, end_ms: int, from_s: float, to_s: float) -> dict[str, float]:
    """Where a stretch lies between two times, in per cent."""
    length = max(to_s - from_s, 0.001)
    left = 100 * (start_ms / 1000 - from_s) / length
    return {"left": round(left, 3), "width": round(100 * (end_ms - start_ms) / 1000 / length, 3)}


def _pictures(
    span: Span, peak: Peak, verdict: Verdict, explanation: Explanation, *, redact: bool
) -> list[dict[str, str]]:
    """The evidence of a span, inside the page."""
    return [
        {
            "uri": pictures.data_uri(one.image),
            "caption": one.caption,
            "kind": "still" if one.name == "frame" else "crop",
            "width": str(one.image.shape[1]),
            "height": str(one.image.shape[0]),
        }
        for one in _shown(span, peak, verdict, explanation, redact=redact)
    ]


def evidence_pictures(
    verdict: Verdict, explanation: Explanation | None, *, redact: bool
) -> dict[str, pictures.Image]:
    """The same pictures as files, by their names."""
    spans = {span.span_id: span for span in verdict.spans}
    return {
        f"span-{peak.span_id}-{one.name}": one.image
        for peak in (() if explanation is None else explanation.peaks)
        for one in _shown(spans[peak.span_id], peak, verdict, explanation, redact=redact)
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """One piece of evidence."""

    name: str
    image: pictures.Image
    caption: str


def _shown(
    span: Span, peak: Peak, verdict: Verdict, explanation: Explanation | None, *, redact: bool
) -> Iterator[_Picture]:
    """The frame, the face, what moves in it, and the map of each stream that was measured to look."""
    assert explanation is not None  # noqa: S101 - the peak is its own
    still = peak.still
    if redact:
        still = pictures.redacted(still, unflagged(verdict, explanation, peak.at_s), [span.box_at_peak])
    yield _Picture(
        "frame", pictures.with_box(still, span.box_at_peak), f"Frame at {words.clock(span.peak_ms)}"
    )
    yield _Picture("face", pictures.enlarged(peak.crop), "The face as the model sees it")
    yield _Picture(
        "motion",
        pictures.with_motion(peak.crop, peak.motion),
        words.motion_words(peak.motion_frames, pictures.ARROW_GAIN, moves=pictures.moves(peak.motion)),
    )
    auc = explanation.spec.places_auc or (None, None)
    for stream, places, value in zip(
        ("picture", "motion"), (peak.rgb_places, peak.flow_places), auc, strict=True
    ):
        if places is None or value is None or value < words.LEAST_PLACES_AUC:
            continue
        if float(places.max()) >= words.LEAST_PLACE:
            highest = words.percent(float(places.max()))
            caption = f"Where its {stream} looks manipulated: at most {highest}. {words.trust(value)}"
            yield _Picture(f"{stream}-map", pictures.with_places(peak.crop, places), caption)


def unflagged(verdict: Verdict, explanation: Explanation, at_s: float) -> list[Box]:
    """Where faces without a finding are at a time."""
    flagged = {span.track_id for span in verdict.spans}
    found = []
    for curve in explanation.curves:
        if curve.track_id in flagged:
            continue
        near = curve.sightings[int(abs(curve.times[:, 0] - at_s).argmin())]
        if abs(near.start_s - at_s) <= 0.5:
            left, top, width, height = near.box
            found.append(Box(left=left, top=top, width=max(width, 1e-5), height=max(height, 1e-5)))
    return found


def _places(explanation: Explanation | None) -> list[str]:
    """How far the maps can be believed, where there are any."""
    if explanation is None or not any(peak.rgb_places is not None for peak in explanation.peaks):
        return []
    auc = explanation.spec.places_auc or (None, None)
    return [
        words.places_words(stream, value) for stream, value in zip(("picture", "motion"), auc, strict=True)
    ]
