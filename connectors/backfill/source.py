"""What is listed and not yet done, as a source that ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Event

import structlog

from connectors.backfill.files import DeadLetters, Results
from connectors.backfill.plan import Backfill
from connectors.backfill.progress import Progress
from connectors.daemon import request_id
from connectors.events import Delivery
from connectors.listings import S3Object
from connectors.retries import patiently
from connectors.sources import DeadLetter, Message

_LONGEST_ROUND_S = 0.5
_TOLD_EVERY_S = 30.0


class Listed:
    """A source that hands out what is listed and not yet done, and is over when all of that is settled.

    Args:
        objects: what is listed.
        plan: the rest.
        answered: the event that was delivered for a message before, if one was.
        results: is given what was delivered before, in case that it lacks it.
        dead: where dead letters go.
        progress: counts.
        stopping: ends waits; set when all is settled.
    """

    name = "s3 backfill"

    def __init__(
        self,
        objects: Iterator[S3Object],
        plan: Backfill,
        *,
        answered: Callable[[str], Delivery | None],
        results: Results | None,
        dead: DeadLetters,
        progress: Progress,
        stopping: Event,
    ) -> None:
        self._objects = objects
        self._plan = plan
        self._answered = answered
        self._results = results
        self._dead = dead
        self._progress = progress
        self._stopping = stopping
        self._under_way: set[str] = set()
        self._buried: dict[str, str] = {}  # message to reason
        self._listed_all = False
        self._next_s = 0.0
        self._told_s = time.monotonic()
        self.complete = False

    def receive(self, room: int) -> Sequence[Message]:
        """What comes next; nothing when all was listed."""
        self._tell()
        if room == 0:
            return []
        until = time.monotonic() + _LONGEST_ROUND_S
        messages: list[Message] = []
        while len(messages) < room and not self._listed_all and self._may_begin(until, messages):
            found = next(self._objects, None)
            if found is None:
                self._listed_all = True
            elif message := self._to_do(found):
                messages.append(message)
                self._began()
            if time.monotonic() >= until:
                break
        if self._listed_all and not messages:
            self._wait_for_the_rest(until)
        return messages

    def settle(self, message: Message) -> None:
        """It has its verdict, or is a dead letter."""
        with self._progress.lock:
            reason = self._buried.pop(message.id, None)
            if reason is None:
                self._progress.delivered += 1
            else:
                self._progress.dead[reason] += 1
            self._under_way.discard(message.id)

    def bury(self, message: Message, why: DeadLetter) -> None:
        """One line, and what it takes to ask again."""
        self._dead.add(message.id, message.body, why)
        with self._progress.lock:
            self._buried[message.id] = why.reason

    def hand_back(self, message: Message) -> None:
        """The next run lists it again."""

    def check(self) -> None:
        """Listing it will tell."""

    def lag(self) -> Mapping[str, int]:
        """What is known to be left."""
        total = self._progress.total
        return {} if total is None else {self.name: max(0, total - self._progress.done)}

    def close(self) -> None:
        """Nothing is held."""

    def _to_do(self, found: S3Object) -> Message | None:
        progress = self._progress
        if not self._plan.wants(found):
            progress.left_out += not found.is_marker
            return None
        number = found.message_id
        with progress.lock:
            repeated = number in self._under_way
            progress.before += repeated
        if repeated:
            return None
        if self._dead.has(number):
            with progress.lock:
                progress.dead_before += 1
            return None
        if event := self._answered(request_id(number)):
            if (results := self._results) is not None:
                patiently(lambda: results.deliver(event), stopping=self._stopping)
            with progress.lock:
                progress.before += 1
            return None
        with progress.lock:
            self._under_way.add(number)
        return Message(number, found.body(), origin={"source": self.name})

    def _may_begin(self, until_s: float, messages: Sequence[Message]) -> bool:
        wait_s = self._next_s - time.monotonic()
        if wait_s <= 0:
            return True
        if not messages:
            self._stopping.wait(min(wait_s, max(0.0, until_s - time.monotonic())))
        return False

    def _began(self) -> None:
        if self._plan.rate is not None:
            self._next_s = max(self._next_s, time.monotonic() - 1) + 1 / self._plan.rate

    def _wait_for_the_rest(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            if not self._under_way:
                self.complete = True
                self._stopping.set()
                return
            time.sleep(0.02)

    def _tell(self) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _TOLD_EVERY_S:
            self._told_s = now_s
            total = self._progress.total
            structlog.get_logger().info("progress", done=self._progress.done, total=total)
