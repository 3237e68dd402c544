from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors import strict_json
from connectors.errors import PoisonError
from connectors.requests import MAX_RECORDS, REASONS, Parsed, ScanRequest, newer, parse
from dmcl_sdk.verdict import Item

SAMPLES = Path(__file__).parent / "samples"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KEYS = {key for path in SAMPLES.glob("*.json") for key in re.findall(r'"([\w-]+)":', path.read_text())}
SIGNED = "https://media.example.org/v/81.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=c0ffee"


def sample(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return document


def parsed(document: object, headers: dict[str, bytes | str] | None = None) -> Parsed:
    return parse(json.dumps(document).encode(), headers)


def poison(body: bytes, headers: dict[str, bytes | str] | None = None) -> PoisonError:
    with pytest.raises(PoisonError) as caught:
        parse(body, headers)
    return caught.value


def reason(document: object) -> str:
    return poison(json.dumps(document).encode()).reason


def changed(name: str, change: Callable[[Any], object]) -> object:
    document = sample(name)
    change(document)
    return document


@pytest.mark.parametrize(
    ("name", "uris", "ignored"),
    [
        ("scan", ["s3://uploads/2025/holiday clip.mp4"], 0),
        ("s3_put", ["s3://uploads/2025/red flower & café 100%+1.mp4"], 0),
        ("s3_several", ["s3://uploads/a.mp4", "s3://uploads/d.mp4"], 4),
        ("s3_test_event", [], 1),
        ("s3_ceph", ["s3://uploads/1+1=2 at 100%.mp4"], 0),
        ("s3_minio", ["s3://uploads/test12/clip 1.mp4"], 0),
        ("sns_s3", ["s3://uploads/2025/red flower & café 100%+1.mp4"], 0),
        ("sns_s3_test_event", [], 1),
        ("sns_confirmation", [], 1),
        ("eventbridge_created", ["s3://uploads/1+1=2 at 100%.mp4"], 0),
        ("eventbridge_deleted", [], 1),
        ("eventbridge_own", ["https://media.example.org/v/81.mp4"], 0),
        ("cloudevent_structured", [SIGNED], 0),
        ("osprey_action", ["s3://uploads/81.mp4"], 0),
        ("osprey_login", [], 1),
    ],
)
def test_every_envelope_is_known_by_its_shape(name: str, uris: list[str], ignored: int) -> None:
    found = parse((SAMPLES / f"{name}.json").read_bytes())
    assert [request.uri for request in found.requests] == uris
    assert len(found.ignored) == ignored


def test_every_sample_is_tested() -> None:
    assert {path.stem for path in SAMPLES.glob("*.json")} >= {"scan", "cloudevent_binary"}
    for path in SAMPLES.glob("*.json"):
        if path.stem != "cloudevent_binary":
            assert parse(path.read_bytes()) != Parsed()


def test_an_s3_notification_says_which_version_of_which_object_and_in_which_order() -> None:
    (request,) = parsed(sample("s3_put")).requests
    assert request == ScanRequest(
        uri="s3://uploads/2025/red flower & café 100%+1.mp4",
        version_id="096fKKXTRTtl3on89fVO.nfljtsv6qko",
        etag="d41d8cd98f00b204e9800998ecf8427e",
        size_bytes=1048576,
        sequencer="0055AED6DCD90281E5",
        received_at=datetime(2025, 5, 4, 7, 12, 33, 412000, tzinfo=UTC),
    )
    assert request.s3_object == ("uploads", "2025/red flower & café 100%+1.mp4")


def test_what_asks_for_no_scan_says_why() -> None:
    assert parsed(sample("s3_several")).ignored == (
        "ObjectRemoved:DeleteMarkerCreated of 'b.mp4' asks for no scan",
        "LifecycleExpiration:Delete of 'c.mp4' asks for no scan",
        "'holidays/' is a folder marker",
        "ObjectRestore:Completed of 'e.mp4' asks for no scan",
    )
    assert parsed(sample("eventbridge_deleted")).ignored == ("'Object Deleted' asks for no scan",)
    assert parsed(sample("osprey_login")).ignored == ("the action 'user_login' names no uri",)
    assert parsed({"Records": []}).ignored == ("a notification without records",)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
        lambda key: key[-1] != "/"
    )
)
@example("a b+c%20d&e=f?g#h")
@example("%")
@example("日本/ü.mp4")
def test_every_key_survives_its_encoding(key: str) -> None:
    def named(encoded: str) -> Callable[[Any], object]:
        return lambda document: document["Records"][0]["s3"]["object"].update(key=encoded)

    (encoded,) = parsed(changed("s3_put", named(quote_plus(key)))).requests
    (plain,) = parsed(changed("s3_ceph", named(key))).requests
    assert encoded.s3_object == plain.s3_object == ("uploads", key)


def test_whether_keys_are_encoded_can_be_said_where_a_store_does_not_do_as_it_says() -> None:
    body = json.dumps(sample("s3_put")).encode()
    (plain,) = parse(body, encoded_keys=False).requests
    assert plain.uri == "s3://uploads/2025/red+flower+%26+caf%C3%A9+100%25%2B1.mp4"
    (decoded,) = parse(json.dumps(sample("s3_ceph")).encode(), encoded_keys=True).requests
    assert decoded.uri == "s3://uploads/1 1=2 at 100%.mp4"


def test_a_single_record_is_read_as_an_adapter_hands_it_on() -> None:
    record = sample("s3_put")["Records"][0]
    event = {
        "specversion": "1.0",
        "type": "com.amazonaws.s3.objectcreated",
        "source": "aws:s3",
        "id": "1",
        "data": record,
    }
    assert parsed(event).requests == parsed(sample("s3_put")).requests


def test_envelopes_may_stand_one_in_the_other_up_to_a_limit() -> None:
    document: Any = sample("scan")
    for _ in range(4):
        document = {"Type": "Notification", "Message": json.dumps(document)}
    assert len(parsed(document).requests) == 1
    assert reason({"Type": "Notification", "Message": json.dumps(document)}) == "too_deep"


def test_a_cloudevent_in_binary_mode_is_known_by_its_headers() -> None:
    record = sample("cloudevent_binary")
    headers = {name: value.encode() for name, value in record["headers"].items()}
    (request,) = parse(json.dumps(record["body"]).encode(), headers).requests
    assert request == ScanRequest(uri="s3://uploads/81.mp4", attributes={"traceparent": TRACE})


def test_a_trace_goes_on_from_headers_and_events_alike() -> None:
    body = json.dumps({"uri": "s3://uploads/81.mp4"}).encode()
    assert parse(body, {"traceparent": TRACE.encode()}).requests[0].attributes == {"traceparent": TRACE}
    assert parse(body, {"traceparent": b"nonsense"}).requests[0].attributes == {}
    assert parsed(sample("cloudevent_structured")).requests[0].attributes == {"traceparent": TRACE}


@pytest.mark.parametrize(
    "headers",
    [
        {"ce_specversion": b"0.3", "ce_id": b"1", "ce_type": b"t", "ce_source": b"s"},
        {"ce_specversion": b"1.0", "ce_type": b"t", "ce_source": b"s"},
        {"ce_specversion": b"1.0", "ce_id": b"1", "ce_type": b"t", "ce_source": b"s", "ce_time": b"noon"},
        {"ce_specversion": b"1.0", "ce_id": b"\xff", "ce_type": b"t", "ce_source": b"s"},
    ],
)
def test_headers_that_are_no_cloudevent_are_poison(headers: dict[str, bytes | str]) -> None:
    assert poison(b'{"uri": "s3://uploads/81.mp4"}', headers).reason == "bad_cloudevent"


def test_an_osprey_action_hands_on_what_names_the_video_and_nothing_of_its_user() -> None:
    (request,) = parsed(sample("osprey_action")).requests
    assert request.item == Item(id="1042", type="video_uploaded")
    assert "user_381" not in request.model_dump_json()
    assert "203.0.113.9" not in request.model_dump_json()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'"' + b"x" * strict_json.MAX_BYTES + b'"', "too_large"),
        (b'{"uri": "\xff"}', "not_utf8"),
        (b'{"uri": "s3://b/\\ud800"}', "not_utf8"),
        (b"{uri: 1}", "not_json"),
        (b'{"uri": NaN}', "not_json"),
        (b"9" * 5000, "not_json"),
        (b'{"uri": "s3://b/k", "uri": "s3://b/l"}', "duplicate_key"),
        (b"{" + b"".join(b'"%x":1,' % number for number in range(90_000)) + b'"1":2}', "duplicate_key"),
        (b"[" * 40 + b"]" * 40, "too_deep"),
        (b"[" * 100_000, "too_deep"),
        (b"[]", "unrecognised"),
        (b"null", "unrecognised"),
        (b"{}", "unrecognised"),
        (b'{"hello": "world"}', "unrecognised"),
        (b'{"schema": "dmcl.scan/2", "uri": "s3://b/k"}', "unsupported_version"),
        (b'{"specversion": "1.0"}', "bad_cloudevent"),
        (b'{"specversion": "1.0", "id": "1", "type": "t", "source": "s"}', "unrecognised"),
        (
            b'{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data_base64": "e30="}',
            "bad_cloudevent",
        ),
        (b'{"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}', "bad_s3_event"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_understood_is_poison_with_a_reason(body: bytes, code: str) -> None:
    assert poison(body).reason == code


def test_a_kafka_tombstone_asks_for_nothing() -> None:
    with pytest.raises(PoisonError, match="no body"):
        parse(None)


def test_what_is_wrong_with_an_s3_event_is_said() -> None:
    def record(**change: object) -> object:
        return changed("s3_put", lambda document: document["Records"][0].update(change))

    def s3_object(**change: object) -> object:
        return changed("s3_put", lambda document: document["Records"][0]["s3"]["object"].update(change))

    assert reason(record(eventVersion="3.0")) == "unsupported_version"
    assert reason(record(eventSource="aws:sns")) == "bad_s3_event"
    assert reason(s3_object(key="caf%E9.mp4")) == "bad_key"
    assert reason(s3_object(key="")) == "bad_s3_event"
    assert reason({"Records": sample("s3_put")["Records"] * (MAX_RECORDS + 1)}) == "too_many_records"
    assert parsed(s3_object(sequencer="Happy Sequencer")).requests[0].sequencer is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uri", "http://media.example.org/clip.mp4"),
        ("uri", "ftp://media.example.org/clip.mp4"),
        ("uri", "HTTPS://media.example.org/clip.mp4"),
        ("uri", "https:///clip.mp4"),
        ("uri", "https://user:secret@media.example.org/clip.mp4"),
        ("uri", "https://media.example.org/a clip.mp4"),
        ("uri", "https://media.example.org/clip\n.mp4"),
        ("uri", "https://[::1/clip.mp4"),
        ("uri", "file://elsewhere/clip.mp4"),
        ("uri", "file:clip.mp4"),
        ("uri", "s3://uploads"),
        ("uri", "s3://uploads/"),
        ("uri", "s3://up loads/clip.mp4"),
        ("uri", "clip.mp4"),
        ("uri", "https://media.example.org/" + "x" * 9000),
        ("uri", 7),
        ("sha256", "abc"),
        ("size_bytes", -1),
        ("sequencer", "xyz"),
        ("received_at", "2025-05-04T07:12:33"),
        ("attributes", {"Tenant": "north"}),
        ("attributes", {"action": "remove"}),
        ("priority", 3),
    ],
)
def test_a_request_refuses_to_exist_wrong_and_quotes_no_value(field: str, value: object) -> None:
    error = poison(json.dumps({"uri": "s3://uploads/clip.mp4"} | {field: value}).encode())
    assert error.reason == "bad_request"
    assert str(error).startswith(field)
    assert "secret" not in str(error)


def test_the_key_of_a_signed_url_holds_no_signature_and_is_the_same_for_every_signature() -> None:
    (request,) = parsed(sample("cloudevent_structured")).requests
    again = request.model_copy(update={"uri": request.uri.replace("c0ffee", "decaf")})
    assert request.key == again.key == "https://media.example.org/v/81.mp4"


def test_the_key_of_another_query_tells_objects_apart_without_showing_it() -> None:
    keys = [ScanRequest(uri=f"https://Media.example.org/watch?v={name}").key for name in ("one", "two")]
    assert keys[0] != keys[1]
    assert all(key.startswith("https://media.example.org/watch?query=") for key in keys)
    assert ScanRequest(uri="s3://Uploads/Clip?.mp4#1").key == "s3://Uploads/Clip?.mp4#1"


def test_sequencers_are_compared_as_numbers_of_any_length() -> None:
    assert newer("0055AED6DCD90281E6", "0055AED6DCD90281E5")
    assert newer("55aed6dcd90281e6", "0055AED6DCD90281E5")
    assert newer("10", "F")
    assert not newer("0F", "f")


def understood(body: bytes, headers: dict[str, bytes | str] | None = None) -> str:
    """Reads it and writes all that comes of it; how it ended."""
    try:
        found = parse(body, headers)
    except PoisonError as error:
        str(error).encode()
        return error.reason
    for request in found.requests:
        assert ScanRequest.model_validate_json(request.model_dump_json()) == request
        request.key.encode()
    "".join(found.ignored).encode()
    return "understood"


event_headers = st.sampled_from(["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "traceparent"])


@settings(max_examples=60)
@given(st.binary(max_size=200), st.dictionaries(event_headers, st.binary(max_size=20)))
@example(b'\xef\xbb\xbf{"uri": "s3://b/k"}', {})
@example(b'{"uri": "s3://b/k"}', {"ce_specversion": b"1.0", "ce_time": b"9" * 20})
def test_no_bytes_crash_it(body: bytes, headers: dict[str, bytes | str]) -> None:
    assert understood(body, headers) in {"understood", *REASONS}


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(KEYS)), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(json_values)
def test_no_json_crashes_it(document: object) -> None:
    assert understood(json.dumps(document).encode()) in {"understood", *REASONS}


ODD: list[object] = [
    None,
    True,
    0,
    -1,
    1e308,
    10**400,
    "",
    "x",
    "/",
    "\0",
    "\ud800",
    "é" * 3000,
    [],
    [[]],
    {},
    {"a": 1},
]


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_no_envelope_with_something_odd_in_one_place_crashes_it(name: str) -> None:
    document = sample(name)
    document.get("Records", [])[1:] = []
    for *parents, last in places(document):
        node: Any = document
        for key in parents:
            node = node[key]
        before = node[last]
        for value in ODD:
            node[last] = value
            assert understood(json.dumps(document).encode()) in {"understood", *REASONS}
        node[last] = before


def places(node: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in children for place in [(*path, key), *places(child, (*path, key))]]
