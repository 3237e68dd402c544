"""Actions for Osprey, ROOST's rules engine: a record of the topic `osprey.actions_input`.

Source: https://github.com/roostorg/osprey, docs/integration/data-flow.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dmcl_sdk.exporters.fields import flat_fields
from dmcl_sdk.verdict import Verdict


def to_osprey(
    verdict: Verdict, *, action_id: int, send_time: datetime, action_name: str = "video_scanned"
) -> dict[str, Any]:
    """One action; rules read its fields by path, `JsonData(path="$.probability")`.

    Args:
        verdict: what to tell of.
        action_id: a number of the platform's own, unique among its actions.
        send_time: when the verdict was reached, with a time zone.
        action_name: what the rules match.
    """
    item = verdict.asset.item
    named = {} if item is None else {"item_id": item.id, "item_type": item.type}
    spans = [
        {
            "span_id": span.span_id,
            "track_id": span.track_id,
            "start_ms": span.start_ms,
            "end_ms": span.end_ms,
            "label": span.label,
            "probability": span.probability,
        }
        for span in verdict.spans
    ]
    return {
        "send_time": send_time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {
            "action_id": action_id,
            "action_name": action_name,
            "data": {**named, **flat_fields(verdict), "spans": spans},
        },
    }
