"""The published suite over the sources, each with its real server behind a proxy."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from connectors.errors import SettingsError, TransientError
from connectors.sources import DeadLetter, Source, open_source
from connectors.sources.kafka import KafkaSource
from connectors.sources.kafka_consumer import KafkaSettings
from connectors.sources.sqs import SqsSource, SqsSourceSettings
from connectors.testing import SOURCE_CHECKS, SourceBench
from tests.connectors.faults import ChaosProxy, chaos_proxy
from tests.connectors.servers import Aws, free_port

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("sockets_are_collected"),
]


def made_topics(broker: str, *names: str, partitions: int = 1) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1) for name in names])
    admin.close()


def kafka_settings(broker: str, topic: str, **changes: object) -> KafkaSettings:
    given = {
        "bootstrap_servers": [broker],
        "topics": [topic],
        "group_id": topic,
        "session_timeout_s": 2,
        "heartbeat_s": 0.2,
        "handover_s": 1,
        "timeout_s": 5,
    }
    return KafkaSettings.model_validate(given | changes)


@contextmanager
def kafka_bench(proxy: ChaosProxy) -> Iterator[SourceBench]:
    topic = f"requests-{uuid4()}"
    settings = kafka_settings(proxy.address, topic)
    made_topics(proxy.address, topic, settings.dead_letters)
    with closing(KafkaProducer(bootstrap_servers=proxy.address)) as producer:

        def send(body: bytes, headers: Mapping[str, str]) -> None:
            pairs = [(name, value.encode()) for name, value in headers.items()]
            producer.send(topic, value=body, headers=pairs).get(30)

        def dead() -> list[tuple[bytes, str]]:
            with closing(
                KafkaConsumer(bootstrap_servers=proxy.address, auto_offset_reset="earliest")
            ) as consumer:
                consumer.assign([TopicPartition(settings.dead_letters, 0)])
                batches = consumer.poll(timeout_ms=5000)
                records = [record for batch in batches.values() for record in batch]
            return [(one.value, dict(one.headers)["dmcl-reason"].decode()) for one in records]

        yield SourceBench(
            open=lambda: KafkaSource(settings),
            send=send,
            dead=dead,
            held_s=2,
            outage=lambda: proxy.out_of_order("refuse"),
        )


@contextmanager
def sqs_bench(aws: Aws) -> Iterator[SourceBench]:
    name = uuid4().hex
    with chaos_proxy(aws.port) as proxy:
        queue, grave = (
            aws.sqs.create_queue(QueueName=f"{name}-{kind}")["QueueUrl"] for kind in ("in", "dead")
        )
        settings = sqs_settings(proxy.url, queue, grave)
        got: list[tuple[bytes, str]] = []

        def send(body: bytes, headers: Mapping[str, str]) -> None:
            attributes = {
                name: {"DataType": "String", "StringValue": value} for name, value in headers.items()
            }
            aws.sqs.send_message(QueueUrl=queue, MessageBody=body.decode(), MessageAttributes=attributes)  # type: ignore[arg-type]

        def dead() -> list[tuple[bytes, str]]:
            answer = aws.sqs.receive_message(
                QueueUrl=grave, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            for message in answer.get("Messages", []):
                reason = message["MessageAttributes"]["dmcl-reason"]["StringValue"]
                got.append((message["Body"].encode(), reason))
            return got

        yield SourceBench(
            open=lambda: SqsSource(settings),
            send=send,
            dead=dead,
            held_s=2,
            outage=lambda: proxy.out_of_order("refuse"),
        )


def sqs_settings(endpoint: str, queue: str, grave: str) -> SqsSourceSettings:
    return SqsSourceSettings(
        queue_url=queue,
        dead_letter_queue_url=grave,
        endpoint_url=endpoint,
        region="us-east-1",
        visibility_s=2,
        wait_s=1,
        timeout_s=10,
    )


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_the_source_of_kafka_behaves(broken_way: ChaosProxy, check: Callable[[SourceBench], None]) -> None:
    with kafka_bench(broken_way) as ready:
        check(ready)


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_the_source_of_sqs_behaves(aws: Aws, check: Callable[[SourceBench], None]) -> None:
    with sqs_bench(aws) as ready:
        check(ready)


def test_a_source_opened_without_a_broker_waits_for_it_and_leaves_nothing_running() -> None:
    settings = kafka_settings(f"127.0.0.1:{free_port()}", "requests", timeout_s=1)
    before = threading.active_count()
    with closing(KafkaSource(settings)) as source:
        for _ in range(2):
            with pytest.raises(TransientError):
                source.receive(1)
    gc.collect()
    assert threading.active_count() <= before


def test_a_broker_that_has_been_away_for_long_is_told_of(broken_way: ChaosProxy) -> None:
    topic = f"requests-{uuid4()}"
    settings = kafka_settings(broken_way.address, topic, timeout_s=2)
    made_topics(broken_way.address, topic, settings.dead_letters)
    with closing(KafkaSource(settings)) as source:

        def error() -> str:
            try:
                source.receive(1)
            except TransientError as away:
                return str(away)
            return ""

        def within(seconds: float, condition: Callable[[], bool]) -> bool:
            until = time.monotonic() + seconds
            while not (holds := condition()) and time.monotonic() < until:
                pass
            return holds

        assert within(60, lambda: not error() and bool(source.assigned))
        with broken_way.out_of_order("refuse"):
            assert within(60, lambda: "no server has answered" in error())
        assert within(60, lambda: not error() and bool(source.assigned))


@pytest.mark.slow
@pytest.mark.parametrize(("names", "rounds"), [(("a", "b"), 0), ((None, None), 1)], ids=["named", "unnamed"])
def test_a_replica_with_a_name_of_its_own_starts_again_without_a_new_round_of_the_group(
    broker: str, names: tuple[str | None, str | None], rounds: int
) -> None:
    topic = f"requests-{uuid4()}"
    made_topics(broker, topic, partitions=2)
    goes, stays = (
        kafka_settings(broker, topic, group_instance_id=name, session_timeout_s=60, heartbeat_s=0.5)
        for name in names
    )
    with polled(stays) as other:
        with polled(goes) as first:
            wait_until(lambda: len(first.assigned) == len(other.assigned) == 1)
            before = generation(other)
        with polled(goes) as again:
            wait_until(lambda: len(again.assigned) == len(other.assigned) == 1)
            assert generation(other) - before >= rounds
            assert rounds or generation(other) == before


@contextmanager
def polled(settings: KafkaSettings) -> Iterator[KafkaSource]:
    """A source that a thread keeps alive, as a daemon does."""
    over = threading.Event()
    with closing(KafkaSource(settings)) as source:

        def poll() -> None:
            while not over.is_set():
                source.receive(1)

        thread = threading.Thread(target=poll)
        thread.start()
        try:
            yield source
        finally:
            over.set()
            thread.join()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def generation(source: KafkaSource) -> int:
    """Counts the group's rounds of giving out partitions; in the middle of one there is none to tell."""
    assert source._consumer is not None
    coordinator, until = source._consumer._coordinator, time.monotonic() + 120
    while (stable := coordinator.generation_if_stable()) is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    return int(stable.generation_id)


def test_a_topic_that_is_not_there_is_found_by_the_check(broker: str) -> None:
    settings = kafka_settings(broker, f"absent-{uuid4()}")
    with closing(KafkaSource(settings)) as source, pytest.raises(SettingsError, match="no topic absent-"):
        source.check()


def test_a_queue_that_is_not_there_is_a_matter_of_settings(aws: Aws) -> None:
    absent = f"{aws.endpoint_url}/000000000000/absent"
    with closing(SqsSource(sqs_settings(aws.endpoint_url, absent, absent))) as source:
        with pytest.raises(SettingsError):
            source.receive(1)
        with pytest.raises(SettingsError):
            source.check()


def test_the_largest_message_can_be_a_dead_letter_too(aws: Aws) -> None:
    with sqs_bench(aws) as bench, closing(bench.open()) as source:
        body = b"x" * (1 << 20)
        bench.send(body, {})
        (message,) = source.receive(1)
        source.bury(message, DeadLetter("not_json", "why"))
        source.settle(message)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"type": "pigeon"}, "no source of type 'pigeon' is installed; there are kafka, sqs"),
        ({"type": "sqs"}, "the source sqs: queue_url: Field required"),
    ],
)
def test_a_source_is_found_by_its_type_and_says_what_it_lacks(settings: Mapping[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        open_source(settings)


def test_a_source_is_opened_by_its_type() -> None:
    table = {"type": "kafka", "bootstrap_servers": ["broker:9092"], "topics": ["requests"]}
    with closing(open_source(table)) as source:
        assert isinstance(source, Source)
        assert source.name == "kafka:requests"
