"""`dmcl kafka run` as a process, with a real broker: what is lost, doubled or left behind when things go wrong."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from connectors import kafka_cli
from connectors.sources.kafka import KafkaSource
from connectors.sources.kafka_consumer import KafkaSettings
from tests.connectors.daemons import DaemonProcess, daemon
from tests.connectors.faults import ChaosProxy, chaos_proxy
from tests.connectors.poison import poison_kinds
from tests.connectors.servers import tansu
from tests.connectors.topics import Topics

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def topics(broker: str, tmp_path: Path) -> Topics:
    return Topics(broker, f"t{uuid4().hex[:8]}", tmp_path)


@contextmanager
def behind_a_proxy(folder: Path) -> Iterator[tuple[ChaosProxy, Topics]]:
    with chaos_proxy() as proxy, tansu(folder, advertised=proxy.port) as process:
        proxy.upstream_port = process.port
        yield proxy, Topics(proxy.address, f"t{uuid4().hex[:8]}", folder)


def assert_all_is_done(topics: Topics, requests: list[dict[str, str]], *, dead: int = 0) -> None:
    """Each request has one effective verdict, every offset is committed, and nothing else is among the dead."""
    assert {*topics.effective()} == {request["uri"] for request in requests}
    assert len(topics.records(topics.dead)) == dead
    assert topics.committed() == ends(topics)


def ends(topics: Topics) -> dict[int, int]:
    """The offset after the last request of every partition."""
    sent = Counter(record.partition for record in topics.records(topics.requests))
    return {number: sent[number] for number in range(topics.partitions)}


def delivered(*processes: DaemonProcess) -> int:
    return len({line["event_id"] for process in processes for line in process.events("delivered")})


def test_requests_become_verdicts_and_offsets_are_committed(topics: Topics, tmp_path: Path) -> None:
    requests = [topics.upload(f"{number}.mp4") for number in range(6)]
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    topics.send(*requests, headers=[("traceparent", trace.encode())])
    with daemon(tmp_path, "kafka run", topics.settings()) as process:
        process.wait_for(lambda: delivered(process) == 6, "6 delivered")
        assert process.get("/livez") == (200, "ok\n")
        assert process.get("/readyz") == (200, "ok\n")
        assert process.metric("dmcl_requests_total", outcome="delivered") == 6
        assert process.stop() == 0
    assert_all_is_done(topics, requests)
    line = process.events("delivered")[0]
    assert line["request"] in {request["uri"] for request in requests}
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert line["topic"] == topics.requests
    event = next(iter(topics.effective().values()))
    assert dict(event.headers)["ce_traceparent"].decode() == trace


def test_a_daemon_that_is_killed_in_the_middle_again_and_again_loses_and_doubles_nothing(
    topics: Topics, tmp_path: Path
) -> None:
    requests = [topics.upload(f"{number}.mp4") for number in range(40)]
    topics.send(*requests)
    process = DaemonProcess(tmp_path, "kafka run", topics.settings())
    for share in (5, 15, 25):
        process.start()
        process.wait_for(lambda share=share: delivered(process) >= share, f"{share} delivered")  # type: ignore[misc]
        process.kill()
    process.start()
    process.wait_for(lambda: delivered(process) == 40, "40 delivered")
    # what was delivered just before a kill is read again before it is committed
    everything = ends(topics)
    process.wait_for(lambda: topics.committed() == everything, "all committed")
    assert process.stop() == 0
    assert_all_is_done(topics, requests)
    assert list((tmp_path / "in flight").glob("dmcl-media-*")) == []


def test_asked_to_end_it_finishes_the_video_that_is_under_way(topics: Topics, tmp_path: Path) -> None:
    requests = [topics.upload("slow.mp4")]
    topics.send(*requests)
    options = {"options": {"delay_s": 2}}
    with daemon(tmp_path, "kafka run", topics.settings(scoring=options)) as process:
        process.wait_for(lambda: process.metric("dmcl_in_flight") == 1, "under way")
        assert process.stop() == 0
    assert_all_is_done(topics, requests)


@pytest.mark.slow
def test_what_takes_too_long_to_finish_is_handed_back_and_done_by_the_next(
    topics: Topics, tmp_path: Path
) -> None:
    requests = [topics.upload("slow.mp4"), topics.upload("other.mp4")]
    topics.send(*requests)
    slow = topics.settings(scoring={"options": {"delay_s": 600}}, work={"drain_s": 0.5})
    with daemon(tmp_path, "kafka run", slow) as process:
        process.wait_for(lambda: process.metric("dmcl_in_flight") == 2, "under way")
        began = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - began < 30
        assert len(process.events("handed back")) == 2
    assert topics.committed() == {0: 0, 1: 0}
    with daemon(tmp_path, "kafka run", topics.settings(), name="next") as process:
        process.wait_for(lambda: delivered(process) == 2, "both delivered")
        assert process.stop() == 0
    assert_all_is_done(topics, requests)


def test_every_kind_of_poison_is_a_dead_letter_with_its_reason_and_the_daemon_lives(
    topics: Topics, tmp_path: Path
) -> None:
    kinds = poison_kinds(topics.folder / "uploads")
    good = [topics.upload("good.mp4"), topics.upload("better.mp4")]
    topics.send(good[0], *[body for _, body in kinds], good[1], headers=[("tenant", b"north")])
    settings = topics.settings(scoring={"time_limit_s": 5})
    with daemon(tmp_path, "kafka run", settings) as process:
        process.wait_for(lambda: len(process.events("dead letter")) == len(kinds), "all poison", 180)
        process.wait_for(lambda: delivered(process) == 2, "both good ones")
        assert process.metric("dmcl_dead_letters_total", reason="killed_worker") == 2
        assert process.metric("dmcl_processes_replaced") == 5
        assert process.stop() == 0
    assert_all_is_done(topics, good, dead=len(kinds))
    dead = topics.records(topics.dead)
    found = Counter((dict(one.headers)["dmcl-reason"].decode(), one.value) for one in dead)
    # Kafka's client reads an empty value and none as what they are; both are there
    assert found == Counter(kinds)
    headers = dict(dead[0].headers)
    assert headers["tenant"] == b"north"
    assert headers["dmcl-topic"].decode() == topics.requests
    assert headers["dmcl-offset"].isdigit()
    assert headers["dmcl-error"]


@pytest.mark.slow
def test_a_video_that_takes_more_memory_than_allowed_is_a_dead_letter_and_the_daemon_lives(
    topics: Topics, tmp_path: Path
) -> None:
    good = topics.upload("good.mp4")
    topics.send(topics.upload("greedy.mp4", b"#4 GiB"), good)
    with daemon(tmp_path, "kafka run", topics.settings(scoring={"memory_limit": "2 GiB"})) as process:
        process.wait_for(
            lambda: process.events("dead letter") and delivered(process) == 1, "both dealt with", 180
        )
        assert process.events("dead letter")[0]["reason"] == "killed_worker"
        assert process.get("/livez") == (200, "ok\n")
        assert process.stop() == 0
    assert_all_is_done(topics, [good], dead=1)


def test_one_poison_among_several_records_keeps_no_other_from_its_verdict(
    topics: Topics, tmp_path: Path
) -> None:
    good = topics.upload("good.mp4")
    envelope = {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": good}
    topics.send(envelope, {"uri": (topics.folder / "uploads" / "absent.mp4").as_uri()})
    with daemon(tmp_path, "kafka run", topics.settings()) as process:
        process.wait_for(lambda: process.events("dead letter") and delivered(process) == 1, "both dealt with")
        assert process.stop() == 0
    assert_all_is_done(topics, [good], dead=1)


def test_too_many_dead_letters_stop_the_daemon_and_leave_the_rest_where_it_is(
    topics: Topics, tmp_path: Path
) -> None:
    topics.send(*[b"{" for _ in range(30)])
    process = DaemonProcess(tmp_path, "kafka run", topics.settings(dead_letters={"max_run": 5}))
    process.start()
    assert process.wait(120) == 2
    (line,) = process.events("stopped")
    assert "6 messages in a row are dead letters: not_json (6)" in line["error"]
    assert len(topics.records(topics.dead)) == 5
    assert sum(topics.committed().values()) <= 5


def test_a_dead_letter_is_replayed_once_its_cause_is_mended(topics: Topics, tmp_path: Path) -> None:
    late = {"uri": (topics.folder / "uploads" / "late.mp4").as_uri()}
    topics.send(late, b"{")
    with daemon(tmp_path, "kafka run", topics.settings()) as process:
        process.wait_for(lambda: len(process.events("dead letter")) == 2, "2 dead letters")
        topics.upload("late.mp4")
        environment = {"DMCL_KAFKA": json.dumps(topics.settings()["kafka"])}
        shown = CliRunner(env=environment).invoke(
            kafka_cli.app, ["replay", "--reason", "not_found", "--dry-run"]
        )
        assert shown.exit_code == 0, shown.output
        assert "1 of 2 would be sent" in shown.stdout
        sent = CliRunner(env=environment).invoke(
            kafka_cli.app, ["replay", "--reason", "not_found", "--since", "2026-01-01"]
        )
        assert sent.exit_code == 0, sent.output
        assert "1 of 2 sent" in sent.stdout
        process.wait_for(lambda: delivered(process) == 1, "delivered after all")
        assert process.stop() == 0
    assert_all_is_done(topics, [late], dead=2)
    again = [record for record in topics.records(topics.requests) if dict(record.headers).get("dmcl-replays")]
    assert [json.loads(record.value) for record in again] == [late]


def test_a_broker_that_goes_away_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    with behind_a_proxy(tmp_path) as (proxy, topics):
        requests = [topics.upload(f"{number}.mp4") for number in range(20)]
        topics.send(*requests)
        with daemon(tmp_path, "kafka run", topics.settings()) as process:
            process.wait_for(lambda: delivered(process) >= 4, "the first")
            with proxy.out_of_order("refuse"):
                time.sleep(3)
                assert process.get("/livez")[0] == 200
            process.wait_for(lambda: delivered(process) == 20, "all", 180)
            assert process.stop() == 0
        assert_all_is_done(topics, requests)


def test_answers_that_are_lost_double_nothing(tmp_path: Path) -> None:
    with behind_a_proxy(tmp_path) as (proxy, topics):
        requests = [topics.upload(f"{number}.mp4") for number in range(20)]
        topics.send(*requests)
        with daemon(tmp_path, "kafka run", topics.settings()) as process:
            for share in (4, 10):
                process.wait_for(lambda share=share: delivered(process) >= share, f"{share}", 180)  # type: ignore[misc]
                proxy.mode = "lose_answers"
                time.sleep(1.5)
                proxy.mode = "pass"
                proxy.cut()
            process.wait_for(lambda: delivered(process) == 20, "all", 180)
            assert process.stop() == 0
        assert_all_is_done(topics, requests)


def test_partitions_that_move_in_the_middle_of_a_video_lose_and_double_nothing(
    topics: Topics, tmp_path: Path
) -> None:
    requests = [topics.upload(f"{number}.mp4") for number in range(24)]
    settings = topics.settings(scoring={"options": {"delay_s": 1}}, kafka={"handover_s": 10})
    with daemon(tmp_path, "kafka run", settings) as process:
        process.wait_for(lambda: process.events("assigned"), "both partitions")
        topics.send(*requests)
        process.wait_for(lambda: delivered(process) >= 2, "the first")
        # another member comes, takes a partition and messages, finishes none of them, and goes
        with closing(KafkaSource(KafkaSettings.model_validate(settings["kafka"]))) as other:
            until, taken = time.monotonic() + 60, 0
            while not taken and time.monotonic() < until:
                taken = len(other.receive(2))
            assert taken, "no partition moved"
        process.wait_for(lambda: delivered(process) == 24, "all", 180)
        assert process.stop() == 0
    assert process.events("revoked")
    assert_all_is_done(topics, requests)


@pytest.mark.slow
def test_a_sink_that_is_away_holds_work_back_and_loses_nothing(topics: Topics, tmp_path: Path) -> None:
    requests = [topics.upload(f"{number}.mp4") for number in range(6)]
    topics.send(*requests)
    with chaos_proxy() as nowhere:
        nowhere.mode = "refuse"
        settings = topics.settings()
        settings["sinks"]["moderation"] |= {"bootstrap_servers": [nowhere.address], "timeout_s": 1}
        with daemon(tmp_path, "kafka run", settings | {"work": {"drain_s": 1}}) as process:
            process.wait_for(lambda: process.events("waiting"), "it waits")
            time.sleep(1)
            assert process.get("/livez")[0] == 200
            assert process.metric("dmcl_in_flight") <= 2
            assert process.stop() == 0
    assert topics.committed() == {0: 0, 1: 0}
    with daemon(tmp_path, "kafka run", topics.settings(), name="next") as process:
        process.wait_for(lambda: delivered(process) == 6, "all delivered")
        assert process.stop() == 0
    assert_all_is_done(topics, requests)
