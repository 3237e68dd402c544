"""Findings as WebVTT, to show over the video in a player: https://www.w3.org/TR/webvtt1/."""

from __future__ import annotations

from dmcl_sdk.verdict import Span, Verdict


def to_webvtt(verdict: Verdict) -> str:
    """A file with one cue a suspect span, in order of time; the verdict in one line stands in a note above them.

    Times are from the first presentation timestamp, as a player counts them.
    """
    suspect = (span for span in verdict.spans if span.label != "not_manipulated")
    spans = sorted(suspect, key=lambda span: (span.start_ms, span.span_id))
    blocks = ["WEBVTT", f"NOTE\n{_escaped(_headline(verdict))}", *(_cue(span) for span in spans)]
    return "\n\n".join(blocks) + "\n"


def _headline(verdict: Verdict) -> str:
    summary = verdict.summary
    judged = [] if summary.probability is None else [f"{summary.label}, {_percent(summary.probability)}"]
    reasons = [f"{reason.code}: {reason.message}" for reason in verdict.reasons]
    return "; ".join([f"{verdict.asset.uri}: {verdict.status}", *judged, *reasons])


def _cue(span: Span) -> str:
    times = f"{_timestamp(span.start_ms)} --> {_timestamp(span.end_ms)}"
    share = _percent(span.probability)
    told = f"{span.label}, {share}" if span.is_suspect else f"stands out, {share} by itself"
    text = f"Face {span.track_id}: {told}"
    return f"span-{span.span_id}\n{times}\n{_escaped(text)}"


def _timestamp(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"


def _escaped(text: str) -> str:
    # on one line: an empty one would end the block; and without >, so that no "-->" can begin a cue
    line = " ".join(text.replace("\0", " ").split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
