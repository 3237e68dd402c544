"""What S3 and its kin say of an object, as the fields of a scan request.

A notification carries records; EventBridge carries one event. An event that asks for no scan (a deletion, a change of
tags, a folder marker) comes back as a sentence that says why.

Keys are form-URL-encoded in notifications (`red flower.mp4` is `red+flower.mp4`), by AWS and MinIO. They are as they
stand in EventBridge, and in the notifications of Ceph's RADOS gateway, whose records say `ceph:s3`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_plus

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from connectors.errors import PoisonError

Fields = dict[str, Any]
"""Fields of a `ScanRequest`."""

HEX = re.compile(r"[0-9A-Fa-f]{1,64}")
_CREATED = ("ObjectCreated:", "ObjectSynced:Create")
_AnyModel = TypeVar("_AnyModel", bound=BaseModel)


class _Shape(BaseModel):
    """Takes what it needs and leaves the rest: the event grows new fields within a version."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Bucket(_Shape):
    name: Annotated[str, Field(min_length=1)]


class _NotifiedObject(_Shape):
    key: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=0)] | None = None
    etag: str | None = Field(default=None, alias="eTag")
    version_id: str | None = Field(default=None, alias="versionId")
    sequencer: str | None = None


class _Entity(_Shape):
    bucket: _Bucket
    object: _NotifiedObject


class _Record(_Shape):
    version: str = Field(alias="eventVersion")
    source: str = Field(alias="eventSource")
    name: str = Field(alias="eventName")
    time: AwareDatetime | None = Field(default=None, alias="eventTime")
    s3: _Entity


class _BridgedObject(_NotifiedObject):
    etag: str | None = None
    version_id: str | None = Field(default=None, alias="version-id")


class _Detail(_Shape):
    bucket: _Bucket
    object: _BridgedObject


class _Bridged(_Shape):
    time: AwareDatetime | None = None
    detail: _Detail


def from_record(record: object, *, encoded_keys: bool | None = None) -> Fields | str:
    """The request in one record of an S3 notification, or why there is none.

    Args:
        record: an element of `Records`, `eventVersion` 2.x.
        encoded_keys: whether keys are form-URL-encoded; None goes by the record's `eventSource`.

    Raises:
        PoisonError: `bad_s3_event`, `unsupported_version` or `bad_key`.
    """
    event = shaped(_Record, record, "bad_s3_event")
    if not event.source.endswith(":s3"):
        raise PoisonError("bad_s3_event", f"a record of {event.source[:60]!r} is no S3 event")
    if not event.version.startswith("2."):
        raise PoisonError("unsupported_version", f"eventVersion 2.x is read, not {event.version[:20]!r}")
    name, found = event.name.removeprefix("s3:"), event.s3.object
    encoded = event.source != "ceph:s3" if encoded_keys is None else encoded_keys
    key = _decoded(found.key) if encoded else found.key
    if not name.startswith(_CREATED):
        return f"{name[:60]} of {key[:200]!r} asks for no scan"
    return _fields(event.s3.bucket.name, key, found, event.time)


def from_eventbridge(event: Fields) -> Fields | str:
    """The request in an event that S3 sent to EventBridge, or why there is none.

    Raises:
        PoisonError: `bad_s3_event`.
    """
    kind = event["detail-type"]
    if kind != "Object Created":
        return f"{str(kind)[:60]!r} asks for no scan"
    bridged = shaped(_Bridged, event, "bad_s3_event")
    found = bridged.detail.object
    return _fields(bridged.detail.bucket.name, found.key, found, bridged.time)


def shaped(model: type[_AnyModel], document: object, reason: str) -> _AnyModel:
    """The document as a model.

    Raises:
        PoisonError: with this reason; the message names the field and never its value, which may be a secret.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200] or "the message"
        raise PoisonError(reason, f"{where}: {first['msg']}") from None


def _fields(bucket: str, key: str, found: _NotifiedObject, time: object) -> Fields | str:
    if key.endswith("/") and not found.size:
        return f"{key[:200]!r} is a folder marker"
    ordered = found.sequencer and HEX.fullmatch(found.sequencer)
    return {
        "uri": f"s3://{bucket}/{key}",
        "version_id": found.version_id or None,  # Ceph says "" for none
        "etag": (found.etag or "").strip('"') or None,
        "size_bytes": found.size,
        "sequencer": found.sequencer if ordered else None,
        "received_at": time,
    }


def _decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise PoisonError("bad_key", f"the key {key[:200]!r} is not URL-encoded UTF-8") from None
