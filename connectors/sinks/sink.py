"""What every sink does, and how one is found by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

from pydantic import ValidationError

from connectors.errors import SettingsError
from connectors.events import Delivery

GROUP = "dmcl.sinks"


@runtime_checkable
class Sink(Protocol):
    """Takes verdicts to somebody; any number of threads may deliver at once."""

    @property
    def name(self) -> str:
        """Says in logs and messages which one it is; holds no secret."""

    def deliver(self, delivery: Delivery) -> None:
        """Return only when the other side has confirmed that it has the event, and keeps it.

        Raises:
            TransientError: it may work later. The event may have arrived nevertheless.
            PoisonError: this one will never be taken.
            SettingsError: none will be taken until the deployment is mended.
            RuntimeError: the sink is closed.
        """

    def close(self) -> None:
        """Give back what it holds; a second time does nothing."""


def kinds() -> dict[str, EntryPoint]:
    """Installed kinds of sinks, by name; the first of two equal names wins."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return found


def open_sink(settings: Mapping[str, Any]) -> Sink:
    """The sink that a table of settings describes: `type` is its kind, the rest is for it to read.

    Raises:
        SettingsError: the kind is not installed, or a setting is missing, unknown or wrong.
    """
    kind = settings.get("type")
    installed = kinds()
    entry = installed.get(kind) if isinstance(kind, str) else None
    if entry is None:
        raise SettingsError(
            f"no sink of type {kind!r} is installed; there are {', '.join(sorted(installed))}"
        )
    try:
        factory = entry.load()
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the sink {kind} needs {error.name}: pip install 'dmcl-sdk[connectors]'"
        ) from error
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"the sink {kind} of {entry.module} does not load: {error}") from error
    try:
        sink = factory({name: value for name, value in settings.items() if name != "type"})
    except ValidationError as error:
        # Their input is not repeated: it may be a secret.
        wrong = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        )
        raise SettingsError(f"the sink {kind}: {'; '.join(wrong)}") from None
    if not isinstance(sink, Sink):
        raise SettingsError(f"{entry.value} returned no sink but {type(sink).__name__}")
    return sink
