"""What the way of a request costs beside scoring: requests a second, and CPU seconds each.

    python -m benchmarks.connectors [REQUESTS]

`dmcl kafka run` with a real broker on loopback, one scoring process and a network that answers by a script; the videos
are made, of six frames, each another. CPU seconds are of the daemon and its scoring process without their start; wall
time lies on a shared machine. What scoring really costs is `benchmarks/score.py`'s to say.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.connectors.daemons import DaemonProcess, daemon
from tests.connectors.servers import tansu
from tests.connectors.topics import Topics


def main() -> None:
    """Scan so many made videos, and the same again, which are known then."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as name, tansu(Path(name)) as broker:
        folder = Path(name)
        topics = Topics(f"127.0.0.1:{broker.port}", "benchmark", folder, partitions=3)
        messages = [topics.upload(f"{number}.mp4") for number in range(requests)]
        with daemon(folder, "kafka run", topics.settings(work={"in_flight": 4})) as process:
            process.wait_for(lambda: process.events("assigned"), "partitions")
            for told in ("new videos", "known videos"):
                done = _done(process)
                cpu_s, began = _cpu_s(process.pid), time.monotonic()
                topics.send(*messages)
                process.wait_for(lambda done=done: _done(process) >= done + requests, "all", 600)  # type: ignore[misc]
                took_s, cpu_s = time.monotonic() - began, _cpu_s(process.pid) - cpu_s
                a_second, each_ms = requests / took_s, 1000 * cpu_s / requests
                print(f"{requests} {told:<14}{a_second:8.1f} requests/s {each_ms:8.1f} CPU ms each")
            for stage in ("fetch", "score", "deliver"):
                seconds = process.metric("dmcl_stage_seconds_sum", stage=stage)
                count = process.metric("dmcl_stage_seconds_count", stage=stage)
                print(f"  {stage:<8} {1000 * seconds / count:8.1f} ms each, waiting included")


def _done(process: DaemonProcess) -> float:
    return process.metric("dmcl_requests_total", outcome="delivered")


def _cpu_s(pid: int) -> float:
    """CPU seconds so far, of a process and its children."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
