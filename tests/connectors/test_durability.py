"""What delivery promises, against everything at once: minutes long; `make test-all` runs it and prints its tables."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from connectors.sources.kafka import KafkaSource
from connectors.sources.kafka_consumer import KafkaSettings
from tests.connectors.daemons import DaemonProcess, daemon
from tests.connectors.faults import ChaosProxy, chaos_proxy, network_namespace
from tests.connectors.poison import poison_kinds
from tests.connectors.servers import Aws, Process, tansu
from tests.connectors.topics import Topics

pytestmark = [pytest.mark.durability, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

REQUESTS = 500
POISON = 200


@contextmanager
def durable_broker(folder: Path, aws: Aws) -> Iterator[tuple[ChaosProxy, Process, Topics]]:
    """A broker that has its records when it is killed and started again, behind a proxy."""
    with chaos_proxy() as proxy, tansu(folder, advertised=proxy.port, kept_in=aws) as broker:
        proxy.upstream_port = broker.port
        yield proxy, broker, Topics(proxy.address, "durability", folder, partitions=3)


def test_500_requests_have_one_verdict_each_whatever_happens(tmp_path: Path, aws: Aws) -> None:
    began = time.monotonic()
    with durable_broker(tmp_path, aws) as (proxy, broker, topics), ExitStack() as gone:
        requests = [topics.upload(f"{number}.mp4") for number in range(REQUESTS)]
        topics.send(*requests)
        scored = tmp_path / "scored"
        settings = topics.settings(
            scoring={"options": {"delay_s": 0.3, "log": str(scored)}},
            work={"in_flight": 6},
            kafka={"handover_s": 3},
        )
        process = gone.enter_context(daemon(tmp_path, "kafka run", settings))
        happened = Counter[str]()

        def kill_worker() -> None:
            process.kill()
            process.start()

        def kill_broker() -> None:
            broker.kill()
            time.sleep(1)
            broker.start()

        def lose_answers() -> None:
            proxy.mode = "lose_answers"
            time.sleep(2)
            proxy.mode = "pass"
            proxy.cut()

        def slow_way() -> None:
            proxy.latency_s = 0.1
            time.sleep(5)
            proxy.latency_s = 0.0

        def cut_off_and_healed() -> None:
            with proxy.out_of_order("blackhole"):
                time.sleep(10)

        def another_member() -> None:
            table = KafkaSettings.model_validate(settings["kafka"])
            with closing(KafkaSource(table)) as other:
                until = time.monotonic() + 90
                while not other.assigned and time.monotonic() < until:
                    other.receive(3)
                assert other.assigned, "no partition moved"
                other.receive(3)

        faults: list[Callable[[], None]] = [
            kill_worker, kill_broker, kill_worker, lose_answers, kill_worker, another_member, kill_worker, slow_way,
            kill_worker, kill_broker, kill_worker, cut_off_and_healed, kill_worker, lose_answers, kill_worker,
            another_member, kill_worker, kill_broker, kill_worker,
        ]  # fmt: skip
        for number, fault in enumerate(faults, start=1):
            share = REQUESTS * number // (len(faults) + 2)
            process.wait_for(lambda share=share: delivered(process) >= share, f"{share} delivered", 300)  # type: ignore[misc]
            fault()
            happened[fault.__name__.replace("_", " ")] += 1
        process.wait_for(lambda: delivered(process) == REQUESTS, "all delivered", 300)
        process.wait_for(lambda: sum(topics.committed().values()) == REQUESTS, "all committed", 300)
        assert process.stop() == 0

        effective, written = topics.effective(), len(topics.records(topics.verdicts))
        sent = Counter(record.partition for record in topics.records(topics.requests))
        print_table(
            happened
            | {
                "requests": REQUESTS,
                "effective verdicts": len(effective),
                "events written, repetitions included": written,
                "videos scored, repetitions included": len(scored.read_text().splitlines()),
                "dead letters": len(topics.records(topics.dead)),
                "offsets to commit": sum(sent.values()),
                "offsets committed": sum(topics.committed().values()),
                "seconds": round(time.monotonic() - began),
            }
        )
        assert {*effective} == {request["uri"] for request in requests}
        assert not topics.records(topics.dead)
        assert topics.committed() == {number: sent[number] for number in range(topics.partitions)}


def test_200_poison_messages_are_200_dead_letters_among_verdicts_that_arrive(
    tmp_path: Path, aws: Aws
) -> None:
    draw = random.Random(7)  # noqa: S311 - no secret
    with durable_broker(tmp_path, aws) as (_, _, topics):
        kinds = poison_kinds(topics.folder / "uploads")
        killers = {"killed_worker", "timeout"}
        cheap = [kind for kind in kinds if kind[0] not in killers]
        poison = [kind for kind in kinds if kind[0] in killers]
        poison += draw.choices(cheap, k=POISON - len(poison))
        good = [topics.upload(f"{number}.mp4") for number in range(40)]
        messages: list[object] = [*good, *(body for _, body in poison)]
        draw.shuffle(messages)
        topics.send(*messages)
        settings = topics.settings(
            scoring={"time_limit_s": 5},
            dead_letters={"max_run": POISON, "max_share": 1},
            work={"in_flight": 6},
        )
        with daemon(tmp_path, "kafka run", settings) as process:
            process.wait_for(lambda: len(process.events("dead letter")) == POISON, "all poison", 600)
            process.wait_for(lambda: delivered(process) == len(good), "all good ones", 300)
            assert process.stop() == 0
        dead = topics.records(topics.dead)
        found = Counter((dict(one.headers)["dmcl-reason"].decode(), one.value) for one in dead)
        print_table(Counter(reason for reason, _ in found.elements()) | {"dead letters": len(dead)})
        assert found == Counter(poison)
        assert {*topics.effective()} == {request["uri"] for request in good}


def test_a_wire_between_worker_and_broker_that_is_pulled_out_costs_nothing(tmp_path: Path) -> None:
    """Two network namespaces: packets vanish, and no connection is told that it has ended."""
    with network_namespace() as link, tansu(tmp_path, host=link.host) as broker:
        topics = Topics(f"{link.host}:{broker.port}", "wire", tmp_path)
        requests = [topics.upload(f"{number}.mp4") for number in range(60)]
        topics.send(*requests)
        settings = topics.settings(scoring={"options": {"delay_s": 0.3}}, work={"in_flight": 4})
        with daemon(tmp_path, "kafka run", settings, inside=link.inside) as process:
            for share, seconds in ((8, 5), (20, 20), (35, 45)):
                process.wait_for(lambda share=share: delivered(process) >= share, f"{share} delivered", 300)  # type: ignore[misc]
                with link.pulled_out():
                    time.sleep(seconds)
                    assert process.alive
            process.wait_for(lambda: delivered(process) == len(requests), "all delivered", 300)
            assert process.stop() == 0
        assert {*topics.effective()} == {request["uri"] for request in requests}
        assert not topics.records(topics.dead)
        assert sum(topics.committed().values()) == len(requests)


def delivered(process: DaemonProcess) -> int:
    return len({line["event_id"] for line in process.events("delivered")})


def print_table(rows: dict[str, int]) -> None:
    print()
    for name, value in rows.items():
        print(f"    {name:<40} {value:>6}")
