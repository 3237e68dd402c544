"""What already lies in S3: each video listed, scanned and delivered, once, however often the command is interrupted.

    listing ─> what is not done ─> the daemon's loop and its worker ─> sinks and the results' file ─> ledger

What the ledger says was delivered is not done again, what stands among the dead letters is not tried again, and the
results' file takes no line twice.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, NoReturn

import structlog
import typer

from connectors import deployment, logs
from connectors.daemon import Daemon, request_id
from connectors.dead_letters import DeadLetterLimit
from connectors.deployment import Parts
from connectors.errors import ConnectorError, SettingsError, StoppedError
from connectors.events import Delivery
from connectors.json_lines import JsonLines
from connectors.listings import S3Object
from connectors.retries import patiently
from connectors.service import Health
from connectors.settings import Settings
from connectors.sinks.stdout import StdoutSink
from connectors.sources import DeadLetter, Message

DEAD = 3
INTERRUPTED = 130
_LONGEST_ROUND_S = 0.5
_TOLD_EVERY_S = 30.0

Listing = Callable[[Event], Iterator[S3Object]]
"""Lists from the beginning each time; the event ends its waits."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is to be scanned, and what is written down."""

    listing: Listing
    dead_letters: Path
    """JSON Lines; what stands there is not tried again."""
    results: Path | None = None
    """JSON Lines, a verdict each."""
    every_key: bool = False
    """Also what is named like something else than a video."""
    rate: float | None = None
    """Most videos that are begun in a second."""


@dataclass
class Progress:
    """Counts, for any number of threads."""

    total: int | None = None
    """Videos in all, once they were counted."""
    delivered: int = 0
    before: int = 0
    """Delivered by an earlier run, or listed twice."""
    dead: Counter[str] = field(default_factory=Counter)
    """Dead letters of this run, by reason."""
    dead_before: int = 0
    left_out: int = 0
    """Named like something else than a video."""
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def done(self) -> int:
        """Videos of which it is known what became of them."""
        return self.delivered + self.before + self.dead.total() + self.dead_before

    def sentence(self) -> str:
        """For people."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.dead.most_common())
        dead = self.dead.total() + self.dead_before
        return (
            f"{self.delivered} delivered, {self.before} delivered before, {dead} dead letters"
            f"{f' ({reasons})' if reasons else ''}, {self.left_out} left out by their name"
        )


class Results:
    """A sink that writes verdicts, one a line, into a file that takes none twice."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path, _verdict_identity)
        self.name = f"results:{path.name}"

    def deliver(self, delivery: Delivery) -> None:
        """Return when the disk has it."""
        self._lines.append(delivery.body)

    def close(self) -> None:
        """Let others have the file."""
        self._lines.close()


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
        dead: JsonLines,
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
        line = {
            "id": message.id,
            **json.loads(message.body or b""),
            "reason": why.reason,
            "error": why.explanation,
            "dead_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self._dead.append(json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace"))
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
        if not wanted(found, self._plan):
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


def wanted(found: S3Object, plan: Backfill) -> bool:
    """Whether it is to be scanned."""
    return not found.is_marker and (plan.every_key or found.is_named_like_a_video)


def run(settings: Settings, plan: Backfill) -> NoReturn:
    """Scan what is listed, and end the process.

    Exit statuses: 0 all have a verdict; 3 some are dead letters; 130 interrupted (SIGTERM, Ctrl-C), and the same
    command goes on; 2 the deployment is wrong, or there were too many dead letters; 70 a bug.
    """
    deployment.end_with(settings, lambda stopping: _ran(settings, plan, stopping), stopped=INTERRUPTED)


def dry_run(settings: Settings, plan: Backfill) -> NoReturn:
    """Say what would be done, scan and deliver nothing, and end the process."""
    deployment.end_with(settings, lambda stopping: _looked(settings, plan, stopping), stopped=INTERRUPTED)


def _ran(settings: Settings, plan: Backfill, stopping: Event) -> tuple[bool, int]:
    progress = Progress()
    if plan.results is None and not settings.sinks:
        raise SettingsError("verdicts go nowhere: give --results FILE.jsonl, or settings with a sink")
    with ExitStack() as opened:
        dead = opened.enter_context(closing(JsonLines(plan.dead_letters, _dead_identity)))
        results = None if plan.results is None else opened.enter_context(closing(Results(plan.results)))
        parts = opened.enter_context(deployment.opened(settings, stopping, *([results] if results else [])))
        source = Listed(
            plan.listing(stopping),
            plan,
            answered=parts.worker.answered,
            results=results,
            dead=dead,
            progress=progress,
            stopping=stopping,
        )
        counted = plan.listing(stopping)  # here: one thread at a time may make clients
        Thread(target=_count, args=[counted, plan, progress, stopping], name="count", daemon=True).start()
        opened.enter_context(closing(_Bar(settings, progress)))
        whole = _daemon(settings, parts, source, stopping).run()
    typer.echo(f"dmcl: {progress.sentence()}", err=True)
    if not source.complete:
        typer.echo("dmcl: interrupted; the same command goes on", err=True)
        return whole, INTERRUPTED
    if progress.dead or progress.dead_before:
        typer.echo(f"dmcl: dead letters are in {plan.dead_letters}, and are not tried again", err=True)
        return whole, DEAD
    return whole, 0


def _daemon(settings: Settings, parts: Parts, source: Listed, stopping: Event) -> Daemon:
    return Daemon(
        source=source,
        worker=parts.worker,
        limit=DeadLetterLimit(settings.dead_letters),
        health=Health(settings.service.stuck_after_s),
        metrics=parts.metrics,
        stopping=stopping,
        settings=settings.work,
        in_flight=settings.work.in_flight or 2 * settings.scoring.processes,
        tidy=lambda: None,  # a backfill may take longer than the ledger remembers
        abandon=parts.pool.close,
    )


def _looked(settings: Settings, plan: Backfill, stopping: Event) -> tuple[bool, int]:
    found, sizes = Counter[str](), Counter[str]()
    with ExitStack() as opened:
        dead = None
        if plan.dead_letters.exists():
            dead = opened.enter_context(closing(JsonLines(plan.dead_letters, _dead_identity)))
        parts = opened.enter_context(deployment.opened(settings, stopping, StdoutSink()))  # given nothing
        for one in plan.listing(stopping):
            if stopping.is_set():
                return True, INTERRUPTED
            what = _state(one, plan, dead, parts)
            found[what] += 1
            sizes[what] += one.size_bytes or 0
    for what in ("to do", "delivered before", "dead letters", "left out by their name"):
        typer.echo(f"{what:<24} {found[what]:>10} {sizes[what] / 1e9:>12.3f} GB")
    return True, 0


def _state(one: S3Object, plan: Backfill, dead: JsonLines | None, parts: Parts) -> str:
    if one.is_marker:
        return "marker"
    if not wanted(one, plan):
        return "left out by their name"
    if dead is not None and dead.has(one.message_id):
        return "dead letters"
    return "delivered before" if parts.worker.answered(request_id(one.message_id)) else "to do"


def _count(listed: Iterator[S3Object], plan: Backfill, progress: Progress, stopping: Event) -> None:
    """Beside the work, so that it begins at once and yet can say how long it will take."""
    total = 0
    try:
        for one in listed:
            if stopping.is_set():
                return
            total += wanted(one, plan)
    except (ConnectorError, StoppedError):
        return  # the work itself will say so
    progress.total = total


class _Bar:
    """A bar on standard error where somebody watches; logs keep to warnings then, and are written above it."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._stack = ExitStack()
        if not sys.stderr.isatty():
            return
        from rich import progress as rich_bar  # noqa: PLC0415 - only where somebody watches
        from rich.console import Console  # noqa: PLC0415 - the same

        columns = (
            rich_bar.BarColumn(),
            rich_bar.MofNCompleteColumn(),
            rich_bar.TimeElapsedColumn(),
            rich_bar.TimeRemainingColumn(),
            rich_bar.TextColumn("{task.description}", markup=False),
        )
        bar = rich_bar.Progress(*columns, console=Console(stderr=True))
        task = bar.add_task("", total=None)
        self._stack.enter_context(bar)
        if settings.service.log_level == "info":
            logs.configure("warning")
        over = Event()

        def follow() -> None:
            while not over.wait(0.25):
                show()

        def show() -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=progress.sentence())

        follower = Thread(target=follow, name="bar", daemon=True)
        follower.start()
        for ending in (show, follower.join, over.set):  # the last is called first
            self._stack.callback(ending)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._stack.close()


def _verdict_identity(verdict: Any) -> str:  # noqa: ANN401 - any JSON
    """What a verdict is about, and who reached it and how."""
    asset, model = verdict["asset"], verdict.get("model") or {}
    runtime, decision = verdict.get("runtime") or {}, verdict.get("decision") or {}
    return json.dumps(
        [
            *(asset["uri"], asset.get("version_id"), asset.get("sha256"), model.get("sha256")),
            *(runtime.get("preprocess_sha256"), runtime.get("config_sha256"), decision.get("sha256")),
        ]
    )


def _dead_identity(letter: Any) -> str:  # noqa: ANN401 - any JSON
    if not isinstance(letter["reason"], str):
        raise TypeError
    return str(letter["id"])
