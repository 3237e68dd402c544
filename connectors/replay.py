"""Dead letters sent where they came from, once their cause is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as broken

from connectors.errors import SettingsError
from connectors.kafka_writer import KafkaWriter, translated
from connectors.sources.kafka import MARK
from connectors.sources.kafka_consumer import KafkaSettings, open_consumer

_POLL_MS = 1000
_QUIET_POLLS = 10
"""After so many without a record, what is left is not to be had."""


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """One record of the dead-letter topic."""

    reason: str
    error: str
    topic: str
    """Where it came from."""
    died_at: datetime
    replays: int
    """How often it was sent again before."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    """Those that it came with."""
    place: str
    """Of the dead letter: partition and offset."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters; what is left out holds for all."""

    reasons: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, record: DeadRecord) -> bool:
        """Whether it is one of these."""
        return (
            (not self.reasons or record.reason in self.reasons)
            and (self.since is None or record.died_at >= self.since)
            and (self.until is None or record.died_at < self.until)
        )


def dead_records(settings: KafkaSettings, *, died_by: datetime) -> Iterator[DeadRecord]:
    """What the dead-letter topic holds, each partition in order, one at a time.

    Args:
        settings: of the servers.
        died_by: what has come since is left out, so that reading ends, and finds the same when it is done again.

    Raises:
        TransientError: no server answers.
        SettingsError: the topic is not there, or may not be read.
    """
    topic = settings.dead_letters
    try:
        with closing(open_consumer(settings, group=None)) as consumer:
            numbers = consumer.partitions_for_topic(topic) if topic in consumer.topics() else None
            if not numbers:
                raise SettingsError(f"there is no topic {topic}; see kafka.dead_letter_topic")
            partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
            ends = consumer.end_offsets(partitions)
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            quiet = 0
            # the end may be one that no record has (compacted, aborted), and some servers give it too low
            while quiet < (_QUIET_POLLS if _is_behind(consumer, ends) else 1):
                batches = consumer.poll(timeout_ms=_POLL_MS)
                quiet = 0 if batches else quiet + 1
                read = (_read(record, settings) for records in batches.values() for record in records)
                yield from (record for record in read if record.died_at <= died_by)
    except broken.KafkaError as error:
        raise translated(error, f"kafka:{topic}") from error


def replay(
    settings: KafkaSettings,
    records: Iterable[DeadRecord],
    *,
    to: str | None = None,
    on_sent: Callable[[], object] = lambda: None,
) -> None:
    """Send records where they came from, as they came; each returns confirmed.

    They stay among the dead letters too. To send one twice is harmless: the verdict is the same.

    Args:
        settings: of the servers.
        records: in the order in which to send them.
        to: another topic.
        on_sent: called after each.

    Raises:
        TransientError: no server answers; those before it were sent.
        PoisonError: the topic does not take one.
    """
    writer = KafkaWriter(
        settings,
        name="kafka replay",
        timeout_s=settings.timeout_s,
        max_bytes=settings.max_message_bytes + 10_000,
    )
    with closing(writer):
        for record in records:
            again = (f"{MARK}replays", str(record.replays + 1).encode())
            headers = [*record.headers, again]
            writer.write(to or record.topic, key=record.key, value=record.value, headers=headers)
            on_sent()


def _is_behind(consumer: KafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    return any(consumer.position(one) < end for one, end in ends.items())


def _read(record: Any, settings: KafkaSettings) -> DeadRecord:  # noqa: ANN401 - published without types
    marks = {
        name.removeprefix(MARK): value.decode(errors="replace")
        for name, value in record.headers
        if name.startswith(MARK) and value is not None
    }
    count = marks.get("replays", "0")
    return DeadRecord(
        reason=marks.get("reason", "unknown"),
        error=marks.get("error", ""),
        topic=marks.get("topic", settings.topics[0]),
        died_at=_time(marks.get("dead-at"), record.timestamp),
        replays=int(count) if count.isascii() and count.isdigit() else 0,
        key=record.key,
        value=record.value,
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(MARK)),
        place=f"{record.partition}/{record.offset}",
    )


def _time(written: str | None, timestamp_ms: int) -> datetime:
    try:
        found = datetime.fromisoformat(written or "")
    except ValueError:
        found = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
