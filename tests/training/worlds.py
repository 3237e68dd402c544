"""A small labelled world to train on: made videos of a drawn face, which the real face detector finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.clips import ClipPairs, Source
from training.data.manifest import Clip
from training.data.runs import Run, side_with_margin
from training.networks.two_stream import NetworkConfig

TINY = NetworkConfig(
    size_px=64,
    rgb_widths=(8, 8, 16, 16),
    flow_widths=(8, 8, 8),
    rgb_depths=(1, 1, 1, 1),
    token_width=16,
)


def run_of(crops: npt.NDArray[np.uint8], folder: Path, name: str) -> Run:
    file = folder / f"{name}.npy"
    np.save(file, crops)
    frames = tuple(range(len(crops)))
    return Run(folder / f"{name}.mp4", file, len(crops), 0, frames, tuple(n / 25 for n in frames))


def drawn(frames: int, side: int, seed: int) -> npt.NDArray[np.uint8]:
    """Crops of a drawn face that moves a little."""
    from training.forgeries.drawn_face import drawn_clip

    return drawn_clip(frames=frames, crop_px=side, seed=seed)


def small_world(folder: Path, *, size_px: int = 64, fakes: bool = True) -> list[Source]:
    """Three real runs and, paired with the first, a fake."""
    side = side_with_margin(size_px)
    sources = []
    for seed in range(3):
        run = run_of(drawn(48, side, seed), folder, f"real{seed}")
        sources.append(Source(Clip(run.video, "train", fake=False, identity=str(seed)), (run,)))
    if fakes:
        forged = sources[0].runs[0].crops().copy()
        forged[:, side // 2 : side // 2 + 12] //= 2
        run = run_of(forged, folder, "fake0")
        clip = Clip(run.video, "train", fake=True, generator="darkener", pair=sources[0].clip.path)
        sources.append(Source(clip, (run,)))
    return sources


def small_pairs(folder: Path, *, frames: int = 16, seed: int = 0, fakes: bool = True) -> ClipPairs:
    from dmcl_sdk.motion import MotionSpec

    stills = [drawn(1, side_with_margin(64), 10 + n)[0] for n in range(5)]
    sources = small_world(folder, fakes=fakes)
    return ClipPairs(sources, stills, frames=frames, size_px=64, motion=MotionSpec(), seed=seed)
