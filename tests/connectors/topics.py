"""Topics of one test, what is put into them and what comes out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from connectors.events import Delivery, from_binary, from_structured
from tests.connectors.servers import PATIENCE_S
from tests.made import make_video


@dataclass
class Topics:
    """Topics of one test, and what is in them.

    Attributes:
        client: what clients are told beside the broker. One that names an old `api_version` cannot make topics: the
            broker makes them when they are first asked for.
    """

    broker: str
    name: str
    folder: Path
    partitions: int = 2
    client: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "uploads").mkdir(exist_ok=True)
        self.clip = make_video(6, width=128, height=128)
        self.client = {"bootstrap_servers": self.broker, **self.client}
        if "api_version" not in self.client:
            self._make()

    def _make(self) -> None:
        admin = KafkaAdminClient(**self.client)
        admin.create_topics(
            [
                NewTopic(self.requests, num_partitions=self.partitions, replication_factor=1),
                NewTopic(self.verdicts, num_partitions=1, replication_factor=1),
                NewTopic(self.dead, num_partitions=1, replication_factor=1),
            ]
        )
        admin.close()

    @property
    def requests(self) -> str:
        return f"{self.name}.requests"

    @property
    def verdicts(self) -> str:
        return f"{self.name}.verdicts"

    @property
    def dead(self) -> str:
        return f"{self.name}.requests.dead-letters"

    def settings(self, **changes: Mapping[str, Any]) -> dict[str, Any]:
        tables: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": [self.broker],
                "topics": [self.requests],
                "group_id": self.name,
                "session_timeout_s": 6,
                "heartbeat_s": 0.5,
                "timeout_s": 5,
            },
            "sinks": {
                "moderation": {
                    "type": "kafka",
                    "bootstrap_servers": [self.broker],
                    "topic": self.verdicts,
                    "timeout_s": 5,
                }
            },
            "media": {"file_roots": [str(self.folder / "uploads")]},
        }
        return {name: tables.get(name, {}) | changes.get(name, {}) for name in {*tables, *changes}}

    def upload(self, name: str, data: bytes | None = None) -> dict[str, str]:
        path = self.folder / "uploads" / name
        path.write_bytes(self.clip + name.encode() if data is None else data)
        return {"uri": path.as_uri()}

    def send(self, *values: object, headers: list[tuple[str, bytes]] | None = None) -> None:
        with closing(KafkaProducer(**self.client, max_request_size=1 << 21)) as producer:
            sent = []
            for number, value in enumerate(values):
                body = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
                one = producer.send(
                    self.requests,
                    key=b"tombstone" if body is None else None,
                    value=body,
                    partition=number % self.partitions,
                    headers=headers or [],
                )
                sent.append(one)
            for one in sent:
                one.get(60)

    def records(self, topic: str, *, quiet: int = 3) -> list[Any]:
        found: list[Any] = []
        with closing(KafkaConsumer(**self.client, auto_offset_reset="earliest")) as consumer:
            made_by_broker = "api_version" in self.client
            partitions = range(self.partitions if topic == self.requests or made_by_broker else 1)
            consumer.assign([TopicPartition(topic, number) for number in partitions])
            ends = consumer.end_offsets(consumer.assignment())  # too low with some servers, never too high
            silent, until = 0, time.monotonic() + PATIENCE_S
            while silent < quiet or (_is_behind(consumer, ends) and time.monotonic() < until):
                batches = consumer.poll(timeout_ms=300)
                silent = 0 if batches else silent + 1
                found += [record for batch in batches.values() for record in batch]
        return found

    def effective(self) -> dict[str, Any]:
        """Verdicts by what was scanned, without repetitions: what a reader makes of the topic."""
        events = {_event(record).id: record for record in self.records(self.verdicts)}
        by_uri = [json.loads(_event(record).body)["asset"]["uri"] for record in events.values()]
        assert len(by_uri) == len(set(by_uri)), "two effective verdicts on one object"
        return dict(zip(by_uri, events.values(), strict=True))

    def committed(self) -> dict[int, int]:
        with closing(KafkaConsumer(**self.client, group_id=self.name)) as consumer:
            found = {
                one: consumer.committed(TopicPartition(self.requests, one)) for one in range(self.partitions)
            }
        return {one: offset or 0 for one, offset in found.items()}


def _is_behind(consumer: KafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    return any(consumer.position(one) < end for one, end in ends.items())


def _event(record: Any) -> Delivery:  # noqa: ANN401 - published without types
    headers = dict(record.headers)
    return from_binary(headers, record.value) if "ce_id" in headers else from_structured(record.value)
