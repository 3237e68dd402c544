"""How topics are read: the settings of a group's member, and a consumer by them."""

from __future__ import annotations

from typing import Annotated, Literal

from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from pydantic import Field

from connectors.kafka_client import KafkaConnection, opening

Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


class KafkaSettings(KafkaConnection):
    """Which topics are read, as which group, and where dead letters go."""

    topics: Annotated[tuple[Topic, ...], Field(min_length=1)]
    group_id: str = "dmcl"
    group_instance_id: str | None = None
    """A name for this replica that it keeps when it starts again, as that of its pod: its partitions then wait for it,
    and nothing moves. Each replica needs its own."""
    dead_letter_topic: Topic | None = None
    """Where messages go that can never be scanned; `<first topic>.dead-letters` without."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a group begins that has committed nothing yet."""
    session_timeout_s: Annotated[float, Field(gt=0)] = 45.0
    """After so long without a sign of life a member is out, and its partitions go to others."""
    heartbeat_s: Annotated[float, Field(gt=0)] = 3.0
    handover_s: Annotated[float, Field(ge=0)] = 20.0
    """How long a partition that moves waits for the videos that are under way."""
    timeout_s: Annotated[float, Field(ge=1)] = 30.0
    """Longest wait for servers to answer."""
    max_message_bytes: Annotated[int, Field(gt=0)] = 1_048_588
    """What the dead-letter topic takes (`max.message.bytes`)."""

    @property
    def dead_letters(self) -> str:
        """The topic of dead letters."""
        return self.dead_letter_topic or f"{self.topics[0]}.dead-letters"


def open_consumer(settings: KafkaSettings, *, group: str | None) -> KafkaConsumer:
    """A consumer that subscribes to nothing yet; without a group it commits nothing either."""
    timeout_ms = int(settings.timeout_s * 1000)
    silent_s = settings.session_timeout_s
    if settings.api_version is None or settings.api_version >= (0, 10, 1):  # before, it is the same thing
        silent_s = max(silent_s, settings.handover_s + 60)
    member = {} if group is None else {"group_id": group, "group_instance_id": settings.group_instance_id}
    with opening(settings) as options:
        return KafkaConsumer(
            **settings.options(),
            **options,
            **{name: value for name, value in member.items() if value is not None},
            enable_auto_commit=False,
            auto_offset_reset=settings.start,
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_s * 1000),
            max_poll_interval_ms=int(silent_s * 1000),
            request_timeout_ms=timeout_ms,
            bootstrap_timeout_ms=timeout_ms,
            reconnect_backoff_max_ms=1000,
            partition_assignment_strategy=[CooperativeStickyAssignor],
            metrics_enabled=False,
        )
