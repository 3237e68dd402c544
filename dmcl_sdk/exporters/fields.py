"""A verdict as one flat table, for systems whose rules look at fields by name."""

from __future__ import annotations

from dmcl_sdk.verdict import Span, Verdict

Scalar = str | int | float


def flat_fields(verdict: Verdict) -> dict[str, Scalar]:
    """The verdict's main figures by name; what it does not have is left out.

    Probabilities are P(manipulated) in 0..1, times milliseconds from the start of the video, `worst_*` the most suspect
    span. `reasons` are the codes, each once, with a comma between them.
    """
    asset, summary, decision, model = verdict.asset, verdict.summary, verdict.decision, verdict.model
    low, high = summary.interval or (None, None)
    worst = worst_span(verdict)
    fields: dict[str, Scalar | None] = {
        "uri": asset.uri,
        "sha256": asset.sha256,
        "duration_ms": asset.duration_ms,
        "status": verdict.status,
        "label": summary.label,
        "probability": summary.probability,
        "probability_low": low,
        "probability_high": high,
        "flagged_ms": summary.flagged_ms,
        "scanned_ms": summary.scanned_ms,
        "coverage": summary.coverage,
        "faces": summary.faces,
        "reasons": ", ".join(dict.fromkeys(reason.code for reason in verdict.reasons)) or None,
        "worst_track": summary.worst_track_id,
        "worst_start_ms": worst.start_ms if worst else None,
        "worst_end_ms": worst.end_ms if worst else None,
        "action": decision.action if decision else None,
        "queue": decision.queue if decision else None,
        "policy": f"{decision.policy_id} {decision.version}" if decision else None,
        "policy_mode": decision.mode if decision else None,
        "model": f"{model.name} {model.version}" if model else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def worst_span(verdict: Verdict) -> Span | None:
    """The span that the summary names."""
    return next((span for span in verdict.spans if span.span_id == verdict.summary.worst_span_id), None)
