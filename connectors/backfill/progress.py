"""How far a backfill is: counts, a bar where somebody watches, and the sentence at its end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

import typer

from connectors import logs
from connectors.backfill.plan import DEAD, INTERRUPTED, Backfill
from connectors.errors import ConnectorError, StoppedError
from connectors.listings import S3Object
from connectors.settings import Settings


@dataclass
class Progress:
    """Counts, for any number of threads."""

    total: int | None = None
    """Videos in all, once they were counted."""
    delivered: int = 0
    before: int = 0
    """Delivered by an earlier run, or by an actor that died since, or listed twice."""
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


@contextmanager
def shown(settings: Settings, plan: Backfill, progress: Progress, stopping: Event) -> Iterator[None]:
    """A block whose progress is counted and shown on standard error."""
    listed = plan.listing(stopping)  # here: one thread at a time may make clients
    Thread(target=_count, args=[listed, plan, progress, stopping], name="count", daemon=True).start()
    with ExitStack() as stack:
        if sys.stderr.isatty():
            _show(stack, progress)
            if settings.service.log_level == "info":
                logs.configure("warning")  # written above the bar
        yield


def ended(plan: Backfill, progress: Progress, *, complete: bool) -> int:
    """Say how it ended; the exit status."""
    typer.echo(f"dmcl: {progress.sentence()}", err=True)
    if not complete:
        typer.echo("dmcl: interrupted; the same command goes on", err=True)
        return INTERRUPTED
    if progress.dead or progress.dead_before:
        typer.echo(f"dmcl: dead letters are in {plan.dead_letters}, and are not tried again", err=True)
        return DEAD
    return 0


def _count(listed: Iterator[S3Object], plan: Backfill, progress: Progress, stopping: Event) -> None:
    """Beside the work, so that it begins at once and yet can say how long it will take."""
    total = 0
    try:
        for one in listed:
            if stopping.is_set():
                return
            total += plan.wants(one)
    except (ConnectorError, StoppedError):
        return  # the work itself will say so
    progress.total = total


def _show(stack: ExitStack, progress: Progress) -> None:
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
    stack.enter_context(bar)
    over = Event()

    def follow() -> None:
        while not over.wait(0.25):
            show()

    def show() -> None:
        bar.update(task, completed=progress.done, total=progress.total, description=progress.sentence())

    follower = Thread(target=follow, name="bar", daemon=True)
    follower.start()
    for ending in (show, follower.join, over.set):  # the last is called first
        stack.callback(ending)
