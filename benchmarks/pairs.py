"""How many training pairs one core makes a second: every kind of forgery, every corruption, and whole pairs.

CPU seconds of one thread on drawn faces of the size that the shipped model trains on; wall time lies on a shared
machine. What is timed is what `training.data.clips` does; decoding and face finding happen once, before training.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import cv2
import numpy as np

from dmcl_sdk.faces import TEMPLATE
from dmcl_sdk.motion import MotionEstimator, MotionSpec
from training.data.clips import ClipPairs, Source
from training.data.corruptions import Codec, Corruption, apply
from training.data.manifest import Clip
from training.data.runs import Run, margin_of, side_with_margin, without_margin
from training.forgeries import KINDS, animate, harden
from training.forgeries.drawn_face import drawn_clip

FRAMES, SIZE_PX, PAIRS, ROUNDS = 24, 128, 40, 8
SIDE_PX = side_with_margin(SIZE_PX)
TEMPLATE_PX = np.asarray(TEMPLATE * SIZE_PX + margin_of(SIZE_PX), np.float32)
CORRUPTIONS = {
    "colour": Corruption(gamma=1.2, saturation=0.8),
    "blur": Corruption(blur_px=1.0),
    "resize": Corruption(scale=0.6),
    "noise": Corruption(noise_levels=4.0),
    "jpeg": Corruption(quality=60),
    "codec": Corruption(codec=Codec(28, "superfast")),
}


def main() -> None:
    """Print milliseconds a clip of each step, then pairs a second; `--profile` lists where whole pairs spend them."""
    cv2.setNumThreads(1)
    spec = MotionSpec()
    long = drawn_clip(frames=FRAMES + spec.history, crop_px=SIDE_PX)
    short = without_margin(long[:FRAMES])
    print(
        f"ms for a clip of {len(long)} frames at {SIDE_PX} px (forgeries), {FRAMES} at {SIZE_PX} (corruptions)"
    )
    for name, kind in KINDS.items():
        print(f"  {name:14}{_each_ms(lambda n, kind=kind: kind(long, _rng(n), template=TEMPLATE_PX)):7.1f}")  # type: ignore[misc]
    print(
        f"  {'animate':14}{_each_ms(lambda n: animate(long[0], len(long), _rng(n), template=TEMPLATE_PX)):7.1f}"
    )
    print(f"  {'harden':14}{_each_ms(lambda n: harden(long, _rng(n), template=TEMPLATE_PX)):7.1f}")
    for name, corruption in CORRUPTIONS.items():
        print(f"  {name:14}{_each_ms(lambda _, c=corruption: apply(short, c)):7.1f}")  # type: ignore[misc]
    estimator = MotionEstimator(spec)
    print(f"  {'motion':14}{_each_ms(lambda _: estimator.of(short)):7.1f}")
    with tempfile.TemporaryDirectory() as folder:
        pairs = _pairs(Path(folder), spec)
        if "--profile" in sys.argv:
            profile = cProfile.Profile()
            profile.runcall(lambda: [pairs.pair(n) for n in range(PAIRS)])
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        clips_s = _each_ms(pairs.pair, PAIRS) / 1000
        pictures_s = _each_ms(pairs.picture_pair, 4 * PAIRS) / 1000
        print(f"clip pairs {1 / clips_s:.1f} a second, picture pairs {1 / pictures_s:.0f}, on one core")


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _each_ms(work: Callable[[int], object], rounds: int = ROUNDS) -> float:
    """CPU milliseconds a call, after one call that warms up."""
    work(rounds)
    start = process_time()
    for number in range(rounds):
        work(number)
    return 1000 * (process_time() - start) / rounds


def _pairs(folder: Path, spec: MotionSpec) -> ClipPairs:
    sources = []
    for seed in range(8):
        file, frames = folder / f"{seed}.npy", 64
        np.save(file, drawn_clip(frames=frames, crop_px=SIDE_PX, seed=seed))
        times_s = tuple(n / 25 for n in range(frames))
        run = Run(folder / f"{seed}.mp4", file, frames, 0, tuple(range(frames)), times_s)
        sources.append(Source(Clip(run.video, "train", fake=False, identity=str(seed)), (run,)))
    stills = [drawn_clip(frames=1, crop_px=SIDE_PX, seed=20 + n)[0] for n in range(8)]
    return ClipPairs(sources, stills, frames=FRAMES, size_px=SIZE_PX, motion=spec, seed=0)


if __name__ == "__main__":
    main()
