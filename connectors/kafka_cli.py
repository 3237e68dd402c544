"""`dmcl kafka ...`: scan what a topic asks for, and dead letters again."""

from __future__ import annotations

import typer

from connectors.cli_settings import ConfigFile, needed, read

app = typer.Typer(
    name="kafka",
    help="Scan what topics of Kafka ask for.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keeps `run` a command of its own."""


@app.command("run")
def run(config: ConfigFile = None) -> None:
    """Read requests from Kafka and deliver a verdict for each, until asked to end.

    An offset is committed when everything before it was delivered, so that a crash loses nothing. What can never be
    scanned goes to the dead-letter topic with its reason, byte for byte. `dmcl config check` shows what is in force.

        [kafka]
        bootstrap_servers = ["broker:9092"]
        topics = ["uploads"]

        [sinks.moderation]
        type = "kafka"
        bootstrap_servers = ["broker:9092"]
        topic = "verdicts"

    Exit status: 0 asked to end (SIGTERM, Ctrl-C); 2 the deployment is wrong, or too many dead letters; 70 a bug.
    """
    from connectors import deployment  # noqa: PLC0415 - heavy
    from connectors.sources.kafka import KafkaSource  # noqa: PLC0415 - heavy

    settings = read(config)
    kafka = needed(settings.kafka, "kafka")
    deployment.run(settings, lambda: KafkaSource(kafka))
