"""The seven perturbations: what each does to a picture, and that a perturbed video keeps its frames and times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dmcl_sdk import Detector, VideoError
from dmcl_sdk.video import open_video
from tests.made import make_video, smooth, textured
from tests.sdk.footage import carphone
from training.perturbations import KINDS, LEVELS, Kind, perturb, perturb_video

PER_PICTURE = tuple(kind for kind in KINDS if kind != "compression")


def seeded() -> np.random.Generator:
    return np.random.default_rng(0)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference in grey levels."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))


def written(folder: Path, *, painter: object = smooth, **settings: object) -> Path:
    path = folder / "source.mp4"
    path.write_bytes(make_video(painter=painter, **settings))  # type: ignore[arg-type]
    return path


def test_there_are_seven_kinds_at_five_levels() -> None:
    assert len(KINDS) == 7
    assert {kind: len(LEVELS[kind]) for kind in KINDS} == dict.fromkeys(KINDS, 5)


@pytest.mark.parametrize("kind", PER_PICTURE)
def test_a_higher_level_changes_a_picture_more(kind: Kind) -> None:
    fine = np.random.default_rng(1).normal(0, 1, (512, 512, 3))
    picture = np.clip(128 + 300 * cv2.GaussianBlur(fine, (0, 0), 2.5), 0, 255).astype(np.uint8)
    changes = [apart(perturb(picture, kind, level, seeded()), picture) for level in range(1, 6)]

    assert changes[0] > 0.5
    assert changes == sorted(changes)


def test_without_saturation_a_picture_is_grey_and_as_bright() -> None:
    picture = smooth(0, 64, 64)
    grey = perturb(picture, "saturation", 5, seeded())

    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    assert np.abs(grey[..., 0] - picture @ (0.299, 0.587, 0.114)).max() <= 1


def test_contrast_is_lost_towards_black() -> None:
    assert perturb(np.full((8, 8, 3), 200, np.uint8), "contrast", 3, seeded()).max() == 120


def test_blocks_are_grey_squares_and_more_in_a_larger_picture() -> None:
    black = np.zeros((512, 512, 3), np.uint8)
    changed = perturb(black, "block", 1, seeded())

    assert set(np.unique(changed)) == {0, 128}
    squares = (changed[..., 0] == 128).sum() / 64
    assert 24 < squares <= 2 * 16  # some lie over each other
    assert (perturb(black[:64, :64], "block", 1, seeded()) == 128).any()


def test_noise_has_the_stated_variance_in_luma() -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    noisy = perturb(grey, "noise", 2, seeded())
    luma = noisy @ (0.299, 0.587, 0.114)

    # luma codes span 219 levels where the picture's span 255
    assert luma.std() * 219 / 255 == pytest.approx(256 * np.sqrt(LEVELS["noise"][1]), rel=0.03)


def test_pixelation_leaves_as_many_pixels_as_the_factor_says() -> None:
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[:, ::2] = 255

    assert np.ptp(perturb(stripes, "pixelate", 5, seeded())[10:-10, 10:-10]) <= 4


def test_compression_is_not_of_a_single_picture() -> None:
    with pytest.raises(ValueError, match="perturb_video"):
        perturb(smooth(0, 64, 64), "compression", 1, seeded())


@pytest.mark.parametrize("level", [0, 6])
def test_there_is_no_level_beyond_the_five(level: int) -> None:
    with pytest.raises(ValueError, match="1 to 5"):
        perturb(smooth(0, 64, 64), "blur", level, seeded())


@pytest.mark.parametrize("kind", KINDS)
def test_a_perturbed_video_has_the_same_frames_at_the_same_times(kind: Kind, tmp_path: Path) -> None:
    times_s = [Fraction(n, 25) + Fraction(n % 3, 100) for n in range(12)]
    source = written(tmp_path, frames=12, times_s=times_s)
    perturb_video(source, tmp_path / "out.mp4", kind, 3)

    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        pairs = list(zip(before, after, strict=True))
    assert [b.start_s for _, b in pairs] == pytest.approx([a.start_s for a, _ in pairs], abs=1e-4)
    assert all((a.width, a.height) == (b.width, b.height) for a, b in pairs)
    assert apart(pairs[5][0].image(96), pairs[5][1].image(96)) > 0.5


def test_a_turned_video_of_odd_size_comes_out_upright(tmp_path: Path) -> None:
    source = written(tmp_path, frames=6, width=70, height=96, rotation=90)
    perturb_video(source, tmp_path / "out.mp4", "saturation", 1)

    with open_video(tmp_path / "out.mp4") as video:
        assert (video.info.width, video.info.height, video.info.rotation) == (96, 70, 0)


def test_the_rest_of_a_picture_is_left_as_it_was(tmp_path: Path) -> None:
    source = written(tmp_path, frames=6)
    perturb_video(source, tmp_path / "out.mp4", "block", 1)

    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        change = np.abs(next(iter(before)).image(96).astype(int) - next(iter(after)).image(96))
    assert np.median(change) <= 2


def test_compression_takes_bits(tmp_path: Path) -> None:
    source = written(tmp_path, frames=12, painter=textured)
    sizes = []
    for level in (1, 5):
        perturb_video(source, tmp_path / "out.mp4", "compression", level)
        with av.open(str(tmp_path / "out.mp4")) as container:
            sizes.append(sum(packet.size for packet in container.demux(video=0)))
    assert sizes[1] < sizes[0]


def test_the_same_call_writes_the_same_bits(tmp_path: Path) -> None:
    source = written(tmp_path, frames=6)
    for name in ("a.mp4", "b.mp4"):
        perturb_video(source, tmp_path / name, "noise", 2)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_file_that_is_no_video_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError):
        perturb_video(tmp_path / "text.mp4", tmp_path / "out.mp4", "blur", 1)


def test_a_real_person_under_strong_noise_is_not_judged_instead_of_called_manipulated(tmp_path: Path) -> None:
    noisy = tmp_path / "noisy.mp4"
    perturb_video(carphone(), noisy, "noise", 3)
    found = Detector().score(noisy)
    assert (found.status, found.spans) == ("abstained", ())
    assert "too_noisy" in {reason.code for reason in found.reasons}
