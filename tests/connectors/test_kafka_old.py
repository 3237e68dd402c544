"""Genuine Apache Kafka, of a version from before headers and idempotence: what it does when it is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from connectors.sinks.kafka import KafkaSinkSettings
from tests.connectors.daemons import DaemonProcess
from tests.connectors.servers import Kafka09, kafka09
from tests.connectors.topics import Topics

OLD = {"api_version": (0, 9)}


def test_a_sink_that_would_lose_an_events_attributes_is_refused() -> None:
    table = {"bootstrap_servers": ["broker:9092"], "topic": "verdicts", **OLD}
    with pytest.raises(ValidationError, match="no headers: set event_mode"):
        KafkaSinkSettings.model_validate(table)
    assert not KafkaSinkSettings.model_validate(table | {"event_mode": "structured"}).has_headers


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Kafka09]:
    folder = tmp_path / "kafka"
    folder.mkdir()
    with kafka09(folder) as running:
        yield running


@pytest.mark.durability
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_broker_and_daemon_are_killed_and_no_request_is_lost(tmp_path: Path, kafka: Kafka09) -> None:
    topics = Topics(kafka.address, "old", tmp_path, partitions=3, client=dict(OLD))
    requests = [topics.upload(f"{number}.mp4") for number in range(40)]
    topics.send(*requests, b"{")
    settings = topics.settings(kafka=OLD, scoring={"options": {"delay_s": 0.2}})
    settings["sinks"]["moderation"] |= OLD | {"event_mode": "structured"}
    process = DaemonProcess(tmp_path, "kafka run", settings)
    process.start()

    def delivered() -> int:
        return len({line["event_id"] for line in process.events("delivered")})

    def kill_daemon() -> None:
        process.kill()
        process.start()

    def kill_broker() -> None:
        kafka.kill()
        time.sleep(3)  # until its place in the cluster is free again
        kafka.start()

    faults: list[Callable[[], None]] = [kill_broker, kill_daemon, kill_broker]
    for number, fault in enumerate(faults, start=1):
        share = 8 * number
        process.wait_for(lambda share=share: delivered() >= share, f"{share} delivered", 300)  # type: ignore[misc]
        fault()
    process.wait_for(lambda: delivered() == len(requests), "all delivered", 600)
    process.wait_for(lambda: process.events("dead letter"), "the dead letter", 300)
    assert process.stop() == 0
    assert {*topics.effective()} == {request["uri"] for request in requests}
    assert {record.value for record in topics.records(topics.dead)} == {b"{"}
    assert sum(topics.committed().values()) == len(topics.records(topics.requests)) >= len(requests) + 1
