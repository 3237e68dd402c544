"""The loop around a source: messages in, settled messages out, until it is asked to end.

One thread receives and does nothing else. Others take a message each from parsing to its settlement; there are as many
of them as messages may be under way, which is also all that is ever taken from a source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Event
from typing import Annotated, Protocol

import structlog
from pydantic import BaseModel, ConfigDict, Field

from connectors.dead_letters import DeadLetterLimit
from connectors.errors import ConnectorError, PoisonError, StoppedError, TransientError
from connectors.metrics import Metrics
from connectors.requests import Parsed, ScanRequest, parse
from connectors.retries import patiently
from connectors.service import Health
from connectors.sources import DeadLetter, Message, Source

_MEASURE_EVERY_S = 10.0
_TIDY_EVERY_S = 3600.0
_ABANDONED_S = 3.0
"""How long threads may take to let go of what was ended under them."""


class WorkSettings(BaseModel):
    """How much is under way at a time, and how it ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_flight: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Messages under way; twice the scoring processes without, so that the next videos come while these are scored."""
    drain_s: Annotated[float, Field(ge=0)] = 20.0
    """How long work under way may take when the daemon is asked to end; the rest is handed back."""
    encoded_keys: bool | None = None
    """Whether keys in S3 notifications are form-URL-encoded; goes by the record without."""


class Processor(Protocol):
    """What a daemon needs of a `Worker`."""

    def process(self, request: ScanRequest, message: str) -> object:
        """Return when the verdict was delivered."""
        ...


class Daemon:
    """Takes messages from a source and settles them.

    Args:
        source: where they come from.
        worker: what makes verdicts of them.
        limit: of dead letters.
        health: told of what the loop does.
        metrics: counts.
        stopping: ends the loop; set by a signal.
        settings: the rest.
        in_flight: messages under way at a time.
        tidy: done every hour.
        abandon: ends work that takes too long to end by itself: its thread gets a `StoppedError`.
    """

    def __init__(
        self,
        *,
        source: Source,
        worker: Processor,
        limit: DeadLetterLimit,
        health: Health,
        metrics: Metrics,
        stopping: Event,
        settings: WorkSettings,
        in_flight: int,
        tidy: Callable[[], object],
        abandon: Callable[[], object],
    ) -> None:
        self._source = source
        self._worker = worker
        self._limit = limit
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._settings = settings
        self._in_flight = in_flight
        self._tidy = tidy
        self._abandon = abandon
        self._tidied_s = time.monotonic()
        self._busy: dict[Future[None], Message] = {}
        self._measured_s = 0.0
        self._log = structlog.get_logger()

    def run(self) -> bool:
        """Work until asked to end; whether no thread is left behind then.

        Raises:
            SettingsError: the deployment is wrong, or there are too many dead letters.
            Exception: a bug. Nothing is lost by it: what is not settled comes again.
        """
        threads = ThreadPoolExecutor(self._in_flight, "work")
        try:
            while not self._stopping.is_set():
                self._round(threads)
        finally:
            self._stopping.set()
            self._health.not_ready("stopping")
            self._log.info("stopping", under_way=len(self._busy))
            if not self._drain(self._settings.drain_s):
                self._abandon()
                self._drain(_ABANDONED_S)
            threads.shutdown(wait=False, cancel_futures=True)
        return not self._busy

    def _round(self, threads: ThreadPoolExecutor) -> None:
        room = self._in_flight - len(self._busy)
        if room == 0:
            wait(self._busy, timeout=0.5, return_when=FIRST_COMPLETED)
            self._reap()
            room = self._in_flight - len(self._busy)
        for message in self._receive(room):
            self._busy[threads.submit(self._handle, message)] = message
        self._reap()
        self._health.beat()
        self._now_and_then()

    def _receive(self, room: int) -> list[Message]:
        try:
            messages = list(self._source.receive(room))
        except TransientError as error:
            self._metrics.waits.labels("source").inc()
            self._health.not_ready(str(error))
            self._log.warning("waiting", what="source", error=str(error), wait_s=1.0)
            self._stopping.wait(1.0)
            return []
        self._health.ready()
        return messages

    def _reap(self) -> None:
        for future in [one for one in self._busy if one.done()]:
            del self._busy[future]
            future.result()

    def _drain(self, longest_s: float) -> bool:
        """Finish what is under way, keeping the source alive meanwhile; whether that was all."""
        until = time.monotonic() + longest_s
        while self._busy and time.monotonic() < until:
            wait(self._busy, timeout=0.2, return_when=FIRST_COMPLETED)
            self._busy = {one: message for one, message in self._busy.items() if not one.done()}
            # whatever is wrong with the source, verdicts may still be delivered
            try:
                self._source.receive(0)
            except ConnectorError as error:
                self._log.warning("waiting", what="source", error=str(error), wait_s=0.2)
            self._health.beat()
        return not self._busy

    def _handle(self, message: Message) -> None:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(message=message.id, **message.origin)
        self._metrics.in_flight.inc()
        try:
            self._dealt_with(message)
            self._source.settle(message)
        except StoppedError as error:
            self._log.info("handed back", error=str(error))
            self._source.hand_back(message)
        except BaseException as error:
            self._source.hand_back(message)
            self._log.error("unfinished", error=str(error))
            raise
        finally:
            self._metrics.in_flight.dec()

    def _dealt_with(self, message: Message) -> None:
        try:
            parsed = parse(message.body, message.headers, encoded_keys=self._settings.encoded_keys)
            self._ignored(parsed)
            poison = [why for why in self._outcomes(message, parsed) if why is not None]
        except PoisonError as error:
            poison = [DeadLetter(error.reason, str(error))]
        if not poison:
            return self._limit.scanned()
        told = DeadLetter(poison[0].reason, "; ".join(why.explanation for why in poison))
        self._limit.admit(told.reason)
        patiently(lambda: self._source.bury(message, told), stopping=self._stopping, on_wait=self._on_wait)
        self._metrics.requests.labels("dead_letter").inc()
        self._metrics.dead_letters.labels(told.reason).inc()
        self._log.warning("dead letter", reason=told.reason, error=told.explanation)
        return None

    def _outcomes(self, message: Message, parsed: Parsed) -> list[DeadLetter | None]:
        """What came of each request: one that is poison keeps no other from its verdict."""
        outcomes: list[DeadLetter | None] = []
        for number, request in enumerate(parsed.requests):
            with structlog.contextvars.bound_contextvars(**_named(request)):
                try:
                    self._worker.process(request, request_id(message.id, number))
                    outcomes.append(None)
                except PoisonError as error:
                    outcomes.append(DeadLetter(error.reason, str(error)))
        return outcomes

    def _ignored(self, parsed: Parsed) -> None:
        for why in parsed.ignored:
            self._metrics.ignored.inc()
            self._log.info("ignored", why=why)

    def _on_wait(self, error: TransientError, seconds: float) -> None:
        self._metrics.waits.labels("dead_letters").inc()
        self._log.warning("waiting", what="dead_letters", error=str(error), wait_s=round(seconds, 2))

    def _now_and_then(self) -> None:
        now_s = time.monotonic()
        if now_s - self._measured_s >= _MEASURE_EVERY_S:
            self._measured_s = now_s
            self._metrics.lag.clear()
            for partition, behind in self._source.lag().items():
                self._metrics.lag.labels(partition).set(behind)
        if now_s - self._tidied_s >= _TIDY_EVERY_S:
            self._tidied_s = now_s
            with suppress(TransientError):
                self._tidy()


def request_id(message_id: str, number: int = 0) -> str:
    """How the worker knows one request of a message."""
    return f"{message_id}#{number}"


def _named(request: ScanRequest) -> Mapping[str, str]:
    trace = request.attributes.get("traceparent")
    return {"request": request.key} | ({"trace_id": trace.split("-")[1]} if trace else {})
