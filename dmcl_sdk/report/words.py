"""What a verdict says, in sentences: no more than was measured."""

from __future__ import annotations

from dmcl_sdk.attribution import Part, Removal
from dmcl_sdk.explanation import Peak
from dmcl_sdk.network import ModelSpec
from dmcl_sdk.tables import FINDINGS
from dmcl_sdk.verdict import Decision, Reason, Span, Summary, Track, Verdict

LEAST_PLACES_AUC = 0.6
"""A stream's map of places is shown from here on; chance is .5."""
LEAST_PLACE = 0.25
"""A map that is nowhere above this points at nothing, and is left out."""

_STANDS_OUT = 0.5
_LEAST_LOSS = 0.05  # of the probability; less is not worth a sentence

LABELS = {
    "manipulated": "Manipulated",
    "not_manipulated": "Not manipulated",
    "uncertain": "Uncertain",
    None: "Not judged",
}
_FAILED = {
    "limit_reached": ("Not scored", "This video is over a limit, and was not scored."),
    "unreadable": ("Not readable", "This file could not be read."),
    "encrypted": ("Encrypted", "This video is encrypted, and was not scored."),
}
_NO_VIDEO = "Not a video", "This file could not be read as a video."
_PARTS: dict[Part, str] = {
    "eyes": "around the eyes",
    "nose": "around the nose",
    "mouth": "around the mouth",
    "chin": "at the chin",
    "forehead": "at the forehead",
    "cheeks": "in the cheeks",
    "surroundings": "at the edge of the face",
}


def verdict_label(verdict: Verdict) -> str:
    """What the video is called; a judgement that is withheld is called uncertain or not judged."""
    if verdict.status == "failed":
        return _failed(verdict)[0]
    return "Nothing to judge" if verdict.status == "not_applicable" else LABELS[verdict.summary.label]


def _failed(verdict: Verdict) -> tuple[str, str]:
    """Why a file was not scored, in two words and in a sentence."""
    return next((_FAILED[reason.code] for reason in verdict.reasons if reason.code in _FAILED), _NO_VIDEO)


def headline(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    summary = verdict.summary
    if verdict.status == "failed":
        return _failed(verdict)[1]
    if summary.probability is None and not summary.faces:
        short = verdict.status == "abstained"
        return "This video is too short to judge a face." if short else "No face was found in this video."
    if summary.probability is None:
        return "No face in this video could be judged."
    if summary.label == "not_manipulated":
        return f"No stretch of {_faces(summary)} stands out."
    return _of_the_worst_face(verdict)


def _of_the_worst_face(verdict: Verdict) -> str:
    summary = verdict.summary
    worst = [span for span in verdict.spans if span.track_id == summary.worst_track_id]
    if summary.label is None or not worst:
        return f"Face {summary.worst_track_id} may be manipulated; no stretch of it stands out."
    found = "looks manipulated" if summary.label == "manipulated" else "may be manipulated"
    strongest = max(worst, key=lambda span: (span.probability, -span.span_id))
    stretch = f"from {clock(strongest.start_ms)} to {clock(strongest.end_ms)}"
    if not strongest.is_suspect:
        return f"Face {summary.worst_track_id} {found}, but no stretch of it by itself; it stands out most {stretch}."
    if len(worst) == 1:
        return f"Face {summary.worst_track_id} {found} {stretch}."
    return f"Face {summary.worst_track_id} {found} in {len(worst)} stretches, most clearly {stretch}."


def findings(span: Span, peak: Peak | None, spec: ModelSpec) -> list[str]:
    """Why a span stands out: which stream saw it, and which part's motion it rests on."""
    rgb, flow = span.modalities.rgb, span.modalities.flow
    stretch = f"from {clock(span.start_ms)} to {clock(span.end_ms)}"
    if min(rgb, flow) >= _STANDS_OUT:
        told = [
            f"Picture and motion both stand out {stretch}: {percent(rgb)} and {percent(flow)} by themselves."
        ]
    elif max(rgb, flow) >= _STANDS_OUT:
        stream, share = ("picture", rgb) if rgb > flow else ("motion", flow)
        told = [f"The {stream} of the face stands out {stretch}: {percent(share)} by itself."]
    elif span.is_suspect:
        told = [f"Only picture and motion together stand out {stretch}."]
    else:
        told = [
            f"It stands out of the rest of this face {stretch}, and yet neither picture nor motion is suspect."
        ]
    if peak is not None:
        told.append(_rests_on(peak.removals, spec))
    if span.modalities.disagreement >= _STANDS_OUT:
        told.append("Picture and motion disagree about this stretch: look twice.")
    return told


def limits(verdict: Verdict) -> list[Reason]:
    """What is to be said besides the findings of faces, which have their own place."""
    tracks = {track.track_id for track in verdict.tracks}
    return [one for one in verdict.reasons if one.code not in FINDINGS or one.track_id not in tracks]


def told(verdict: Verdict, about: Span | Track) -> list[str]:
    """What the verdict itself says of a span; or of a face, besides what it says of its spans."""
    stretches = {(span.track_id, span.start_ms, span.end_ms) for span in verdict.spans}
    found = [one for one in verdict.reasons if one.code in FINDINGS and one.track_id == about.track_id]
    if isinstance(about, Span):
        mine = about.track_id, about.start_ms, about.end_ms
        return [_sentence(one) for one in found if (one.track_id, one.start_ms, one.end_ms) == mine]
    return [_sentence(one) for one in found if (one.track_id, one.start_ms, one.end_ms) not in stretches]


def _sentence(reason: Reason) -> str:
    text = reason.message[:1].upper() + reason.message[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def motion_words(frames: int, gain: int, *, moves: bool) -> str:
    """What the picture of motion shows."""
    if not moves:
        return f"Nothing moves besides the head over {frames} frames"
    return f"What moves besides the head over {frames} frames, {gain} times as long"


def _rests_on(removals: tuple[Removal, ...], spec: ModelSpec) -> str:
    """The part whose motion counts most, by what the probability is worth without it."""
    most = min(removals, key=lambda removal: removal.after)
    before, after = (spec.frame_calibration.probability(logit) for logit in (most.before, most.after))
    if before - after < _LEAST_LOSS:
        return "No part's motion counts for it: taken away one by one, they change the probability by less than 5 %."
    return (
        f"Motion {_PARTS[most.part]} disagrees with the head: if it followed the head, the probability at the peak "
        f"would fall from {percent(before)} to {percent(after)}."
    )


def decision_words(decision: Decision) -> str:
    """What a policy made of it."""
    queue = f", queue {decision.queue}" if decision.queue else ""
    shadow = " (shadow mode: nothing was done)" if decision.mode == "shadow" else ""
    rule = f" by rule {decision.rule}" if decision.rule else ""
    return f"{decision.action}{queue}{rule}{shadow}"


def places_words(stream: str, auc: float | None) -> str:
    """How far a map of places can be believed."""
    if auc is None:
        return f"How true this model's map of the {stream} is was not measured, so it is not shown."
    shown = "" if auc >= LEAST_PLACES_AUC else ", so it is not shown"
    return (
        f"On forgeries whose place in the face is known, this model's map of the {stream} was measured at {auc:.2f}, "
        f"where 0.50 is chance and 1 is perfect{shown}."
    )


def trust(auc: float) -> str:
    """How far a map can be believed, beside the map itself."""
    weight = "A weak hint" if auc < 0.7 else "A hint" if auc < 0.85 else "Measured to be mostly right"
    return f"{weight} ({auc:.2f}, chance is 0.50)."


def clock(ms: int) -> str:
    """Milliseconds as a player shows them, to the tenth: `0:02.5`, `1:00:02.5`."""
    tenths = round(ms / 100)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def percent(share: float) -> str:
    """A share in whole per cent; never 0 or 100 unless it is."""
    whole = round(100 * share)
    if whole in {0, 100} and share not in {0, 1}:
        return "under 1\u00a0%" if whole == 0 else "over 99\u00a0%"
    return f"{whole}\u00a0%"


def _faces(summary: Summary) -> str:
    return "the face" if summary.faces == 1 else f"any of {summary.faces} faces"
