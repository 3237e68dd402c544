from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from training.data.corruptions import Codec, Corruption, CorruptionRanges, apply, corrupt, draw, recompress
from training.forgeries import KINDS, Clip
from training.forgeries.drawn_face import drawn_clip

FRAMES, SIDE_PX = 12, 96
NONE = CorruptionRanges(untouched=0, colour=0, blur=0, resize=0, noise=0, jpeg=0, codec=0)


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def clip() -> Clip:
    drawn = drawn_clip(frames=FRAMES, crop_px=SIDE_PX)
    drawn.flags.writeable = False  # no corruption may write to what it is given
    return drawn


def error(a: Clip, b: Clip) -> float:
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize("seed", range(8))
def test_both_clips_of_a_pair_get_the_same_draw(clip: Clip, seed: int) -> None:
    first, second = corrupt([clip, clip.copy()], seeded(seed))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("seed", range(8))
def test_the_same_seed_gives_the_same_bits(clip: Clip, seed: int) -> None:
    (first,), (again,) = corrupt([clip], seeded(seed)), corrupt([clip], seeded(seed))
    assert np.array_equal(first, again)


def test_many_draws_leave_the_clip_untouched(clip: Clip) -> None:
    untouched = sum(corrupt([clip], seeded(seed))[0] is clip for seed in range(200))
    assert 15 < untouched < 50


def test_a_larger_crop_is_blurred_as_much_for_its_size() -> None:
    small, large = (drawn_clip(frames=1, crop_px=side) for side in (64, 128))
    blurred = apply(large, Corruption(blur_px=2.0))[0]
    shrunk = cv2.resize(blurred, (64, 64), interpolation=cv2.INTER_AREA)[None]
    alike, sharper = (error(shrunk, apply(small, Corruption(blur_px=px))) for px in (2.0, 1.0))
    assert alike < sharper


def test_a_forgery_outlasts_the_corruption_of_its_pair(clip: Clip) -> None:
    forged = KINDS["jitter"](clip, seeded()).clip
    real, fake = corrupt([clip, forged], seeded(1))
    assert real.shape == fake.shape == clip.shape
    assert not np.array_equal(real, fake)


@pytest.mark.parametrize(
    "corruption",
    [
        Corruption(gamma=0.7),
        Corruption(saturation=0.4),
        Corruption(contrast=0.8),
        Corruption(blur_px=1.0),
        Corruption(scale=0.5),
        Corruption(noise_levels=4.0),
        Corruption(quality=40),
        Corruption(codec=Codec(30, "veryfast")),
    ],
)
def test_every_step_changes_the_clip_a_little(clip: Clip, corruption: Corruption) -> None:
    corrupted = apply(clip, corruption)
    assert corrupted.shape == clip.shape
    assert corrupted.dtype == np.uint8
    assert 0.2 < error(corrupted, clip) < 40


def test_no_step_is_no_change(clip: Clip) -> None:
    assert apply(clip, Corruption()) is clip
    assert corrupt([clip], seeded(), NONE)[0] is clip


def test_a_higher_rate_factor_loses_more(clip: Clip) -> None:
    losses = [error(recompress(clip, Codec(crf, "superfast")), clip) for crf in (18, 29, 40)]
    assert losses == sorted(losses)
    assert losses[0] < losses[2]


@pytest.mark.parametrize("side_px", [64, 97, 128])
@pytest.mark.parametrize("offset_px", [(0, 0), (6, 14), (3, 5)])
def test_recompressed_frames_keep_their_place_and_number(side_px: int, offset_px: tuple[int, int]) -> None:
    small = drawn_clip(frames=5, crop_px=side_px)
    again = recompress(small, Codec(18, "ultrafast", offset_px))
    assert again.shape == small.shape
    # a shift by one pixel would cost more than the codec
    assert error(again, small) < error(np.roll(small, 1, axis=2), small)


@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "veryfast", "medium"])
def test_the_codec_replays_bit_for_bit(clip: Clip, preset: str) -> None:
    first = recompress(clip, Codec(30, preset))
    assert all(np.array_equal(first, recompress(clip, Codec(30, preset))) for _ in range(5))


def test_one_frame_can_be_recompressed(clip: Clip) -> None:
    assert recompress(clip[:1], Codec(25, "veryfast")).shape == clip[:1].shape


def test_noise_differs_from_frame_to_frame_and_has_the_strength_asked_for() -> None:
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    noisy = apply(grey, Corruption(noise_levels=5.0, noise_seed=3)).astype(float)
    assert noisy.std() == pytest.approx(5, rel=0.1)
    assert not np.array_equal(noisy[0], noisy[1])


def test_noise_of_a_small_face_is_as_coarse_as_its_pixels() -> None:
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    fine, coarse = (
        apply(grey, Corruption(scale=scale, noise_levels=8.0))[..., 0].astype(float) - 128
        for scale in (None, 0.25)
    )
    beside = [float((one[:, :, 1:] * one[:, :, :-1]).mean() / one.var()) for one in (fine, coarse)]
    assert abs(beside[0]) < 0.1
    assert beside[1] > 0.7


@pytest.mark.parametrize("step", [Corruption(quality=30), Corruption(codec=Codec(34, "veryfast"))])
def test_a_small_face_loses_more_to_a_codec(clip: Clip, step: Corruption) -> None:
    lost = error(apply(clip, step), clip)
    lost_small = error(apply(clip, replace(step, scale=0.25)), apply(clip, Corruption(scale=0.25)))
    assert lost_small > 1.2 * lost


def test_shares_decide_how_often_a_step_is_drawn() -> None:
    always = CorruptionRanges(untouched=0, codec=1, blur=0)
    drawn = [draw(seeded(seed), always) for seed in range(20)]
    assert all(corruption.codec is not None and corruption.blur_px is None for corruption in drawn)
    assert all(corruption.codec and 18 <= corruption.codec.crf <= 40 for corruption in drawn)


def test_ranges_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shares of corruptions lie in 0\.\.1"):
        CorruptionRanges(codec=1.2)
    with pytest.raises(ValueError, match="crf needs"):
        CorruptionRanges(crf=(40, 18))
