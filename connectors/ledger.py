"""What was done: so that a video is scored once, and no verdict is lost between a crash and its reader.

A verdict, which message asked for it and the event that tells of it (the outbox) are written in one transaction, before
the event is sent. Whatever happens then, the event is still there, byte for byte; a message that comes again finds its
verdict without its video; and the same video under another name is judged from what is known of it.

SQLite, on this machine, is the default. PostgreSQL lets several workers share what they know, and keeps two of them
from scoring the same video at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from connectors.databases import Database, Sqlite
from connectors.errors import SettingsError
from connectors.events import Delivery
from dmcl_sdk.verdict import Verdict

if TYPE_CHECKING:
    from types import TracebackType

_SCHEMA = (
    (
        "CREATE TABLE IF NOT EXISTS dmcl_verdicts"
        " (content TEXT PRIMARY KEY, verdict TEXT NOT NULL, at DOUBLE PRECISION NOT NULL)"
    ),
    (
        "CREATE TABLE IF NOT EXISTS dmcl_messages"
        " (message TEXT PRIMARY KEY, content TEXT NOT NULL, at DOUBLE PRECISION NOT NULL)"
    ),
    (
        "CREATE TABLE IF NOT EXISTS dmcl_outbox (id TEXT PRIMARY KEY, event TEXT NOT NULL,"
        " at DOUBLE PRECISION NOT NULL, delivered_at DOUBLE PRECISION)"
    ),
    "CREATE INDEX IF NOT EXISTS dmcl_outbox_waiting ON dmcl_outbox (at) WHERE delivered_at IS NULL",
    (
        "CREATE TABLE IF NOT EXISTS dmcl_answers"
        " (message TEXT PRIMARY KEY, event TEXT NOT NULL, at DOUBLE PRECISION NOT NULL)"
    ),
    (
        "CREATE TABLE IF NOT EXISTS dmcl_objects"
        " (name TEXT PRIMARY KEY, sequencer TEXT NOT NULL, at DOUBLE PRECISION NOT NULL)"
    ),
    # what is too old is found without a look at the rest, which may be gigabytes
    "CREATE INDEX IF NOT EXISTS dmcl_outbox_delivered ON dmcl_outbox (at) WHERE delivered_at IS NOT NULL",
    *(
        f"CREATE INDEX IF NOT EXISTS dmcl_{table}_at ON dmcl_{table} (at)"
        for table in ("verdicts", "messages", "answers", "objects")
    ),
)


class LedgerSettings(BaseModel):
    """Where it is kept, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Path("dmcl-ledger.db")
    """SQLite's file; on a disk of this machine, not on a network share."""
    url: SecretStr | None = None
    """`postgresql://user:password@host/database`, in place of the file."""
    keep_days: Annotated[float, Field(gt=0)] = 30.0
    """After that a verdict that was delivered is forgotten, and its video would be scored again."""

    @field_validator("url")
    @classmethod
    def _is_of_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("starts with postgresql://")
        return url


class Ledger:
    """For any number of threads.

    All of it may raise `TransientError` (the database does not answer) and `SettingsError` (it is not ours to use).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locks = _Locks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Whether the database answers and has our tables."""
        with self._database.transaction() as execute:
            execute("SELECT COUNT(*) FROM dmcl_outbox WHERE delivered_at IS NULL")

    def content_of(self, message: str) -> str | None:
        """Which content a message was found to ask for, if it was here before."""
        with self._database.transaction() as execute:
            rows = execute("SELECT content FROM dmcl_messages WHERE message = ?", message)
        return str(rows[0][0]) if rows else None

    def answer(self, message: str) -> Delivery | None:
        """The event that a message led to last, if a sink has confirmed it."""
        with self._database.transaction() as execute:
            rows = execute(
                "SELECT dmcl_outbox.event FROM dmcl_answers"
                " JOIN dmcl_outbox ON dmcl_outbox.id = dmcl_answers.event"
                " WHERE dmcl_answers.message = ? AND delivered_at IS NOT NULL",
                message,
            )
        return _read(rows[0][0]) if rows else None

    def verdict(self, content: str) -> Verdict | None:
        """What is known of a content."""
        with self._database.transaction() as execute:
            rows = execute("SELECT verdict FROM dmcl_verdicts WHERE content = ?", content)
        return Verdict.model_validate_json(rows[0][0]) if rows else None

    def record(
        self, message: str, content: str, verdict: Verdict, delivery: Delivery, now: datetime
    ) -> Delivery:
        """Keep verdict, message and event, all or nothing; the event to send.

        That is the event which was first kept under its id, so that repetitions of it are the same byte for byte.

        Args:
            message: who asked: the message's id, and what was asked of it.
            content: what was scored and by what: the same for the same bytes, model and configuration.
            verdict: of the content, without what only this request says.
            delivery: what is to be sent.
            now: with a time zone.
        """
        at = now.timestamp()
        with self._database.transaction() as execute:
            execute(
                "INSERT INTO dmcl_verdicts VALUES (?, ?, ?) ON CONFLICT (content) DO UPDATE SET at = excluded.at",
                content,
                verdict.to_json(),
                at,
            )
            execute(
                "INSERT INTO dmcl_messages VALUES (?, ?, ?) ON CONFLICT (message) DO UPDATE SET at = excluded.at",
                message,
                content,
                at,
            )
            execute(
                "INSERT INTO dmcl_outbox VALUES (?, ?, ?, NULL) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
                delivery.id,
                _written(delivery),
                at,
            )
            execute(
                "INSERT INTO dmcl_answers VALUES (?, ?, ?) ON CONFLICT (message) DO UPDATE"
                " SET event = excluded.event, at = excluded.at",
                message,
                delivery.id,
                at,
            )
            (row,) = execute("SELECT event FROM dmcl_outbox WHERE id = ?", delivery.id)
        return _read(row[0])

    def delivered(self, event_id: str, now: datetime) -> None:
        """The sink has confirmed the event."""
        with self._database.transaction() as execute:
            execute("UPDATE dmcl_outbox SET delivered_at = ? WHERE id = ?", now.timestamp(), event_id)

    def refused(self, event_id: str) -> None:
        """No sink will ever take the event: forget it, so that it is not tried at every start."""
        with self._database.transaction() as execute:
            execute("DELETE FROM dmcl_outbox WHERE id = ?", event_id)

    def waiting(self, before: datetime, limit: int = 1000) -> list[Delivery]:
        """Events from before a moment that were kept and never confirmed, the oldest first."""
        with self._database.transaction() as execute:
            rows = execute(
                "SELECT event FROM dmcl_outbox WHERE delivered_at IS NULL AND at < ? ORDER BY at LIMIT ?",
                before.timestamp(),
                limit,
            )
        return [_read(row[0]) for row in rows]

    def newest(self, name: str, sequencer: str, now: datetime) -> str:
        """Note an event of an object, and say which is the newest of it that was ever seen.

        Args:
            name: of the object.
            sequencer: hexadecimal, of any length.
            now: with a time zone.
        """
        padded = sequencer.lower().rjust(64, "0")
        with self._database.transaction() as execute:
            ((newest,),) = execute(
                "INSERT INTO dmcl_objects VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET at = excluded.at,"
                " sequencer = CASE WHEN excluded.sequencer > dmcl_objects.sequencer"
                " THEN excluded.sequencer ELSE dmcl_objects.sequencer END RETURNING sequencer",
                name,
                padded,
                now.timestamp(),
            )
        return str(newest)

    def prune(self, before: datetime) -> int:
        """Forget what is older, save events that were never confirmed; how many verdicts that were."""
        at = before.timestamp()
        with self._database.transaction() as execute:
            execute("DELETE FROM dmcl_outbox WHERE at < ? AND delivered_at IS NOT NULL", at)
            execute("DELETE FROM dmcl_messages WHERE at < ?", at)
            execute("DELETE FROM dmcl_answers WHERE at < ?", at)
            execute("DELETE FROM dmcl_objects WHERE at < ?", at)
            return len(execute("DELETE FROM dmcl_verdicts WHERE at < ? RETURNING content", at))

    @contextmanager
    def alone(self, content: str) -> Iterator[None]:
        """A block in which nobody else has this content: whoever comes later finds the verdict."""
        with self._locks.held(content), self._database.held(content):
            yield

    def close(self) -> None:
        """Give everything back; who waits to be alone gets a `StoppedError`."""
        self._database.close()


class _Locks:
    """A lock for each name, as long as somebody wants it."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._wanted: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        with self._guard:
            lock, wanted = self._wanted.get(name, (Lock(), 0))
            self._wanted[name] = lock, wanted + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                _, wanted = self._wanted.pop(name)
                if wanted > 1:
                    self._wanted[name] = lock, wanted - 1


def open_ledger(settings: LedgerSettings) -> AbstractContextManager[Ledger]:
    """The ledger that settings describe; made if it is not there.

    Raises:
        SettingsError: it cannot be opened, or its driver is not installed.
    """
    if settings.url is None:
        return Ledger(Sqlite(settings.path, _SCHEMA))
    try:
        from connectors.postgresql import Postgresql  # noqa: PLC0415 - an extra
    except ImportError as error:  # of psycopg, or of the library beneath it
        raise SettingsError(
            f"ledger.url needs psycopg: pip install 'dmcl-sdk[postgres]' ({error})"
        ) from error
    return Ledger(Postgresql(settings.url.get_secret_value(), _SCHEMA))


def _written(delivery: Delivery) -> str:
    fields = asdict(delivery) | {"body": delivery.body.decode(), "attributes": dict(delivery.attributes)}
    return json.dumps(fields, ensure_ascii=False)


def _read(event: str) -> Delivery:
    fields = json.loads(event)
    return Delivery(**fields | {"body": fields["body"].encode()})
