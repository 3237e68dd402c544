"""A backfill on this machine: the daemon's own loop, around a source that ends."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing
from threading import Event
from typing import NoReturn

import typer

from connectors import deployment
from connectors.backfill import files, progress
from connectors.backfill.files import DeadLetters
from connectors.backfill.plan import INTERRUPTED, Backfill
from connectors.backfill.progress import Progress
from connectors.backfill.source import Listed
from connectors.daemon import Daemon, request_id
from connectors.dead_letters import DeadLetterLimit
from connectors.deployment import Parts
from connectors.listings import S3Object
from connectors.service import Health
from connectors.settings import Settings
from connectors.sinks.stdout import StdoutSink


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
    counts = Progress()
    plan.check_goal(settings)
    with files.opened(plan) as (dead, results):
        further = [] if results is None else [results]
        with deployment.opened(settings, stopping, *further) as parts:
            source = Listed(
                plan.listing(stopping),
                plan,
                answered=parts.worker.answered,
                results=results,
                dead=dead,
                progress=counts,
                stopping=stopping,
            )
            with progress.shown(settings, plan, counts, stopping):
                whole = _daemon(settings, parts, source, stopping).run()
            if source.complete and results is not None:
                results.complete()
    return whole, progress.ended(plan, counts, complete=source.complete)


def _daemon(settings: Settings, parts: Parts, source: Listed, stopping: Event) -> Daemon:
    return Daemon(
        source=source,
        worker=parts.worker,
        limit=DeadLetterLimit(settings.dead_letters),
        health=Health(settings.service.stuck_after_s),
        metrics=parts.metrics,
        stopping=stopping,
        settings=settings.work,
        in_flight=settings.in_flight,
        tidy=lambda: None,  # a backfill may take longer than the ledger remembers
        abandon=parts.pool.close,
    )


def _looked(settings: Settings, plan: Backfill, stopping: Event) -> tuple[bool, int]:
    found, sizes = Counter[str](), Counter[str]()
    with ExitStack() as opened:
        dead = None
        if plan.dead_letters.exists():
            dead = opened.enter_context(closing(DeadLetters(plan.dead_letters)))
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


def _state(one: S3Object, plan: Backfill, dead: DeadLetters | None, parts: Parts) -> str:
    if one.is_marker:
        return "marker"
    if not plan.wants(one):
        return "left out by their name"
    if dead is not None and dead.has(one.message_id):
        return "dead letters"
    return "delivered before" if parts.worker.answered(request_id(one.message_id)) else "to do"
