from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from connectors.errors import PoisonError, SettingsError, TransientError
from connectors.events import Delivery, from_structured
from connectors.sinks import open_sink
from connectors.sinks.fanout import FanoutSink
from connectors.sinks.sqs import SqsSettings, SqsSink
from connectors.sinks.stdout import StdoutSink
from connectors.sinks.webhook import WebhookSettings, WebhookSink
from connectors.testing import HARD_TEXT, made_delivery
from tests.connectors.faults import Exchange, WebServer, first, web_server
from tests.connectors.servers import Aws

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the standard's own examples
OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105 - the same


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def webhook(server: WebServer, route: Callable[[Exchange], None], **more: object) -> WebhookSink:
    server.routes["/hook"] = route
    settings = {"url": server.url("/hook?token=t0ken"), "secrets": [SECRET], **more}
    return WebhookSink(WebhookSettings.model_validate(settings))


def fine(exchange: Exchange) -> None:
    exchange.answer(204)


def test_a_receiver_can_verify_what_it_gets_with_either_secret(server: WebServer) -> None:
    delivery = made_delivery(HARD_TEXT)
    webhook(server, fine, secrets=[SECRET, OLD_SECRET]).deliver(delivery)
    (seen,) = server.seen
    for secret in (SECRET, OLD_SECRET):
        Webhook(secret).verify(seen.body, dict(seen.headers))
    assert seen.headers["webhook-id"] == delivery.id
    assert seen.headers["content-type"].startswith("application/cloudevents+json")
    assert from_structured(seen.body) == delivery


def test_a_webhook_in_trouble_is_tried_again_within_one_delivery(server: WebServer) -> None:
    def busy(exchange: Exchange) -> None:
        exchange.answer(429, headers={"retry-after": 0})

    webhook(server, first(busy, Exchange.vanish, fine), attempts=3).deliver(made_delivery())
    assert len(server.seen) == 3
    assert len({seen.headers["webhook-id"] for seen in server.seen}) == 1


def test_what_a_webhook_asks_to_wait_is_passed_on(server: WebServer) -> None:
    def busy(exchange: Exchange) -> None:
        exchange.answer(503, headers={"retry-after": "120"})

    with pytest.raises(TransientError) as caught:
        webhook(server, busy, attempts=1).deliver(made_delivery())
    assert caught.value.retry_after_s == 120


def test_a_signed_event_follows_no_redirect(server: WebServer) -> None:
    def elsewhere(exchange: Exchange) -> None:
        exchange.answer(307, headers={"location": "/other"})

    server.routes["/other"] = fine
    with pytest.raises(PoisonError) as caught:
        webhook(server, elsewhere).deliver(made_delivery())
    assert caught.value.reason == "webhook_redirected"
    assert len(server.seen) == 1


@pytest.mark.parametrize("fault", ["hang", "vanish", "trickle"])
def test_a_webhook_that_does_not_answer_holds_nobody(server: WebServer, fault: str) -> None:
    sink = webhook(server, lambda exchange: getattr(exchange, fault)(), timeout_s=0.3, attempts=1)
    with pytest.raises(TransientError):
        sink.deliver(made_delivery())


def test_an_endless_answer_is_not_read(server: WebServer) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.answer(400, b"no ", {"content-length": 1 << 40})
        while True:
            exchange.wfile.write(b"no " * 10_000)

    with pytest.raises(PoisonError, match=r"answered 400: '(no ?)+'") as caught:
        webhook(server, endless).deliver(made_delivery())
    assert len(str(caught.value)) < 300


def test_no_message_of_a_webhook_holds_its_token(server: WebServer) -> None:
    sink = webhook(server, lambda exchange: exchange.answer(401))
    with pytest.raises(PoisonError) as caught:
        sink.deliver(made_delivery())
    assert "t0ken" not in f"{caught.value} {sink.name} {sink._settings!r} {sink._settings.model_dump_json()}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://host/"},
        {"url": "https://"},
        {"secrets": []},
        {"secrets": ["whsec_!"]},
        {"attempts": 0},
        {"colour": "red"},
    ],
)
def test_wrong_settings_of_a_webhook_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WebhookSettings.model_validate({"url": "https://host/", "secrets": [SECRET]} | wrong)


class Fickle:
    """A sink that fails as it is told, and remembers what it took."""

    def __init__(self, name: str, *errors: Exception) -> None:
        self.name = name
        self.errors = list(errors)
        self.took: list[str] = []
        self.closed = False

    def deliver(self, delivery: Delivery) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.took.append(delivery.id)

    def close(self) -> None:
        self.closed = True


def test_whoever_has_confirmed_is_not_asked_again() -> None:
    delivery = made_delivery()
    a, b, c = (
        Fickle("a"),
        Fickle("b", TransientError("b is down", retry_after_s=1), TransientError("still")),
        Fickle("c", TransientError("c is down", retry_after_s=9)),
    )
    fanout = FanoutSink([a, b, c])
    with pytest.raises(TransientError, match="b is down; c is down") as caught:
        fanout.deliver(delivery)
    assert caught.value.retry_after_s == 9
    with pytest.raises(TransientError, match=r"^still$"):
        fanout.deliver(delivery)
    fanout.deliver(delivery)
    assert a.took == b.took == c.took == [delivery.id]
    assert fanout.name == "a + b + c"


def test_what_one_refuses_is_poison_once_all_others_have_it() -> None:
    delivery = made_delivery()
    poison = [PoisonError("event_too_large", "a takes less") for _ in range(2)]
    a, b, c = Fickle("a", *poison), Fickle("b", TransientError("b is down")), Fickle("c")
    fanout = FanoutSink([a, b, c])
    with pytest.raises(TransientError):
        fanout.deliver(delivery)
    with pytest.raises(PoisonError) as caught:
        fanout.deliver(delivery)
    assert caught.value.reason == "event_too_large"
    assert b.took == c.took == [delivery.id]


def test_an_event_that_comes_again_after_all_confirmed_goes_to_all_again() -> None:
    delivery, a, b = made_delivery(), Fickle("a"), Fickle("b")
    fanout = FanoutSink([a, b])
    fanout.deliver(delivery)
    fanout.deliver(delivery)
    assert a.took == b.took == [delivery.id] * 2


def test_a_fanout_closes_all_of_its_sinks() -> None:
    a, b = Fickle("a"), Fickle("b")
    FanoutSink([a, b]).close()
    assert a.closed
    assert b.closed


def test_a_standard_output_that_nobody_reads_is_a_matter_of_settings() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as file:
        sink = StdoutSink(file)
        with pytest.raises(SettingsError, match="read by nobody"):
            sink.deliver(made_delivery())


def test_lines_of_several_threads_do_not_mix() -> None:
    file = io.BytesIO()
    sink = StdoutSink(file)
    threads = [threading.Thread(target=sink.deliver, args=[made_delivery("x\ny" * 9999)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({json.loads(line)["id"] for line in file.getvalue().splitlines()}) == 8


def test_a_queue_that_is_not_there_is_a_wrong_deployment(aws: Aws) -> None:
    settings = SqsSettings(
        queue_url=f"{aws.endpoint_url}/000000000000/none", endpoint_url=aws.endpoint_url, region=aws.region
    )
    with pytest.raises(SettingsError, match="sqs:none"):
        SqsSink(settings).deliver(made_delivery())


def test_a_queue_that_takes_less_than_sqs_may_says_so(aws: Aws) -> None:
    small = {"MaximumMessageSize": "4096"}
    url = aws.sqs.create_queue(QueueName="small", Attributes=small)["QueueUrl"]  # type: ignore[arg-type]
    sink = SqsSink(SqsSettings(queue_url=url, endpoint_url=aws.endpoint_url, region=aws.region))
    sink.deliver(made_delivery())
    with pytest.raises(PoisonError) as caught:
        sink.deliver(made_delivery("x" * 5000))
    assert caught.value.reason == "event_too_large"


def test_a_fifo_queue_holds_one_event_of_an_id_and_keeps_an_objects_order(aws: Aws) -> None:
    fifo = {"FifoQueue": "true"}
    url = aws.sqs.create_queue(QueueName="order.fifo", Attributes=fifo)["QueueUrl"]  # type: ignore[arg-type]
    sink = SqsSink(SqsSettings(queue_url=url, endpoint_url=aws.endpoint_url, region=aws.region))
    sent = [made_delivery(str(number), subject="s3://b/" + "k" * 900) for number in range(3)]
    for delivery in [*sent, *sent]:
        sink.deliver(delivery)
    got = []
    while batch := aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in batch:
            got.append(from_structured(message["Body"].encode()))
            aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert got == sent


PIGEONS = """
from pydantic import BaseModel
class Settings(BaseModel, extra="forbid"):
    loft: str
    ring: int = 0
class Pigeon:
    name = "pigeon"
    def __init__(self, settings): self.loft = settings.loft
    def deliver(self, delivery): pass
    def close(self): pass
def open_sink(settings): return Pigeon(Settings.model_validate(settings))
def no_sink(settings): return object()
"""
ENTRY_POINTS = """[dmcl.sinks]
pigeon = pigeons_of_a_third_party:open_sink
nothing = pigeons_of_a_third_party:no_sink
broken = pigeons_of_a_third_party:absent
lacking = package_that_is_absent:open_sink
"""


@pytest.fixture
def _pigeons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package of somebody else that offers sinks, some of them broken."""
    (tmp_path / "pigeons_of_a_third_party.py").write_text(PIGEONS)
    info = tmp_path / "pigeons-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_pigeons")
def test_a_sink_of_a_third_party_is_opened_by_its_kind() -> None:
    sink = open_sink({"type": "pigeon", "loft": "roof"})
    assert sink.name == "pigeon"
    assert sink.loft == "roof"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_pigeons")
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"type": "pigeon"}, "the sink pigeon: loft: Field required"),
        ({"type": "pigeon", "loft": "roof", "ring": "s3cret"}, "the sink pigeon: ring: "),
        ({"type": "pigeon", "loft": "roof", "colour": 1}, "colour: Extra inputs"),
        ({"type": "raven"}, "no sink of type 'raven' is installed; there are .*pigeon"),
        ({}, "no sink of type None"),
        ({"type": "nothing"}, "returned no sink but object"),
        ({"type": "broken"}, "does not load"),
        ({"type": "lacking"}, "needs package_that_is_absent"),
    ],
)
def test_a_table_that_describes_no_sink_says_what_is_wrong(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        open_sink(table)
    assert "s3cret" not in str(caught.value)
