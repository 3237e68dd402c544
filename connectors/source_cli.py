"""`dmcl source ...`: scan what a source of another package asks for."""

from __future__ import annotations

from typing import Annotated

import typer

from connectors.cli_settings import ConfigFile, failed, read
from connectors.errors import SettingsError

app = typer.Typer(
    name="source",
    help="Scan what any installed source asks for.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keeps `run` a command of its own."""


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Of a table under [sources].")],
    config: ConfigFile = None,
) -> None:
    """Read requests from a source that a package has added, and deliver a verdict for each.

    \b
        [sources.pigeons]
        type = "carrier-pigeon"     # an entry point of the group dmcl.sources
        loft = "north"

    Exit statuses are those of `dmcl kafka run`.
    """
    from connectors import deployment
    from connectors.sources import open_source

    settings = read(config)
    if name not in settings.sources:
        raise failed(SettingsError(f"settings have no table [sources.{name}]"))
    deployment.run(settings, lambda: open_source(settings.sources[name]))
