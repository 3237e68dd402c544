"""Whether a verdict holds: its digests against what is here, and what it says against the same done again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from dmcl_sdk.verdict import Decision, ModelInfo, Runtime, Verdict

Outcome = Literal["holds", "differs", "unchecked"]

ROUNDING = 2e-3
"""Processors and versions of the runtime add numbers up in another order; that moves no probability further."""

_COMPARED = "status", "reasons", "summary", "tracks", "spans"
_MOST_DIFFERENCES = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: `video`, `model`, `calibration`, `preprocessing`, `settings`, `verdict` or `decision`.
        outcome: "unchecked" is what cannot be told with what is here.
        message: what was found, and where it cannot be told, the way out.
    """

    what: str
    outcome: Outcome
    message: str


def check_video(claimed: Verdict, sha256: str) -> Check:
    """Whether this is the video that was scored."""
    if claimed.asset.sha256 is None:
        return Check("video", "unchecked", "the verdict does not say which video it is about")
    if claimed.asset.sha256 != sha256:
        return Check(
            "video", "differs", f"another file: {sha256}, the verdict is about {claimed.asset.sha256}"
        )
    return Check("video", "holds", sha256)


def check_setup(claimed: Verdict, model: ModelInfo | None, runtime: Runtime | None) -> list[Check]:
    """Whether the same model, calibration, preprocessing and settings are here; None is what is not said."""
    if claimed.model is None or claimed.runtime is None:
        message = "the verdict does not say by which model it was made: name its detector with --detector"
        return [Check("model", "unchecked", message)]
    if model is None or runtime is None:
        return [Check("model", "unchecked", "this detector does not say by which model it judges")]
    theirs = f"{claimed.model.name} {claimed.model.version}"
    rows = [
        ("model", claimed.model.sha256, model.sha256,
         f"it was made by {theirs}: name that file with --model, or its detector with --detector"),
        ("calibration", claimed.model.calibration.sha256, model.calibration.sha256,
         "it was made with another calibration: name the model file that it is in with --model"),
        ("preprocessing", claimed.runtime.preprocess_sha256, runtime.preprocess_sha256,
         f"it was made by dmcl-sdk {claimed.runtime.sdk} with faces by {claimed.runtime.face_detector}: use those"),
        ("settings", claimed.runtime.config_sha256, runtime.config_sha256,
         "it was made with other settings: give the options that it was scored with, such as --max-seconds"),
    ]  # fmt: skip
    return [
        Check(what, "holds", here)
        if here == there
        else Check(what, "unchecked", f"{here} is here, the verdict has {there}; {way_out}")
        for what, there, here, way_out in rows
    ]


def check_findings(claimed: Verdict, again: Verdict) -> Check:
    """Whether scoring the video again says the same; what differs is named."""
    theirs, ours = _said(claimed), _said(again)
    if theirs == ours:
        return Check("verdict", "holds", "scored again, it is the same in every number")
    found = list(_differences(theirs, ours))
    if not found:
        return Check("verdict", "holds", f"scored again, it is the same to within {ROUNDING:g}")
    more = f"; and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
    return Check("verdict", "differs", "; ".join(found[:_MOST_DIFFERENCES]) + more)


def check_decision(claimed: Decision, again: Decision) -> Check:
    """Whether this policy decides so."""
    if claimed.sha256 != again.sha256:
        message = (
            f"this policy is {again.sha256}, the decision was made by {claimed.policy_id} {claimed.version}, "
            f"{claimed.sha256}: name that file with --policy"
        )
        return Check("decision", "unchecked", message)
    found = list(_differences(claimed.model_dump(), again.model_dump(), "decision"))
    if found:
        return Check("decision", "differs", "; ".join(found))
    return Check("decision", "holds", f"{claimed.policy_id} {claimed.version}, {claimed.sha256}")


def _said(verdict: Verdict) -> dict[str, Any]:
    """What the verdict says of the video; evidence is what others attached to it."""
    whole = verdict.model_dump(include=set(_COMPARED))
    for span in whole["spans"]:
        span.pop("evidence")
    for reason in whole["reasons"]:
        reason.pop("message")  # says in words, and rounded, what stands elsewhere
    asset = verdict.asset
    whole["asset"] = {"duration_ms": asset.duration_ms, "width": asset.width, "height": asset.height}
    return whole


def _differences(theirs: Any, ours: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401 - parts of JSON
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in theirs:
            yield from _differences(theirs[key], ours.get(key), f"{where}.{key}" if where else key)
    elif isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        if len(theirs) != len(ours):
            yield f"{where}: {len(theirs)} in the verdict, {len(ours)} scored again"
        for number, (a, b) in enumerate(zip(theirs, ours, strict=False)):
            yield from _differences(a, b, f"{where}[{number}]")
    elif isinstance(theirs, float) and isinstance(ours, float):
        if abs(theirs - ours) > ROUNDING * max(1.0, abs(theirs)):
            yield f"{where}: {theirs:.4f} in the verdict, {ours:.4f} scored again"
    elif theirs != ours:
        yield f"{where}: {theirs!r} in the verdict, {ours!r} scored again"
