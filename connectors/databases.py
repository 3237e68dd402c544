"""The little that the ledger asks of a database, and SQLite for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from connectors.errors import SettingsError, TransientError

Row = Sequence[Any]


class Execute(Protocol):
    """Runs one statement."""

    def __call__(self, statement: str, *values: object) -> list[Row]:
        """Its rows; `?` stands for a value."""
        ...


class Database(Protocol):
    """Transactions, all or nothing, and locks that others see; for any number of threads."""

    def transaction(self) -> AbstractContextManager[Execute]:
        """A block that is kept whole when it ends well, and else leaves no trace.

        Raises:
            TransientError: it does not answer.
            SettingsError: it cannot be used.
        """

    def held(self, name: str) -> AbstractContextManager[None]:
        """A block that only one process at a time is in, for each name."""

    def close(self) -> None:
        """End all connections."""


class Sqlite:
    """A file; each transaction is on the disk when it ends.

    Other processes of this machine may use it at the same time. They are not kept from scoring the same video.
    """

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        self._path = path
        self._lock = Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            # with WAL a commit is one write at the end of a file; FULL waits until the disk has it
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *schema):
                self._connection.execute(statement)
        except sqlite3.Error as error:
            raise SettingsError(f"the ledger {path} cannot be opened: {error}; see ledger.path") from error

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """One at a time."""

        def execute(statement: str, *values: object) -> list[Row]:
            return self._connection.execute(statement, values).fetchall()

        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield execute
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:  # locked, or the disk is full
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise TransientError(f"the ledger {self._path}: {error}") from error
            except sqlite3.ProgrammingError as error:
                raise TransientError(f"the ledger {self._path} is closed") from error
            except sqlite3.DatabaseError as error:
                raise SettingsError(
                    f"the ledger {self._path} is damaged: {error}; move it away to begin a new one"
                ) from error

    def held(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002 - nobody else to keep out
        """Nothing to do."""
        return nullcontext()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
