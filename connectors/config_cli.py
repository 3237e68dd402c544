"""`dmcl config ...`: look at settings before they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from connectors.cli_settings import read
from connectors.errors import ConnectorError
from connectors.settings import CONFIG, Settings

app = typer.Typer(
    name="config",
    help="Settings of the connectors.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keeps `check` a command of its own."""


@app.command("check")
def check(
    file: Annotated[
        Path | None, typer.Argument(help=f"Settings in TOML; the file that {CONFIG} names without.")
    ] = None,
    *,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also load the detector, and reach every server that is named.")
    ] = False,
) -> None:
    """Show what is in force, file and environment together, with secrets hidden.

    Every setting can come from the environment: `DMCL_KAFKA__GROUP_ID=scan`; lists and tables are JSON there.

    Exit status: 0 all is well; 1 something cannot be reached, with --connect; 2 a setting is unknown or wrong.
    """
    settings = read(file)
    for line in settings.lines():
        typer.echo(line)
    if not connect:
        return
    failures = 0
    for name, attempt in _attempts(settings):
        try:
            said = attempt()
        except ConnectorError as error:
            failures += 1
            typer.echo(f"FAILED  {name}: {error}", err=True)
        else:
            typer.echo(f"ok      {name}{said or ''}", err=True)
    raise typer.Exit(1 if failures else 0)


def _attempts(settings: Settings) -> Iterator[tuple[str, Callable[[], str | None]]]:
    yield "policy", lambda: _policy(settings)
    yield "ledger", lambda: _ledger(settings)
    yield "scoring", lambda: _scoring(settings)
    for name in settings.sinks:
        yield f"sinks.{name}", lambda name=name: _sink(settings, name)  # type: ignore[misc]
    tables = {"kafka": settings.kafka, "s3": settings.s3}
    for source, table in tables.items():
        if table is not None:
            yield source, lambda source=source: _source(settings, source)  # type: ignore[misc]
    for name in settings.sources:
        yield f"sources.{name}", lambda name=name: _source(settings, name)  # type: ignore[misc]


def _policy(settings: Settings) -> str | None:
    from connectors.policy import read_policy

    if settings.policy is not None:
        read_policy(settings.policy)
    return None


def _ledger(settings: Settings) -> str | None:
    from connectors.ledger import open_ledger

    with open_ledger(settings.ledger) as ledger:
        ledger.check()
    return None


def _scoring(settings: Settings) -> str | None:
    from connectors.pool import ScoringPool

    ScoringPool(settings.scoring.model_copy(update={"processes": 1})).close()
    return None


def _sink(settings: Settings, name: str) -> str:
    from connectors.sinks import open_sink

    with closing(open_sink(settings.sinks[name])) as sink:
        reach = getattr(sink, "check", None)  # not every sink can be asked without sending something
        if reach is None:
            return ": its settings are right; whether it takes events shows when it gets one"
        reach()
        return ""


def _source(settings: Settings, name: str) -> str | None:
    from connectors.sources import Source, open_source
    from connectors.sources.kafka import KafkaSource
    from connectors.sources.sqs import SqsSource

    source: Source
    if name == "kafka" and settings.kafka is not None:
        source = KafkaSource(settings.kafka)
    elif name == "s3" and settings.s3 is not None:
        source = SqsSource(settings.s3)
    else:
        source = open_source(settings.sources[name])
    with closing(source):
        source.check()
    return None
