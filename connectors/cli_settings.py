"""Settings for commands: where the file is named, and how mistakes in it are told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from connectors.errors import ConnectorError, SettingsError
from connectors.settings import CONFIG, Settings, read_settings

_Table = TypeVar("_Table")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help=f"Settings in TOML; the file that {CONFIG} names without."),
]


def read(file: Path | None) -> Settings:
    """The settings, or the end of the command with status 2 and a message."""
    try:
        return read_settings(file, os.environ)
    except SettingsError as error:
        raise failed(error) from error


def needed(table: _Table | None, name: str) -> _Table:
    """A table that the command cannot do without."""
    if table is None:
        raise failed(SettingsError(f"settings need a table [{name}]; see --help"))
    return table


def failed(error: ConnectorError) -> typer.Exit:
    """Say what is wrong on standard error."""
    typer.echo(f"dmcl: {error}", err=True)
    return typer.Exit(2)
