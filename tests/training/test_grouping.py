from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.manifest import Clip
from training.grouping import independent_groups, shares_of_classes, shares_of_groups


def clip(name: str, **more: object) -> Clip:
    return Clip(Path(name), "val", **({"fake": False} | more))  # type: ignore[arg-type]


def test_a_fake_belongs_to_its_real_video_and_its_person() -> None:
    groups = independent_groups(
        [
            clip("a.mp4", identity="ann"),
            clip("b.mp4", identity="bob"),
            clip("fake.mp4", fake=True, pair=Path("a.mp4")),
            clip("c.mp4", identity="ann"),
        ]
    )
    assert groups[0] == groups[2] == groups[3] != groups[1]


def test_groups_are_joined_through_a_third() -> None:
    groups = independent_groups(
        [
            clip("a.mp4", identity="ann"),
            clip("b.mp4", identity="bob"),
            clip("f.mp4", fake=True, identity="ann", donor="bob"),
        ]
    )
    assert len(set(groups)) == 1


def test_fakes_of_one_absent_source_are_together() -> None:
    fakes = [clip(f"{n}.mp4", fake=True, pair=Path("absent.mp4")) for n in range(3)]
    assert len(set(independent_groups(fakes))) == 1


def test_who_is_unknown_stands_alone() -> None:
    assert len(set(independent_groups([clip("a.mp4"), clip("b.mp4"), clip("c.mp4", fake=True)]))) == 3
    assert independent_groups([]) == []


def test_a_person_counts_once_among_the_real_and_once_among_the_fake() -> None:
    weights = shares_of_groups(["ann", "ann", "ann", "bob"], np.array([False, False, True, False]))
    assert weights.tolist() == [0.5, 0.5, 1.0, 1.0]


def test_both_classes_weigh_one_in_all_whoever_is_in_them() -> None:
    weights = shares_of_classes(["ann", "ann", "ann", "bob"], np.array([False, False, True, False]))
    assert weights.tolist() == [0.25, 0.25, 1.0, 0.5]
