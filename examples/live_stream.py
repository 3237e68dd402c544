"""Watch a live stream and say, stretch by stretch, what is found.

    python examples/live_stream.py rtsp://camera.example/stream
    python examples/live_stream.py /dev/video0 --format v4l2
    python examples/live_stream.py long.mp4

    reader: packets ─ cut at key frames ─> stretches, one waits at most ─> scorer: verdicts ─> the last minute

Nothing is encoded anew. A stretch ends at the first key frame after so many seconds, and its verdict comes when it was
scored: one stretch plus its scoring after what it is about. A machine that is too slow passes stretches over, and
counts them, so that the delay stays bounded; of a file none is passed over.
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

import av

from dmcl_sdk import Detector, Verdict, VideoError

ROLLING_S = 60.0
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Stretch:
    """A piece of the stream as a Matroska file: when it began, in seconds of the stream, and when it had arrived."""

    start_s: float
    end_s: float
    content: bytes
    arrived: float = field(default_factory=time.monotonic)


def main() -> None:
    """Read in one thread, score in another."""
    parser = argparse.ArgumentParser(description="Watch a live stream.")
    parser.add_argument("source", help="whatever FFmpeg opens: an address, a device, a file")
    parser.add_argument("--format", help="how to read it, where it does not tell: v4l2, mpegts")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a stretch (default 4)")
    given = parser.parse_args()
    live = not Path(given.source).is_file()
    waiting: Queue[Stretch | None] = Queue(maxsize=1)
    lost: list[Stretch] = []
    problems: list[str] = []

    def read() -> None:
        try:
            for stretch in stretches(given.source, given.format, given.seconds):
                put(waiting, stretch, lost if live else None)
        except (av.FFmpegError, IndexError) as error:  # the second: no picture in it
            problems.append(f"{given.source}: {error}")
        finally:
            waiting.put(None)

    with Detector() as detector:
        threading.Thread(target=read, daemon=True).start()
        rolling: deque[tuple[Stretch, Verdict]] = deque()
        for stretch in iter(waiting.get, None):
            try:
                verdict = detector.score(stretch.content)
            except VideoError as error:
                print(f"{stretch.start_s:.1f} s: {error}", flush=True)
                continue
            rolling.append((stretch, verdict))
            while rolling[0][0].end_s < stretch.end_s - ROLLING_S:
                rolling.popleft()
            print(line(stretch, verdict, rolling), flush=True)
    print(f"the stream has ended; {len(lost)} stretches were passed over")
    if problems:
        raise SystemExit(problems[0])


def stretches(source: str, kind: str | None, seconds: float) -> Iterator[Stretch]:
    """The stream, cut at the first key frame after so many seconds."""
    with av.open(source, format=kind, timeout=(20.0, 20.0)) as stream:
        video = stream.streams.video[0]
        held: list[av.Packet[av.VideoStream]] = []
        start_s = end_s = 0.0
        for packet in stream.demux(video):
            if packet.pts is None or not (held or packet.is_keyframe):
                continue  # before the first key frame there is nothing to see
            at_s = float(packet.pts * packet.time_base)
            full = sum(one.size for one in held) > MOST_BYTES
            if held and ((packet.is_keyframe and at_s - start_s >= seconds) or full):
                yield Stretch(start_s, at_s, written(video, held))
                held = []
            if not held:
                start_s = at_s
            held.append(packet)
            end_s = at_s + float((packet.duration or 0) * packet.time_base)
        if held:
            yield Stretch(start_s, end_s, written(video, held))


def written(video: av.VideoStream, packets: list[av.Packet[av.VideoStream]]) -> bytes:
    """Packets as a file of their own."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as out:
        track = out.add_stream_from_template(video)
        for packet in packets:
            packet.stream = track
            out.mux(packet)
    return buffer.getvalue()


def put(waiting: Queue[Stretch | None], stretch: Stretch, lost: list[Stretch] | None) -> None:
    """Hand a stretch on; one that still waits is passed over for it, if that may be."""
    while waiting.full() and lost is not None:
        try:
            passed = waiting.get_nowait()
        except Empty:
            break
        if passed is not None:
            lost.append(passed)
    waiting.put(stretch)


def line(stretch: Stretch, verdict: Verdict, rolling: deque[tuple[Stretch, Verdict]]) -> str:
    """What one stretch says, how late, and the worst of the last minute."""
    worst = max(
        (one.summary.probability for _, one in rolling if one.summary.probability is not None), default=None
    )
    said = verdict.summary.label or verdict.status
    late_s = time.monotonic() - stretch.arrived
    minute = "nothing judged" if worst is None else f"{worst:.2f}"
    return (
        f"{stretch.start_s:.1f} to {stretch.end_s:.1f} s: {said}"
        f"{'' if verdict.summary.probability is None else f' {verdict.summary.probability:.2f}'}"
        f", {late_s:.1f} s after it was in; worst of the last minute: {minute}"
    )


if __name__ == "__main__":
    main()
