"""`dmcl s3 ...`: scan what is uploaded to S3, and what lies there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from connectors.cli_settings import ConfigFile, failed, needed, read
from connectors.errors import SettingsError

if TYPE_CHECKING:
    from connectors.backfill import Listing
    from connectors.listings import S3Object
    from connectors.settings import Settings

app = typer.Typer(
    name="s3",
    help="Scan what is uploaded to object storage.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keeps each a command of its own."""


@app.command("run")
def run(config: ConfigFile = None) -> None:
    """Read S3 events from an SQS queue and deliver a verdict for each upload, until asked to end.

    Events may come from S3 directly, through SNS or through EventBridge. A message is deleted when its verdict was
    delivered. What can never be scanned goes to the queue of dead letters, its reason among the attributes.

    \b
        [s3]
        queue_url = "https://sqs.eu-central-1.amazonaws.com/123456789012/uploads"
        dead_letter_queue_url = "https://sqs.eu-central-1.amazonaws.com/123456789012/uploads-dead"

    \b
        [sinks.moderation]
        type = "sqs"
        queue_url = "https://sqs.eu-central-1.amazonaws.com/123456789012/verdicts"

    Exit status: 0 asked to end (SIGTERM, Ctrl-C); 2 the deployment is wrong, or too many dead letters; 70 a bug.
    """
    from connectors import deployment
    from connectors.sources.sqs import SqsSource

    settings = read(config)
    s3 = needed(settings.s3, "s3")
    deployment.run(settings, lambda: SqsSource(s3))


@app.command("backfill")
def backfill(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="[s3://BUCKET/PREFIX]", help="List what is under a prefix now.", show_default=False
        ),
    ] = None,
    config: ConfigFile = None,
    *,
    inventory: Annotated[
        str | None,
        typer.Option(
            help="Or: manifest.json of an S3 Inventory in CSV, as a path or s3:// URI.", show_default=False
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Or: lines of bucket,key or bucket,key,version; .gz too.", show_default=False),
    ] = None,
    encoded_keys: Annotated[
        bool,
        typer.Option("--encoded-keys", help="Keys in the CSV are URL-encoded, as for S3 Batch Operations."),
    ] = False,
    every_key: Annotated[
        bool, typer.Option("--every-key", help="Also what is named like something else, as .jpg or .json.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Write verdicts here too: FILE.parquet a row a span, all else one JSON object a line.",
            show_default=False,
        ),
    ] = None,
    dead_letters: Annotated[
        Path, typer.Option(help="What can never be scanned, with its reason, one JSON object a line.")
    ] = Path("dead-letters.jsonl"),
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Most videos to begin in a second.", show_default=False)
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Scan on this machine, or on the cluster of Ray that RAY_ADDRESS names."),
    ] = "local",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count what is to do, what is done and how large it is; do nothing."),
    ] = False,
) -> None:
    """Scan the videos that lie in S3 already and deliver a verdict for each, once.

    Interrupted at any moment, the same command goes on: the ledger knows what was delivered, and that is not done
    again, unless the object, the model or the policy has changed. What stands in the file of dead letters is not tried
    again either; once their cause is mended, move that file away. Verdicts go to the sinks of the settings, to
    --results, or both. A table in Parquet is written at the end, of the lines in FILE.parquet.jsonl beside it. Without
    a table [s3]; how S3 is reached stands in [media.s3].

    With --engine ray, actors on all machines of a cluster do the work, each with what the settings say; this machine
    lists, and writes results and dead letters. They share a ledger in PostgreSQL. Files that settings name, as a
    policy, must be on each machine.

    \b
        dmcl s3 backfill s3://uploads/2026/ --dry-run
        dmcl s3 backfill s3://uploads/2026/ --results verdicts.jsonl      or verdicts.parquet
        dmcl s3 backfill --inventory s3://inventories/uploads/all/2026-05-04T01-00Z/manifest.json --rate 5

    Exit status: 0 all have a verdict; 3 some are dead letters; 130 interrupted; 2 the deployment is wrong, or too many
    dead letters; 70 a bug.
    """
    from connectors.backfill import Backfill, here

    settings = read(config)
    plan = Backfill(
        listing=_listing(settings, where, inventory, csv, encoded_keys),
        dead_letters=dead_letters,
        results=results,
        every_key=every_key or csv is not None,
        rate=rate,
    )
    if dry_run:
        here.dry_run(settings, plan)
    if engine == "ray":
        from connectors.backfill import on_ray

        on_ray.run(settings, plan)
    here.run(settings, plan)


def _listing(
    settings: Settings, where: str | None, inventory: str | None, csv: Path | None, encoded_keys: bool
) -> Listing:
    if [where, inventory, csv].count(None) != 2:
        raise failed(SettingsError("name one of s3://BUCKET/PREFIX, --inventory and --csv; see --help"))
    if encoded_keys and csv is None:
        raise failed(SettingsError("--encoded-keys is for --csv; of an inventory it is known"))
    bucket, _, prefix = (where or "").removeprefix("s3://").partition("/")
    if where is not None and not (where.startswith("s3://") and bucket):
        raise failed(SettingsError(f"{where}: what is listed is s3://BUCKET or s3://BUCKET/PREFIX"))

    def listed(stopping: Event) -> Iterator[S3Object]:
        from connectors.inventory import in_inventory
        from connectors.listings import in_bucket, in_csv
        from connectors.media.s3 import S3

        if csv is not None:
            return in_csv(csv, encoded_keys=encoded_keys)
        s3 = S3(settings.media)  # given back with the process
        if inventory is not None:
            return in_inventory(inventory, s3, stopping)
        return in_bucket(s3, bucket, prefix, stopping)

    return listed
