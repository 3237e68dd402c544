from __future__ import annotations

import numpy as np

from training.samples import sample_sheet


def test_a_sheet_shows_frames_labels_and_the_curve_over_the_same_width() -> None:
    rgb = np.zeros((16, 10, 10, 3), np.uint8)
    rgb[-1] = 255
    labels = np.repeat(np.array([0, 1], np.float32), 8)
    sheet = sample_sheet(rgb, labels, labels)
    assert sheet.shape == (62, 80, 3)
    assert not sheet[:10, :70].any()
    assert (sheet[:10, 70:] == 255).all(), "the last frame is among those shown"
    green, red = sheet[11, 10].astype(int), sheet[11, 70].astype(int)
    assert green[1] > green[0]
    assert red[0] > red[1]
    chart = sheet[14:].min(2)
    assert chart[-2:, 10].min() < 255, "a probability of 0 lies at the bottom"
    assert chart[:2, 70].min() < 255, "a probability of 1 lies at the top"
