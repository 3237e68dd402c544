from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.sdk.scenes import red_video

HOURS = 2
CLIP_FRAMES = 100
GIB, MIB = 2**30, 2**20

SCORE = """
import json, sys
from tests.sdk.scenes import red_detector
verdict = red_detector().score(sys.argv[1])
with open("/proc/self/status") as status:  # ru_maxrss would be this process's or its parent's
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({
    "peak": peak * 1024, "duration_ms": verdict.asset.duration_ms, "scanned_ms": verdict.summary.scanned_ms,
    "tracks": len(verdict.tracks), "spans": len(verdict.spans), "status": verdict.status,
}))
"""

MANY_LENGTHS = """
import resource
import numpy as np
from dmcl_sdk.judging import CHUNK_FRAMES
from dmcl_sdk.network import OnnxNetwork
network = OnnxNetwork(providers=["cpu"])
spec, rng = network.spec, np.random.default_rng(0)
rgb = rng.integers(0, 256, (1, CHUNK_FRAMES // spec.rgb_stride, spec.size_px, spec.size_px, 3), np.uint8)
shape = (1, CHUNK_FRAMES, spec.motion.channels, spec.motion_px, spec.motion_px)
motion = rng.integers(-40, 40, shape, np.int8)
for frames in rng.integers(2, CHUNK_FRAMES // 8 + 1, 60) * 8:
    network.run(rgb[:, : frames // spec.rgb_stride], motion[:, :frames])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def repeated(clip: bytes, path: Path, times: int) -> None:
    """The same packets over and over, as one long file: decoding it is real, encoding it is not needed."""
    source = path.with_suffix(".clip.mp4")
    source.write_bytes(clip)
    with av.open(source) as read, av.open(path, "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.dts is not None]
        assert packets[0].time_base is not None
        step = round(Fraction(CLIP_FRAMES, 25) / packets[0].time_base)
        times_of = [(packet.pts or 0, packet.dts or 0) for packet in packets]
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, times_of, strict=True):
                packet.pts, packet.dts, packet.stream = pts + turn * step, dts + turn * step, stream
                written.mux(packet)


@pytest.mark.slow
def test_the_model_that_ships_leaves_a_fifth_of_a_gibibyte_to_the_rest_whatever_the_lengths_of_runs() -> None:
    answer = subprocess.run([sys.executable, "-c", MANY_LENGTHS], capture_output=True, text=True, check=True)
    assert int(answer.stdout) < 0.8 * GIB


def peak_of(path: Path, seconds: int) -> int:
    """Most bytes that were resident while so much video was scored: one face, forged for .8 s of every four."""
    turns = seconds * 25 // CLIP_FRAMES
    repeated(red_video(CLIP_FRAMES, 40, 60, b_frames=0), path, turns)
    answer = subprocess.run(
        [sys.executable, "-c", SCORE, str(path)], capture_output=True, text=True, check=True
    )
    found = json.loads(answer.stdout)
    assert found["duration_ms"] == found["scanned_ms"] == 1000 * seconds
    assert found["status"] == "scored"
    assert (found["tracks"], found["spans"]) == (1, turns)
    return int(found["peak"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_video_of_two_hours_takes_hardly_more_memory_than_one_of_a_minute(tmp_path: Path) -> None:
    minute, hours = (peak_of(tmp_path / f"{seconds}.mp4", seconds) for seconds in (60, HOURS * 3600))
    assert hours < minute + 128 * MIB
