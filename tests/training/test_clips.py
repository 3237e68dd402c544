from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from dmcl_sdk.faces import TEMPLATE
from dmcl_sdk.motion import MotionSpec
from dmcl_sdk.segment import Segment
from tests.training.worlds import drawn, run_of, small_pairs, small_world
from training.data.clips import ClipPairs, Crops, Mix, Source, read_photographs
from training.data.corruptions import CorruptionRanges
from training.data.manifest import Clip, require_rights
from training.data.runs import side_with_margin
from training.forgeries import harden


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ClipPairs:
    return small_pairs(tmp_path_factory.mktemp("world"))


def test_a_pair_is_the_same_every_time(pairs: ClipPairs) -> None:
    for number in range(6):
        for first, second in zip(pairs.pair(number), pairs.pair(number), strict=True):
            assert np.array_equal(np.asarray(first), np.asarray(second), equal_nan=True)


def test_other_numbers_and_seeds_are_other_pairs(pairs: ClipPairs, tmp_path: Path) -> None:
    assert not np.array_equal(pairs.pair(0).rgb, pairs.pair(1).rgb)
    assert not np.array_equal(pairs.pair(0).rgb, small_pairs(tmp_path, seed=1).pair(0).rgb)


def test_the_real_clip_comes_first_and_is_never_labelled(pairs: ClipPairs) -> None:
    for number in range(12):
        pair = pairs.pair(number)
        assert pair.rgb.shape == (2, 16, 64, 64, 3)
        assert pair.motion.shape == (2, 16, 12, 32, 32)
        assert not pair.labels[0].any()
        assert not pair.masks[0][~np.isnan(pair.masks[0])].any()
        assert pair.fake.tolist() == [0.0, float(pair.labels[1].any())]


def test_a_frame_that_was_not_forged_shows_no_place(pairs: ClipPairs) -> None:
    checked = 0
    for number in range(12):
        pair = pairs.pair(number)
        if not np.isnan(pair.masks[1]).any():
            unforged = pair.labels[1] == 0
            assert not pair.masks[1][unforged].any()
            checked += int(unforged.any())
    assert checked


def test_most_draws_hold_a_forged_frame(pairs: ClipPairs) -> None:
    assert np.mean([pairs.pair(number).fake[1] for number in range(20)]) > 0.9


def test_pictures_come_in_pairs_too(pairs: ClipPairs) -> None:
    for number in range(8):
        pair = pairs.picture_pair(number)
        assert pair.rgb.shape == (2, 64, 64, 3)
        assert pair.fake.tolist() == [0.0, 1.0]
        assert not np.array_equal(pair.rgb[0], pair.rgb[1])


def test_without_fakes_or_photographs_the_other_sources_serve(tmp_path: Path) -> None:
    pairs = small_pairs(tmp_path, fakes=False)
    assert all(pairs.pair(number).fake[1] == 1 for number in range(4))


def test_videos_without_a_long_enough_face_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no real video has a face for 64 frames"):
        small_pairs(tmp_path, frames=64)


def test_photographs_are_those_of_a_split_and_of_the_rights_that_are_asked_for(tmp_path: Path) -> None:
    points = ("reye", "leye", "nose", "rmouth", "lmouth")
    places = ",".join(f"{x * 64:g},{y * 64:g}" for x, y in TEMPLATE)
    header = "file,split,rights," + ",".join(f"{point}_x,{point}_y" for point in points)
    rows = [("a", "train", "CC BY 4.0 (X)"), ("b", "train", "research use"), ("c", "val", "CC BY 4.0")]
    for shade, (name, _, _) in enumerate(rows, start=1):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((64, 64, 3), 20 * shade, np.uint8))
    path = tmp_path / "photographs.csv"
    path.write_text("\n".join([header, *(f"{n}.png,{s},{r},{places}" for n, s, r in rows)]) + "\n")

    def shades(split: str, *rights: str) -> list[int]:
        found = read_photographs(path, split=split, size_px=64, rights=rights)
        return [int(crop[48, 48, 0]) for crop in found]

    assert shades("train") == [20, 40]
    assert shades("train", "public domain", "CC BY") == [20]
    assert shades("val", "CC BY 4.0") == [60]
    with pytest.raises(
        ValueError,
        match=r"no photograph's of the split train begin with any of \('public domain',\); .*'research use'",
    ):
        shades("train", "public domain")
    assert shades("test", "public domain") == []


def test_photographs_that_say_nothing_of_their_rights_have_none_that_could_be_asked_for() -> None:
    with pytest.raises(ValueError, match=r"photographs.csv has \['none'\]"):
        require_rights([""], ("no",), split="train", where=Path("photographs.csv"))


def genuine_pairs(folder: Path, mix: Mix, spans: tuple[Segment, ...] | None = None) -> ClipPairs:
    """Pairs of genuine fakes alone, which nothing corrupts."""
    sources = small_world(folder)
    sources[-1] = replace(sources[-1], clip=replace(sources[-1].clip, spans=spans))
    return ClipPairs(
        sources,
        [],
        frames=16,
        size_px=64,
        motion=MotionSpec(),
        seed=0,
        mix=mix,
        corruptions=CorruptionRanges(untouched=1.0),
    )


def test_what_befalls_a_face_befalls_it_inside_its_margin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def overheard(clip: Crops, rng: np.random.Generator, *, template: npt.NDArray[np.float32]) -> Crops:
        told.append(template)
        return harden(clip, rng, template=template)

    monkeypatch.setattr("training.data.clips.harden", overheard)
    genuine_pairs(tmp_path, replace(ONLY_GENUINE, hardened=1)).pair(0)
    assert len(told) == 2  # the real one and the fake
    assert np.allclose(told, TEMPLATE * 64 + 8)


ONLY_GENUINE = Mix(forged=0, genuine=1, photographs=0, twins=1, hardened=0)


def test_a_genuine_fake_laid_into_its_real_for_a_span_is_labelled_where_it_lies(tmp_path: Path) -> None:
    pairs = genuine_pairs(tmp_path, replace(ONLY_GENUINE, spliced=1))
    for number in range(6):
        pair = pairs.pair(number)
        differs = (pair.rgb[0] != pair.rgb[1]).any(axis=(1, 2, 3))
        assert differs.tolist() == (pair.labels[1] == 1).tolist()
        assert 3 <= differs.sum() <= 8


def test_frames_outside_the_spans_of_a_fake_are_not_labelled(tmp_path: Path) -> None:
    pairs = genuine_pairs(tmp_path, replace(ONLY_GENUINE, no_history=1), (Segment(0.8, 1.2),))
    labels = [pairs.pair(number).labels[1] for number in range(8)]
    assert all(0 < label.sum() <= 10 for label in labels)
    assert any(label.sum() < 16 for label in labels)


def test_a_picture_of_a_fake_that_is_edited_for_a_moment_shows_that_moment(tmp_path: Path) -> None:
    pairs = genuine_pairs(tmp_path, ONLY_GENUINE, (Segment(0.8, 0.9),))
    for number in range(12):
        real, fake = pairs.picture_pair(number).rgb
        assert not np.array_equal(real, fake)


def test_a_fake_whose_spans_nobody_sees_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the sources"):
        genuine_pairs(tmp_path, ONLY_GENUINE, (Segment(60.0, 61.0),))


@pytest.mark.parametrize("forged", [0, 1])
def test_of_two_people_the_forged_one_is_drawn_beside_her_own_face(tmp_path: Path, forged: int) -> None:
    side = side_with_margin(64)
    faces = [drawn(48, side, seed) for seed in range(2)]
    changed = [face.copy() for face in faces]
    changed[forged][:, side // 2 : side // 2 + 12] //= 2
    changed[1 - forged][::2] ^= 1  # what coding does
    real, fake = (
        tuple(replace(run_of(face, tmp_path, f"{name}{n}"), track=n) for n, face in enumerate(both))
        for name, both in (("real", faces), ("fake", changed))
    )
    sources = [
        Source(Clip(Path("real.mp4"), "train", fake=False), real),
        Source(Clip(Path("fake.mp4"), "train", fake=True, pair=Path("real.mp4")), fake),
    ]
    pairs = ClipPairs(
        sources, [], frames=16, size_px=64, motion=MotionSpec(), seed=0, mix=replace(ONLY_GENUINE, spliced=0),
        corruptions=CorruptionRanges(untouched=1.0),
    )  # fmt: skip

    assert [run.track for run in pairs.fake[0].runs] == [forged]
    for number in range(4):
        one, other = pairs.pair(number).rgb
        assert 0.2 < (one == other).mean() < 0.95


def test_a_mix_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the sources"):
        genuine_pairs(tmp_path, Mix(forged=0, genuine=0, photographs=1))
