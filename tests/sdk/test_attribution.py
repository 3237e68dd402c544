from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dmcl_sdk.attribution import PARTS, attribute, part_masks
from dmcl_sdk.motion import CHANNELS_PER_BASELINE, MotionFields
from dmcl_sdk.network import FrameCurves
from dmcl_sdk.testing import ScriptedNetwork, scripted_spec

SIDE = 32
RGB = np.zeros((16, 2 * SIDE, 2 * SIDE, 3), np.uint8)


class SeesMotion(ScriptedNetwork):
    """Its answer is the mean size of motion inside one part."""

    def __init__(self, part: str) -> None:
        super().__init__(lambda _: (0.0, 0.0, 0.0), scripted_spec(size_px=2 * SIDE))
        object.__setattr__(self, "part", part)

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        mask = part_masks(SIDE)[self.part]  # type: ignore[attr-defined]
        assert rgb.shape[:2] == motion.shape[:2]
        seen = (np.abs(motion[:, :, 0].astype(np.float32)) * mask).sum((2, 3)) / mask.sum()
        return FrameCurves(seen, np.repeat(seen[..., None], 3, -1), seen, seen)


def moving() -> MotionFields:
    motion = np.full((16, 3 * CHANNELS_PER_BASELINE, SIDE, SIDE), 20, np.int8)
    motion[:, CHANNELS_PER_BASELINE - 1 :: CHANNELS_PER_BASELINE] = 24
    return motion


@pytest.mark.parametrize("part", PARTS)
def test_the_part_that_an_answer_rests_on_is_the_one_whose_motion_it_loses_most_by(part: str) -> None:
    removals = attribute(SeesMotion(part), RGB, moving(), slice(4, 8))
    assert [removal.part for removal in removals] == list(PARTS)
    assert all(removal.before == pytest.approx(20) for removal in removals)
    assert min(removals, key=lambda removal: removal.after).part == part


def test_a_network_that_does_not_look_at_motion_loses_nothing() -> None:
    network = ScriptedNetwork(lambda _: (2.5, 0.0, 0.0), scripted_spec(size_px=2 * SIDE))
    assert {removal.after for removal in attribute(network, RGB, moving(), slice(0, 16))} == {2.5}


def test_every_place_belongs_to_some_part_and_to_no_two() -> None:
    masks = part_masks(64)
    assert np.abs(np.sum(list(masks.values()), axis=0) - 1).max() < 1e-5
    assert all(mask.max() > 0.9 for mask in masks.values())


def test_that_motion_is_known_stays_known() -> None:
    seen: list[MotionFields] = []

    class Keeps(ScriptedNetwork):
        def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
            seen.append(motion)
            return super().run(rgb, motion)

    attribute(Keeps(lambda _: (0.0, 0.0, 0.0), scripted_spec(size_px=2 * SIDE)), RGB, moving(), slice(0, 4))
    given = np.concatenate(seen)
    assert (given[:, :, CHANNELS_PER_BASELINE - 1 :: CHANNELS_PER_BASELINE] == 24).all()
    assert (given[1:, :, 0] == 0).any()
