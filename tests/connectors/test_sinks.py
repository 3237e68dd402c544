"""The published suite over the sinks, each with its real server; Kafka has a file of its own."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from connectors.events import Delivery, from_structured
from connectors.sinks.fanout import FanoutSink
from connectors.sinks.sqs import SqsSettings, SqsSink
from connectors.sinks.stdout import StdoutSink
from connectors.sinks.webhook import WebhookSettings, WebhookSink
from connectors.testing import SINK_CHECKS, SinkBench
from tests.connectors.faults import Exchange, chaos_proxy, web_server
from tests.connectors.servers import Aws

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the standard's own examples


@contextmanager
def stdout_bench() -> Iterator[SinkBench]:
    file = io.BytesIO()
    yield SinkBench(
        open=lambda: StdoutSink(file),
        received=lambda: [from_structured(line) for line in file.getvalue().splitlines()],
    )


@contextmanager
def webhook_bench() -> Iterator[SinkBench]:
    got: list[bytes] = []
    status = 204

    def receive(exchange: Exchange) -> None:
        if status == 204:
            got.append(exchange.server.seen[-1].body)
        exchange.answer(status)

    @contextmanager
    def answering(wanted: int) -> Iterator[None]:
        nonlocal status
        status = wanted
        yield
        status = 204

    with web_server(routes={"/hook": receive}) as server:
        settings = WebhookSettings.model_validate(
            {"url": server.url("/hook"), "secrets": [SECRET], "attempts": 1}
        )
        yield SinkBench(
            open=lambda: WebhookSink(settings),
            received=lambda: [from_structured(body) for body in got],
            outage=lambda: answering(503),
            refused=lambda: answering(400),
        )


@contextmanager
def sqs_bench(aws: Aws, *, fifo: bool) -> Iterator[SinkBench]:
    name = f"verdicts-{uuid4()}" + (".fifo" if fifo else "")
    attributes = {"FifoQueue": "true"} if fifo else {}
    got: list[bytes] = []
    with chaos_proxy(aws.port) as proxy:
        url = aws.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]

        def received() -> list[Delivery]:
            while batch := aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in batch:
                    got.append(message["Body"].encode())
                    aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return [from_structured(body) for body in got]

        settings = SqsSettings(
            queue_url=url, endpoint_url=proxy.url, region=aws.region, attempts=1, timeout_s=20
        )
        yield SinkBench(
            open=lambda: SqsSink(settings),
            received=received,
            outage=lambda: proxy.out_of_order("refuse"),
            too_large=1 << 20,
        )


@contextmanager
def fanout_bench() -> Iterator[SinkBench]:
    file = io.BytesIO()
    with webhook_bench() as webhook:
        yield SinkBench(
            open=lambda: FanoutSink([StdoutSink(file), webhook.open()]),
            received=webhook.received,
            outage=webhook.outage,
            refused=webhook.refused,
        )


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "bench", [stdout_bench, webhook_bench, fanout_bench], ids=lambda bench: bench.__name__
)
def test_a_sink_behaves(bench: Callable[[], SinkBench], check: Callable[[SinkBench], None]) -> None:
    with bench() as ready:  # type: ignore[attr-defined]
        check(ready)


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
def test_the_sink_of_sqs_behaves(aws: Aws, check: Callable[[SinkBench], None], *, fifo: bool) -> None:
    with sqs_bench(aws, fifo=fifo) as ready:
        check(ready)
