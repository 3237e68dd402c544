"""Random paths over the frames of a clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def noise_paths(
    rng: np.random.Generator, frames: int, columns: int, *, smooth_frames: float
) -> NDArray[np.float32]:
    """Stationary noise (frames, columns) of unit variance.

    Args:
        rng: source of randomness.
        frames: length of the paths.
        columns: how many independent paths.
        smooth_frames: standard deviation in frames of the Gaussian that smooths them; 0 keeps them white.
    """
    reach = int(np.ceil(3 * smooth_frames))
    white = rng.standard_normal((frames + 2 * reach, columns), np.float32)
    if reach == 0:
        return white
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / smooth_frames) ** 2)
    kernel = (kernel / np.linalg.norm(kernel)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(white, 2 * reach + 1, axis=0)
    return np.asarray(windows @ kernel, np.float32)


def ramp(frames: int, *, eased: bool) -> NDArray[np.float32]:
    """A path (frames,) from 0 at the first frame to 1 at the last: straight, or slow at both ends."""
    path = np.linspace(0, 1, frames, dtype=np.float32)
    return path * path * (3 - 2 * path) if eased else path


def event(frames: int, centre: float, width_frames: float) -> NDArray[np.float32]:
    """A smooth bump (frames,) of height 1 about `centre`, 0 beyond half of `width_frames`."""
    phase = np.clip((np.arange(frames) - centre) / width_frames, -0.5, 0.5)
    return np.asarray(np.cos(np.pi * phase) ** 2, np.float32)


def back_and_forth(rng: np.random.Generator, frames: int, available: int) -> NDArray[np.intp]:
    """Indices (frames,) that play `available` frames from a random one on, turning back at either end."""
    period = max(2 * available - 2, 1)
    position = (rng.integers(period) + np.arange(frames)) % period
    return np.asarray(np.minimum(position, period - position), np.intp)


def other_moments(rng: np.random.Generator, frames: int) -> NDArray[np.intp]:
    """A smooth path (frames,) to moments where the mouth says something else but the pose is alike."""
    lag = rng.choice((-1, 1)) * rng.uniform(3, 10)
    wander = rng.uniform(1, 4) * noise_paths(rng, frames, 1, smooth_frames=4)[:, 0]
    moments = np.rint(np.arange(frames) + lag + wander).astype(np.intp)
    last = max(frames - 1, 1)
    mirrored = np.abs(moments) % (2 * last)
    return np.asarray(np.minimum(np.minimum(mirrored, 2 * last - mirrored), frames - 1), np.intp)
