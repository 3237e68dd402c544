"""PostgreSQL under the ledger, for workers on several machines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Lock
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from connectors.databases import Execute, Row
from connectors.errors import SettingsError, StoppedError, TransientError

_TIMEOUT_S = 15
_ASK_AGAIN_S = 0.2
_NAMESPACE = 0x646D636C
"""Of our advisory locks, in one half of their number."""


class Postgresql:
    """A database that several workers share. It may be away when we start, and come later."""

    def __init__(self, url: str, schema: Sequence[str]) -> None:
        self._url = url
        self._schema = schema
        self._has_schema = False
        self._first = Lock()
        self._closed = Event()
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its message quotes the password
            raise SettingsError("ledger.url is not a connection URL of PostgreSQL") from None
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=8,
            timeout=_TIMEOUT_S,
            kwargs={"connect_timeout": _TIMEOUT_S},
            check=ConnectionPool.check_connection,
            open=True,
        )

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """On a connection of the pool."""
        with _translated():
            self._make_schema()
            with self._pool.connection() as connection:

                def execute(statement: str, *values: object) -> list[Row]:
                    return _run(connection, statement, values)

                yield execute

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """By an advisory lock, which ends with its connection whatever becomes of us."""
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], signed=True)
        with _translated():
            connection = psycopg.connect(self._url, autocommit=True, connect_timeout=_TIMEOUT_S)
        try:
            with _translated():
                while connection.execute(
                    "SELECT pg_try_advisory_lock(%s, %s)", (_NAMESPACE, number)
                ).fetchone() != (True,):
                    if self._closed.wait(_ASK_AGAIN_S):
                        raise StoppedError("the ledger is closed")
            yield
        finally:
            with suppress(psycopg.Error):
                connection.close()

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        self._pool.close()

    def _make_schema(self) -> None:
        with self._first:
            if self._has_schema:
                return
            with self._pool.connection() as connection:
                # two that create a table at the same time would trip over each other
                connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (_NAMESPACE,))
                for statement in self._schema:
                    # the order of letters is that of their numbers, whatever the language of the database
                    _run(connection, statement.replace("sequencer TEXT", 'sequencer TEXT COLLATE "C"'), ())
            self._has_schema = True


def _run(connection: psycopg.Connection[Any], statement: str, values: Sequence[object]) -> list[Row]:
    cursor = connection.execute(statement.replace("?", "%s"), values)
    return list(cursor.fetchall()) if cursor.description is not None else []


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise TransientError(f"the ledger's database does not answer: {error}") from error
    except psycopg.Error as error:
        raise SettingsError(f"the ledger's database refuses: {error}") from error
