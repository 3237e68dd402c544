"""A clip as one picture: some of its frames, what is known of them, and what the network said."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SHOWN = 8
_GENUINE, _MANIPULATED, _CURVE = (40, 160, 60), (210, 40, 40), (30, 60, 200)
_BAND_PX, _CHART_PX = 4, 48


def sample_sheet(
    rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.float32], probabilities: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Frames in a row, a band under them (green: genuine, red: manipulated), and the curve, 0 at the bottom.

    Args:
        rgb: (T, S, S, 3).
        labels: (T,), 1 where manipulated.
        probabilities: (T,), the network's.

    Returns:
        RGB (S + 52, 8 * S, 3), narrower if there are fewer frames.
    """
    frames = len(rgb)
    shown = np.unique(np.linspace(0, frames - 1, min(frames, _SHOWN)).round().astype(int))
    row = np.concatenate(list(rgb[shown]), axis=1)
    width = row.shape[1]
    frame_of = np.arange(width) * frames // width
    colours = np.where(labels[frame_of, None] > 0, _MANIPULATED, _GENUINE).astype(np.uint8)
    band = np.repeat(colours[None], _BAND_PX, 0)
    chart = np.full((_CHART_PX, width, 3), 255, np.uint8)
    x = (np.arange(frames) + 0.5) * width / frames
    y = (1 - np.clip(probabilities, 0, 1)) * (_CHART_PX - 1)
    points = np.stack([x, y], 1).round().astype(np.int32)
    cv2.polylines(chart, [points], isClosed=False, color=_CURVE, thickness=2)
    return np.concatenate([row, band, chart])
