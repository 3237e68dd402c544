"""`dmcl kafka ...`: scan what a topic asks for, and dead letters again."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer

from connectors.cli_settings import ConfigFile, failed, needed, read
from connectors.errors import ConnectorError

app = typer.Typer(
    name="kafka",
    help="Scan what topics of Kafka ask for.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
_SHOWN = 20
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@app.command("run")
def run(config: ConfigFile = None) -> None:
    """Read requests from Kafka and deliver a verdict for each, until asked to end.

    An offset is committed when everything before it was delivered, so that a crash loses nothing. What can never be
    scanned goes to the dead-letter topic with its reason, byte for byte. `dmcl config check` shows what is in force.

    \b
        [kafka]
        bootstrap_servers = ["broker:9092"]
        topics = ["uploads"]

    \b
        [sinks.moderation]
        type = "kafka"
        bootstrap_servers = ["broker:9092"]
        topic = "verdicts"

    Exit status: 0 asked to end (SIGTERM, Ctrl-C); 2 the deployment is wrong, or too many dead letters; 70 a bug.
    """
    from connectors import deployment
    from connectors.sources.kafka import KafkaSource

    settings = read(config)
    kafka = needed(settings.kafka, "kafka")
    deployment.run(settings, lambda: KafkaSource(kafka))


@app.command("replay")
def replay(
    config: ConfigFile = None,
    *,
    reason: Annotated[
        list[str] | None, typer.Option(help="Only those with this reason; may be given several times.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_FORMATS, help="Only those from this time on (UTC unless it says)."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Only those before this time.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Send to this topic, in place of where each came from.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
) -> None:
    """Send dead letters where they came from, once their cause is mended.

    They go byte for byte, with the headers that they came with, and stay among the dead letters too. One that is sent
    twice has one verdict, as every message that is there twice.

    \b
        dmcl kafka replay --dry-run                                     what is there, by reason
        dmcl kafka replay --reason not_found --since 2026-05-04

    Exit status: 0 all were sent; 2 the settings are wrong, or a server does not answer.
    """
    from connectors.replay import DeadRecord, Filter, dead_records
    from connectors.replay import replay as send

    kafka = needed(read(config).kafka, "kafka")
    wanted = Filter(tuple(reason or ()), _aware(since), _aware(until))
    now = datetime.now(UTC)
    found, chosen = Counter[str](), Counter[str]()
    first: list[DeadRecord] = []
    try:
        for record in dead_records(kafka, died_by=now):  # read twice: they may be more than memory holds
            found[record.reason] += 1
            if wanted.takes(record):
                chosen[record.reason] += 1
                first += [record] if len(first) < _SHOWN else []
        for name, count in found.most_common():
            typer.echo(f"{name:<24} {count:>8} dead {chosen[name]:>8} chosen")
        if dry_run:
            for one in first:
                typer.echo(f"{one.place}  {one.died_at:%Y-%m-%dT%H:%M:%S}  {one.reason}  {one.error[:100]!r}")
            typer.echo(f"{chosen.total()} of {found.total()} would be sent")
            return
        with typer.progressbar(length=chosen.total(), label="sending", file=sys.stderr) as bar:
            again = (record for record in dead_records(kafka, died_by=now) if wanted.takes(record))
            send(kafka, again, to=to, on_sent=lambda: bar.update(1))
    except ConnectorError as error:
        raise failed(error) from error
    typer.echo(f"{bar.pos} of {found.total()} sent")


def _aware(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
