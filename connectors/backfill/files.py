"""The files that a backfill writes: verdicts, and what can never be scanned. Neither holds anything twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.backfill.plan import Backfill
from connectors.errors import SettingsError
from connectors.events import Delivery
from connectors.json_lines import JsonLines
from connectors.sources import DeadLetter
from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.exporters import write_parquet
from dmcl_sdk.exporters.parquet import parquet_schema
from dmcl_sdk.verdict import Verdict

TABLE = ".parquet"


class Results:
    """A sink that writes verdicts, one a line, into a file that takes none twice.

    A table in Parquet cannot grow: its verdicts are kept as lines in `<name>.jsonl` beside it, and it is made of all
    of them when the backfill is done.

    Raises:
        SettingsError: the file cannot be written or holds something else, or a table is wanted without pyarrow, or
            would take the place of one that is not made of these lines.
    """

    def __init__(self, path: Path) -> None:
        self._table = path if path.suffix == TABLE else None
        if self._table is not None:
            try:
                parquet_schema()  # now, and not after a week of scanning
            except DeploymentError as error:
                raise SettingsError(str(error)) from error
        self._path = path if self._table is None else path.with_name(f"{path.name}.jsonl")
        if self._table is not None and path.exists() and not self._path.exists():
            raise SettingsError(
                f"{path}: is there without {self._path.name}, of which it is made; move it away to have it written anew"
            )
        self._lines = JsonLines(self._path, _verdict_identity)
        self.name = f"results:{path.name}"

    def deliver(self, delivery: Delivery) -> None:
        """Return when the disk has it."""
        self.add(delivery.body)

    def add(self, verdict: bytes) -> None:
        """The same, of the verdict alone."""
        self._lines.append(verdict)

    def complete(self) -> None:
        """Make the table of all lines, whole or not at all; nothing to do without one."""
        if self._table is None:
            return
        # what a run that was killed has left is written over
        part = self._table.with_name(f".{self._table.name}.part")
        try:
            with part.open("wb") as new:
                write_parquet(self._verdicts(), new)
                new.flush()
                os.fsync(new.fileno())
            part.replace(self._table)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise SettingsError(f"{self._table}: {error.strerror}; the same command tries again") from error

    def close(self) -> None:
        """Let others have the file."""
        self._lines.close()

    def _verdicts(self) -> Iterator[Verdict]:
        with self._path.open("rb") as lines:
            for line in lines:
                yield Verdict.model_validate_json(line)


class DeadLetters:
    """What can never be scanned, one JSON object a line, with its reason and what it takes to ask again."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path, _dead_identity)

    def has(self, message_id: str) -> bool:
        """Whether a message is among them."""
        return self._lines.has(message_id)

    def add(self, message_id: str, body: bytes | None, why: DeadLetter) -> None:
        """Return when the disk has it."""
        line = {
            "id": message_id,
            **json.loads(body or b""),
            "reason": why.reason,
            "error": why.explanation,
            "dead_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self._lines.append(json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace"))

    def close(self) -> None:
        """Let others have the file."""
        self._lines.close()


@contextmanager
def opened(plan: Backfill) -> Iterator[tuple[DeadLetters, Results | None]]:
    """Both files, for this process alone, until the end of the block."""
    with ExitStack() as stack:
        dead = stack.enter_context(closing(DeadLetters(plan.dead_letters)))
        results = None if plan.results is None else stack.enter_context(closing(Results(plan.results)))
        yield dead, results


def _verdict_identity(verdict: Any) -> str:  # noqa: ANN401 - any JSON
    """What a verdict is about, and who reached it and how."""
    asset, model = verdict["asset"], verdict.get("model") or {}
    runtime, decision = verdict.get("runtime") or {}, verdict.get("decision") or {}
    return json.dumps(
        [
            *(asset["uri"], asset.get("version_id"), asset.get("sha256"), model.get("sha256")),
            *(runtime.get("preprocess_sha256"), runtime.get("config_sha256"), decision.get("sha256")),
        ]
    )


def _dead_identity(letter: Any) -> str:  # noqa: ANN401 - any JSON
    if not isinstance(letter["reason"], str):
        raise TypeError
    return str(letter["id"])
