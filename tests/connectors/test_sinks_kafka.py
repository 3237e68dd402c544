from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from connectors.errors import TransientError
from connectors.events import Delivery, from_binary, from_structured
from connectors.kafka_client import KafkaConnection
from connectors.kafka_writer import KafkaWriter
from connectors.sinks.kafka import KafkaSink, KafkaSinkSettings
from connectors.testing import (
    SINK_CHECKS,
    SinkBench,
    events_arrive_whole_and_unchanged,
    made_delivery,
)
from tests.connectors.faults import ChaosProxy
from tests.connectors.servers import free_port, tansu

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("sockets_are_collected"),
]


@contextmanager
def kafka_bench(proxy: ChaosProxy, *, event_mode: str = "binary") -> Iterator[SinkBench]:
    topic = f"verdicts-{uuid4()}"
    admin = KafkaAdminClient(bootstrap_servers=proxy.address)
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    admin.close()
    consumer = KafkaConsumer(
        bootstrap_servers=proxy.address, auto_offset_reset="earliest", reconnect_backoff_max_ms=100
    )
    consumer.assign([TopicPartition(topic, 0)])
    got: list[Delivery] = []

    def received() -> list[Delivery]:
        silent = 0
        while silent < 3:  # after an outage the consumer has to find its way back too
            batches = consumer.poll(timeout_ms=300)
            silent = 0 if batches else silent + 1
            for record in (record for batch in batches.values() for record in batch):
                headers = dict(record.headers)
                assert event_mode == "structured" or "ce_id" in headers
                binary = event_mode == "binary"
                got.append(from_binary(headers, record.value) if binary else from_structured(record.value))
        return got

    settings = KafkaSinkSettings.model_validate(
        {"bootstrap_servers": [proxy.address], "topic": topic, "timeout_s": 3, "event_mode": event_mode}
    )
    yield SinkBench(
        open=lambda: KafkaSink(settings),
        received=received,
        outage=lambda: proxy.out_of_order("refuse"),
        too_large=1_000_000,
    )
    consumer.close()


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
def test_the_sink_of_kafka_behaves(broken_way: ChaosProxy, check: Callable[[SinkBench], None]) -> None:
    with kafka_bench(broken_way) as ready:
        check(ready)


def test_a_structured_event_arrives_whole_too(broken_way: ChaosProxy) -> None:
    with kafka_bench(broken_way, event_mode="structured") as ready:
        events_arrive_whole_and_unchanged(ready)


def test_a_record_whose_answers_are_lost_stands_there_once(broken_way: ChaosProxy) -> None:
    delivery = made_delivery("once")
    with kafka_bench(broken_way) as bench, closing(bench.open()) as sink:
        sink.deliver(made_delivery("before"))
        broken_way.lost = 0
        broken_way.mode = "lose_answers"
        delivering = threading.Thread(target=sink.deliver, args=[delivery])
        delivering.start()
        while not broken_way.lost and delivering.is_alive():
            delivering.join(0.01)
        assert delivering.is_alive()
        broken_way.mode = "pass"
        delivering.join()
        assert [one for one in bench.received() if one.id == delivery.id] == [delivery]


@pytest.mark.slow
def test_a_broker_that_swallows_everything_is_given_up_in_time(broken_way: ChaosProxy) -> None:
    with kafka_bench(broken_way) as bench, closing(bench.open()) as sink:
        sink.deliver(made_delivery())
        with broken_way.out_of_order("blackhole"), pytest.raises(TransientError):
            sink.deliver(made_delivery())


@pytest.mark.slow
def test_a_thread_whose_connection_another_one_gave_up_may_try_again(broken_way: ChaosProxy) -> None:
    connection = KafkaConnection(bootstrap_servers=(broken_way.address,))
    failed: list[Exception] = []

    def write(topic: str) -> None:
        try:
            writer.write(topic, key=None, value=b"x", headers=[])
        except Exception as error:  # noqa: BLE001 - which one it is is the question
            failed.append(error)

    with closing(KafkaWriter(connection, name="writer", timeout_s=4, max_bytes=1000)) as writer:
        writer.write("known", key=None, value=b"x", headers=[])
        with broken_way.out_of_order("blackhole"):
            threads = [threading.Thread(target=write, args=[f"unknown-{number}"]) for number in range(2)]
            for thread in threads:
                thread.start()
                time.sleep(2)  # so that the second is in the middle when the first gives up
            for thread in threads:
                thread.join()
        assert [type(error) for error in failed] == [TransientError, TransientError]
        write("known")
    assert len(failed) == 2


@pytest.mark.slow
def test_a_broker_that_forgot_everything_gets_what_comes_after(tmp_path: Path) -> None:
    delivery = made_delivery("after")
    with tansu(tmp_path) as process:
        settings = KafkaSinkSettings(
            bootstrap_servers=(f"127.0.0.1:{process.port}",), topic="verdicts", timeout_s=3
        )
        with closing(KafkaSink(settings)) as sink:
            sink.deliver(made_delivery("before"))
            process.kill()
            process.start()
            for _ in range(5):
                try:
                    sink.deliver(delivery)
                    break
                except TransientError:
                    continue
            else:
                pytest.fail("it never delivered again")


def test_without_a_broker_nothing_is_left_running() -> None:
    settings = KafkaSinkSettings(
        bootstrap_servers=(f"127.0.0.1:{free_port()}",), topic="verdicts", timeout_s=1
    )
    before = threading.active_count()
    with closing(KafkaSink(settings)) as sink:
        for _ in range(2):
            with pytest.raises(TransientError):
                sink.deliver(made_delivery())
    gc.collect()
    assert threading.active_count() <= before


def test_a_password_is_never_shown() -> None:
    sasl = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "scanner"}
    settings = KafkaSinkSettings.model_validate(
        {"bootstrap_servers": ["broker:9092"], "topic": "verdicts", "sasl_password": "sesame", **sasl}
    )
    assert "sesame" not in f"{settings!r} {settings.model_dump_json()}"
    assert settings.options()["sasl_plain_password"] == "sesame"  # noqa: S105 - no secret
