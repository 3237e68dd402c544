"""A topic of Apache Kafka, or of what speaks its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from connectors.events import STRUCTURED_CONTENT_TYPE, Delivery
from connectors.kafka_client import KafkaConnection
from connectors.kafka_writer import Headers, KafkaWriter


class KafkaSinkSettings(KafkaConnection):
    """Which topic, and how to write there."""

    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
    event_mode: Literal["binary", "structured"] = "binary"
    """Of CloudEvents: headers and the plain verdict, or one JSON object, for servers and readers without headers."""
    timeout_s: Annotated[float, Field(ge=1)] = 30.0
    """Longest time until all replicas in sync have an event; until then it is sent again as often as need be."""
    max_event_bytes: Annotated[int, Field(gt=0)] = 1_000_000
    """What the topic takes (`max.message.bytes`)."""

    @model_validator(mode="after")
    def _has_room_for_its_attributes(self) -> Self:
        if self.event_mode == "binary" and not self.has_headers:
            raise ValueError('servers before 0.11 have no headers: set event_mode = "structured"')
        return self


class KafkaSink:
    """Writes each verdict as one record, keyed by the scanned object, so that its verdicts stay in order.

    A record that was given up may have arrived all the same, and is sent anew on the next `deliver`: readers drop what
    has an id that they know.
    """

    def __init__(self, settings: KafkaSinkSettings) -> None:
        self._settings = settings
        self.name = f"kafka:{settings.topic}"
        self._writer = KafkaWriter(
            settings, name=self.name, timeout_s=settings.timeout_s, max_bytes=settings.max_event_bytes
        )

    def deliver(self, delivery: Delivery) -> None:
        """Write, and return when all replicas in sync have it.

        Raises:
            PoisonError: `event_too_large` or `event_refused`.
            TransientError: no server answers, or not in time.
            SettingsError: the topic or the credentials are wrong.
            RuntimeError: the sink is closed.
        """
        headers, value = self._record(delivery)
        self._writer.write(self._settings.topic, key=delivery.subject.encode(), value=value, headers=headers)

    def check(self) -> None:
        """Whether servers answer, and have the topic; raises as `deliver`."""
        self._writer.check(self._settings.topic)

    def close(self) -> None:
        """Wait for what is under way, and end all connections."""
        self._writer.close()

    def _record(self, delivery: Delivery) -> tuple[Headers, bytes]:
        if self._settings.event_mode == "binary":
            headers, value = delivery.binary()
            return list(headers.items()), value
        return [("content-type", STRUCTURED_CONTENT_TYPE.encode())], delivery.structured()


def open_sink(settings: Mapping[str, Any]) -> KafkaSink:
    """From a table of settings."""
    return KafkaSink(KafkaSinkSettings.model_validate(settings))
