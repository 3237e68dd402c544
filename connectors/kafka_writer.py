"""Writing to Kafka so that what was written is there: for verdicts, dead letters and replays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from kafka import KafkaProducer
from kafka import errors as broken

from connectors.errors import ConnectorError, PoisonError, SettingsError, TransientError
from connectors.kafka_client import KafkaConnection, opening

Headers = Sequence[tuple[str, bytes]]

_TOO_LARGE = (broken.MessageSizeTooLargeError, broken.RecordListTooLargeError)
_REFUSED = (broken.InvalidRecordError, broken.PolicyViolationError)
_WRONG_DEPLOYMENT = (
    broken.AuthorizationError,
    broken.FencedInstanceIdError,
    broken.InvalidTopicError,
    broken.KafkaConfigurationError,
    broken.SaslAuthenticationFailedError,
    broken.UnsupportedCodecError,
    broken.UnsupportedSaslMechanismError,
    broken.UnsupportedVersionError,
)
_SEE = {
    broken.SaslAuthenticationFailedError: "; see sasl_username and sasl_password",
    broken.UnsupportedSaslMechanismError: "; see sasl_mechanism",
}


class KafkaWriter:
    """Writes records, for any number of threads.

    The producer is idempotent and waits for all replicas in sync: what it sends again in trouble stands there once. A
    record whose time is up may have arrived all the same, and is sent by another producer when it is written again.
    Servers before 0.11 know no idempotence: there, what is sent again may stand there twice.

    Args:
        connection: the servers.
        name: who writes, for messages.
        timeout_s: longest time until all replicas in sync have a record; until then it is sent again.
        max_bytes: of a record.
    """

    def __init__(self, connection: KafkaConnection, *, name: str, timeout_s: float, max_bytes: int) -> None:
        self._connection = connection
        self._name = name
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._producer: KafkaProducer | None = None
        self._closed = False

    def write(self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Write, and return when all replicas in sync have it; headers are left out where there are none.

        Raises:
            PoisonError: `event_too_large` or `event_refused`.
            TransientError: no server answers, or not in time.
            SettingsError: the topic or the credentials are wrong.
            RuntimeError: the writer is closed.
        """
        producer = None
        try:
            producer = self._connected()
            kept = list(headers) if self._connection.has_headers else []
            sent = producer.send(topic, value=value, key=key, headers=kept)
            sent.get(timeout=self._timeout_s + 1)
        except (*_TOO_LARGE, *_REFUSED) as error:
            raise translated(error, self._name) from error
        except broken.KafkaError as error:
            if producer is not None:
                self._forget(producer)
            raise translated(error, self._name) from error
        except (
            RuntimeError
        ) as error:  # what the library has for one that another thread has given up meanwhile
            if producer is None or self._closed or self._producer is producer:
                raise
            raise TransientError(f"{self._name}: the connection was given up: {error}") from error

    def check(self, topic: str) -> None:
        """Whether servers answer, and have the topic; raises as `write`."""
        try:
            self._connected().partitions_for(topic)
        except broken.KafkaError as error:
            raise translated(error, self._name) from error

    def close(self) -> None:
        """Wait for what is under way, and end all connections."""
        with self._lock:
            self._closed = True
            producer = self._producer
            self._producer = None
        if producer is not None:
            with suppress(broken.KafkaError):
                producer.flush(timeout=self._timeout_s)
            _end(producer)

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._closed:
                raise RuntimeError("the sink is closed")
            if self._producer is None:
                with opening(self._connection) as options:
                    self._producer = KafkaProducer(**self._options(), **options)
            return self._producer

    def _options(self) -> dict[str, Any]:
        timeout_ms = int(self._timeout_s * 1000)
        return self._connection.options() | {
            "acks": "all",
            "delivery_timeout_ms": timeout_ms,
            # a lost answer is asked for again within the limit
            "request_timeout_ms": max(500, timeout_ms // 3),
            "max_block_ms": timeout_ms,
            "bootstrap_timeout_ms": timeout_ms,
            "max_request_size": self._max_bytes,
            "reconnect_backoff_max_ms": 1000,
        }

    def _forget(self, producer: KafkaProducer) -> None:
        """The next `write` begins anew: what the old producer has not sent would else pile up, copy upon copy."""
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        _end(producer)


def translated(error: broken.KafkaError, doing: str) -> ConnectorError:
    """What an error of kafka-python asks of the caller, named by what was being done."""
    message = f"{doing}: {error}"
    if isinstance(error, _TOO_LARGE):
        return PoisonError("event_too_large", message)
    if isinstance(error, _REFUSED):
        return PoisonError("event_refused", message)
    if isinstance(error, _WRONG_DEPLOYMENT):
        return SettingsError(f"{message}{_SEE.get(type(error), '')}")
    return TransientError(message)


def _end(producer: KafkaProducer) -> None:
    # `close` alone waits for what cannot be sent, fails, and leaves its thread running for ever.
    producer._sender.force_close()  # noqa: SLF001
    producer.close(timeout=10)
