"""What carrying a request costs beside scoring it, in CPU seconds.

    python -m benchmarks.connectors [REQUESTS [CLIPS]]

`dmcl kafka run` with a real broker on loopback. Carrying is what the daemon does: reading the request, fetching
the video, ledger, policy, event, sink, commit. Scoring is what its scoring process does. First many small videos, each
another, with a network that answers by a script, so that carrying is what counts; then the same again, which are known.
Then clips of 10 s with the detector that ships. CPU seconds are without the start of either; wall time lies on a shared
machine. What scoring is made of is `dmcl bench`'s to say.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.connectors.daemons import DaemonProcess, daemon
from tests.connectors.servers import tansu
from tests.connectors.topics import Topics
from tests.made import make_video
from tests.sdk.footage import background, carphone_images, paste

CLIP_S = 10


def main() -> None:
    """Print one table."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    clips = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as name, tansu(Path(name)) as broker:
        folder = Path(name)
        topics = Topics(f"127.0.0.1:{broker.port}", "benchmark", folder, partitions=3)
        settings = topics.settings(work={"in_flight": 4})
        with daemon(folder, "kafka run", settings) as process:
            small = [topics.upload(f"{number}.mp4") for number in range(requests)]
            _measured(process, topics, small[:10])  # the first load what the rest finds loaded
            new = _measured(process, topics, small[10:])
            known = _measured(process, topics, small[10:])
            process.stop()  # with all of it committed, so that the next one begins with its own
        clip = make_video(30 * CLIP_S, width=480, height=272, painter=_talking)
        long = [topics.upload(f"long-{number}.mp4", clip + str(number).encode()) for number in range(clips)]
        real = settings | {"scoring": {"detector": "default", "options": {"providers": ["cpu"]}}}
        with daemon(folder, "kafka run", real, name="real") as process:
            scored = _measured(process, topics, long)
            if any(event["status"] == "failed" for event in process.events("delivered")):
                raise SystemExit("a clip was not scored")
    print(f"{'':<34}{'requests/s':>12}{'carrying, CPU ms':>18}{'scoring, CPU ms':>18}")
    print(f"{len(small) - 10:>6} small videos, scripted network{new}")
    print(f"{len(small) - 10:>6} the same again, known        {known}")
    print(f"{clips:>6} clips of {CLIP_S} s, shipped model  {scored}")
    print(f"carrying a request is {new.carrying_s / scored.scoring_s:.2%} of scoring {CLIP_S} s of one face")


@dataclass(frozen=True)
class Cost:
    """Of one request."""

    a_second: float
    carrying_s: float
    scoring_s: float

    def __str__(self) -> str:
        return f"{self.a_second:>10.1f}{1000 * self.carrying_s:>18.1f}{1000 * self.scoring_s:>18.1f}"


def _measured(process: DaemonProcess, topics: Topics, messages: Sequence[Any]) -> Cost:
    process.wait_for(lambda: process.events("assigned"), "partitions")
    done, before, began = _done(process), _cpu_s(process.pid), time.monotonic()
    topics.send(*messages)
    process.wait_for(lambda: _done(process) >= done + len(messages), "all", 1800)
    took_s, after, each = time.monotonic() - began, _cpu_s(process.pid), len(messages)
    return Cost(each / took_s, (after[0] - before[0]) / each, (after[1] - before[1]) / each)


def _talking(index: int, _width: int, _height: int) -> Any:  # noqa: ANN401 - a picture
    """A real face that talks, before a background that drifts."""
    images, canvas = carphone_images(), background(index)
    paste(canvas, images[index % len(images)], 150, 60)
    return canvas


def _done(process: DaemonProcess) -> int:
    """By the log, because asking the daemon would cost it."""
    return process.text().count('"event": "delivered"')


def _cpu_s(pid: int) -> tuple[float, float]:
    """CPU seconds so far, of a process and of its children."""
    own = children = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        ticks = int(fields[11]) + int(fields[12])
        own += ticks if int(stat.parent.name) == pid else 0
        children += ticks if int(fields[1]) == pid else 0
    return own / os.sysconf("SC_CLK_TCK"), children / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
