"""Requests from topics of Apache Kafka, or of what speaks its protocol.

The offset of a partition is committed up to the lowest message that is not settled, and only by us. A partition that
moves to another member waits a little for the videos that are under way; what is not finished then is scanned by its
new owner too, and the ledger or the reader drops one of the two verdicts, which have the same id.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as broken
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener

from connectors.errors import PoisonError, SettingsError, TransientError
from connectors.kafka_writer import KafkaWriter, translated
from connectors.sources.kafka_consumer import KafkaSettings, open_consumer
from connectors.sources.offsets import Offsets
from connectors.sources.source import DeadLetter, Message

MARK = "dmcl-"
"""What the headers that a dead letter is given begin with."""
_POLL_MS = 500
_COMMIT_EVERY_S = 1.0
_COMMIT_MS = 5000


class KafkaSource:
    """A member of a consumer group."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.name = f"kafka:{','.join(settings.topics)}"
        self._lock = Lock()
        self._offsets: dict[TopicPartition, Offsets] = {}
        self._lag: dict[str, int] = {}
        self._full = False
        self._closed = False
        self._committed_at_s = 0.0
        self._in_touch_s = time.monotonic()
        self._consumer: KafkaConsumer | None = None
        self._log = structlog.get_logger()
        self._writer = KafkaWriter(
            settings,
            name=f"kafka:{settings.dead_letters}",
            timeout_s=settings.timeout_s,
            max_bytes=settings.max_message_bytes + 10_000,  # the server's word counts, ours comes on top
        )

    def receive(self, room: int) -> Sequence[Message]:
        """Poll, and commit what is due; with no room the partitions are paused, and the group is kept."""
        if self._closed:
            raise RuntimeError("the source is closed")
        try:
            consumer = self._connected()
            self._pause(consumer, full=room == 0)
            if time.monotonic() - self._committed_at_s >= _COMMIT_EVERY_S:
                self._commit(consumer)
            batches = consumer.poll(timeout_ms=_POLL_MS if room else 0, max_records=max(1, room))
            if not batches:
                self._keep_in_touch(consumer)
            return [self._taken(record) for records in batches.values() for record in records]
        except broken.KafkaError as error:
            raise translated(error, self.name) from error

    def settle(self, message: Message) -> None:
        """Committed with the next poll, when all before it is settled too."""
        record = message.receipt
        with self._lock:
            offsets = self._offsets.get(TopicPartition(record.topic, record.partition))
            if offsets is not None:  # else the partition has moved: its new owner will have it again
                offsets.settle(record.offset)

    def bury(self, message: Message, why: DeadLetter) -> None:
        """Write the record as it came to the dead-letter topic, with headers that say why and from where."""
        record = message.receipt
        headers = [*record.headers, *_marks(record, why)]
        value = (
            b"" if record.key is None and record.value is None else record.value
        )  # none of both cannot be written
        try:
            self._writer.write(self._settings.dead_letters, key=record.key, value=value, headers=headers)
        except PoisonError:
            self._bury_alone(record)

    def _bury_alone(self, record: Any) -> None:  # noqa: ANN401 - published without types
        """Without headers, for which the largest record leaves no room; the log has the reason."""
        topic = self._settings.dead_letters
        try:
            self._writer.write(topic, key=record.key, value=record.value, headers=[])
        except PoisonError as error:
            raise SettingsError(f"{topic} must take what {record.topic} takes: {error}") from error

    def hand_back(self, message: Message) -> None:
        """Nothing to do: what is not committed comes again."""

    def check(self) -> None:
        """Whether servers answer, and have the topics."""
        try:
            with open_consumer(self._settings, group=None) as consumer:
                missing = {*self._settings.topics, self._settings.dead_letters} - set(consumer.topics())
        except broken.KafkaError as error:
            raise translated(error, self.name) from error
        if missing:
            raise SettingsError(f"{self.name}: there is no topic {', '.join(sorted(missing))}")

    def lag(self) -> Mapping[str, int]:
        """By `topic/partition`, of those assigned to us."""
        return dict(self._lag)

    @property
    def assigned(self) -> set[TopicPartition]:
        """The partitions that are ours now."""
        return set() if self._consumer is None else set(self._consumer.assignment())

    def close(self) -> None:
        """Commit what is due and leave the group; a member with a name of its own stays in it for the next start."""
        self._closed = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(broken.KafkaError):
                self._commit(consumer)
            with suppress(broken.KafkaError):
                consumer.close(timeout_ms=_COMMIT_MS)
        self._writer.close()

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = open_consumer(self._settings, group=self._settings.group_id)
            self._in_touch_s = time.monotonic()
            self._consumer.subscribe(list(self._settings.topics), listener=_Listener(self, self._consumer))
        return self._consumer

    def _keep_in_touch(self, consumer: KafkaConsumer) -> None:
        """The library goes on looking for its servers and says nothing to whoever polls."""
        now_s = time.monotonic()
        if not consumer._coordinator.coordinator_unknown():  # noqa: SLF001 - the only one who knows
            self._in_touch_s = now_s
        elif now_s - self._in_touch_s > self._settings.timeout_s:
            raise TransientError(f"{self.name}: no server has answered for {now_s - self._in_touch_s:.0f} s")

    def _pause(self, consumer: KafkaConsumer, *, full: bool) -> None:
        self._full = full
        paused, assigned = consumer.paused(), consumer.assignment()
        consumer.pause(*(assigned - paused if full else ()))
        consumer.resume(*(() if full else paused))

    def _taken(self, record: Any) -> Message:  # noqa: ANN401 - published without types
        with self._lock:
            self._offsets.setdefault(TopicPartition(record.topic, record.partition), Offsets()).begin(
                record.offset
            )
        digest = hashlib.sha256(record.value or b"").hexdigest()[:16]  # a topic made anew counts from 0 again
        return Message(
            id=f"{record.topic}/{record.partition}/{record.offset}/{digest}",
            body=record.value,
            headers=dict(record.headers),
            origin={"topic": record.topic, "partition": record.partition, "offset": record.offset},
            receipt=record,
        )

    def _commit(self, consumer: KafkaConsumer) -> None:
        self._committed_at_s = time.monotonic()
        self._measure(consumer)
        due = self.due()
        if not due:
            return
        try:
            consumer.commit({one: _at(position) for one, position in due.items()}, timeout_ms=_COMMIT_MS)
        except broken.RebalanceInProgressError:
            pass  # with the next poll
        except (broken.CommitFailedError, broken.KafkaTimeoutError) as error:
            self._log.warning("not committed", error=str(error))  # with the next poll, or by the next owner
        else:
            self.committed(due)

    def _measure(self, consumer: KafkaConsumer) -> None:
        lag = {}
        with self._lock:
            positions = {one: offsets.position for one, offsets in self._offsets.items()}
        for one in consumer.assignment():
            end, position = consumer.highwater(one), positions.get(one)
            if end is not None and position is not None:
                lag[f"{one.topic}/{one.partition}"] = max(0, end - position)
        self._lag = lag

    def due(self, partitions: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """What is to be committed of these partitions, or of all."""
        with self._lock:
            wanted = (
                list(self._offsets)
                if partitions is None
                else [one for one in partitions if one in self._offsets]
            )
            positions = {one: self._offsets[one].due for one in wanted}
        return {one: position for one, position in positions.items() if position is not None}

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """Kafka has these positions."""
        with self._lock:
            for one, position in positions.items():
                if one in self._offsets:
                    self._offsets[one].committed(position)

    def unsettled(self, partitions: Iterable[TopicPartition]) -> int:
        """How many messages of these partitions are under way."""
        with self._lock:
            return sum(self._offsets[one].unsettled for one in partitions if one in self._offsets)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """They are not ours any more."""
        with self._lock:
            for one in partitions:
                self._offsets.pop(one, None)

    @property
    def full(self) -> bool:
        """Whether nothing more is to be fetched now."""
        return self._full

    @property
    def handover_s(self) -> float:
        """How long a partition that moves may wait now."""
        return 0.0 if self._closed else self._settings.handover_s


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc] # published without types
    """Told of partitions that come and go, on the consumer's own thread, beside its heartbeats."""

    def __init__(self, source: KafkaSource, consumer: KafkaConsumer) -> None:
        self._source = source
        self._consumer = consumer
        self._log = structlog.get_logger()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._source.forget(assigned)  # a new owner begins where the last one has committed
        if self._source.full:
            self._consumer.pause(*assigned)
        self._log.info("assigned", partitions=_named(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        until = time.monotonic() + self._source.handover_s
        while self._source.unsettled(revoked) and time.monotonic() < until:
            await self._consumer._net.sleep(0.05)  # noqa: SLF001 - the loop's own; any other would stop heartbeats
        left = self._source.unsettled(revoked)
        due = self._source.due(revoked)
        if due:
            try:
                await self._consumer.commit_async({one: _at(position) for one, position in due.items()})
            except broken.KafkaError as error:
                self._log.warning("not committed", error=str(error))
        self._source.forget(revoked)
        self._log.info("revoked", partitions=_named(revoked), unfinished=left)

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._source.forget(lost)  # others have them already: a commit would be theirs to overwrite
        self._log.warning("lost", partitions=_named(lost))


def _marks(record: Any, why: DeadLetter) -> list[tuple[str, bytes]]:  # noqa: ANN401 - published without types
    said = {
        "reason": why.reason,
        "error": why.explanation[:1000],
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "dead-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return [(f"{MARK}{name}", str(value).encode()) for name, value in said.items()]


def _at(position: int) -> OffsetAndMetadata:
    return OffsetAndMetadata(position, "", -1)


def _named(partitions: Iterable[TopicPartition]) -> list[str]:
    return sorted(f"{one.topic}/{one.partition}" for one in partitions)


def open_source(settings: Mapping[str, Any]) -> KafkaSource:
    """From a table of settings."""
    return KafkaSource(KafkaSettings.model_validate(settings))
