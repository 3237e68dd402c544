from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from connectors import events
from connectors.errors import PoisonError
from connectors.events import Delivery, delivery, event_id
from connectors.requests import ScanRequest, parse
from dmcl_sdk.verdict import Asset, Item, Reason, Timings, Verdict

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOON = datetime(2025, 5, 4, 14, 0, 0, 250000, tzinfo=timezone(timedelta(hours=2)))
REQUEST = ScanRequest(uri="s3://uploads/ferien ü.mp4", attributes={"tenant": "nörd", "traceparent": TRACE})


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    golden = Path(__file__).parents[1] / "golden" / "verdict.json"
    return Verdict.model_validate_json(golden.read_text())


@pytest.fixture(scope="module")
def sent(verdict: Verdict) -> Delivery:
    return delivery(REQUEST, verdict, source="/dmcl/uploads", now=NOON)


def with_asset(verdict: Verdict, **change: object) -> Verdict:
    return verdict.model_copy(update={"asset": verdict.asset.model_copy(update=change)})


def with_mode(verdict: Verdict, mode: str) -> Verdict:
    assert verdict.decision is not None
    return verdict.model_copy(update={"decision": verdict.decision.model_copy(update={"mode": mode})})


def test_in_binary_mode_the_value_is_the_plain_verdict_and_the_headers_are_the_event(
    sent: Delivery, verdict: Verdict
) -> None:
    headers, value = sent.binary()
    assert value == verdict.to_json().encode()
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": event_id(REQUEST, verdict).encode(),
        "ce_type": b"dev.dmcl.verdict.v1",
        "ce_source": b"/dmcl/uploads",
        "ce_subject": "s3://uploads/ferien ü.mp4".encode(),
        "ce_time": b"2025-05-04T12:00:00.250000Z",
        "ce_dataschema": b"https://schemas.dmcl.dev/verdict/1.json",
        "content-type": b"application/json",
        "ce_tenant": "nörd".encode(),
        "ce_traceparent": TRACE.encode(),
        "ce_status": b"scored",
        "ce_label": b"manipulated",
        "ce_policymode": b"enforce",
        "ce_action": b"review",
        "ce_queue": b"faces",
    }


def test_in_structured_mode_the_verdict_stands_under_data(sent: Delivery, verdict: Verdict) -> None:
    event = json.loads(sent.structured())
    assert Verdict.model_validate(event.pop("data")) == verdict
    headers, _ = sent.binary()
    content_type = {"datacontenttype": headers.pop("content-type").decode()}
    assert (
        event == {name.removeprefix("ce_"): value.decode() for name, value in headers.items()} | content_type
    )


def test_what_is_read_is_what_was_written(sent: Delivery) -> None:
    assert events.from_binary(*sent.binary()) == sent
    read = events.from_structured(sent.structured())
    assert json.loads(read.body) == json.loads(sent.body)
    assert {**vars_of(read), "body": b""} == {**vars_of(sent), "body": b""}


def vars_of(sent: Delivery) -> dict[str, object]:
    return {name: getattr(sent, name) for name in sent.__slots__}


def test_in_shadow_mode_nobody_can_route_by_what_would_have_been_done(verdict: Verdict) -> None:
    headers, value = delivery(REQUEST, with_mode(verdict, "shadow"), source="/dmcl", now=NOON).binary()
    assert headers["ce_policymode"] == b"shadow"
    assert not {"ce_action", "ce_queue"} & set(headers)
    assert json.loads(value)["decision"]["action"] == "review"


def test_the_id_is_the_same_for_the_same_content_model_configuration_and_policy(verdict: Verdict) -> None:
    again = verdict.model_copy(update={"timings": Timings(total_s=99)})
    assert UUID(event_id(REQUEST, verdict)).version == 5
    assert event_id(REQUEST, verdict) == event_id(REQUEST, again)


def test_the_id_stays_what_it_is_from_release_to_release(verdict: Verdict) -> None:
    assert event_id(REQUEST, verdict) == "9b847b56-0032-59f8-9725-9c6f50879194"


def test_the_id_is_another_for_whatever_may_make_another_verdict(verdict: Verdict) -> None:
    assert verdict.model is not None
    assert verdict.runtime is not None
    assert verdict.decision is not None
    sha256 = "0" * 64
    verdicts = [
        verdict,
        with_asset(verdict, sha256=sha256),
        with_asset(verdict, item=Item(id="post-82", type="post")),
        verdict.model_copy(update={"model": verdict.model.model_copy(update={"sha256": sha256})}),
        verdict.model_copy(update={"runtime": verdict.runtime.model_copy(update={"config_sha256": sha256})}),
        verdict.model_copy(
            update={"runtime": verdict.runtime.model_copy(update={"preprocess_sha256": sha256})}
        ),
        verdict.model_copy(update={"decision": verdict.decision.model_copy(update={"sha256": sha256})}),
        verdict.model_copy(update={"decision": None}),
    ]
    requests = [
        REQUEST.model_copy(update={"uri": "s3://uploads/copy.mp4"}),
        ScanRequest(uri=REQUEST.uri, version_id="2"),
    ]
    ids = [event_id(REQUEST, one) for one in verdicts] + [event_id(request, verdict) for request in requests]
    assert len(set(ids)) == len(ids)


def test_a_file_that_is_no_video_has_an_id_too() -> None:
    asset = Asset(uri="s3://uploads/notes.txt")
    failed = Verdict(status="failed", asset=asset, reasons=(Reason(code="not_a_video", message="text"),))
    request = ScanRequest(uri=asset.uri, etag="1")
    assert event_id(request, failed) != event_id(request.model_copy(update={"etag": "2"}), failed)


def test_no_signature_leaves_the_house(verdict: Verdict) -> None:
    uri = "https://media.example.org/81.mp4?X-Amz-Signature=c0ffee"
    sent = delivery(ScanRequest(uri=uri), verdict, source="/dmcl", now=NOON)
    assert b"c0ffee" not in sent.structured()
    assert sent.subject == "https://media.example.org/81.mp4"


def test_time_is_written_in_utc(verdict: Verdict) -> None:
    sent = delivery(REQUEST, verdict, source="/dmcl", now=datetime(2025, 5, 4, tzinfo=UTC))
    assert sent.time == "2025-05-04T00:00:00Z"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{}", b'{"specversion": "0.3"}', b"\xff", b'{"specversion": "1.0"}']
)
def test_what_is_no_event_is_poison(body: bytes) -> None:
    with pytest.raises(PoisonError) as caught:
        events.from_structured(body)
    assert caught.value.reason == "bad_cloudevent"
    with pytest.raises(PoisonError):
        events.from_binary(
            {"ce_specversion": b"1.0", "ce_type": b"t", "ce_source": b"s", "ce_id": b"1"}, body
        )


def test_a_verdict_that_comes_back_to_the_requests_is_not_scanned_again(sent: Delivery) -> None:
    with pytest.raises(PoisonError) as caught:
        parse(sent.structured())
    assert caught.value.reason in {"unsupported_version", "unrecognised"}
