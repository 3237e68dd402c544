"""From settings to what runs: the parts are opened in order, and closed in the opposite one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from types import FrameType
from typing import NoReturn

import structlog

from connectors import logs, tracing
from connectors.daemon import Daemon
from connectors.dead_letters import DeadLetterLimit
from connectors.errors import ConnectorError, SettingsError, StoppedError
from connectors.ledger import Ledger, open_ledger
from connectors.media import MediaStore
from connectors.metrics import Metrics
from connectors.policy import read_policy
from connectors.pool import ScoringPool
from connectors.service import Health, serving
from connectors.settings import Settings
from connectors.sinks import Sink, open_sink
from connectors.sinks.fanout import FanoutSink
from connectors.sources import Source
from connectors.worker import Worker

BUG = 70


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker is made of, for whoever feeds it."""

    worker: Worker
    pool: ScoringPool
    ledger: Ledger
    sink: Sink
    metrics: Metrics


@contextmanager
def opened(settings: Settings, stopping: Event, *further: Sink) -> Iterator[Parts]:
    """A worker, and what it is made of, until the end of the block.

    Args:
        settings: all of them; sources are not looked at.
        stopping: ends waits.
        further: sinks beside those of the settings; closed at the end too.

    Raises:
        SettingsError: something does not open; the message says which setting to look at.
    """
    if settings.service.tracing:
        tracing.export()
    policy = None if settings.policy is None else read_policy(settings.policy)
    metrics = Metrics()
    with ExitStack() as stack:
        sink = stack.enter_context(closing(open_sinks(settings, *further)))
        ledger = stack.enter_context(open_ledger(settings.ledger))
        media = stack.enter_context(MediaStore(settings.media))
        pool = stack.enter_context(ScoringPool(settings.scoring))
        metrics.replaced.set_function(lambda: pool.killed)
        worker = Worker(
            media=media,
            ledger=ledger,
            scorer=pool,
            policy=policy,
            sink=sink,
            metrics=metrics,
            stopping=stopping,
            settings=settings.worker,
        )
        yield Parts(worker, pool, ledger, sink, metrics)


def open_sinks(settings: Settings, *further: Sink) -> Sink:
    """All sinks as one.

    Raises:
        SettingsError: there is none, or one is wrong.
    """
    if not settings.sinks and not further:
        raise SettingsError('verdicts go nowhere: settings need a sink, as [sinks.moderation] type = "kafka"')
    with ExitStack() as opened_so_far:
        sinks = [opened_so_far.enter_context(closing(one)) for one in further]
        for name, table in settings.sinks.items():
            try:
                sinks.append(opened_so_far.enter_context(closing(open_sink(table))))
            except SettingsError as error:
                raise SettingsError(f"sinks.{name}: {error}") from error
        opened_so_far.pop_all()
    return sinks[0] if len(sinks) == 1 else FanoutSink(sinks)


def run(settings: Settings, open_source: Callable[[], Source]) -> NoReturn:
    """Run a daemon until it is asked to end, and end the process.

    SIGTERM and Ctrl-C let it finish what is under way; a second one ends it at once. Exit statuses: 0 asked to end; 2
    the deployment is wrong, or there were too many dead letters; 70 a bug.
    """
    end_with(settings, lambda stopping: (_ran(settings, open_source, stopping), 0))


def end_with(settings: Settings, work: Callable[[Event], tuple[bool, int]], *, stopped: int = 0) -> NoReturn:
    """Work, and end the process with the status that comes of it.

    Args:
        settings: of logs.
        work: is given what SIGTERM and Ctrl-C set; says whether no thread is left behind, and the exit status.
        stopped: the exit status when it was asked to end while it waited for something.
    """
    logs.configure(settings.service.log_level)
    log = structlog.get_logger()
    stopping = Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, _stop(stopping))
    whole = False
    try:
        whole, status = work(stopping)
    except StoppedError:
        status = stopped
    except SettingsError as error:
        log.critical("stopped", error=str(error))
        status = 2
    except Exception:
        log.exception("stopped by a bug; nothing is lost, what was under way comes again")
        status = BUG
    log.info("ended", status=status)
    if not whole:  # threads that still wait for a server would hold the process for as long as that takes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _ran(settings: Settings, open_source: Callable[[], Source], stopping: Event) -> bool:
    health = Health(settings.service.stuck_after_s)
    with opened(settings, stopping) as parts, serving(settings.service, health, parts.metrics) as port:
        log = structlog.get_logger()
        before = datetime.now(UTC) - _abandoned_after(settings)
        # beside the loop: a sink that is away must not keep the daemon from being alive
        Thread(target=_deliver_waiting, args=[parts, before], name="outbox", daemon=True).start()
        with closing(open_source()) as source:
            log.info(
                "started", source=source.name, sink=parts.sink.name, in_flight=settings.in_flight, port=port
            )
            daemon = Daemon(
                source=source,
                worker=parts.worker,
                limit=DeadLetterLimit(settings.dead_letters),
                health=health,
                metrics=parts.metrics,
                stopping=stopping,
                settings=settings.work,
                in_flight=settings.in_flight,
                tidy=lambda: parts.ledger.prune(
                    datetime.now(UTC) - timedelta(days=settings.ledger.keep_days)
                ),
                abandon=parts.pool.close,
            )
            return daemon.run()


def _deliver_waiting(parts: Parts, before: datetime) -> None:
    log = structlog.get_logger()
    try:
        count = parts.worker.deliver_waiting(before)
        parts.metrics.outbox.inc(count)
    except StoppedError:
        pass  # the next start goes on
    except ConnectorError as error:
        log.warning("outbox", error=str(error))  # whoever delivers next will say so louder
    else:
        log.info("outbox", delivered=count)


def _abandoned_after(settings: Settings) -> timedelta:
    """In a shared ledger, what another worker is about to deliver is left to it."""
    return timedelta(minutes=10 if settings.ledger.url is not None else 0)


def _stop(stopping: Event) -> Callable[[int, FrameType | None], None]:
    def on_signal(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    return on_signal
