"""A backfill on a cluster of Ray: Ray Data hands what is listed to actors, each of which is a worker.

    this machine: listing ─> what is wanted ─> Ray Data ─> results and dead letters
    each actor:   ledger, media, scoring processes, policy, sinks, as on one machine

An actor or a machine that dies costs what was under way there: Ray gives it to another, and the ledger, which all of
them share, knows what was delivered. Only texts and bytes travel back.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from queue import Empty, Queue
from threading import Event, Lock, Thread
from typing import Any, NoReturn

import structlog

from connectors import deployment, logs
from connectors.backfill import files, progress
from connectors.backfill.files import DeadLetters, Results
from connectors.backfill.plan import INTERRUPTED, Backfill
from connectors.backfill.progress import Progress
from connectors.daemon import request_id
from connectors.dead_letters import DeadLetterLimit
from connectors.deployment import Parts
from connectors.errors import PoisonError, SettingsError
from connectors.events import Delivery
from connectors.listings import S3Object
from connectors.requests import parse
from connectors.settings import Settings
from connectors.sources import DeadLetter

_LISTED_AT_ONCE = 20_000
"""Objects that a data set of Ray is made of: what this machine holds in memory."""
_TASK = 4
"""Objects that an actor is given at a time, and begins anew when it dies."""
_REACHED_S = 10.0
"""Longest wait for a cluster to take a connection."""
_WAITING = 1000
"""Answers that are fetched before they are written down."""

Row = dict[str, Any]


def run(settings: Settings, plan: Backfill) -> NoReturn:
    """Scan what is listed on the cluster that `RAY_ADDRESS` names or that runs here, and end the process.

    Exit statuses are those of a backfill on one machine.
    """
    deployment.end_with(settings, lambda stopping: _ran(settings, plan, stopping), stopped=INTERRUPTED)


def _ran(settings: Settings, plan: Backfill, stopping: Event) -> tuple[bool, int]:
    _check(settings, plan)
    counts, limit, complete = Progress(), DeadLetterLimit(settings.dead_letters), True
    with files.opened(plan) as (dead, results), _cluster():
        to_do = _to_do(plan.listing(stopping), plan, dead, counts)
        with progress.shown(settings, plan, counts, stopping):
            while complete and (listed := list(islice(to_do, _LISTED_AT_ONCE))):
                requests = {one.message_id: one.body() for one in listed}
                counts.before += len(listed) - len(requests)
                for row in _until(stopping, _scanned(settings, requests, bodies=results is not None)):
                    _note(row, counts, limit, dead, results)
                complete = not stopping.is_set()
        if complete and results is not None:
            results.complete()
    return complete, progress.ended(plan, counts, complete=complete)


def _check(settings: Settings, plan: Backfill) -> None:
    """Refuse what would be discovered late, or by nobody."""
    if settings.ledger.url is None:
        raise SettingsError("--engine ray needs a ledger that all machines reach: set ledger.url")
    plan.check_goal(settings)
    if plan.rate is not None:
        raise SettingsError("--rate holds back one machine; --engine ray is for many")
    for name, table in settings.sinks.items():
        if table.get("type") == "stdout":
            raise SettingsError(f"sinks.{name}: with --engine ray standard output is nobody's; use --results")


def _to_do(
    listed: Iterable[S3Object], plan: Backfill, dead: DeadLetters, counts: Progress
) -> Iterator[S3Object]:
    for found in listed:
        if not plan.wants(found):
            counts.left_out += not found.is_marker
        elif dead.has(found.message_id):
            counts.dead_before += 1
        else:
            yield found


@contextmanager
def _cluster() -> Iterator[None]:
    """Be the driver of a cluster, and leave SIGTERM to whom it belonged."""
    try:
        import ray  # noqa: PLC0415 - an extra
        import ray.data  # noqa: PLC0415 - the same
    except ImportError as error:
        raise SettingsError(f"--engine ray needs Ray: pip install 'dmcl-sdk[ray]' ({error})") from error
    _reach(os.environ.get("RAY_ADDRESS", ""))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise SettingsError(
            f"no cluster of Ray: set RAY_ADDRESS, or start one with `ray start --head` ({error})"
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # there is one already
    try:
        yield
    except ray.exceptions.RayTaskError:
        raise  # a bug of ours
    except ray.exceptions.RayError as error:
        raise SettingsError(f"the cluster of Ray fails: {error}; the same command goes on") from error
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray would wait for a cluster that is not there for minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), _REACHED_S).close()
    except OSError as error:
        raise SettingsError(
            f"no cluster of Ray: nobody answers at {address}: {error.strerror or error}"
        ) from error


def _scanned(settings: Settings, requests: Mapping[str, bytes], *, bodies: bool) -> Iterator[Row]:
    """A row for each request, by its message, in whatever order they are done."""
    import ray.data  # noqa: PLC0415 - an extra

    rows = [{"message": message, "request": request} for message, request in requests.items()]
    cpus, gpus = settings.ray.cpus or settings.scoring.processes, settings.ray.gpus
    has = ray.cluster_resources()
    fits = [has.get("CPU", 0) // cpus, *([has.get("GPU", 0) // gpus] if gpus else [])]
    room = max(1, int(min(fits)))  # at once: Ray alone would add one after the other
    answers = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _TASK)).map_batches(
        Scanner,
        fn_constructor_args=(settings, bodies),
        batch_size=_TASK,
        batch_format="numpy",
        num_cpus=cpus,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=settings.ray.actors,
            initial_size=min(room, settings.ray.actors or room),
            max_concurrent_calls_per_actor=settings.in_flight,
            enable_true_multi_threading=True,
        ),
    )
    yield from answers.iter_rows()


def _until(stopping: Event, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, as long as nobody asks to end: Ray would wait for the next one and not for that."""
    fetched: Queue[Row | BaseException | None] = Queue(_WAITING)

    def fetch() -> None:
        try:
            for row in rows:
                fetched.put(row)
        except BaseException as error:  # noqa: BLE001 - it is raised where the rows are read
            fetched.put(error)
        else:
            fetched.put(None)

    Thread(target=fetch, name="ray", daemon=True).start()
    while not stopping.is_set():
        try:
            row = fetched.get(timeout=0.5)
        except Empty:
            continue
        if row is None:
            return
        if isinstance(row, BaseException):
            raise row
        yield row


def _note(
    row: Row, counts: Progress, limit: DeadLetterLimit, dead: DeadLetters, results: Results | None
) -> None:
    match row["outcome"]:
        case "deployment":
            raise SettingsError(row["error"])
        case "dead":
            limit.admit(row["reason"])
            dead.add(row["message"], row["request"], DeadLetter(row["reason"], row["error"]))
            counts.dead[row["reason"]] += 1
            structlog.get_logger().warning("dead letter", reason=row["reason"], error=row["error"])
        case outcome:
            limit.scanned()
            if results is not None and row["verdict"]:
                results.add(row["verdict"])
            counts.delivered += outcome == "delivered"
            counts.before += outcome == "before"


class Scanner:
    """A worker in an actor; each of its threads calls it with some requests, and gets a row for each."""

    def __init__(self, settings: Settings, bodies: bool) -> None:  # noqa: FBT001 - Ray passes by position
        logs.configure(settings.service.log_level)
        self._settings = settings
        self._bodies = bodies
        self._opened = ExitStack()
        self._opening = Lock()
        self._parts: Parts | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The rows of a batch, column by column."""
        asked = zip(batch["message"].tolist(), batch["request"].tolist(), strict=True)
        rows = [self._row(message, request) for message, request in asked]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _row(self, message: str, request: bytes) -> Row:
        empty = {"message": message, "request": request, "verdict": b"", "reason": "", "error": ""}
        try:
            outcome, verdict = self._scan(message, request)
        except PoisonError as error:
            return empty | {"outcome": "dead", "reason": error.reason, "error": str(error)}
        except SettingsError as error:
            return empty | {"outcome": "deployment", "error": str(error)}
        return empty | {"outcome": outcome, "verdict": verdict if self._bodies else b""}

    def _scan(self, message: str, request: bytes) -> tuple[str, bytes]:
        worker = self._started().worker
        asked = request_id(message)
        if event := worker.answered(asked):
            return "before", event.body
        with structlog.contextvars.bound_contextvars(message=message):
            for one in parse(request).requests:
                worker.process(one, asked)
        event = worker.answered(asked)
        return "delivered", b"" if event is None else event.body

    def _started(self) -> Parts:
        """Opened here and not at birth: what is wrong then would be tried again for ever, and not be told."""
        with self._opening:
            if self._parts is None:
                further = [] if self._settings.sinks else [_Nobody()]
                self._parts = self._opened.enter_context(deployment.opened(self._settings, Event(), *further))
            return self._parts


class _Nobody:
    """The sink where only the file of results is wanted, which is written elsewhere: the ledger has the verdict."""

    name = "results"

    def deliver(self, delivery: Delivery) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """The same."""
