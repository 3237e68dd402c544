"""Sources and sinks of other packages, by entry point."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from connectors.errors import SettingsError


def kinds(group: str) -> dict[str, EntryPoint]:
    """What is installed, by name; the first of two equal names wins."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, entry)
    return found


def open_plugin(group: str, what: str, protocol: Any, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """What a table of settings describes: `type` is its kind, the rest is for it to read.

    Args:
        group: of entry points.
        what: the word for it, as in "sink".
        protocol: what it has to be, and what is returned.
        settings: the table.

    Raises:
        SettingsError: the kind is not installed, or a setting is missing, unknown or wrong.
    """
    kind = settings.get("type")
    installed = kinds(group)
    entry = installed.get(kind) if isinstance(kind, str) else None
    if entry is None:
        raise SettingsError(
            f"no {what} of type {kind!r} is installed; there are {', '.join(sorted(installed))}"
        )
    try:
        factory = entry.load()
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the {what} {kind} needs {error.name}: pip install 'dmcl-sdk[connectors]'"
        ) from error
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"the {what} {kind} of {entry.module} does not load: {error}") from error
    try:
        opened = factory({name: value for name, value in settings.items() if name != "type"})
    except ValidationError as error:
        # Their input is not repeated: it may be a secret.
        wrong = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        )
        raise SettingsError(f"the {what} {kind}: {'; '.join(wrong)}") from None
    if not isinstance(opened, protocol):
        raise SettingsError(f"{entry.value} returned no {what} but {type(opened).__name__}")
    return opened
