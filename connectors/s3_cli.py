"""`dmcl s3 ...`: scan what is uploaded to S3."""

from __future__ import annotations

import typer

from connectors.cli_settings import ConfigFile, needed, read

app = typer.Typer(
    name="s3",
    help="Scan what is uploaded to object storage.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keeps `run` a command of its own."""


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
