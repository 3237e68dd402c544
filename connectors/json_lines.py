"""A file of JSON Lines that grows by whole lines, each once, whatever happens to whoever writes it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from connectors.errors import SettingsError, TransientError


class JsonLines:
    """For any number of threads, and one process at a time.

    A line that was not finished, because its writer was killed, is taken away when the file is opened again. Which
    lines are there is read from the file itself, into an index on the disk: memory does not grow with it.

    Args:
        path: made if it is not there.
        identity: of a line's document: of lines with the same one, the first is written and no other.

    Raises:
        SettingsError: it cannot be written, is another process's, or holds what is no line of this kind.
    """

    def __init__(self, path: Path, identity: Callable[[Any], str]) -> None:
        self._path = path
        self._identity = identity
        self._lock = Lock()
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise SettingsError(f"{path}: cannot be written: {error.strerror}") from error
        self._index = sqlite3.connect("", check_same_thread=False, isolation_level=None)  # a temporary file
        try:
            for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF"):
                self._index.execute(statement)
            self._index.execute("CREATE TABLE seen (line BLOB PRIMARY KEY) WITHOUT ROWID")
            self._end = self._read()
        except BaseException:
            self.close()
            raise

    def has(self, identity: str) -> bool:
        """Whether a line with this identity is there."""
        with self._lock:
            return self._seen(identity)

    def append(self, line: bytes) -> bool:
        """Write one JSON document and return when the disk has it; False if it was there already.

        Raises:
            TransientError: the disk is full, or does not answer. Nothing of the line is left.
        """
        identity = self._identity(json.loads(line))
        with self._lock:
            if self._seen(identity):
                return False
            try:
                self._end += self._written(line + b"\n")
            except OSError as error:
                os.ftruncate(self._file.fileno(), self._end)
                raise TransientError(f"{self._path}: {error.strerror}") from error
            self._index.execute("INSERT INTO seen VALUES (?)", [_digest(identity)])
            return True

    def close(self) -> None:
        """Let others have it; a second time does nothing."""
        with self._lock:
            self._file.close()
            self._index.close()

    def _seen(self, identity: str) -> bool:
        found = self._index.execute("SELECT 1 FROM seen WHERE line = ?", [_digest(identity)])
        return found.fetchone() is not None

    def _written(self, line: bytes) -> int:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
        return len(line)

    def _read(self) -> int:
        """Index what is there, and take away what was not finished; where the next line begins."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(f"{self._path}: another process is writing it") from error
        self._file.seek(0)
        end = 0
        with os.fdopen(os.dup(self._file.fileno()), "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                digests = self._digests(number, line)
                self._index.executemany("INSERT OR IGNORE INTO seen VALUES (?)", digests)
                end += len(line)
        os.ftruncate(self._file.fileno(), end)
        return end

    def _digests(self, number: int, line: bytes) -> Iterator[list[bytes]]:
        try:
            yield [_digest(self._identity(json.loads(line)))]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise SettingsError(
                f"{self._path}:{number}: no line that belongs there; name a file that is not there yet"
            ) from None


def _digest(identity: str) -> bytes:
    return hashlib.sha256(identity.encode(errors="surrogatepass")).digest()
