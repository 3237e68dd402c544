"""What a backfill is to do, and what its end says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from connectors.errors import SettingsError
from connectors.listings import S3Object
from connectors.settings import Settings

DEAD = 3
"""Exit status when some are dead letters."""
INTERRUPTED = 130

Listing = Callable[[Event], Iterator[S3Object]]
"""Lists from the beginning each time; the event ends its waits."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is to be scanned, and what is written down."""

    listing: Listing
    dead_letters: Path
    """JSON Lines; what stands there is not tried again."""
    results: Path | None = None
    """JSON Lines, a verdict each; or a table, when it ends in `.parquet`."""
    every_key: bool = False
    """Also what is named like something else than a video."""
    rate: float | None = None
    """Most videos that are begun in a second."""

    def wants(self, found: S3Object) -> bool:
        """Whether it is to be scanned."""
        return not found.is_marker and (self.every_key or found.is_named_like_a_video)

    def check_goal(self, settings: Settings) -> None:
        """Refuse to scan what nobody would hear of.

        Raises:
            SettingsError: there is neither a file of results nor a sink.
        """
        if self.results is None and not settings.sinks:
            raise SettingsError("verdicts go nowhere: give --results FILE.jsonl, or settings with a sink")
