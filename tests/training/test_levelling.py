"""Two clips of different sources become equally sharp."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from training.data.levelling import level, sharpness


def textured(seed: int, blur_px: float, *, contrast: float = 1.0) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(seed).uniform(0, 255, (6, 64, 64, 3))
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), blur_px) for frame in noise])
    scaled = (soft - soft.mean()) * (40 * contrast / soft.std()) + 128
    return np.clip(scaled, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("soft_px", [1.2, 1.6, 2.0])
@pytest.mark.parametrize("turned", [False, True])
def test_the_sharper_clip_becomes_about_as_soft_as_the_other(soft_px: float, turned: bool) -> None:  # noqa: FBT001
    clips = textured(1, 0.7), textured(2, soft_px)
    one, other = level(clips[::-1] if turned else clips)
    untouched, changed = (one, other) if turned else (other, one)
    assert np.array_equal(untouched, clips[1])
    assert sharpness(changed) <= sharpness(clips[1])
    assert sharpness(changed) == pytest.approx(sharpness(clips[1]), rel=0.45)


def test_clips_that_are_equally_sharp_stay_as_they_are() -> None:
    clip = textured(1, 1.0)
    one, other = level((clip, clip.copy()))
    assert np.array_equal(one, clip)
    assert np.array_equal(other, clip)


def test_contrast_is_not_taken_for_sharpness() -> None:
    assert sharpness(textured(1, 1.0, contrast=0.4)) == pytest.approx(sharpness(textured(1, 1.0)), rel=0.1)
