from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmcl_sdk.faces import TEMPLATE
from training.forgeries import (
    KINDS,
    STILLS_MENU,
    Clip,
    Forged,
    Menu,
    animate,
    delay,
    drift,
    driven,
    drop,
    forge,
    generated,
    harden,
    jitter,
    likeness,
    lip_sync,
    repeat,
    resynthesis,
    self_blended,
    splice,
)
from training.forgeries.__main__ import main
from training.forgeries.animate import AnimationSettings
from training.forgeries.blending import BlendRanges
from training.forgeries.detail import smooth_skin
from training.forgeries.drawn_face import drawn_clip
from training.forgeries.hard_reals import HardRealSettings, Hardship, endure
from training.forgeries.occluders import add_caption
from training.forgeries.regions import OUTLINES, Part, layout, region
from training.forgeries.trajectories import back_and_forth, noise_paths, ramp

FRAMES, SIDE_PX = 24, 96
HARDSHIPS = tuple(dict.fromkeys(HardRealSettings().hardships))


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def clip() -> Clip:
    drawn = drawn_clip(frames=FRAMES, crop_px=SIDE_PX)
    drawn.flags.writeable = False  # no kind may write to what it is given
    return drawn


@pytest.fixture(scope="module")
def other() -> Clip:
    return np.ascontiguousarray(drawn_clip(frames=FRAMES, crop_px=SIDE_PX, seed=5)[..., ::-1])


@pytest.fixture(params=[*KINDS, "face_swapped", "splice", "menu"])
def kind(request: pytest.FixtureRequest, other: Clip) -> Callable[[Clip, np.random.Generator], Forged]:
    name: str = request.param
    if name == "face_swapped":
        return partial(self_blended.forge, source=other)
    if name == "splice":
        return partial(splice.forge, forger=KINDS["jitter"])
    return forge if name == "menu" else KINDS[name]


def changed(real: Clip, forged: Clip) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    pixels: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]] = (real != forged).any(axis=-1)
    return pixels


Kind = Callable[[Clip, np.random.Generator], Forged]


def face_only(name: str) -> Callable[..., Forged]:
    """A kind as it is where it draws the face alone and not the whole crop."""
    if name == "driven":
        return partial(driven.forge, settings=driven.DrivenSettings(extents=("face",)))
    if name == "generated":
        return partial(generated.forge, settings=generated.GeneratedSettings(extents=("whole_face",)))
    return KINDS[name]


@pytest.mark.parametrize("seed", range(4))
def test_labels_name_exactly_the_frames_that_differ(kind: Kind, clip: Clip, seed: int) -> None:
    forged = kind(clip, seeded(seed))
    assert np.array_equal(forged.labels, changed(clip, forged.clip).any(axis=(1, 2)))


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_covers_every_changed_pixel_and_no_untouched_frame(
    kind: Kind, clip: Clip, seed: int
) -> None:
    forged = kind(clip, seeded(seed))
    assert (forged.mask[changed(clip, forged.clip)] > 0).all()
    assert not forged.mask[~forged.labels].any()
    assert 0 <= forged.mask.min() <= forged.mask.max() <= 1


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(kind: Kind, clip: Clip) -> None:
    first, again = kind(clip, seeded(3)), kind(clip, seeded(3))
    assert np.array_equal(first.clip, again.clip)
    assert np.array_equal(first.mask, again.mask)
    others = [kind(clip, seeded(seed)).clip for seed in (4, 5, 6)]
    assert any(not np.array_equal(first.clip, other) for other in others)


def test_a_forgery_changes_something_and_leaves_its_input_alone(kind: Kind, clip: Clip) -> None:
    before = clip.copy()
    assert any(kind(clip, seeded(seed)).labels.any() for seed in range(3))
    assert np.array_equal(clip, before)


def test_every_kind_survives_a_clip_of_one_frame(kind: Kind, clip: Clip) -> None:
    forged = kind(clip[:1], seeded())
    assert forged.clip.shape == clip[:1].shape


@pytest.mark.parametrize("name", [name for name in KINDS if name not in {"repeat", "drop"}])
def test_a_kind_that_forges_the_face_leaves_the_background(name: str, clip: Clip) -> None:
    background = region(layout(clip), "whole_face", feather_px=0.1 * SIDE_PX) == 0
    for seed in range(6):
        forged = face_only(name)(clip, seeded(seed))
        assert not changed(clip, forged.clip)[:, background].any()


@pytest.mark.parametrize("name", [name for name in KINDS if name not in {"repeat", "drop"}])
def test_landmarks_elsewhere_move_the_forgery_with_them(name: str, clip: Clip) -> None:
    # the face fills the left upper quarter: whatever is forged lies there
    template = (TEMPLATE * SIDE_PX * 0.5).astype(np.float32)
    for seed in range(3):
        forged = face_only(name)(clip, seeded(seed), template=template)
        assert not changed(clip, forged.clip)[:, int(0.6 * SIDE_PX) :].any()
        assert not changed(clip, forged.clip)[:, :, int(0.6 * SIDE_PX) :].any()


def test_a_self_blended_clip_differs_alike_in_all_frames_of_a_still(clip: Clip) -> None:
    still = np.repeat(clip[:1], 5, axis=0)
    forged = self_blended.forge(still, seeded(1))
    assert forged.labels.all()
    assert (forged.clip == forged.clip[0]).all()


def test_flicker_changes_a_still_from_frame_to_frame(clip: Clip) -> None:
    still = np.repeat(clip[:1], 5, axis=0)
    forged = KINDS["flicker"](still, seeded(1)).clip.astype(int)
    assert all((np.abs(np.diff(forged, axis=0)).sum(axis=(1, 2, 3)) > 0).tolist())


def test_a_face_swap_brings_the_colours_of_the_face_it_replaces(clip: Clip, other: Clip) -> None:
    skin = region(layout(clip), "inner_face", feather_px=0) > 0.5
    matched = self_blended.match_colour(other, clip, skin.astype(np.float32), strength=1.0)
    wanted, before = clip[:, skin].mean(axis=(0, 1)), other[:, skin].mean(axis=(0, 1))
    assert np.abs(matched[:, skin].mean(axis=(0, 1)) - wanted).max() < 0.3 * np.abs(before - wanted).max()


def test_a_shorter_source_is_played_back_and_forth(clip: Clip, other: Clip) -> None:
    settings = self_blended.SelfBlendedSettings(follow=0)
    forged = self_blended.forge(clip, seeded(), settings, source=other[:5])
    assert forged.kind == "face_swapped"
    assert forged.labels.all()


def test_a_source_of_another_size_is_refused(clip: Clip) -> None:
    with pytest.raises(ValueError, match="a source has the clip's size"):
        self_blended.forge(clip, seeded(), source=clip[:, :50, :50])


def test_likeness_is_one_for_the_same_face_and_less_for_a_mirrored_negative(clip: Clip) -> None:
    assert likeness(clip, clip) == pytest.approx(1)
    assert likeness(clip, 255 - clip) == pytest.approx(-1, abs=1e-6)


def test_an_unlike_source_is_never_swapped_in(clip: Clip) -> None:
    menu = Menu(weights={"self_blended": 1}, swapped=1, spliced=0, combined=0)
    kinds = {forge(clip, seeded(seed), menu, source=255 - clip).kind for seed in range(3)}
    assert kinds == {"self_blended"}
    assert forge(clip, seeded(), menu, source=clip).kind == "face_swapped"


@pytest.mark.parametrize("amount_px", [0.3, 1.0])
def test_jitter_moves_a_handle_by_the_amount_asked_for(amount_px: float) -> None:
    still = np.repeat(drawn_clip(frames=1, crop_px=160), 40, axis=0)
    settings = jitter.JitterSettings(
        amount_px=(amount_px, amount_px),
        handles=(1, 1),
        smooth_frames=(0.0,),
        together=(0, 0),
        radius=(0.14, 0.14),
    )
    moved = [_displacement_px(still[0], frame) for frame in jitter.forge(still, seeded(2), settings).clip]
    assert 0.5 < float(np.sqrt(np.mean(np.square(moved)))) / (amount_px * 160 / 128) < 1.5


@pytest.mark.parametrize("kind", ["jitter", "drift", "reenactment"])
def test_a_larger_crop_of_the_same_face_is_moved_as_far_for_its_size(kind: str) -> None:
    moved = {}
    for side in (160, 320):
        still = np.repeat(drawn_clip(frames=1, crop_px=side), 24, axis=0)
        moved[side] = max(_displacement_px(still[0], frame) for frame in KINDS[kind](still, seeded(3)).clip)
    assert moved[320] == pytest.approx(2 * moved[160], rel=0.3)


def test_drift_starts_from_the_real_frame_and_only_grows() -> None:
    still = np.repeat(drawn_clip(frames=1, crop_px=160), 24, axis=0)
    settings = drift.DriftSettings(amount_px=(4, 4), handles=(1, 1), radius=(0.14, 0.14))
    forged = drift.forge(still, seeded(1), settings)
    moved = np.array([_displacement_px(still[0], frame) for frame in forged.clip])
    assert not forged.labels[0]
    assert moved[-1] == pytest.approx(4 * 160 / 128, rel=0.3)
    assert (np.diff(moved[::4]) > 0).all()


def _displacement_px(before: Clip, after: Clip) -> float:
    """The greatest displacement between two pictures, by optical flow."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    moved = np.asarray(flow.calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), np.float32)))
    return float(np.percentile(np.linalg.norm(moved, axis=-1), 99.5))


def test_a_delayed_region_shows_an_earlier_frame(clip: Clip) -> None:
    settings = delay.DelaySettings(parts=("mouth",), frames=(3, 3), early=0)
    forged = delay.forge(clip, seeded(), settings)
    mouth = region(layout(clip), "mouth", feather_px=0) == 1
    middle = cv2.erode(mouth.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    solid = middle & (forged.mask.max(axis=0) == 1)
    assert solid.any()
    assert np.array_equal(forged.clip[3:, solid], clip[:-3, solid])


@pytest.mark.parametrize("frozen", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_repeated_run_is_made_of_frames_before_it(clip: Clip, frozen: float, seed: int) -> None:
    settings = repeat.RepeatSettings(frames=(4, 4), frozen=frozen)
    forged = repeat.forge(clip, seeded(seed), settings)
    run = np.flatnonzero(forged.labels)
    assert len(run) == 4
    assert run[-1] - run[0] == 3
    shift = np.arange(1, 5) if frozen else 4
    assert np.array_equal(forged.clip[run], clip[run - shift])


@pytest.mark.parametrize("seed", range(5))
def test_dropped_frames_are_never_seen_and_the_rest_keeps_its_order(clip: Clip, seed: int) -> None:
    forged = drop.forge(clip, seeded(seed), drop.DropSettings(frames=(3, 3)))
    shown = [next(t for t in range(FRAMES) if np.array_equal(frame, clip[t])) for frame in forged.clip]
    first = int(np.flatnonzero(forged.labels)[0])
    assert shown == sorted(shown)
    assert not {first, first + 1, first + 2} & set(shown)


def test_a_frame_repeated_in_a_still_is_no_forgery(clip: Clip) -> None:
    still = np.repeat(clip[:1], 10, axis=0)
    menu = Menu(weights={"repeat": 1, "drop": 1}, combined=0)
    forged = forge(still, seeded(), menu)
    assert not forged.labels.any()
    assert np.array_equal(forged.clip, still)


@pytest.mark.parametrize("way", ["shrink", "components", "blocks", "smooth"])
def test_every_way_of_resynthesis_loses_detail_in_its_region_only(clip: Clip, way: resynthesis.Way) -> None:
    settings = resynthesis.ResynthesisSettings(parts=("mouth",), ways=(way,), retimed=0)
    forged = resynthesis.forge(clip, seeded(), settings)
    assert forged.labels.all()
    assert not changed(clip, forged.clip)[forged.mask == 0].any()


def test_a_lip_sync_is_drawn_in_a_box_with_a_seam_of_the_width_asked_for(clip: Clip) -> None:
    settings = lip_sync.LipSyncSettings(loose=0, trembling_px=(0, 0), seam=(0.02, 0.02), tops=(0.5,))
    mask = lip_sync.forge(clip, seeded(), settings).mask[0]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (rows[0], rows[-1] + 1) == pytest.approx((0.5 * SIDE_PX, 0.93 * SIDE_PX), abs=1)
    assert (mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0).all()
    edge = mask[rows[0], (columns[0] + columns[-1]) // 2]
    assert 0 < edge < mask[rows[0] + 1, (columns[0] + columns[-1]) // 2]
    assert mask[rows[0] + 6 : rows[-1] - 5, columns[0] + 6 : columns[-1] - 5].min() == 1


def test_a_lip_sync_box_trembles_by_whole_pixels(clip: Clip) -> None:
    settings = lip_sync.LipSyncSettings(trembling_px=(1.5, 1.5), seam=(0.0, 0.0))
    mask = lip_sync.forge(clip, seeded(), settings).mask
    tops = {int(np.flatnonzero(frame.any(axis=1))[0]) for frame in mask}
    assert len(tops) > 1
    assert set(np.unique(mask).tolist()) == {0.0, 1.0}


def test_a_retimed_mouth_says_something_else_and_the_eyes_stay(clip: Clip) -> None:
    only_words = {"shrink": (1.0, 1.0), "sharpen": 0.0, "tint": 0.0, "flicker": 0.0, "boiling": 0.0}
    quiet = lip_sync.LipSyncSettings(**only_words, retimed=0)  # type: ignore[arg-type]
    said = lip_sync.LipSyncSettings(**only_words, retimed=1, tops=(0.26,))  # type: ignore[arg-type]
    assert not lip_sync.forge(clip, seeded(), quiet).labels.any()
    forged = lip_sync.forge(clip, seeded(), said)
    eyes = region(layout(clip), "eyes", feather_px=0) > 0
    assert forged.labels.any()
    assert not changed(clip, forged.clip)[:, eyes].any()


def test_made_up_texture_rests_in_the_picture_while_the_face_moves(clip: Clip) -> None:
    stuck = generated.GeneratedSettings(
        extents=("crop",), kept=(0, 0), made_up=(1, 1), held_frames=(0,), shrink=(1, 1), flicker=0
    )
    bare = replace(stuck, made_up=(0, 0))
    moving = np.stack([np.roll(clip[0], t, axis=1) for t in range(8)])  # the same picture, a pixel a frame
    textures = generated.forge(moving, seeded(), stuck).clip.astype(int) - generated.forge(
        moving, seeded(), bare
    ).clip.astype(int)
    assert np.abs(textures).max() > 3
    assert np.abs(np.diff(textures, axis=0)).max() <= 1  # rounding alone


def test_texture_made_up_for_every_frame_boils_on_a_still(clip: Clip) -> None:
    still = np.repeat(clip[:1], 6, axis=0)
    settings = generated.GeneratedSettings(held_frames=(1,), made_up=(1, 1), kept=(0, 0), flicker=0)
    boiling = [
        bool(changed(f.clip[1:], f.clip[:-1]).any())
        for f in (generated.forge(still, seeded(seed), settings) for seed in range(8))
    ]
    assert any(boiling)  # where texture is borrowed from the frame itself, a still has no other
    assert not all(boiling)


def test_generated_skin_is_smoother_and_keeps_its_edges(clip: Clip) -> None:
    image = clip[0].mean(axis=-1, dtype=np.float32)
    smooth = smooth_skin(image, 5, 15.0)
    eyes, cheek = (slice(34, 44), slice(24, 46)), (slice(52, 60), slice(26, 38))
    assert smooth[cheek].std() < 0.7 * image[cheek].std()
    assert np.ptp(smooth[eyes]) > 0.9 * np.ptp(image[eyes])


def test_a_copy_whose_landmarks_are_misplaced_differs_where_colours_do_not(clip: Clip) -> None:
    same = BlendRanges(
        shift_x=0, shift_y=0, log_scale=0, turn_deg=0, hue_deg=0, saturation=0, contrast=0, value=0, channel=0,
        downscales=(1.0,), sharpen=0, ratios=(1.0,),
    )  # fmt: skip
    alike = self_blended.SelfBlendedSettings(ranges=same, misplaced=0)
    assert not self_blended.forge(clip, seeded(), alike).labels.any()
    assert self_blended.forge(clip, seeded(), replace(alike, misplaced=1)).labels.all()


def test_a_swap_shows_little_of_the_other_clips_background_at_the_rim(clip: Clip) -> None:
    face = layout(clip)
    inner = region(face, "inner_face", feather_px=0.03 * SIDE_PX) > 0.1
    rim = (region(face, "whole_face", feather_px=0) > 0) & ~inner
    source = np.where(inner[..., None], clip, np.uint8(255))  # white about the face
    whole = self_blended.SelfBlendedSettings(swap_parts=("whole_face",), colour_match=(0, 0), crude=0)
    for seed in range(4):
        lighter = self_blended.forge(clip, seeded(seed), whole, source=source).clip[:, rim].mean()
        assert lighter - clip[:, rim].mean() < 0.1 * (255 - clip[:, rim].mean())


def test_a_crude_swap_brings_along_what_lies_about_the_other_face(clip: Clip) -> None:
    face = layout(clip)
    inner = region(face, "inner_face", feather_px=0.03 * SIDE_PX) > 0.1
    source = np.where(inner[..., None], clip, np.uint8(255))
    changed = [
        self_blended.forge(
            clip,
            seeded(3),
            self_blended.SelfBlendedSettings(
                swap_parts=("whole_face",), crude_parts=("whole_face",), crude=share
            ),
            source=source,
        ).clip.mean()
        for share in (0.0, 1.0)
    ]
    assert changed[1] > changed[0] + 1


def test_a_crude_swap_may_be_as_coarse_as_asked_for(clip: Clip) -> None:
    inner = region(layout(clip), "inner_face", feather_px=0) > 0.5
    detailed = seeded().integers(0, 256, clip.shape, np.uint8)
    fine, coarse = (
        self_blended.forge(
            clip,
            seeded(4),
            self_blended.SelfBlendedSettings(
                crude=1, coarse=(factor, factor), crude_parts=("whole_face",), misplaced=0
            ),
            source=detailed,
        ).clip[0][inner]
        for factor in (1.0, 4.0)
    )
    assert coarse.std() < 0.7 * fine.std()


def test_a_crude_swap_has_hulls_of_its_own(clip: Clip, other: Clip) -> None:
    mouth = self_blended.SelfBlendedSettings(crude=1, crude_parts=("mouth",), swap_parts=("whole_face",))
    changed = self_blended.forge(clip, seeded(5), mouth, source=other).mask[0] > 0.1
    whole = region(layout(clip), "whole_face", feather_px=0) > 0.5
    assert 0 < changed.sum() < 0.3 * whole.sum()


def test_a_driven_clip_keeps_the_frame_it_was_drawn_from(clip: Clip) -> None:
    settings = driven.DrivenSettings(extents=("crop",), softening=(1, 1))
    labels = driven.forge(clip, seeded(), settings).labels
    assert labels.sum() == FRAMES - 1


def test_a_driven_still_follows_the_clip_better_than_a_still_does(clip: Clip) -> None:
    moved = driven.drive(clip[0], clip, 0, smooth_px=1).astype(int)
    assert np.abs(moved - clip).mean() < 0.8 * np.abs(clip[0].astype(int) - clip).mean()


@pytest.mark.parametrize("seed", range(10))
def test_a_splice_stays_inside_one_span_of_allowed_length(clip: Clip, seed: int) -> None:
    settings = splice.SpliceSettings(least_frames=3, most_share=0.5)
    forged = splice.forge(clip, seeded(seed), KINDS["self_blended"], settings)
    run = np.flatnonzero(forged.labels)
    assert 3 <= len(run) <= FRAMES // 2
    assert run[-1] - run[0] + 1 == len(run)
    assert np.array_equal(forged.clip[~forged.labels], clip[~forged.labels])
    assert forged.kind == "splice:self_blended"


def test_a_cross_fade_shows_the_forgery_rising_and_falling(clip: Clip) -> None:
    settings = splice.SpliceSettings(least_frames=8, most_share=0.5, fades=(3,))
    forged = splice.forge(clip, seeded(1), KINDS["self_blended"], settings)
    strength = forged.mask.max(axis=(1, 2))[forged.labels]
    assert (np.diff(strength[:4]) > 0).all()
    assert (np.diff(strength[-4:]) < 0).all()
    assert strength[0] == pytest.approx(strength[3] / 4)


def test_only_kinds_on_the_menu_are_drawn(clip: Clip) -> None:
    menu = Menu(weights={"jitter": 1, "drift": 1, "delay": 0}, spliced=0, combined=0)
    assert {forge(clip, seeded(seed), menu).kind for seed in range(12)} == {"jitter", "drift"}


def test_two_kinds_on_top_of_each_other_are_named_and_masked_together(clip: Clip) -> None:
    menu = Menu(weights={"self_blended": 1}, spliced=0, combined=1)
    forged = forge(clip, seeded(), menu)
    assert forged.kind == "self_blended+self_blended"
    assert forged.labels.all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": {"deepfake": 1.0}}, "a menu names the kinds"),
        ({"weights": {"jitter": -1.0}}, "weights >= 0"),
        ({"weights": {}}, "weights >= 0"),
        ({"spliced": 1.5}, "shares in 0..1"),
    ],
)
def test_a_wrong_menu_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Menu(**wrong)  # type: ignore[arg-type]


def test_menus_travel_to_worker_processes() -> None:
    assert pickle.loads(pickle.dumps(STILLS_MENU)) == STILLS_MENU  # noqa: S301 - our own bytes


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 8, 9, 3), (2, 8, 8, 1), (8, 8, 3)])
def test_what_is_no_clip_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a clip is uint8"):
        forge(np.zeros(shape, np.uint8), seeded())


def test_settings_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="amount_px needs 0 < least <= most"):
        jitter.JitterSettings(amount_px=(2.0, 1.0))
    with pytest.raises(ValueError, match="a delay needs"):
        delay.DelaySettings(frames=(0, 3))
    with pytest.raises(ValueError, match="a splice needs"):
        splice.SpliceSettings(most_share=0)
    with pytest.raises(ValueError, match="shrink needs 1 <= least <= most"):
        lip_sync.LipSyncSettings(shrink=(0.5, 2.0))
    with pytest.raises(ValueError, match="tops lie above the chin"):
        lip_sync.LipSyncSettings(tops=(0.9,))
    with pytest.raises(ValueError, match="kept needs"):
        generated.GeneratedSettings(kept=(0.5, 0.2))
    with pytest.raises(ValueError, match="misplaced, milder and crude"):
        self_blended.SelfBlendedSettings(misplaced=2)


@pytest.mark.parametrize("hardship", HARDSHIPS)
def test_every_hardship_of_real_clips_is_deterministic_and_keeps_the_shape(
    clip: Clip, hardship: Hardship
) -> None:
    first, again = (endure(clip, seeded(1), hardship) for _ in range(2))
    assert first.shape == clip.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)


@pytest.mark.parametrize("hardship", HARDSHIPS)
def test_every_hardship_is_seen_and_survives_one_frame(clip: Clip, hardship: Hardship) -> None:
    seen = [not np.array_equal(endure(clip, seeded(seed), hardship), clip) for seed in range(6)]
    assert any(seen)
    assert endure(clip[:1], seeded(), hardship).shape == clip[:1].shape


@pytest.mark.parametrize("hardship", ["shake", "steps", "cut"])
def test_a_larger_crop_of_the_same_face_is_shaken_as_far_for_its_size(hardship: Hardship) -> None:
    moved = {}
    for side in (160, 320):
        still = np.repeat(drawn_clip(frames=1, crop_px=side), 24, axis=0)
        shaken = endure(still, seeded(2), hardship)
        moved[side] = max(_displacement_px(still[0], frame) for frame in shaken)
    assert moved[320] == pytest.approx(2 * moved[160], rel=0.3)


def test_a_hardened_clip_is_what_its_forgery_is_compared_with(clip: Clip) -> None:
    hard = harden(clip, seeded(2))
    forged = forge(hard, seeded(2), Menu(spliced=1))
    assert np.array_equal(forged.clip[~forged.labels], hard[~forged.labels])


def test_an_animated_still_moves_smoothly_and_stays_recognisable(clip: Clip) -> None:
    moving = animate(clip[0], 32, seeded(1)).astype(int)
    again = animate(clip[0], 32, seeded(1))
    steps = np.abs(np.diff(moving, axis=0)).mean(axis=(1, 2, 3))
    assert np.array_equal(moving, again)
    assert np.abs(moving - clip[0]).mean() < 15
    assert 0 < steps.min() <= steps.max() < 8


def test_an_animated_mouth_opens_only_when_it_may_talk(clip: Clip) -> None:
    still = animate_settings(talking=0.0)
    talking = animate_settings(talking=1.0)
    chin = region(layout(clip), "mouth", feather_px=0) > 0.5
    quiet, loud = (animate(clip[0], 40, seeded(3), settings).astype(int) for settings in (still, talking))
    assert np.ptp(loud[:, chin], axis=0).mean() > 1.5 * np.ptp(quiet[:, chin], axis=0).mean()


def animate_settings(*, talking: float) -> AnimationSettings:
    return AnimationSettings(talking=talking, turn=0, drift=0, zoom=0, roll_deg=0, brows=0)


def test_a_still_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="a still is uint8"):
        animate(np.zeros((8, 9, 3), np.uint8), 4, seeded())


def test_regions_lie_where_the_landmarks_say() -> None:
    face = layout(np.zeros((1, 100, 100, 3), np.uint8))
    places: list[tuple[Part, tuple[int, int]]] = [("mouth", (50, 70)), ("eyes", (36, 40)), ("nose", (50, 52))]
    for part, place in places:
        assert region(face, part, feather_px=1)[place[1], place[0]] == pytest.approx(1, abs=0.01)
    assert set(OUTLINES) >= {"face", "mouth", "eyes", "brows"}


def test_a_template_of_four_points_is_refused(clip: Clip) -> None:
    with pytest.raises(ValueError, match="five points"):
        layout(clip, np.zeros((4, 2), np.float32))


@pytest.mark.parametrize("smooth_frames", [0.0, 0.7, 4.0])
def test_noise_has_unit_variance_however_smooth(smooth_frames: float) -> None:
    paths = noise_paths(seeded(), 400, 50, smooth_frames=smooth_frames)
    assert paths.shape == (400, 50)
    assert float(paths.var()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("eased", [False, True])
def test_a_ramp_runs_from_nought_to_one(*, eased: bool) -> None:
    path = ramp(10, eased=eased)
    assert path[0] == 0
    assert path[-1] == 1
    assert (np.diff(path) > 0).all()


def test_playing_back_and_forth_never_leaps() -> None:
    played = back_and_forth(seeded(), 40, 7)
    assert set(played.tolist()) == set(range(7))
    assert (np.abs(np.diff(played)) == 1).all()


def test_a_contact_sheet_of_what_is_no_video_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("not a video")
    with pytest.raises(SystemExit):
        main(["sheet", str(tmp_path / "sheet.png"), "--clip", str(tmp_path / "note.txt")])
    assert "note.txt" in capsys.readouterr().err


def test_the_contact_sheet_has_a_row_for_every_kind(tmp_path: Path) -> None:
    main(["sheet", str(tmp_path / "sheet.png"), "--seed", "1"])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape[0] == 160 * (1 + len(KINDS) + 1 + len(HARDSHIPS) + 1)


def test_a_caption_at_the_rim_is_cut_off_by_it() -> None:
    clip = drawn_clip(frames=1, crop_px=160)
    for seed in range(400):
        assert add_caption(clip, np.random.default_rng(seed)).shape == clip.shape
