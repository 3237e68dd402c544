from __future__ import annotations

import logging
from pathlib import Path

import av
import numpy as np
import pytest

from dmcl_sdk.video import open_video
from tests.made import make_video, smooth
from training.data.manifest import Clip
from training.splices import make_splices

FRAMES = 120


def darkened(index: int, width: int, height: int) -> np.ndarray:
    """The same picture with a dark middle, as a fake differs in the face alone."""
    picture = smooth(index, width, height).copy()
    picture[height // 3 : height // 2, width // 3 : width // 2] = 0
    return picture


@pytest.fixture
def pair(tmp_path: Path) -> list[Clip]:
    real, fake = tmp_path / "real.mp4", tmp_path / "fake.mp4"
    real.write_bytes(make_video(FRAMES + 30, painter=smooth))
    fake.write_bytes(make_video(FRAMES, painter=darkened))
    return [Clip(real, "val", fake=False), Clip(fake, "val", fake=True, generator="darkener", pair=real)]


def middle_is_dark(path: Path) -> list[bool]:
    with open_video(path) as frames:
        images = [frame.image(96) for frame in frames]
    return [bool(image[26:34, 34:46].mean() < 40) for image in images]


def test_the_truth_says_exactly_which_frames_are_the_fake_ones(pair: list[Clip], tmp_path: Path) -> None:
    splices = list(make_splices(pair, tmp_path / "out"))
    assert [round(splice.truth.duration_s, 3) for splice in splices] == [0.4, 1.0, 2.0]
    for splice in splices:
        first, end = round(splice.truth.start_s * 25), round(splice.truth.end_s * 25)
        dark = middle_is_dark(splice.path)
        assert len(dark) == FRAMES
        assert [n for n, is_dark in enumerate(dark) if is_dark] == list(range(first, end))


def test_the_same_seed_gives_the_same_videos(pair: list[Clip], tmp_path: Path) -> None:
    first, second = (list(make_splices(pair, tmp_path / name)) for name in ("a", "b"))
    assert [s.truth for s in first] == [s.truth for s in second]
    assert [s.path.read_bytes() for s in first] == [s.path.read_bytes() for s in second]
    other = list(make_splices(pair, tmp_path / "c", seed=1))
    assert [s.truth for s in first] != [s.truth for s in other]


def test_a_pair_of_which_one_cannot_be_read_has_no_splices_and_the_others_have(
    pair: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(pair[1].path.read_bytes()[:2000])
    clips = [Clip(broken, "val", fake=True, generator="darkener", pair=pair[0].path), *pair]
    with caplog.at_level(logging.WARNING):
        assert len(list(make_splices(clips, tmp_path / "out"))) == 3
    assert "broken.mp4" in caplog.text


def test_of_a_long_pair_as_much_is_spliced_as_may_be_held(
    pair: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.splices._MOST_BYTES", 60 * _bytes_of(pair[0].path))
    lengths = [splice.truth.duration_s for splice in make_splices(pair, tmp_path / "out")]
    assert [round(length, 3) for length in lengths] == [
        0.4,
        1.0,
    ]  # two seconds are more than half of sixty frames


def _bytes_of(path: Path) -> int:
    """A picture's, in planes of 4:2:0."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        return stream.width * stream.height * 3 // 2


def test_a_pair_of_other_pictures_is_not_spliced(tmp_path: Path) -> None:
    def inverted(index: int, width: int, height: int) -> np.ndarray:
        return 255 - smooth(index, width, height)

    real, fake = tmp_path / "real.mp4", tmp_path / "fake.mp4"
    real.write_bytes(make_video(FRAMES, painter=smooth))
    fake.write_bytes(make_video(FRAMES, painter=inverted))
    clips = [Clip(fake, "val", fake=True, pair=real)]
    assert list(make_splices(clips, tmp_path / "out")) == []
    fake.write_bytes(make_video(FRAMES, painter=smooth, width=128))
    assert list(make_splices(clips, tmp_path / "out")) == []
