from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmcl_sdk.motion import (
    FLOW_SCALE_PX,
    MotionSpec,
    as_values,
    compress,
    motion_fields,
)

SIZE = 128
SPEC = MotionSpec((1, 4))


def texture(seed: int = 0) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal((SIZE * 2, SIZE * 2)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(128 + 40 * blurred / blurred.std(), np.float32)


def shifted(picture: npt.NDArray[np.float32], right: float, down: float) -> npt.NDArray[np.uint8]:
    """The middle of a picture whose content has moved."""
    matrix = np.array([[1, 0, right - SIZE / 2], [0, 1, down - SIZE / 2]], np.float64)
    moved = cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC)
    return np.repeat(np.clip(np.rint(moved), 0, 255).astype(np.uint8)[..., None], 3, -1)


def moving(frames: int, step_px: float) -> npt.NDArray[np.uint8]:
    return np.stack([shifted(texture(), step_px * t, 0) for t in range(frames)])


def flow_px(fields: npt.NDArray[np.int8], channel: int) -> npt.NDArray[np.float32]:
    """Flow in pixels of the crop, from what is stored."""
    values = as_values(fields[:, channel])
    return np.asarray(np.sign(values) * FLOW_SCALE_PX * np.expm1(np.abs(values)), np.float32)


def face(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return field[..., 16:48, 16:48]


def test_the_rigid_motion_of_the_whole_crop_leaves_no_trace() -> None:
    fields = motion_fields(moving(8, 1.5), SPEC)
    assert np.abs(face(flow_px(fields[1:], 0))).mean() < 0.15
    assert np.abs(face(flow_px(fields[4:], 4))).mean() < 0.3


def test_crops_of_twice_the_size_shrunk_to_the_same_pictures_have_the_same_motion() -> None:
    crops = moving(6, 1.0) // 4 * 4  # means of four are whole numbers
    doubled, finer = crops.repeat(2, 1).repeat(2, 2), MotionSpec((1, 4), shrink=4)
    fields = motion_fields(crops, SPEC)
    assert np.array_equal(fields, motion_fields(doubled, finer))
    assert np.array_equal(finer.pixels(fields), 2 * SPEC.pixels(fields))
    assert np.allclose(SPEC.pixels(fields)[:, 0], flow_px(fields, 0))


def test_motion_is_never_taken_of_pictures_larger_than_the_crop() -> None:
    with pytest.raises(ValueError, match="shrink is at least 1, got 0"):
        MotionSpec(shrink=0)


def test_a_region_that_moves_on_its_own_stands_out_in_pixels_of_the_crop() -> None:
    crops = moving(6, 1.0)
    still, moved = texture(7), crops.copy()
    for t in range(6):  # a patch of another texture, which drifts down against the head
        moved[t, 72:104, 48:80] = shifted(still, 1.0 * t, 2.0 * t)[72:104, 48:80]
    down = flow_px(motion_fields(moved, SPEC), 1)[3:, 38:50, 26:38]
    assert -2.5 < np.median(down) < -1.5  # flow points back to where the patch was: upwards


def test_frames_without_a_partner_have_no_motion_and_no_validity() -> None:
    fields = motion_fields(moving(6, 1.0), SPEC)
    assert not fields[0].any()
    assert not fields[3, 4:].any()
    assert fields[3, 3].any()
    assert fields[4, 7].any()


@given(cut=st.integers(1, 11), skip=st.integers(0, 6))
def test_any_chunking_of_a_run_gives_the_same_numbers(cut: int, skip: int) -> None:
    crops = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    spec = MotionSpec((1, 3))
    whole = motion_fields(crops, spec)
    start = max(0, cut - spec.history)
    later = motion_fields(crops[start:], spec, skip=cut - start)
    assert np.array_equal(whole[cut:], later)
    assert np.array_equal(motion_fields(crops, spec, skip=skip), whole[skip:])


def test_flicker_without_motion_shows_in_the_difference_alone() -> None:
    still = np.stack([shifted(texture(), 0, 0)] * 4)
    still[2] = np.clip(still[2].astype(int) + 6, 0, 255)
    fields = as_values(motion_fields(still, MotionSpec((1,))))
    assert fields[2, 2].mean() > 0.5
    assert np.abs(fields[2, :2]).mean() < 0.3
    assert np.abs(fields[1, 2]).mean() < 0.05


@given(st.floats(-60, 60, width=32))
def test_compression_keeps_sign_and_order_and_is_finest_near_zero(value: float) -> None:
    stored = compress(np.array([value, value + 1.0], np.float32), FLOW_SCALE_PX)
    assert np.sign(stored[0]) in (0, np.sign(value))
    assert stored[0] <= stored[1]


def test_a_twentieth_of_a_pixel_is_still_told_from_none() -> None:
    assert compress(np.array([0.05], np.float32), FLOW_SCALE_PX)[0] > 2


@pytest.mark.parametrize("baselines", [(), (0, 1), (4, 1), (1, 1)])
def test_baselines_out_of_order_are_refused(baselines: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="baselines are distinct"):
        MotionSpec(baselines)


def test_a_baseline_says_the_same_whatever_the_others_are() -> None:
    crops = moving(6, 1.3)
    assert np.array_equal(
        motion_fields(crops, MotionSpec((1, 4)))[:, 4:], motion_fields(crops, MotionSpec((2, 4)))[:, 4:]
    )
