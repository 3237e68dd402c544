"""A topic of Apache Kafka, or of what speaks its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from typing import Annotated, Any, Literal

from kafka import KafkaProducer
from kafka import errors as broken
from pydantic import Field

from connectors.errors import ConnectorError, PoisonError, SettingsError, TransientError
from connectors.events import STRUCTURED_CONTENT_TYPE, Delivery
from connectors.kafka_client import KafkaConnection

_TOO_LARGE = (broken.MessageSizeTooLargeError, broken.RecordListTooLargeError)
_REFUSED = (broken.InvalidRecordError, broken.PolicyViolationError)
_WRONG_DEPLOYMENT = (
    broken.AuthorizationError,
    broken.InvalidTopicError,
    broken.KafkaConfigurationError,
    broken.SaslAuthenticationFailedError,
    broken.UnsupportedSaslMechanismError,
    broken.UnsupportedVersionError,
)


class KafkaSinkSettings(KafkaConnection):
    """Which topic, and how to write there."""

    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
    event_mode: Literal["binary", "structured"] = "binary"
    """Of CloudEvents: headers and the plain verdict, or one JSON object, for servers and readers without headers."""
    timeout_s: Annotated[float, Field(ge=1)] = 30.0
    """Longest time until all replicas in sync have an event; until then it is sent again as often as need be."""
    max_event_bytes: Annotated[int, Field(gt=0)] = 1_000_000
    """What the topic takes (`max.message.bytes`)."""


class KafkaSink:
    """Writes each verdict as one record, keyed by the scanned object, so that its verdicts stay in order.

    The producer is idempotent and waits for all replicas in sync: what it sends again in trouble stands there once. A
    record whose time is up may have arrived all the same, and is sent by another producer on the next `deliver`:
    readers drop what has an id that they know.
    """

    def __init__(self, settings: KafkaSinkSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._producer: KafkaProducer | None = None
        self._closed = False
        self.name = f"kafka:{settings.topic}"

    def deliver(self, delivery: Delivery) -> None:
        """Write, and return when all replicas in sync have it.

        Raises:
            PoisonError: `event_too_large` or `event_refused`.
            TransientError: no server answers, or not in time.
            SettingsError: the topic or the credentials are wrong.
            RuntimeError: the sink is closed.
        """
        headers, value = self._record(delivery)
        producer = None
        try:
            producer = self._connected()
            sent = producer.send(
                self._settings.topic, value=value, key=delivery.subject.encode(), headers=headers
            )
            sent.get(timeout=self._settings.timeout_s + 1)
        except (*_TOO_LARGE, *_REFUSED) as error:
            raise self._translated(error) from error
        except broken.KafkaError as error:
            if producer is not None:
                self._forget(producer)
            raise self._translated(error) from error

    def close(self) -> None:
        """Wait for what is under way, and end all connections."""
        with self._lock:
            self._closed = True
            producer = self._producer
            self._producer = None
        if producer is not None:
            with suppress(broken.KafkaError):
                producer.flush(timeout=self._settings.timeout_s)
            _end(producer)

    def _record(self, delivery: Delivery) -> tuple[list[tuple[str, bytes]], bytes]:
        if self._settings.event_mode == "binary":
            headers, value = delivery.binary()
            return list(headers.items()), value
        knows_headers = self._settings.api_version is None or self._settings.api_version >= (0, 11)
        kind = [("content-type", STRUCTURED_CONTENT_TYPE.encode())]
        return kind if knows_headers else [], delivery.structured()

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._closed:
                raise RuntimeError("the sink is closed")
            if self._producer is None:
                self._producer = KafkaProducer(**self._options())
            return self._producer

    def _options(self) -> dict[str, Any]:
        timeout_ms = int(self._settings.timeout_s * 1000)
        return self._settings.options() | {
            "acks": "all",
            "delivery_timeout_ms": timeout_ms,
            "request_timeout_ms": max(
                500, timeout_ms // 3
            ),  # a lost answer is asked for again within the limit
            "max_block_ms": timeout_ms,
            "bootstrap_timeout_ms": timeout_ms,
            "max_request_size": self._settings.max_event_bytes,
            "reconnect_backoff_max_ms": 1000,
        }

    def _forget(self, producer: KafkaProducer) -> None:
        """The next `deliver` begins anew: what the old producer has not sent would else pile up, copy upon copy."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        _end(producer)

    def _translated(self, error: broken.KafkaError) -> ConnectorError:
        message = f"{self.name}: {error}"
        if isinstance(error, _TOO_LARGE):
            return PoisonError("event_too_large", message)
        if isinstance(error, _REFUSED):
            return PoisonError("event_refused", message)
        if isinstance(error, _WRONG_DEPLOYMENT):
            return SettingsError(message)
        return TransientError(message)


def _end(producer: KafkaProducer) -> None:
    # `close` alone waits for what cannot be sent, fails, and leaves its thread running for ever.
    producer._sender.force_close()  # noqa: SLF001
    producer.close(timeout=10)


def open_sink(settings: Mapping[str, Any]) -> KafkaSink:
    """From a table of settings."""
    return KafkaSink(KafkaSinkSettings.model_validate(settings))
