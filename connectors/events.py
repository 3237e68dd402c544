"""Verdicts on their way, as CloudEvents 1.0.

Binary mode on Kafka: the attributes are `ce_*` headers and the value is the plain verdict. Structured mode on SQS and
HTTP: one JSON object, the verdict under `data`. The status, the label and what the policy decided stand among the
attributes too, so that whoever routes events need not open them. In shadow mode action and queue do not: nobody is to
act on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cloudevents.core.bindings import kafka
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from connectors.errors import PoisonError
from connectors.requests import ScanRequest
from dmcl_sdk.verdict import SCHEMA_ID, Verdict

TYPE = "dev.dmcl.verdict.v1"
CONTENT_TYPE = "application/json"
STRUCTURED_CONTENT_TYPE = "application/cloudevents+json"

_NAMESPACE = uuid5(NAMESPACE_URL, SCHEMA_ID)
_OWN = {"id", "type", "source", "subject", "time", "specversion", "datacontenttype", "dataschema"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One verdict, ready to be sent."""

    id: str
    """The idempotency key: whoever has seen it may throw the event away."""
    type: str
    source: str
    """Who says so, a URI reference."""
    subject: str
    """The scanned object, by its request's `key`; also what to partition and order by."""
    time: str
    """When the verdict was reached, RFC 3339."""
    body: bytes
    """The verdict's JSON."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Further CloudEvents attributes: the request's own, and those to route by."""

    def binary(self) -> tuple[dict[str, bytes], bytes]:
        """Headers and value of a Kafka record."""
        message = kafka.to_binary(self._event(self.body), JSONFormat())
        return message.headers, message.value

    def structured(self) -> bytes:
        """One JSON object, `application/cloudevents+json`."""
        return JSONFormat().write(self._event(json.loads(self.body)))

    def _event(self, data: Any) -> CloudEvent:  # noqa: ANN401 - any JSON
        own = {
            "specversion": "1.0",
            "id": self.id,
            "type": self.type,
            "source": self.source,
            "subject": self.subject,
            "time": datetime.fromisoformat(self.time),
            "datacontenttype": CONTENT_TYPE,
            "dataschema": SCHEMA_ID,
        }
        return CloudEvent(own | dict(self.attributes), data)


def delivery(request: ScanRequest, verdict: Verdict, *, source: str, now: datetime) -> Delivery:
    """The event that tells of a verdict.

    Args:
        request: what was asked for.
        verdict: what came of it, with the policy's decision if there is one.
        source: who says so: a URI reference that names this deployment.
        now: when the verdict was reached, with a time zone.
    """
    return Delivery(
        id=event_id(request, verdict),
        type=TYPE,
        source=source,
        subject=request.key,
        time=_rfc3339(now),
        body=verdict.to_json().encode(),
        attributes=request.attributes | _routing(verdict),
    )


def event_id(request: ScanRequest, verdict: Verdict) -> str:
    """The idempotency key: the same for the same item, content, model, configuration and policy.

    Content is told apart by the object's version, or the digest of what was scanned, or else the entity tag. The
    object and the platform's item count too: two posts of one video are two things to moderate.
    """
    item = verdict.asset.item or request.item
    content = request.version_id or verdict.asset.sha256 or request.sha256 or request.etag
    parts = [
        request.key,
        None if item is None else [item.type, item.id],
        content,
        verdict.model and verdict.model.sha256,
        verdict.runtime and [verdict.runtime.preprocess_sha256, verdict.runtime.config_sha256],
        verdict.decision and verdict.decision.sha256,
    ]
    return str(uuid5(_NAMESPACE, json.dumps(parts)))


def from_binary(headers: Mapping[str, bytes], value: bytes) -> Delivery:
    """What a Kafka record carries, as `Delivery.binary` wrote it.

    Raises:
        PoisonError: `bad_cloudevent`.
    """
    try:
        event = kafka.from_binary(kafka.KafkaMessage(dict(headers), None, b""), JSONFormat(), CloudEvent)
    except (CloudEventValidationError, ValueError) as error:
        raise PoisonError("bad_cloudevent", f"not a CloudEvent in binary mode: {error}") from error
    return _delivery(event, value)


def from_structured(body: bytes) -> Delivery:
    """What an SQS message or an HTTP request carries, as `Delivery.structured` wrote it.

    Raises:
        PoisonError: `bad_cloudevent`.
    """
    try:
        event = JSONFormat().read(CloudEvent, body)
    except (CloudEventValidationError, ValueError, TypeError, AttributeError) as error:
        raise PoisonError("bad_cloudevent", f"not a CloudEvent in structured mode: {error}") from error
    data = json.dumps(event.get_data(), ensure_ascii=False, separators=(",", ":"))
    return _delivery(event, data.encode())


def _delivery(event: Any, body: bytes) -> Delivery:  # noqa: ANN401 - the library's base class
    attributes = event.get_attributes()
    time = event.get_time()
    if time is None or event.get_subject() is None:
        raise PoisonError("bad_cloudevent", "an event that tells of a verdict has a subject and a time")
    return Delivery(
        id=event.get_id(),
        type=event.get_type(),
        source=event.get_source(),
        subject=event.get_subject(),
        time=_rfc3339(time),
        body=body,
        attributes={name: str(value) for name, value in attributes.items() if name not in _OWN},
    )


def _routing(verdict: Verdict) -> dict[str, str]:
    decision = verdict.decision
    enforced = decision is not None and decision.mode == "enforce"
    named = {
        "status": verdict.status,
        "label": verdict.summary.label,
        "policymode": decision and decision.mode,
        "action": decision.action if decision and enforced else None,
        "queue": decision.queue if decision and enforced else None,
    }
    return {name: value for name, value in named.items() if value}


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
