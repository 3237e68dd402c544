from __future__ import annotations

from pathlib import Path

import pytest

from training.data.manifest import Clip
from training.holdout import hold_out, sources_of


def real(name: str, **more: str) -> Clip:
    return Clip(Path(f"real/{name}.mp4"), "train", fake=False, **more)  # type: ignore[arg-type]


def fake(name: str, pair: str | None = None, **more: str) -> Clip:
    made_of = None if pair is None else Path(f"real/{pair}.mp4")
    return Clip(Path(f"fake/{name}.mp4"), "train", fake=True, pair=made_of, **more)  # type: ignore[arg-type]


def parts(clips: list[Clip]) -> dict[str, set[str]]:
    return {split: {clip.path.stem for clip in clips if clip.split == split} for split in ("train", "val")}


def test_a_fake_goes_where_the_real_it_was_made_from_goes() -> None:
    clips = [real(f"r{n}") for n in range(10)] + [fake(f"x{n}", f"r{n}") for n in range(10)]
    split = parts(hold_out(clips, keep=False))
    assert len(split["val"]) == 4
    assert {name[1:] for name in split["val"] if name[0] == "r"} == {
        name[1:] for name in split["val"] if name[0] == "x"
    }


def test_nobody_is_on_both_sides() -> None:
    clips = [real(f"r{n}", identity=str(n % 5)) for n in range(20)]
    clips += [fake(f"x{n}", identity=str(n % 5)) for n in range(20)]
    split = hold_out(clips, keep=False, seed=3)
    people = [{clip.identity for clip in split if clip.split == part} for part in ("train", "val")]
    assert people[0].isdisjoint(people[1])
    assert all(people)


def test_a_fake_is_known_by_its_name() -> None:
    clips = [real("012"), real("345"), real("678"), fake("012_345"), fake("678-deepfake"), fake("unknown")]
    first, second, third, both, swapped, unknown = sources_of(clips)
    assert first == second == both
    assert third == swapped
    assert len({first, third, unknown}) == 3


def test_a_split_that_somebody_made_is_kept() -> None:
    clips = [Clip(clip.path, "val", fake=clip.fake) for clip in (real("a"), fake("b"))] + [
        real("c"),
        fake("d"),
    ]
    assert hold_out(clips, keep=True) == clips


def test_a_split_that_holds_out_only_one_label_is_made_anew() -> None:
    clips = [Clip(Path("real/z.mp4"), "val", fake=False)] + [real(f"r{n}") for n in range(6)]
    clips += [fake(f"x{n}") for n in range(6)]
    val = [clip for clip in hold_out(clips, keep=True) if clip.split == "val"]
    assert {clip.fake for clip in val} == {False, True}


def test_the_same_seed_holds_out_the_same() -> None:
    clips = [real(f"r{n}") for n in range(9)] + [fake(f"x{n}") for n in range(9)]
    assert hold_out(clips, keep=False, seed=1) == hold_out(clips, keep=False, seed=1)
    assert hold_out(clips, keep=False, seed=1) != hold_out(clips, keep=False, seed=2)


def test_one_source_cannot_be_on_both_sides() -> None:
    with pytest.raises(ValueError, match="2 videos of 1 sources cannot be split"):
        hold_out([real("a"), fake("b", "a")], keep=False)
