"""Whole videos, from a file to a verdict: one and several at once, beside a bare decode, on the GPU and on the CPU."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import Interpolation

from benchmarks.gpu.rows import Bench
from dmcl_sdk import Detector, Verdict
from dmcl_sdk.bench.clips import BITRATES_KBPS
from dmcl_sdk.bench.stages import bare_decode
from dmcl_sdk.bench.turns import cpu_s

ENDS = 1, 16
"""Videos at once."""
STAGES = "decode", "faces", "motion", "network"
_RATE = 30


def versions(clip: Path, heights: Sequence[int], folder: Path, *, seconds: int) -> dict[int, Path]:
    """The clip forth and back for so long, at every height: a chunk is 6.4 s."""
    with av.open(str(clip)) as read:
        frames = list(itertools.islice(read.decode(video=0), 240))
    turn = [*frames, *frames[-2:0:-1]]
    made = {}
    for height in heights:
        path = made[height] = folder / f"{height}.mp4"
        width = round(height * frames[0].width / frames[0].height / 2) * 2
        kbps = BITRATES_KBPS[height]
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=_RATE)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.bit_rate = kbps * 1000
            stream.options = {"preset": "veryfast", "maxrate": f"{kbps}k", "bufsize": f"{2 * kbps}k"}
            for frame in itertools.islice(itertools.cycle(turn), seconds * _RATE):
                picture = frame.reformat(width, height, "yuv420p", interpolation=Interpolation.BICUBIC)
                picture.pts = None
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
    return made


def measure(bench: Bench) -> None:
    """The smallest version alone: the quickest form and the CPU, a video at a time and many."""
    _both(bench, min(bench.videos))


def measure_more(bench: Bench) -> None:
    """Larger versions, processes in place of threads, and the other forms."""
    small, *larger = sorted(bench.videos)
    for height in reversed(larger):
        _both(bench, height)
    bench.attempt("whole", f"processes {small}", _processes, small)
    for form in ("grouped", "whole"):
        bench.attempt("whole", form, _threads, form, bench.provider, small)
    for height in reversed(larger):
        bench.attempt("whole", f"processes {height}", _processes, height)


def _both(bench: Bench, height: int) -> None:
    bench.attempt("whole", f"half {height}", _threads, "half", bench.provider, height)
    bench.attempt("whole", f"cpu {height}", _threads, "grouped", "cpu", height)
    bench.attempt("whole", f"decode {height}", _decoding, height)


def _decoding(bench: Bench, height: int) -> None:
    """A bare decode, one at a time and as many at once as are scored at most."""
    for at_once in ENDS:
        began = cpu_s(), time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            frames = sum(pool.map(bare_decode, [bench.videos[height]] * at_once))
        wall, spent = time.perf_counter() - began[1], cpu_s() - began[0]
        _note(
            bench, {"form": "bare decode", "height": height, "threads": at_once}, frames / _RATE, wall, spent
        )


def _threads(bench: Bench, form: str, provider: str, height: int) -> None:
    """Threads around one `Detector`; then the seconds of every stage, added over threads, by second of video."""
    detector, video = Detector(bench.forms[form], providers=[provider]), bench.videos[height]
    detector.score(video)
    for videos in (1, 2) if bench.quick else ENDS:
        began = cpu_s(), time.perf_counter()
        with ThreadPoolExecutor(videos) as pool:
            verdicts = list(pool.map(detector.score, [video] * videos))
        wall, spent = time.perf_counter() - began[1], cpu_s() - began[0]
        row = {"form": form, "on": provider, "height": height, "threads": videos}
        real = _seconds(verdicts)
        _note(bench, row, real, wall, spent, **_stages(verdicts, real))
        if bench.late:
            return


def _note(bench: Bench, row: dict[str, Any], real: float, wall: float, spent: float, **more: float) -> None:
    bench.note("whole", **row, times_real_time=real / wall, cpu_s_a_video_s=spent / real, **more)


def _seconds(verdicts: Sequence[Verdict]) -> float:
    return sum((verdict.asset.duration_ms or 0) / 1000 for verdict in verdicts)


def _stages(verdicts: Sequence[Verdict], real: float) -> dict[str, float]:
    timings = [verdict.timings for verdict in verdicts]
    return {stage: sum(getattr(each, f"{stage}_s") for each in timings) / real for stage in STAGES}


_scorer: list[Callable[[Path], Verdict]] = []  # of a process of the pool


def _open_scorer(model: Path, provider: str, video: Path) -> None:
    """In a process of the pool: a detector that is warm."""
    _scorer.append(Detector(model, providers=[provider]).score)
    _scorer[0](video)


def _score_there(video: Path) -> tuple[Verdict, float]:
    """A verdict, and the processor time that it took."""
    began = time.process_time()
    return _scorer[0](video), time.process_time() - began


def _processes(bench: Bench, height: int) -> None:
    """Half as many processes as there are cores, which share no lock: two videos after one another each."""
    count, video = max(2, min(8, (os.cpu_count() or 2) // 2)), bench.videos[height]
    opened = bench.forms["half"], bench.provider, video
    with ProcessPoolExecutor(count, get_context("spawn"), _open_scorer, opened) as pool:
        list(pool.map(_score_there, [video] * count))
        began = time.perf_counter()
        verdicts, spent = zip(*pool.map(_score_there, [video] * 2 * count), strict=True)
        wall = time.perf_counter() - began
    row = {"form": "half", "on": bench.provider, "height": height, "processes": count}
    real = _seconds(verdicts)
    _note(bench, row, real, wall, sum(spent), **_stages(verdicts, real))
