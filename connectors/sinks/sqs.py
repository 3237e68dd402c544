"""A queue of Amazon SQS, or of what speaks its protocol."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from connectors import aws
from connectors.errors import ConnectorError, PoisonError, SettingsError
from connectors.events import Delivery

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_BYTES = 1 << 20
"""Of any message; a queue may be set to take less."""
_NOT_IN_XML = re.compile("[\ufffe\uffff]")


class SqsSettings(BaseModel):
    """Which queue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue_url: str
    """`https://sqs.<region>.amazonaws.com/<account>/<name>`; a name that ends in `.fifo` is a FIFO queue."""
    endpoint_url: str | None = None
    """Of another server that speaks the protocol; AWS's own without."""
    region: str | None = None
    """Where boto3 finds it, without."""
    timeout_s: Annotated[float, Field(gt=0)] = 15.0
    """Longest wait for a connection, and for an answer."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """How often in all an event is sent before it is handed back."""


class SqsSink:
    """Sends structured CloudEvents.

    A FIFO queue drops a second event of the same id within five minutes, and keeps the order for each object.
    """

    def __init__(self, settings: SqsSettings) -> None:
        self._queue_url = settings.queue_url
        self._fifo = settings.queue_url.endswith(".fifo")
        self._closed = Event()
        self._client: SQSClient = aws.session().client(
            "sqs",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            config=aws.config(timeout_s=settings.timeout_s, attempts=settings.attempts),
        )
        self.name = f"sqs:{settings.queue_url.rpartition('/')[2]}"

    def deliver(self, delivery: Delivery) -> None:
        """Send, and return when the queue has it.

        Raises:
            PoisonError: `event_too_large` or `event_refused`.
            TransientError: the queue or the way to it fails.
            SettingsError: no such queue, or it may not be written to.
            RuntimeError: the sink is closed.
        """
        if self._closed.is_set():
            raise RuntimeError("the sink is closed")
        # SQS would replace these two by another character; in JSON they may be escaped.
        text = _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", delivery.structured().decode())
        if len(text.encode()) > MAX_BYTES:
            raise PoisonError(
                "event_too_large", f"{self.name}: {len(text.encode())} bytes; SQS takes {MAX_BYTES}"
            )
        try:
            self._client.send_message(QueueUrl=self._queue_url, MessageBody=text, **self._order(delivery))
        except aws.AwsError as error:
            raise self._translated(error) from error

    def check(self) -> None:
        """Whether the queue is there, and may be looked at; raises as `deliver`."""
        try:
            self._client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["QueueArn"])
        except aws.AwsError as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        self._client.close()

    def _order(self, delivery: Delivery) -> dict[str, Any]:
        if not self._fifo:
            return {}
        group = hashlib.sha256(delivery.subject.encode()).hexdigest()  # a subject may be too long for a group
        return {"MessageDeduplicationId": delivery.id, "MessageGroupId": group}

    def _translated(self, error: Exception) -> ConnectorError:
        ours = aws.translated(error, self.name)
        if not isinstance(ours, PoisonError):
            return ours
        if aws.code_of(error) in aws.NO_SUCH_QUEUE:
            return SettingsError(str(ours))
        too_large = "shorter than" in str(ours)
        return PoisonError("event_too_large" if too_large else "event_refused", str(ours))


def open_sink(settings: Mapping[str, Any]) -> SqsSink:
    """From a table of settings."""
    return SqsSink(SqsSettings.model_validate(settings))
