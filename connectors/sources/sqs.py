"""Requests from a queue of Amazon SQS: S3 notifications, directly or through SNS or EventBridge, or our own.

A message is hidden from others while it is under way, and that is prolonged for as long as it takes; it is deleted when
its verdict was delivered. SQS may hand out a message twice all the same, and in any order: the ledger knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from connectors import aws
from connectors.errors import ConnectorError, PoisonError, SettingsError
from connectors.sources.source import DeadLetter, Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MARK = "dmcl-"
"""What the attributes that a dead letter is given begin with."""
MAX_ATTRIBUTES = 10
"""Of a message, says SQS."""
MAX_BATCH = 10
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class SqsSourceSettings(BaseModel):
    """Which queue is read, and where dead letters go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue_url: str
    """`https://sqs.<region>.amazonaws.com/<account>/<name>`."""
    dead_letter_queue_url: str
    """Where messages go that can never be scanned. Not the queue of a redrive policy, which knows no reasons."""
    endpoint_url: str | None = None
    """Of another server that speaks the protocol; AWS's own without."""
    region: str | None = None
    """Where boto3 finds it, without."""
    visibility_s: Annotated[int, Field(ge=2, le=43_200)] = 120
    """How long a message is hidden at a time; after a crash it comes again so much later."""
    wait_s: Annotated[int, Field(ge=0, le=20)] = 5
    """How long the queue is asked for a message at a time; ending the daemon may take so long."""
    timeout_s: Annotated[float, Field(gt=0)] = 15.0
    """Longest wait for a connection, and for an answer beyond `wait_s`."""


class SqsSource:
    """One reader of a queue; there may be many."""

    def __init__(self, settings: SqsSourceSettings) -> None:
        self._settings = settings
        self._queue = settings.queue_url.rpartition("/")[2]
        self.name = f"sqs:{self._queue}"
        self._lock = Lock()
        self._hidden: dict[str, str] = {}  # message to receipt
        self._closed = Event()
        self._log = structlog.get_logger()
        self._client: SQSClient = aws.session().client(
            "sqs",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            config=aws.config(timeout_s=settings.timeout_s + settings.wait_s, attempts=2),
        )
        self._prolonging = Thread(target=self._prolong, name=f"prolong {self._queue}", daemon=True)
        self._prolonging.start()

    def receive(self, room: int) -> Sequence[Message]:
        """Ask the queue, for `wait_s` at the longest."""
        if self._closed.is_set():
            raise RuntimeError("the source is closed")
        if room == 0:
            return []
        try:
            answer = self._client.receive_message(
                QueueUrl=self._settings.queue_url,
                MaxNumberOfMessages=min(room, MAX_BATCH),
                WaitTimeSeconds=self._settings.wait_s,
                VisibilityTimeout=self._settings.visibility_s,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["ApproximateReceiveCount", "AWSTraceHeader"],
            )
        except aws.AwsError as error:
            raise self._translated(error) from error
        return [self._taken(message) for message in answer.get("Messages", [])]

    def settle(self, message: Message) -> None:
        """Delete it. If that fails it comes again, and the ledger knows it."""
        self._uncover(message)
        try:
            self._client.delete_message(
                QueueUrl=self._settings.queue_url, ReceiptHandle=message.receipt["ReceiptHandle"]
            )
        except aws.AwsError as error:
            self._log.warning("not deleted", error=str(aws.translated(error, self.name)), **message.origin)

    def bury(self, message: Message, why: DeadLetter) -> None:
        """Send the body as it came to the queue of dead letters, with attributes that say why."""
        marks = _marks(message, why)
        came = dict(message.receipt.get("MessageAttributes") or {})
        room = MAX_ATTRIBUTES - len(marks)
        kept = {name: _sendable(came[name]) for name in sorted(came)[:room]}
        try:
            self._send_dead(message, kept | marks)
        except PoisonError:  # the largest message leaves no room for attributes; the log has the reason
            try:
                self._send_dead(message, {})
            except PoisonError as error:
                raise SettingsError(f"the queue of dead letters must take any message: {error}") from error

    def _send_dead(self, message: Message, attributes: Mapping[str, Any]) -> None:
        try:
            self._client.send_message(
                QueueUrl=self._settings.dead_letter_queue_url,
                MessageBody=message.receipt["Body"],
                MessageAttributes=attributes,
                **self._order(message),
            )
        except aws.AwsError as error:
            raise self._translated(error) from error

    def hand_back(self, message: Message) -> None:
        """Let others see it at once."""
        self._uncover(message)
        try:
            self._client.change_message_visibility(
                QueueUrl=self._settings.queue_url,
                ReceiptHandle=message.receipt["ReceiptHandle"],
                VisibilityTimeout=0,
            )
        except aws.AwsError as error:
            self._log.warning(
                "not handed back", error=str(aws.translated(error, self.name)), **message.origin
            )

    def check(self) -> None:
        """Whether both queues are there, and may be looked at."""
        for url in (self._settings.queue_url, self._settings.dead_letter_queue_url):
            try:
                self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
            except aws.AwsError as error:
                raise self._translated(error) from error

    def lag(self) -> Mapping[str, int]:
        """About how many messages the queue has, those that are hidden included."""
        counted = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        try:
            answer = self._client.get_queue_attributes(
                QueueUrl=self._settings.queue_url,
                AttributeNames=list(counted),  # type: ignore[arg-type]
            )
        except aws.AwsError:
            return {}
        found: Mapping[str, str] = answer["Attributes"]  # type: ignore[assignment] # typed by a list of names
        return {self._queue: sum(int(found.get(name, "0")) for name in counted)}

    def close(self) -> None:
        """Hide nothing any longer, and end all connections."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._prolonging.join()
        self._client.close()

    def _taken(self, message: Any) -> Message:  # noqa: ANN401 - the service's own
        with self._lock:
            self._hidden[message["MessageId"]] = message["ReceiptHandle"]
        texts = {
            name: value["StringValue"]
            for name, value in (message.get("MessageAttributes") or {}).items()
            if "StringValue" in value
        }
        return Message(
            id=f"{self._queue}/{message['MessageId']}",
            body=message["Body"].encode(),
            headers=texts,
            origin={
                "queue": self._queue,
                "message_id": message["MessageId"],
                "received": int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
            },
            receipt=message,
        )

    def _uncover(self, message: Message) -> None:
        with self._lock:
            self._hidden.pop(message.receipt["MessageId"], None)

    def _prolong(self) -> None:
        while not self._closed.wait(self._settings.visibility_s / 3):
            with self._lock:
                hidden = list(self._hidden.values())
            for start in range(0, len(hidden), MAX_BATCH):
                self._prolong_batch(hidden[start : start + MAX_BATCH])

    def _prolong_batch(self, receipts: Sequence[str]) -> None:
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": self._settings.visibility_s}
            for number, receipt in enumerate(receipts)
        ]
        try:
            answer = self._client.change_message_visibility_batch(
                QueueUrl=self._settings.queue_url,
                Entries=entries,  # type: ignore[arg-type]
            )
        except aws.AwsError as error:
            # Another may get the message then, and the ledger or the reader drops one of two equal verdicts.
            self._log.warning("not prolonged", error=str(aws.translated(error, self.name)))
            return
        for failed in answer.get("Failed", []):
            self._log.warning("not prolonged", error=failed.get("Message", failed["Code"]))

    def _order(self, message: Message) -> dict[str, Any]:
        if not self._settings.dead_letter_queue_url.endswith(".fifo"):
            return {}
        number = message.receipt["MessageId"]
        return {"MessageDeduplicationId": number, "MessageGroupId": number}

    def _translated(self, error: Exception) -> ConnectorError:
        ours = aws.translated(error, self.name)
        lacking = aws.code_of(error) in aws.NO_SUCH_QUEUE
        return SettingsError(str(ours)) if lacking else ours


def _marks(message: Message, why: DeadLetter) -> dict[str, dict[str, str]]:
    said = {
        "reason": why.reason,
        "error": _UNPRINTABLE.sub("?", why.explanation[:1000]) or "-",
        "message-id": message.receipt["MessageId"],
        "queue": str(message.origin["queue"]),
        "dead-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return {f"{MARK}{name}": {"DataType": "String", "StringValue": value} for name, value in said.items()}


def _sendable(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """An attribute as it came, without the empty lists that an answer adds."""
    return {name: attribute[name] for name in ("DataType", "StringValue", "BinaryValue") if name in attribute}


def open_source(settings: Mapping[str, Any]) -> SqsSource:
    """From a table of settings."""
    return SqsSource(SqsSourceSettings.model_validate(settings))
