"""Requests to scan a video, and every envelope in which one may arrive.

`parse` knows an envelope by its shape, so that one topic or queue may carry them all:

    our own JSON            {"schema": "dmcl.scan/1", "uri": "s3://uploads/clip.mp4", ...}; the schema may be left out
    CloudEvents 1.0         binary (`ce_*` headers) or structured; the data is any of the others
    S3 notifications        {"Records": [...]}, `eventVersion` 2.x; the test event; Ceph and MinIO too
    SNS                     {"Type": "Notification", "Message": "..."}; raw delivery needs no unwrapping
    EventBridge             {"detail-type": ..., "source": "aws.s3", "detail": {...}}; from another source, the
                            detail is any of the others
    Osprey actions          {"send_time": ..., "data": {"action_id", "action_name", "data": {"uri": ...}}}

What does not ask for a scan is ignored, with a sentence that says why. What cannot be understood is poison, with one of
`REASONS`. No message quotes a URI's query: it may be a signature.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from connectors import s3_events, strict_json
from connectors.errors import PoisonError
from dmcl_sdk.verdict import Item

SCHEMA = "dmcl.scan/1"
MAX_RECORDS = 1000
MAX_ENVELOPES = 4
"""One in the other; CloudEvents, EventBridge, SNS and S3 are four."""
REASONS = frozenset(
    {
        "empty",
        "too_large",
        "not_utf8",
        "not_json",
        "duplicate_key",
        "too_deep",
        "too_many_records",
        "unrecognised",
    }
    | {"bad_cloudevent", "bad_s3_event", "bad_key", "bad_request", "unsupported_version"}
)
"""Why a message is poison, for programs."""
RESERVED = frozenset(
    {"id", "source", "type", "specversion", "subject", "time", "data", "datacontenttype", "dataschema"}
    | {"status", "label", "action", "queue", "policymode"}
)
"""Names that an event has already, and that no attribute of a request may take."""

_S3_URI = re.compile(r"s3://(?P<bucket>[A-Za-z0-9._:-]{1,255})/(?P<key>.+)", re.DOTALL)
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_SIGNATURES = {"x-amz-signature", "x-goog-signature", "signature", "sig"}
_IN_ACTIONS = ("uri", "item", "version_id", "etag", "sha256", "size_bytes", "attributes")

AttributeName = Annotated[str, Field(pattern=r"^[a-z0-9]{1,20}$")]


class ScanRequest(BaseModel):
    """One video that somebody wants scanned."""

    # The wire name is `schema`, which pydantic keeps for itself.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    schema_: Literal["dmcl.scan/1"] = Field(default="dmcl.scan/1", alias="schema")
    uri: Annotated[str, Field(max_length=8192)]
    """`s3://bucket/key` with the key as it stands, never encoded; `https://...`, presigned if need be; `file:///...`."""
    item: Item | None = None
    """What the platform calls it."""
    version_id: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    etag: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Without quotation marks; of a multipart upload it is no MD5."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    sequencer: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{1,64}$")] | None = None
    """Orders the events of one key; see `newer`."""
    received_at: AwareDatetime | None = None
    """When the platform had it."""
    attributes: Annotated[dict[AttributeName, str], Field(max_length=32)] = Field(default_factory=dict)
    """Passed through to the verdict's event; small letters and digits, as CloudEvents asks of its extensions."""

    @field_validator("uri")
    @classmethod
    def _names_something(cls, uri: str) -> str:
        if uri.startswith("s3://"):
            if not _S3_URI.fullmatch(uri):
                raise ValueError("an S3 URI is s3://bucket/key")
            return uri
        if _CONTROL.search(uri):
            raise ValueError("a URI has no space and no control character")
        if uri.startswith("file://"):
            if not re.match(r"file://(localhost)?/", uri):
                raise ValueError("a file URI is file:///absolute/path")
        elif not uri.startswith("https://"):
            raise ValueError("only s3://, https:// and file:// are fetched")
        elif not _has_plain_host(uri):
            raise ValueError("an https URI has a host, and no user or password")
        return uri

    @field_validator("attributes")
    @classmethod
    def _leaves_the_events_names(cls, attributes: dict[str, str]) -> dict[str, str]:
        if taken := RESERVED & set(attributes):
            raise ValueError(f"{', '.join(sorted(taken))}: an event has that already")
        return attributes

    @property
    def key(self) -> str:
        """What orders and tells apart the events of one object: the URI without version, and without secrets.

        Safe to log and to publish. A signed URL loses its query. Another query is replaced by its digest: it may name
        the object, and may hold a token.
        """
        if not self.uri.startswith("https://"):
            return self.uri
        parts = urlsplit(self.uri)
        plain = f"https://{parts.netloc.lower()}{parts.path}"
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        if not parts.query or names & _SIGNATURES:
            return plain
        return f"{plain}?query={hashlib.sha256(parts.query.encode()).hexdigest()[:16]}"

    @property
    def s3_object(self) -> tuple[str, str] | None:
        """Bucket and key; None for what is not in S3."""
        found = _S3_URI.fullmatch(self.uri)
        return None if found is None else (found["bucket"], found["key"])


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a message asked for."""

    requests: tuple[ScanRequest, ...] = ()
    ignored: tuple[str, ...] = ()
    """Why something in it asks for no scan."""


def newer(a: str, b: str) -> bool:
    """Whether the sequencer `a` of an S3 event is later than `b`, of the SAME key; of two keys it says nothing.

    Sequencers are hexadecimal and of any length: the shorter is padded with zeros on the left.
    """
    return int(a, 16) > int(b, 16)


def parse(
    body: bytes | None, headers: Mapping[str, bytes | str] | None = None, *, encoded_keys: bool | None = None
) -> Parsed:
    """What a message asks to be scanned.

    Args:
        body: the message as it came; None is the value of a Kafka tombstone.
        headers: a Kafka record's headers, for CloudEvents in binary mode.
        encoded_keys: whether keys in S3 notifications are form-URL-encoded. None goes by the record: all are, but those
            of `ceph:s3`. Set it for a store that says it is one and behaves like another.

    Raises:
        PoisonError: it cannot be understood; its reason is one of `REASONS`.
    """
    document = strict_json.loads(body or b"")
    texts = _texts(headers or {})
    event = {name[3:]: value for name, value in texts.items() if name.startswith("ce_")}
    if "specversion" in event:
        _check_cloudevent(event)
    parsed = _read(document, encoded_keys=encoded_keys)
    return _traced(parsed, event.get("traceparent") or texts.get("traceparent"))


def _read(  # noqa: C901, PLR0911, PLR0912 - one table: a shape a case
    document: object, *, encoded_keys: bool | None, inside: int = 0
) -> Parsed:
    def unwrap(inner: object) -> Parsed:
        return _read(inner, encoded_keys=encoded_keys, inside=inside + 1)

    if inside > MAX_ENVELOPES:
        raise PoisonError("too_deep", f"more than {MAX_ENVELOPES} envelopes, one in the other")
    if not isinstance(document, dict):
        raise PoisonError("unrecognised", f"a request is a JSON object, not {_kind(document)}")
    match document:
        case {"specversion": _}:
            event = _structured(document)
            return _traced(unwrap(event.get_data()), event.get_extension("traceparent"))
        case {"Records": []}:
            return Parsed(ignored=("a notification without records",))
        case {"Records": list(records)}:
            if len(records) > MAX_RECORDS:
                raise PoisonError(
                    "too_many_records", f"{len(records)} records; at most {MAX_RECORDS} are read"
                )
            return _gathered([s3_events.from_record(record, encoded_keys=encoded_keys) for record in records])
        case {"eventName": _, "s3": _}:
            return _gathered([s3_events.from_record(document, encoded_keys=encoded_keys)])
        case {"Event": "s3:TestEvent"}:
            return Parsed(ignored=("the test event of a bucket's new notifications",))
        case {"Type": "Notification", "Message": str(message)}:
            return unwrap(strict_json.loads(message.encode()))
        case {"Type": "SubscriptionConfirmation" | "UnsubscribeConfirmation" as kind}:
            return Parsed(ignored=(f"{kind} of SNS",))
        case {"detail-type": str(), "source": "aws.s3"}:
            return _gathered([s3_events.from_eventbridge(document)])
        case {"detail-type": str(), "source": str(), "detail": dict(detail)}:
            return unwrap(detail)
        case {"send_time": sent, "data": {"action_id": number, "action_name": name, "data": dict(data)}}:
            return _gathered([_action(sent, str(number), str(name), data)])
        case {"schema": str(schema)} if schema != SCHEMA:
            raise PoisonError("unsupported_version", f"the schema {SCHEMA} is read, not {schema[:60]!r}")
        case {"uri": _} | {"schema": _}:
            return _gathered([document])
    keys = ", ".join(sorted(document))[:200] or "no key"
    raise PoisonError("unrecognised", f"no envelope that is known: an object with {keys}")


def _gathered(found: list[s3_events.Fields | str]) -> Parsed:
    return Parsed(
        requests=tuple(
            s3_events.shaped(ScanRequest, fields, "bad_request")
            for fields in found
            if isinstance(fields, dict)
        ),
        ignored=tuple(why for why in found if isinstance(why, str)),
    )


def _action(sent: object, number: str, name: str, data: dict[str, Any]) -> s3_events.Fields | str:
    if "uri" not in data:
        return f"the action {name[:60]!r} names no uri"
    known = {field: data[field] for field in _IN_ACTIONS if field in data}
    return {"item": {"id": number, "type": name}, "received_at": sent} | known


def _texts(headers: Mapping[str, bytes | str]) -> dict[str, str]:
    try:
        return {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in headers.items()
            if name.lower().startswith("ce_") or name.lower() == "traceparent"
        }
    except UnicodeDecodeError:
        raise PoisonError("bad_cloudevent", "a header is not UTF-8") from None


def _structured(document: dict[str, Any]) -> CloudEvent:
    attributes = {name: value for name, value in document.items() if value is not None}
    if "data_base64" in attributes:
        raise PoisonError("bad_cloudevent", "data_base64: a request is JSON and stands in `data`")
    data = attributes.pop("data", None)
    return _check_cloudevent(attributes, data)


def _check_cloudevent(attributes: dict[str, Any], data: Any = None) -> CloudEvent:  # noqa: ANN401 - any JSON
    if missing := {"id", "source", "type"} - set(attributes):  # the library would make an id up
        raise PoisonError("bad_cloudevent", f"not CloudEvents 1.0: no {', '.join(sorted(missing))}")
    try:
        time = attributes.get("time")
        timed = attributes if time is None else attributes | {"time": datetime.fromisoformat(time)}
        return CloudEvent(dict(timed), data)
    except CloudEventValidationError as error:
        names = ", ".join(sorted(error.errors))
        raise PoisonError("bad_cloudevent", f"not CloudEvents 1.0: {names[:200]}") from None
    except (TypeError, ValueError):
        raise PoisonError("bad_cloudevent", "not CloudEvents 1.0: time") from None


def _traced(parsed: Parsed, trace: object) -> Parsed:
    if not isinstance(trace, str) or not _TRACE.fullmatch(trace):
        return parsed
    requests = (
        request.model_copy(update={"attributes": {"traceparent": trace} | request.attributes})
        for request in parsed.requests
    )
    return Parsed(tuple(requests), parsed.ignored)


def _has_plain_host(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:  # its message would quote what may be a password
        return False
    return bool(parts.hostname) and "@" not in parts.netloc


def _kind(document: object) -> str:
    kinds = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(document), "a number")
