"""When so many messages are dead letters that something else must be wrong."""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from connectors.errors import SettingsError


class DeadLetterSettings(BaseModel):
    """How many dead letters are taken for what they are.

    A renamed bucket or a producer's new format would make all messages poison. The daemon then stops and leaves the
    rest where it is, in place of emptying a queue into the dead letters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_run: Annotated[int, Field(ge=1)] = 50
    """In a row."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the last `window` messages; 1 for no limit."""
    window: Annotated[int, Field(ge=10)] = 200
    """How many messages the share is taken of; not before there were so many."""


class DeadLetterLimit:
    """Counts how messages ended, for any number of threads."""

    def __init__(self, settings: DeadLetterSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._run: Counter[str] = Counter()
        self._last: deque[str | None] = deque(maxlen=settings.window)

    def scanned(self) -> None:
        """A message ended well."""
        with self._lock:
            self._run.clear()
            self._last.append(None)

    def admit(self, reason: str) -> None:
        """One more message is to be a dead letter, for this reason.

        Raises:
            SettingsError: it would be one too many, and must stay where it is.
        """
        with self._lock:
            run, last = self._run + Counter([reason]), [*self._last, reason][-self._settings.window :]
            dead = Counter(one for one in last if one is not None)
            if run.total() > self._settings.max_run:
                raise _too_many(f"{run.total()} messages in a row are dead letters", run)
            if len(last) == self._settings.window and dead.total() > self._settings.max_share * len(last):
                raise _too_many(f"{dead.total()} of the last {len(last)} messages are dead letters", dead)
            self._run = run
            self._last.append(reason)


def _too_many(what: str, reasons: Counter[str]) -> SettingsError:
    named = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(5))
    return SettingsError(
        f"{what}: {named}. Stopped, and nothing is lost: the last one was left where it is. Mend the cause and start"
        " again; if they are poison indeed, raise dead_letters.max_run or dead_letters.max_share"
    )
