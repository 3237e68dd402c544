"""What every source of requests does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from connectors import plugins

GROUP = "dmcl.sources"


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came, not yet understood."""

    id: str
    """The same whenever this message comes, and never that of another."""
    body: bytes | None
    headers: Mapping[str, bytes | str] = field(default_factory=dict)
    origin: Mapping[str, str | int] = field(default_factory=dict)
    """Where it is from, for logs."""
    receipt: Any = field(default=None, repr=False, compare=False)
    """For the source alone."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a message is put aside."""

    reason: str
    """A code in snake case."""
    explanation: str
    """The same for a person."""


@runtime_checkable
class Source(Protocol):
    """Hands out messages, and forgets those that are settled.

    One thread receives, and goes on doing so while others are at work: it keeps the connection alive. Any thread may
    settle, bury or hand back.
    """

    @property
    def name(self) -> str:
        """Says in logs which one it is; holds no secret."""

    def receive(self, room: int) -> Sequence[Message]:
        """At most `room` messages; waits some seconds for one, or not at all when there is no room.

        Raises:
            TransientError: it may work later.
            SettingsError: it will not, until the deployment is mended.
            RuntimeError: the source is closed.
        """

    def settle(self, message: Message) -> None:
        """The message is done with: it need not come again."""

    def bury(self, message: Message, why: DeadLetter) -> None:
        """Put the message, as it came, among the dead letters; return when it is there. It is not settled by that.

        Raises:
            TransientError: it may work later.
            SettingsError: there is no place for dead letters, or it may not be written to.
        """

    def hand_back(self, message: Message) -> None:
        """The message is not done with: it should come again, here or elsewhere."""

    def check(self) -> None:
        """Whether it can be reached; raises as `receive`."""

    def lag(self) -> Mapping[str, int]:
        """Messages that are not settled, by partition or the like, as far as is known."""

    def close(self) -> None:
        """Let others have what is not settled, and end all connections; a second time does nothing."""


def open_source(settings: Mapping[str, Any]) -> Source:
    """The source that a table of settings describes: `type` is its kind, the rest is for it to read.

    Raises:
        SettingsError: the kind is not installed, or a setting is missing, unknown or wrong.
    """
    opened: Source = plugins.open_plugin(GROUP, "source", Source, settings)
    return opened
