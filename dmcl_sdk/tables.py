"""Verdicts for people: who, from when to when, how sure, why, and what was not judged.

Everything is built from `Text`, which takes names and messages as they are: a file called `[red].mp4` keeps
its name.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from dmcl_sdk.verdict import Box, Reason, Span, Summary, Track, Verdict

FINDINGS = {"appearance_anomaly", "motion_anomaly", "modality_conflict"}
"""Codes of reasons that say what was found; all others say what limits a verdict."""

_LABELS = {
    "manipulated": ("manipulated", "bold red"),
    "not_manipulated": ("not manipulated", "green"),
    "uncertain": ("uncertain", "yellow"),
    None: ("not judged", "dim"),
}
_STATUS = {
    "not_applicable": ("nothing to judge", "yellow"),
    "failed": ("failed", "bold red"),
}
_STANDS_OUT = 0.5  # a stream alone calls it more likely manipulated than not


def verdict_table(verdict: Verdict, name: str | None = None) -> RenderableType:
    """One video as a headline, what was not judged and why, and a row for each face and each of its spans.

    Reasons stand in lines of their own under the rows, so that a narrow terminal breaks them between words.

    Args:
        verdict: what to show.
        name: what the reader calls the video; its URI if not given.
    """
    title = verdict.asset.uri if name is None else name
    parts: list[RenderableType] = [*_headline(verdict), *_notes(verdict)]
    if verdict.tracks:
        parts += [Text(" "), *_faces(verdict)]
    return Group(_asset_line(verdict, title), *(_indented(part, 2) for part in parts), Text())


def printable(text: str) -> str:
    r"""The text with control characters written out (`\x1b`), so that no file name can steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def clock(ms: int) -> str:
    """Milliseconds as a player shows them: `1:02.500`, `1:00:02.500`."""
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def streams_in_words(span: Span) -> str:
    """Which of the two streams sees something, in a sentence."""
    modalities = span.modalities
    look, motion = modalities.rgb >= _STANDS_OUT, modalities.flow >= _STANDS_OUT
    together = "only look and motion together stand out"
    neither = "it stands out of the rest of the face, and yet neither look nor motion is suspect"
    sentence = {
        (True, True): "look and motion both stand out",
        (True, False): "the look stands out, the motion does not",
        (False, True): "the motion stands out, the look does not",
        (False, False): together if span.is_suspect else neither,
    }[look, motion]
    return f"{sentence} (look {modalities.rgb:.2f}, motion {modalities.flow:.2f})"


def _asset_line(verdict: Verdict, title: str) -> Text:
    asset = verdict.asset
    facts = []
    if asset.width is not None and asset.height is not None:
        facts.append(f"{asset.width}x{asset.height}")
    if asset.duration_ms is not None:
        facts.append(f"{asset.duration_ms / 1000:.1f} s")
    if asset.codec is not None:
        facts.append(printable(asset.codec))
    return Text.assemble((printable(title), "bold"), ("  " + ", ".join(facts), "dim"))


def _headline(verdict: Verdict) -> Iterator[Text]:
    summary = verdict.summary
    words, style = _STATUS.get(verdict.status, _LABELS[summary.label])
    line = Text.assemble((words, style))
    if summary.probability is not None:
        line.append(f"  probability {_probability(summary.probability, summary.interval)}")
    yield line
    if verdict.status != "failed":
        yield Text(_amounts(summary), "dim")


def _amounts(summary: Summary) -> str:
    faces = "1 face" if summary.faces == 1 else f"{summary.faces} faces"
    flagged = f"{summary.flagged_ms / 1000:.1f} s flagged, " if summary.flagged_ms else ""
    judged = f"{summary.scanned_ms / 1000:.1f} s judged ({summary.coverage:.0%} of the video)"
    return f"{faces}, {flagged}{judged}"


def _faces(verdict: Verdict) -> Iterator[RenderableType]:
    """Rows of who, when and how sure, and under each of them why."""
    rows = [
        row for track in verdict.tracks for row in (_track_row(track, verdict), *_span_rows(track, verdict))
    ]
    who, when = (max(len(row.cells[n]) for row in rows) + 2 for n in (0, 1))
    yield Text(f"{'Who':<{who}}{'From - to':<{when}}How sure, and why", "dim")
    for row in rows:
        name, stretch = row.cells
        yield Text.assemble((f"{name:<{who}}", row.style), f"{stretch:<{when}}", row.sure)
        yield from (_indented(line, who) for line in row.why)


@dataclass(frozen=True, slots=True)
class _Row:
    cells: tuple[str, str]
    style: str
    sure: Text
    why: list[Text]


def _track_row(track: Track, verdict: Verdict) -> _Row:
    stretches = {(span.start_ms, span.end_ms) for span in verdict.spans if span.track_id == track.track_id}
    reasons = [reason for reason in verdict.reasons if reason.track_id == track.track_id]
    why = [_reason(one) for one in reasons if not _is_told_by_a_span(one, stretches)]
    if track.keyframes:
        why.insert(0, Text(_place(track.keyframes[0].box), "dim"))
    sure = Text.assemble(_LABELS[track.label])
    if track.probability is not None:
        sure.append(f"  {_probability(track.probability, track.interval)}")
    return _Row((f"face {track.track_id}", _stretch(track.start_ms, track.end_ms)), "bold", sure, why)


def _span_rows(track: Track, verdict: Verdict) -> Iterator[_Row]:
    for span in verdict.spans:
        if span.track_id == track.track_id:
            why = Text(streams_in_words(span))
            where = Text(f"strongest at {clock(span.peak_ms)}, {_place(span.box_at_peak)}", "dim")
            yield _Row(
                (f"  span {span.span_id}", _stretch(span.start_ms, span.end_ms)),
                "",
                _sure(span),
                [why, where],
            )


def _sure(span: Span) -> Text:
    """The label of its face where the span itself bears it out."""
    probability = _probability(span.probability, None)
    if span.is_suspect:
        return Text.assemble(_LABELS[span.label], f"  {probability}")
    return Text.assemble(("stands out", "yellow"), f"  {probability} by itself")


def _is_told_by_a_span(reason: Reason, stretches: Container[tuple[int | None, int | None]]) -> bool:
    return reason.code in FINDINGS and (reason.start_ms, reason.end_ms) in stretches


def _notes(verdict: Verdict) -> Iterator[Text]:
    """Reasons that no face's row tells."""
    told = {track.track_id for track in verdict.tracks}
    return (_reason(reason) for reason in verdict.reasons if reason.track_id not in told)


def _indented(what: RenderableType, columns: int) -> Padding:
    return Padding(what, (0, 0, 0, columns), expand=False)


def _reason(reason: Reason) -> Text:
    text = Text.assemble((f"{reason.code}: ", "yellow"), printable(reason.message))
    if reason.start_ms is not None:
        until = "" if reason.end_ms is None else f" - {clock(reason.end_ms)}"
        text.append(f" ({clock(reason.start_ms)}{until})", "dim")
    return text


def _probability(probability: float, interval: tuple[float, float] | None) -> str:
    return f"{probability:.2f}" + ("" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})")


def _stretch(start_ms: int, end_ms: int) -> str:
    return f"{clock(start_ms)} - {clock(end_ms)}"


def _place(where: Box) -> str:
    return f"{where.left:.0%} right, {where.top:.0%} down, {where.width:.0%} wide"
