"""One event a line on standard output, as structured CloudEvents."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict

from connectors.errors import SettingsError
from connectors.events import Delivery


class StdoutSettings(BaseModel):
    """Has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StdoutSink:
    """Writes JSON Lines; who reads them confirms nothing, so that what was handed to the system counts as delivered.

    Args:
        file: another place to write to; it is left open.
    """

    name = "stdout"

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = sys.stdout.buffer if file is None else file
        self._lock = Lock()
        self._closed = False

    def deliver(self, delivery: Delivery) -> None:
        """One line.

        Raises:
            SettingsError: nobody reads any more.
            OSError: the disk is full.
            RuntimeError: the sink is closed.
        """
        line = delivery.structured().replace(b"\n", b" ") + b"\n"
        with self._lock:
            if self._closed:
                raise RuntimeError("the sink is closed")
            try:
                self._file.write(line)
                self._file.flush()
            except BrokenPipeError as error:
                # else what is left of the line fails again at the end
                with Path(os.devnull).open("wb") as nowhere:
                    os.dup2(nowhere.fileno(), self._file.fileno())
                raise SettingsError("standard output is read by nobody any more") from error

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._closed = True


def open_sink(settings: Mapping[str, Any]) -> StdoutSink:
    """From a table of settings."""
    StdoutSettings.model_validate(settings)
    return StdoutSink()
