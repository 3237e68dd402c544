"""Items for Coop, ROOST's review console: the body of `POST /api/v1/items/async/`.

Source: https://github.com/roostorg/coop, docs/api/items.md and the scalar types of types/index.ts.
"""

from __future__ import annotations

from typing import Any

from dmcl_sdk.exporters.fields import flat_fields
from dmcl_sdk.verdict import Verdict

COOP_FIELDS: dict[str, str] = {
    "uri": "STRING",
    "sha256": "STRING",
    "duration_ms": "NUMBER",
    "status": "STRING",
    "label": "STRING",
    "probability": "NUMBER",
    "probability_low": "NUMBER",
    "probability_high": "NUMBER",
    "flagged_ms": "NUMBER",
    "scanned_ms": "NUMBER",
    "coverage": "NUMBER",
    "faces": "NUMBER",
    "reasons": "STRING",
    "worst_track": "NUMBER",
    "worst_start_ms": "NUMBER",
    "worst_end_ms": "NUMBER",
    "action": "STRING",
    "queue": "STRING",
    "policy": "STRING",
    "policy_mode": "STRING",
    "model": "STRING",
    "video": "VIDEO",
    "report": "URL",
}
"""The fields of the item type that Coop must know, with their types; `uri` and `status` are required."""


def to_coop(
    verdict: Verdict,
    *,
    type_id: str,
    item_id: str | None = None,
    video_url: str | None = None,
    report_url: str | None = None,
) -> dict[str, Any]:
    """The body of a request that submits one item.

    Args:
        verdict: what to submit.
        type_id: Coop's id of the item type, made in its dashboard with the fields `COOP_FIELDS`.
        item_id: the platform's id; None takes that of the verdict's item, and without one the video's SHA-256.
        video_url: where a moderator's browser may play the video, for as long as the item waits in a queue.
        report_url: the page that explains the verdict.

    Raises:
        ValueError: the item has no id.
    """
    item = verdict.asset.item
    found = item_id or (item and item.id) or verdict.asset.sha256
    if not found:
        raise ValueError(
            f"{verdict.asset.uri}: Coop needs an item id, and the verdict names no item and no digest"
        )
    links = {"video": video_url, "report": report_url}
    data = flat_fields(verdict) | {name: url for name, url in links.items() if url}
    return {"items": [{"id": found, "typeId": type_id, "data": data}]}
