"""What every sink does, and how one is found by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any, Protocol, runtime_checkable

from connectors import plugins
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
    return plugins.kinds(GROUP)


def open_sink(settings: Mapping[str, Any]) -> Sink:
    """The sink that a table of settings describes: `type` is its kind, the rest is for it to read.

    Raises:
        SettingsError: the kind is not installed, or a setting is missing, unknown or wrong.
    """
    opened: Sink = plugins.open_plugin(GROUP, "sink", Sink, settings)
    return opened
