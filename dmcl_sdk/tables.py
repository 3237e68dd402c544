"""Verdicts for people: who, from when to when, how sure, why, and what was not judged.

Everything is built from `Text`, which takes names and messages as they are: a file called `[red].mp4` keeps
its name.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dmcl_sdk.verdict import Box, Modalities, Reason, Span, Summary, Track, Verdict

_LABELS = {
    "manipulated": ("manipulated", "bold red"),
    "not_manipulated": ("not manipulated", "green"),
    "uncertain": ("uncertain", "yellow"),
    None: ("not judged", "dim"),
}
_STATUS = {
    "abstained": ("undecided", "yellow"),
    "not_applicable": ("nothing to judge", "yellow"),
    "failed": ("failed", "bold red"),
}
_STANDS_OUT = 0.5  # a stream alone calls it more likely manipulated than not


def verdict_table(verdict: Verdict, name: str | None = None) -> RenderableType:
    """One video as a headline, a table of faces and their spans, and notes on what was not judged.

    Args:
        verdict: what to show.
        name: what the reader calls the video; its URI if not given.
    """
    title = verdict.asset.uri if name is None else name
    parts: list[RenderableType] = [_asset_line(verdict, title), _headline(verdict)]
    if verdict.tracks:
        parts.append(_faces(verdict))
    parts += _notes(verdict)
    return Group(parts[0], *(Padding(part, (0, 0, 0, 2), expand=False) for part in parts[1:]), Text())


def printable(text: str) -> str:
    r"""The text with control characters written out (`\x1b`), so that no file name can steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def clock(ms: int) -> str:
    """Milliseconds as a player shows them: `1:02.500`, `1:00:02.500`."""
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def streams_in_words(modalities: Modalities) -> str:
    """Which of the two streams sees something, in a sentence."""
    look, motion = modalities.rgb >= _STANDS_OUT, modalities.flow >= _STANDS_OUT
    sentence = {
        (True, True): "look and motion both stand out",
        (True, False): "the look stands out, the motion does not",
        (False, True): "the motion stands out, the look does not",
        (False, False): "only look and motion together stand out",
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


def _headline(verdict: Verdict) -> Text:
    summary = verdict.summary
    words, style = _STATUS.get(verdict.status, _LABELS[summary.label])
    line = Text.assemble((words, style))
    if summary.probability is not None:
        line.append(f"  probability {_probability(summary.probability, summary.interval)}")
    if verdict.status != "failed":
        line.append(f"  {_amounts(summary)}", "dim")
    return line


def _amounts(summary: Summary) -> str:
    faces = "1 face" if summary.faces == 1 else f"{summary.faces} faces"
    flagged = f"{summary.flagged_ms / 1000:.1f} s flagged, " if summary.flagged_ms else ""
    judged = f"{summary.scanned_ms / 1000:.1f} s judged ({summary.coverage:.0%} of the video)"
    return f"{faces}, {flagged}{judged}"


def _faces(verdict: Verdict) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Who", overflow="fold")
    table.add_column("From - to", no_wrap=True)
    table.add_column("How sure", no_wrap=True)
    table.add_column("Why", overflow="fold")
    for track in verdict.tracks:
        table.add_row(*_track_row(track, verdict))
        for span in verdict.spans:
            if span.track_id == track.track_id:
                table.add_row(*_span_row(span))
    return table


def _track_row(track: Track, verdict: Verdict) -> tuple[Text, str, Text, Text]:
    who = Text.assemble((f"face {track.track_id}", "bold"))
    if track.keyframes:
        who.append(f"\n{_place(track.keyframes[0].box)}", "dim")
    sure = Text.assemble(_LABELS[track.label])
    if track.probability is not None:
        sure.append(f"\n{_probability(track.probability, track.interval)}")
    why = [_reason(reason) for reason in verdict.reasons if reason.track_id == track.track_id]
    return who, _stretch(track.start_ms, track.end_ms), sure, Text("\n").join(why)


def _span_row(span: Span) -> tuple[RenderableType, str, Text, Text]:
    who = Text.assemble(f"span {span.span_id}\n", (_place(span.box_at_peak), "dim"))
    return (
        Padding(who, (0, 0, 0, 2)),
        _stretch(span.start_ms, span.end_ms),
        Text.assemble(_LABELS[span.label], f"\n{_probability(span.probability, None)}"),
        Text(f"{streams_in_words(span.modalities)}; strongest at {clock(span.peak_ms)}"),
    )


def _notes(verdict: Verdict) -> Iterator[Text]:
    """Reasons that no face's row tells."""
    told = {track.track_id for track in verdict.tracks}
    return (_reason(reason) for reason in verdict.reasons if reason.track_id not in told)


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
