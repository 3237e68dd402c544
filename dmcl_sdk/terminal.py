"""Writing to the terminal, or to whatever stands in its place: escaped, and whole when the reader goes away."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_CLOSED = 141
"""Exit status when the reader of the output went away."""

_UNBOUNDED = 100_000  # columns; whoever reads a file or a pipe breaks lines, or looks for words in them

OnProgress = Callable[[float, float | None], None]


@contextmanager
def progress_bar(name: str, position: str) -> Iterator[OnProgress | None]:
    """A bar on standard error while a file is worked on; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from dmcl_sdk.tables import printable

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{position} {printable(Path(name).name)}", total=None)
        yield lambda seconds, total: bar.update(task, completed=seconds, total=total)


def show(what: RenderableType) -> None:
    """Print a table or a text: in colour and as wide as the terminal, or plain and unbroken where that is none."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    width = None if terminal else _UNBOUNDED
    console = Console(force_terminal=terminal, width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(what)
    text = captured.get()
    write(text if terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def write(text: str, *, encoding: str | None = None) -> None:
    """Text to standard output, as it is."""
    try:
        sys.stdout.buffer.write(text.encode(encoding or sys.stdout.encoding, "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes once more when it exits, and would complain about the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(PIPE_CLOSED) from None


def note(message: str) -> None:
    """A message to standard error."""
    from dmcl_sdk.tables import printable

    typer.echo(f"dmcl: {printable(message)}", err=True)
