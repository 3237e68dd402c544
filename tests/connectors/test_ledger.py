"""One suite over both databases; PostgreSQL takes part where it is installed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import SettingsError, StoppedError, TransientError
from connectors.ledger import Ledger, LedgerSettings, open_ledger
from connectors.requests import newer
from connectors.testing import HARD_TEXT, made_delivery
from dmcl_sdk.verdict import Asset, Reason, Verdict
from tests.connectors.servers import Process, postgresql

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
Open = Callable[[], AbstractContextManager[Ledger]]


@pytest.fixture(scope="session")
def database() -> Iterator[Process]:
    with postgresql() as process:
        yield process


def url(process: Process) -> str:
    return f"postgresql://dmcl@127.0.0.1:{process.port}/postgres"


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.durability])]
)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same ledger again and again."""
    if request.param == "sqlite":
        settings = LedgerSettings(path=tmp_path / "ledger.db")
    else:
        settings = LedgerSettings.model_validate({"url": url(request.getfixturevalue("database"))})
    return lambda: open_ledger(settings)


def a_verdict(note: str = "a message") -> Verdict:
    reason = Reason(code="no_face", message=note)
    return Verdict(status="not_applicable", asset=Asset(uri="s3://uploads/clip.mp4"), reasons=(reason,))


def name() -> str:
    return str(uuid4())


def test_what_was_recorded_is_there_after_opening_again(opened: Open) -> None:
    message, content, delivery = name(), name(), made_delivery(HARD_TEXT)
    with opened() as ledger:
        assert ledger.content_of(message) is None
        assert ledger.verdict(content) is None
        assert ledger.record(message, content, a_verdict(HARD_TEXT), delivery, NOW) == delivery
    with opened() as ledger:
        assert ledger.content_of(message) == content
        assert ledger.verdict(content) == a_verdict(HARD_TEXT)
        assert delivery in ledger.waiting(NOW + timedelta(seconds=1), limit=10**6)


def test_an_event_waits_until_it_was_delivered(opened: Open) -> None:
    delivery = made_delivery()
    with opened() as ledger:
        ledger.record(name(), name(), a_verdict(), delivery, NOW)
        assert delivery not in ledger.waiting(NOW, limit=10**6)
        assert delivery in ledger.waiting(NOW + timedelta(seconds=1), limit=10**6)
        ledger.delivered(delivery.id, NOW)
        assert delivery not in ledger.waiting(NOW + timedelta(seconds=1), limit=10**6)


def test_a_message_has_its_answer_once_that_was_delivered(opened: Open) -> None:
    message, content, delivery = name(), name(), made_delivery()
    with opened() as ledger:
        ledger.record(message, content, a_verdict(), delivery, NOW)
        assert ledger.answer(message) is None
        ledger.delivered(delivery.id, NOW)
        assert ledger.answer(message) == delivery
        anew = made_delivery()
        ledger.record(message, content, a_verdict(), anew, NOW)
        assert ledger.answer(message) is None
        ledger.delivered(anew.id, NOW)
        assert ledger.answer(message) == anew


def test_an_event_that_was_refused_for_good_does_not_wait(opened: Open) -> None:
    delivery = made_delivery()
    with opened() as ledger:
        ledger.record(name(), name(), a_verdict(), delivery, NOW)
        ledger.refused(delivery.id)
        assert delivery not in ledger.waiting(NOW + timedelta(seconds=1), limit=10**6)


def test_the_first_event_of_an_id_is_the_one_that_is_sent_ever_after(opened: Open) -> None:
    first = made_delivery("first")
    later = replace(first, time="2027-01-01T00:00:00Z", body=b'{"timings":"others"}')
    with opened() as ledger:
        ledger.record(name(), name(), a_verdict(), first, NOW)
        assert ledger.record(name(), name(), a_verdict(), later, NOW) == first


def test_waiting_events_come_in_the_order_in_which_they_were_kept(opened: Open) -> None:
    made = [made_delivery(str(number)) for number in range(3)]
    with opened() as ledger:
        for minute, delivery in zip((2, 0, 1), made, strict=True):
            ledger.record(name(), name(), a_verdict(), delivery, NOW + timedelta(minutes=minute))
        waiting = [one for one in ledger.waiting(NOW + timedelta(hours=1), limit=10**6) if one in made]
    assert waiting == [made[1], made[2], made[0]]


def test_pruning_forgets_what_is_old_and_delivered_and_nothing_else(opened: Open) -> None:
    old, new = NOW - timedelta(days=40), NOW
    kept, gone, recent = made_delivery("kept"), made_delivery("gone"), made_delivery("recent")
    names = {delivery.id: (name(), name()) for delivery in (kept, gone, recent)}
    with opened() as ledger:
        for delivery, at in ((kept, old), (gone, old), (recent, new)):
            ledger.record(*names[delivery.id], a_verdict(), delivery, at)
        for delivery in (gone, recent):
            ledger.delivered(delivery.id, NOW)
        assert ledger.prune(NOW - timedelta(days=30)) >= 2
        assert ledger.content_of(names[gone.id][0]) is None
        assert ledger.verdict(names[gone.id][1]) is None
        assert ledger.content_of(names[recent.id][0]) == names[recent.id][1]
        assert kept in ledger.waiting(NOW, limit=10**6)


@pytest.mark.parametrize(
    ("table", "of_which"),
    [
        ("outbox", " AND delivered_at IS NOT NULL"),
        *((one, "") for one in ("verdicts", "messages", "answers", "objects")),
    ],
)
def test_what_is_too_old_is_found_without_a_look_at_the_rest(
    tmp_path: Path, table: str, of_which: str
) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(LedgerSettings(path=path)), closing(sqlite3.connect(path)) as file:
        plan = file.execute(f"EXPLAIN QUERY PLAN DELETE FROM dmcl_{table} WHERE at < 1{of_which}").fetchall()  # noqa: S608
    assert plan
    assert all("INDEX" in step[-1] for step in plan)


@given(
    sequencers=st.lists(st.text("0123456789abcdefABCDEF", min_size=1, max_size=40), min_size=1, max_size=6)
)
def test_the_newest_event_of_an_object_is_the_one_that_newer_says(
    sequencers: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("ledgers") / "ledger.db"
    with open_ledger(LedgerSettings(path=path)) as ledger:
        for count, sequencer in enumerate(sequencers, start=1):
            newest = ledger.newest("s3://uploads/clip.mp4", sequencer, NOW)
            assert not any(newer(one, newest) for one in sequencers[:count])


def test_objects_are_ordered_each_for_itself(opened: Open) -> None:
    one, other = name(), name()
    with opened() as ledger:
        assert int(ledger.newest(one, "0aF", NOW), 16) == 0xAF
        assert int(ledger.newest(one, "f", NOW), 16) == 0xAF
        assert int(ledger.newest(other, "e", NOW), 16) == 0xE
        assert int(ledger.newest(one, "1000000000000000000", NOW), 16) == 0x1000000000000000000


def test_a_content_is_held_by_one_at_a_time_and_others_are_not_kept(opened: Open) -> None:
    inside, most = 0, 0

    def work(ledger: Ledger) -> None:
        nonlocal inside, most
        with ledger.alone("the same"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    with opened() as ledger, opened() as another:
        # two ledgers are two workers, who keep each other out on PostgreSQL alone
        ledgers = [ledger] * 4 + [another] * (4 if type(ledger._database).__name__ == "Postgresql" else 0)
        threads = [threading.Thread(target=work, args=[one]) for one in ledgers]
        for thread in threads:
            thread.start()
        with ledger.alone("another"):
            pass
        for thread in threads:
            thread.join()
    assert most == 1


def test_several_threads_record_at_once(opened: Open) -> None:
    made = [made_delivery(str(number)) for number in range(12)]
    with opened() as ledger:
        threads = [
            threading.Thread(target=ledger.record, args=[name(), name(), a_verdict(), delivery, NOW])
            for delivery in made
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = ledger.waiting(NOW + timedelta(seconds=1), limit=10**6)
    assert {one.id for one in made} <= {one.id for one in kept}


def test_a_closed_ledger_is_no_end_of_the_world(opened: Open) -> None:
    with opened() as ledger:
        ledger.check()
    with pytest.raises(TransientError):
        ledger.check()


def test_a_write_that_is_killed_in_the_middle_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    code = (
        "import os, sys; from datetime import datetime, UTC; from pathlib import Path\n"
        "from connectors.ledger import *; from tests.connectors.test_ledger import a_verdict, made_delivery\n"
        "ledger = open_ledger(LedgerSettings(path=Path(sys.argv[1])))\n"
        "ledger.record('whole', 'content', a_verdict(), made_delivery('whole'), datetime.now(UTC))\n"
        "with ledger._database.transaction() as execute:\n"
        "    execute('INSERT INTO dmcl_messages VALUES (?, ?, ?)', 'half', 'content', 1.0)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path(__file__).parents[2])
    with open_ledger(LedgerSettings(path=path)) as ledger:
        assert ledger.content_of("whole") == "content"
        assert ledger.content_of("half") is None


def test_two_processes_may_use_one_file(tmp_path: Path) -> None:
    settings = LedgerSettings(path=tmp_path / "ledger.db")
    with open_ledger(settings) as one, open_ledger(settings) as other:
        one.record("asked", "content", a_verdict(), made_delivery(), NOW)
        assert other.content_of("asked") == "content"


def test_a_file_that_is_no_database_says_so_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("notes of somebody else " * 100)
    with pytest.raises(SettingsError, match=r"ledger\.db cannot be opened.*ledger\.path"):
        open_ledger(LedgerSettings(path=path))
    assert path.read_text().startswith("notes")


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ledger\.path"):
        open_ledger(LedgerSettings(path=tmp_path / "absent" / "ledger.db"))


def test_a_locked_file_is_transient(tmp_path: Path) -> None:
    settings = LedgerSettings(path=tmp_path / "ledger.db")
    with open_ledger(settings) as ledger:
        ledger._database._connection.execute("PRAGMA busy_timeout = 50")  # type: ignore[attr-defined]
        blocker = sqlite3.connect(settings.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="locked"):
            ledger.check()
        blocker.execute("ROLLBACK")
        blocker.close()
        ledger.check()


def test_a_password_is_never_shown() -> None:
    settings = LedgerSettings.model_validate({"url": "postgresql://dmcl:sesame@host/db"})
    assert "sesame" not in f"{settings!r} {settings.model_dump_json()}"


@pytest.mark.slow
@pytest.mark.durability
def test_a_database_that_is_away_is_transient_and_comes_back() -> None:
    with (
        postgresql() as process,
        open_ledger(LedgerSettings.model_validate({"url": url(process)})) as ledger,
    ):
        ledger.record("before", "content", a_verdict(), made_delivery(), NOW)
        process.kill()
        (process.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        with pytest.raises(TransientError):
            ledger.check()
        process.start()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                assert ledger.content_of("before") == "content"
                break
            except TransientError:
                time.sleep(0.2)
        else:
            pytest.fail("it never came back")


@pytest.mark.slow
@pytest.mark.durability
def test_who_waits_for_a_content_is_let_go_when_the_ledger_closes(database: Process) -> None:
    settings = LedgerSettings.model_validate({"url": url(database)})
    outcome: list[Exception] = []

    def wait() -> None:
        try:
            with waiting.alone("the same"):
                pass
        except StoppedError as error:
            outcome.append(error)

    with open_ledger(settings) as holder, open_ledger(settings) as waiting, holder.alone("the same"):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        waiting.close()
        thread.join(30)
    assert outcome
