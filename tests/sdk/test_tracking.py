from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmcl_sdk.crops import noise, sharpness, yaw
from dmcl_sdk.faces import TEMPLATE, Face, FaceDetector, FaceFollower, Mtcnn
from dmcl_sdk.frame import Frame, Geometry, Picture
from dmcl_sdk.tracking import (
    AssociationRule,
    CropSizes,
    FaceCrop,
    FaceTracker,
    ShotRule,
    TrackerOutput,
    TrackingRule,
)
from dmcl_sdk.video import open_video
from tests.sdk.footage import background, carphone, filmed, heads, paste

Image = npt.NDArray[np.uint8]
Script = Callable[[int], Sequence[Face]]

W, H, FPS = 320, 240, 25
SIDE = 60.0


def face_at(x: float, y: float, side: float = SIDE, confidence: float = 1.0) -> Face:
    """An upright face with its box's centre there; its crop is 1.6 boxes wide."""
    landmarks = (TEMPLATE - (0.5, 0.55)) * 1.6 * side + (x, y)
    box = x - side / 2, y - side / 2, x + side / 2, y + side / 2
    return Face(box, landmarks.astype(np.float32), confidence)


@dataclass
class Scripted:
    """Reads a frame's number from its picture and finds the faces that a script tells it."""

    script: Script
    name: str = "scripted"
    sha256: str = "0" * 64
    searched: list[int] = field(default_factory=list)

    def detect(self, image: Image) -> list[Face]:
        self.searched.append(int(image[2, 2, 0]))
        return list(self.script(self.searched[-1]))


@dataclass
class Following(Scripted):
    """The same, and it can follow: it finds what overlaps a box."""

    followed: list[int] = field(default_factory=list)

    def follow(self, image: Image, boxes: Sequence[tuple[float, float, float, float]]) -> list[Face]:
        self.followed.append(int(image[2, 2, 0]))
        return [
            face
            for face in self.script(self.followed[-1])
            if any(abs(face.box[0] - box[0]) < SIDE / 2 for box in boxes)
        ]


_Y, _X = np.mgrid[0:H, 0:W]
_TEXTURE: Image = np.asarray(100 + 40 * np.sin(_X / 12) + 40 * np.sin(_Y / 15), np.uint8)


def still(_index: int) -> Image:
    """Luma (H, W) of a scene with some texture."""
    return _TEXTURE.copy()


def frames(count: int, luma: Callable[[int], Image] = still, holes: Iterable[int] = ()) -> list[Frame]:
    """Frames of full-range grey that carry their number in the top left corner."""
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    made = []
    for index in range(count):
        plane = luma(index).copy()
        plane[:5, :5] = index
        picture = Picture((plane, grey, grey), Geometry(W, H), full_range=True)
        made.append(Frame(index, index / FPS, (index + 1) / FPS, W, H, index not in holes, picture))
    return made


def track(
    detector: FaceDetector, video: Iterable[Frame], rule: TrackingRule | None = None, crop_px: int = 32
) -> TrackerOutput:
    """Everything a tracker says of a video."""
    tracker = FaceTracker(detector, CropSizes(crop_px), rule)
    outputs = [tracker.push(frame) for frame in video]
    outputs.append(tracker.finish())
    return TrackerOutput(
        [crop for output in outputs for crop in output.crops],
        [key for output in outputs for key in output.closed],
    )


def runs_of(output: TrackerOutput) -> dict[tuple[int, int], list[int]]:
    """The frames of each run."""
    runs: dict[tuple[int, int], list[int]] = {}
    for crop in output.crops:
        runs.setdefault((crop.track_id, crop.run), []).append(crop.frame_index)
    return runs


def stretch(start: int, end: int) -> list[int]:
    return list(range(start, end))


def centres(output: TrackerOutput) -> npt.NDArray[np.float64]:
    """Centre of each crop's box in pixels, (N, 2)."""
    boxes = np.array([crop.box for crop in output.crops])
    return np.asarray((boxes[:, :2] + boxes[:, 2:] / 2) * (W, H))


def in_view(*stretches: tuple[int, int], x: float = 160, y: float = 120) -> Script:
    """One face that does not move, seen in these frames alone."""
    return lambda index: [face_at(x, y)] if any(a <= index < b for a, b in stretches) else []


@cache
def mtcnn() -> Mtcnn:
    return Mtcnn()


# Association, with faces that are known


@pytest.mark.parametrize("count", [2, 5, 6, 7, 23, 61])
def test_a_face_has_one_crop_in_every_frame_up_to_the_last(count: int) -> None:
    output = track(Scripted(in_view((0, count))), frames(count))
    assert runs_of(output) == {(0, 0): stretch(0, count)}
    assert output.closed == [(0, 0)]


def test_a_video_without_frames_or_faces_has_no_crops() -> None:
    assert track(Scripted(in_view()), []) == TrackerOutput()
    assert track(Scripted(in_view()), frames(20)) == TrackerOutput()


def test_times_and_numbers_are_the_frames_own() -> None:
    video = frames(11)
    output = track(Scripted(in_view((0, 11))), video)
    expected = [(frame.index, frame.start_s, frame.end_s) for frame in video]
    assert [(crop.frame_index, crop.start_s, crop.end_s) for crop in output.crops] == expected


def test_a_face_that_moves_steadily_is_boxed_exactly_in_every_frame() -> None:
    output = track(Scripted(lambda i: [face_at(60 + 4 * i, 120 - i)]), frames(43))
    expected = [(60 + 4 * i, 120 - i) for i in range(43)]
    np.testing.assert_allclose(centres(output), expected, atol=1e-4)


def test_jitter_of_every_other_detection_is_smoothed_away() -> None:
    rule = TrackingRule(detect_every=1)
    output = track(Scripted(lambda i: [face_at(160 + (-1) ** i, 120)]), frames(30), rule)
    assert np.abs(centres(output)[4:-4, 0] - 160).max() < 1e-4


def test_smoothing_has_no_delay() -> None:
    def swing(index: int) -> float:
        return 160 + 30 * float(np.sin(index / 9))

    output = track(Scripted(lambda i: [face_at(swing(i), 120)]), frames(120))
    offsets = centres(output)[:, 0]
    truth = np.array([swing(i) for i in range(120)])
    errors = {lag: np.abs(offsets[10:-10] - truth[10 - lag : 110 - lag]).mean() for lag in (-2, -1, 0, 1, 2)}
    assert min(errors, key=lambda lag: errors[lag]) == 0


def test_one_missed_detection_is_bridged() -> None:
    output = track(Scripted(in_view((0, 20), (21, 41))), frames(41))
    assert runs_of(output) == {(0, 0): stretch(0, 41)}


def test_a_longer_occlusion_ends_the_run_and_the_track_goes_on() -> None:
    output = track(Scripted(in_view((0, 23), (38, 60))), frames(60))
    assert runs_of(output) == {(0, 0): stretch(0, 21), (0, 1): stretch(42, 60)} or runs_of(output) == {
        (0, 0): stretch(0, 23),
        (0, 1): stretch(42, 60),
    }
    assert output.closed == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    "again",
    [face_at(160 + 1.2 * SIDE, 120), face_at(160, 120, 2 * SIDE)],
    ids=["elsewhere", "at another size"],
)
def test_a_face_that_comes_back_differently_is_another(again: Face) -> None:
    output = track(
        Scripted(lambda i: [face_at(160, 120)] if i < 20 else [again] if i >= 40 else []), frames(70)
    )
    assert [key for key, _ in sorted(runs_of(output).items())] == [(0, 0), (1, 0)]


def test_a_face_that_comes_back_too_late_is_another() -> None:
    rule = TrackingRule(association=AssociationRule(reacquire_s=0.5))
    output = track(Scripted(in_view((0, 20), (40, 60))), frames(60), rule)
    assert list(runs_of(output)) == [(0, 0), (1, 0)]


def test_a_face_seen_once_is_a_flicker_and_takes_no_number() -> None:
    output = track(
        Scripted(lambda i: [face_at(100, 100)] if i == 10 else [face_at(220, 150)] if i > 12 else []),
        frames(50),
    )
    assert list(runs_of(output)) == [(0, 0)]
    assert output.crops[0].box[0] > 0.5


def test_two_faces_that_pass_each_other_keep_their_tracks() -> None:
    def passing(index: int) -> list[Face]:
        return [face_at(40 + 4 * index, 110), face_at(280 - 4 * index, 130)]

    output = track(Scripted(passing), frames(61))
    middles = centres(output)
    for number, slope in ((0, 4), (1, -4)):
        own = [i for i, crop in enumerate(output.crops) if crop.track_id == number]
        assert np.sign(np.diff(middles[own, 0])).tolist() == [np.sign(slope)] * 60


def test_a_face_that_is_hidden_by_another_is_not_bridged_with_it() -> None:
    def passing(index: int) -> list[Face]:
        front, behind = face_at(40 + 4 * index, 120), face_at(280 - 4 * index, 120)
        return [front] if abs(front.box[0] - behind.box[0]) < 30 else [front, behind]

    output = track(Scripted(passing), frames(61))
    assert runs_of(output)[0, 0] == stretch(0, 61)
    assert runs_of(output)[1, 0][-1] < 28


def test_a_fast_face_is_one_track_from_its_second_detection_on() -> None:
    output = track(Scripted(lambda i: [face_at(40 + 11 * i, 120)]), frames(22))
    assert runs_of(output) == {(0, 0): stretch(0, 22)}


def test_a_hole_in_the_video_ends_the_track() -> None:
    output = track(Scripted(in_view((0, 40))), frames(40, holes=[17]))
    assert runs_of(output) == {(0, 0): stretch(0, 17), (1, 0): stretch(17, 40)}


def test_a_cut_ends_the_track_at_its_frame() -> None:
    output = track(
        Scripted(in_view((0, 40))), frames(40, lambda i: still(i) if i < 18 else 255 - still(i)[:, ::-1] // 2)
    )
    assert runs_of(output) == {(0, 0): stretch(0, 18), (1, 0): stretch(18, 40)}


def test_a_flash_is_no_cut() -> None:
    video = frames(40, lambda i: still(i) + np.uint8(60) if i in (18, 19) else still(i))
    assert runs_of(track(Scripted(in_view((0, 40))), video)) == {(0, 0): stretch(0, 40)}


def test_a_picture_exchanged_in_a_corner_is_no_cut() -> None:
    def with_a_corner(index: int) -> Image:
        luma = still(index)
        luma[:80, 220:] = 30 if index < 18 else 220
        return luma

    output = track(Scripted(in_view((0, 40), y=160)), frames(40, with_a_corner))
    assert runs_of(output) == {(0, 0): stretch(0, 40)}


def test_a_jump_around_the_face_ends_the_run_but_not_the_track() -> None:
    def jumping(index: int) -> Image:
        luma = still(index)
        luma[70:170, 110:210] = np.where(np.arange(100) % 40 < 20, 60, 200) if index >= 18 else 128
        return luma

    output = track(Scripted(in_view((0, 40))), frames(40, jumping))
    assert runs_of(output) == {(0, 0): stretch(0, 18), (0, 1): stretch(18, 40)}


def test_the_largest_faces_are_followed_and_the_others_counted() -> None:
    crowd = [face_at(40 * k, 120, 12 + 4 * k) for k in range(1, 8)]
    tracker = FaceTracker(
        Scripted(lambda _: crowd), CropSizes(32), TrackingRule(association=AssociationRule(max_faces=3))
    )
    crops = [crop for frame in frames(20) for crop in tracker.push(frame).crops] + tracker.finish().crops
    assert tracker.faces_left_out == 4
    assert Counter(round(crop.face_px) for crop in crops) == {40: 20, 36: 20, 32: 20}


def test_a_second_box_on_a_face_is_no_second_face() -> None:
    output = track(
        Scripted(lambda i: [face_at(160, 120), *([face_at(168, 124, 50)] if i > 4 else [])]), frames(30)
    )
    assert list(runs_of(output)) == [(0, 0)]


def test_unsure_and_upside_down_faces_are_left_out() -> None:
    unsure = face_at(80, 120, confidence=0.4)
    turned = Face(face_at(240, 120).box, face_at(240, 120).landmarks[::-1].copy(), 1.0)
    assert track(Scripted(lambda _: [unsure, turned]), frames(20)).crops == []


def test_crops_come_a_few_detections_late_and_no_later() -> None:
    tracker = FaceTracker(Scripted(in_view((0, 120))), CropSizes(32))
    for frame in frames(120):
        crops = tracker.push(frame).crops
        assert all(frame.index - 20 <= crop.frame_index for crop in crops)


def test_a_detector_that_can_follow_searches_every_third_time() -> None:
    detector = Following(in_view((0, 62)))
    assert isinstance(detector, FaceFollower)
    track(detector, frames(62), TrackingRule(detect_every=5, search_every=3))
    assert detector.searched == [0, 12, 27, 42, 57]
    assert detector.followed == [2, 7, 17, 22, 32, 37, 47, 52, 61]


def test_while_a_lost_face_may_come_back_searches_are_twice_as_frequent() -> None:
    def leaving(index: int) -> list[Face]:
        return [face_at(80, 120), *([face_at(240, 120)] if index < 60 else [])]

    detector = Following(leaving)
    track(detector, frames(200), TrackingRule(detect_every=5, search_every=6))
    at, steps = np.array(detector.searched[1:]), np.diff(detector.searched)
    assert set(steps[(at > 72) & (at < 107)]) == {15}
    assert set(steps[at > 145]) == {30}


def test_a_face_lost_in_following_is_searched_for_at_once() -> None:
    def leaping(index: int) -> list[Face]:
        return [face_at(100 if index < 15 else 140, 120)]

    detector = Following(leaping)
    output = track(detector, frames(40))
    assert runs_of(output) == {(0, 0): stretch(0, 40)}
    assert 17 in detector.searched
    assert 17 in detector.followed


coordinates = st.integers(-40, 340)
random_faces = st.builds(
    face_at,
    coordinates,
    coordinates,
    st.sampled_from([8.0, 30.0, 60.0, 200.0]),
    st.sampled_from([0.5, 0.9]),
)
scripts = st.lists(st.lists(random_faces, max_size=4), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(script=scripts, holes=st.sets(st.integers(1, 39), max_size=3), detect_every=st.integers(1, 5))
def test_whatever_is_detected_runs_are_unbroken_and_closed_once(
    script: list[list[Face]], holes: set[int], detect_every: int
) -> None:
    rule = TrackingRule(detect_every=detect_every, association=AssociationRule(max_faces=3))
    tracker = FaceTracker(Scripted(lambda i: script[i]), CropSizes(16), rule)
    crops: list[FaceCrop] = []
    closed: list[tuple[int, int]] = []
    for output in [*map(tracker.push, frames(len(script), holes=holes)), tracker.finish()]:
        assert not {(crop.track_id, crop.run) for crop in output.crops} & set(closed)
        crops += output.crops
        closed += output.closed
    runs = runs_of(TrackerOutput(crops))
    assert sorted(closed) == sorted(runs)
    assert all(indexes == stretch(indexes[0], indexes[-1] + 1) for indexes in runs.values())
    assert all(not holes & set(indexes[1:]) for indexes in runs.values())
    order = [(crop.frame_index, crop.track_id, crop.run) for crop in crops]
    assert order == sorted(set(order))
    assert max(Counter(crop.frame_index for crop in crops).values(), default=0) <= 3
    assert all(crop.box[2] > 0 and crop.box[3] > 0 for crop in crops)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrackingRule(detect_every=0),
        lambda: TrackingRule(min_confidence=2),
        lambda: AssociationRule(max_faces=0),
        lambda: AssociationRule(reacquire_ratio=0.5),
        lambda: ShotRule(spike=0),
    ],
)
def test_a_rule_refuses_what_makes_no_sense(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="got"):
        make()


# Quality


def head_crop() -> Image:
    return track(mtcnn(), carphone_frames()[:6], crop_px=128).crops[0].image


@cache
def carphone_frames() -> list[Frame]:
    with open_video(carphone()) as video:
        return list(video)


def test_sharpness_falls_with_blur_and_noise_does_not_raise_it() -> None:
    luma = np.asarray(cv2.cvtColor(head_crop(), cv2.COLOR_RGB2GRAY), np.uint8)
    blurred = [np.asarray(cv2.GaussianBlur(luma, (0, 0), s), np.uint8) for s in (1, 2, 3, 4)]
    values = [sharpness(image) for image in (luma, *blurred)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.5
    assert values[-1] < 0.1
    noise = np.random.default_rng(0).normal(0, 3, luma.shape)
    noisy = np.clip(blurred[2] + noise, 0, 255).astype(np.uint8)
    assert abs(sharpness(noisy) - values[3]) < 0.1
    assert sharpness(np.full((128, 128), 90, np.uint8)) == 0


def test_noise_is_what_was_added_to_a_face_and_small_in_one_as_filmed() -> None:
    luma = np.asarray(cv2.cvtColor(head_crop(), cv2.COLOR_RGB2GRAY), np.uint8)
    assert noise(luma) < 1
    rng = np.random.default_rng(0)
    for levels in (2.0, 4.0, 8.0):
        noisy = np.clip(np.round(luma + rng.normal(0, levels, luma.shape)), 0, 255).astype(np.uint8)
        assert noise(noisy) == pytest.approx(levels, rel=0.15)
    assert noise(np.full((128, 128), 90, np.uint8)) == 0


def test_yaw_is_where_the_nose_lies_between_the_eyes_even_when_the_head_is_tilted() -> None:
    for x, expected in ((0.5, 0), (0.36, -1), (0.64, 1), (0.57, 0.5), (0.9, 1)):
        points = TEMPLATE * 100
        points[2, 0] = 100 * x
        turn = np.array([[0.9, -0.43], [0.43, 0.9]])
        assert yaw(points @ turn.T) == pytest.approx(expected, abs=1e-6)


def test_a_face_at_the_edge_is_partly_visible() -> None:
    inside, outside = (track(Scripted(in_view((0, 6), x=x)), frames(6)).crops[0].visible for x in (160, 0))
    assert inside == 1
    assert outside == pytest.approx(0.5, abs=0.05)


def test_brightness_is_the_faces_luma() -> None:
    output = track(Scripted(in_view((0, 6))), frames(6, lambda _: np.full((H, W), 51, np.uint8)))
    assert output.crops[0].brightness == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("crop_px", [16, 48, 96, 128])
def test_the_middle_of_a_crop_with_a_margin_is_the_crop_without_one_but_for_rounding(crop_px: int) -> None:
    video = frames(6)
    plain = track(Scripted(in_view((0, 6))), video, crop_px=crop_px)
    tracker = FaceTracker(Scripted(in_view((0, 6))), CropSizes(crop_px, 8))
    wide = [crop for frame in video for crop in tracker.push(frame).crops] + tracker.finish().crops
    for inner, outer in zip(plain.crops, wide, strict=True):
        assert outer.image.shape == (crop_px + 16, crop_px + 16, 3)
        difference = np.abs(outer.image[8:-8, 8:-8].astype(int) - inner.image)
        assert difference.max() <= 1
        assert difference.mean() < 0.01


# The real detector on made clips of a real face


def reddish(image: Image) -> Image:
    return np.asarray(image * (1, 0.6, 0.6), np.uint8)


def bluish(image: Image) -> Image:
    return np.asarray(image[:, ::-1] * (0.6, 0.6, 1), np.uint8)


def redness(crop: FaceCrop) -> float:
    """Red minus blue of the face: far above 0 for a reddish head, below 0 for a bluish one."""
    side = crop.image.shape[0]
    inner = crop.image[side // 4 : -side // 4, side // 4 : -side // 4].astype(float)
    return float(inner[..., 0].mean() - inner[..., 2].mean())


def film(draw: Callable[[int, Image], None], count: int) -> TrackerOutput:
    """What the tracker says of a clip drawn over the moving background."""

    def paint(index: int, _width: int, _height: int) -> Image:
        canvas = background(index)
        draw(index, canvas)
        return canvas

    with filmed(paint, count) as video:
        return track(mtcnn(), video, crop_px=64)


def test_the_face_of_a_real_clip_has_a_crop_in_every_frame_the_same_each_time() -> None:
    first, second = track(mtcnn(), carphone_frames()), track(mtcnn(), carphone_frames())
    assert runs_of(first) == {(0, 0): stretch(0, 120)}
    for a, b in zip(first.crops, second.crops, strict=True):
        assert a.box == b.box
        np.testing.assert_array_equal(a.image, b.image)


def test_real_crops_are_aligned_and_steady() -> None:
    output = track(mtcnn(), carphone_frames(), crop_px=96)
    searched = [mtcnn().detect(crop.image) for crop in output.crops[::10]]
    landmarks = np.array([faces[0].landmarks for faces in searched])
    assert np.abs(landmarks.mean(0) - TEMPLATE * 96).max() < 5
    assert all(crop.visible == 1 and abs(crop.yaw) < 0.5 and crop.face_px > 40 for crop in output.crops)


def test_two_real_faces_that_pass_each_other_are_never_mixed_in_one_run() -> None:
    def draw(index: int, canvas: Image) -> None:
        paste(canvas, bluish(heads()[(index + 30) % 120]), 350 - 6 * index, 60)
        paste(canvas, reddish(heads()[index]), 20 + 6 * index, 60)

    output = film(draw, 56)
    colours = [
        [redness(crop) for crop in output.crops if (crop.track_id, crop.run) == key]
        for key in runs_of(output)
    ]
    red = [values for values in colours if min(values) > 40]
    blue = [values for values in colours if max(values) < 10]
    assert len(red) + len(blue) == len(colours)
    assert sum(map(len, red)) >= 50
    assert sum(map(len, blue)) >= 35


def test_a_real_face_behind_a_board_goes_on_in_its_next_run() -> None:
    def draw(index: int, canvas: Image) -> None:
        paste(canvas, heads()[index], 180, 60)
        if 25 <= index < 45:
            canvas[40:200, 170:300] = 90

    runs = runs_of(film(draw, 70))
    assert list(runs) == [(0, 0), (0, 1)]
    assert set(runs[0, 0]) <= set(range(25))
    assert len(runs[0, 0]) >= 20
    assert set(runs[0, 1]) <= set(range(45, 70))
    assert len(runs[0, 1]) >= 20


def test_a_cut_to_a_real_face_in_the_same_place_begins_another_track() -> None:
    def draw(index: int, canvas: Image) -> None:
        if index >= 23:
            canvas[:] = 255 - background(3 * index)
        paste(canvas, heads()[index] if index < 23 else bluish(heads()[index]), 180, 60)

    assert runs_of(film(draw, 46)) == {(0, 0): stretch(0, 23), (1, 0): stretch(23, 46)}


def test_a_real_face_that_leaves_the_frame_is_less_and_less_visible_and_then_gone() -> None:
    def draw(index: int, canvas: Image) -> None:
        paste(canvas, heads()[index], 320 + 4 * index, 60)

    output = film(draw, 50)
    visible = [crop.visible for crop in output.crops]
    assert list(runs_of(output)) == [(0, 0)]
    assert visible == sorted(visible, reverse=True)
    assert visible[0] == 1
    assert visible[-1] < 0.8
    assert output.crops[-1].frame_index < 35


def test_a_video_without_a_face_has_no_tracks() -> None:
    assert film(lambda _index, _canvas: None, 12).crops == []


def test_finer_crops_are_cut_only_where_they_are_asked_for_and_show_the_same_place() -> None:
    sizes = CropSizes(64, fine_px=128, fine_every=4)
    tracker = FaceTracker(Scripted(in_view((0, 6), (9, 60))), sizes)
    crops = [crop for frame in frames(60) for crop in tracker.push(frame).crops] + tracker.finish().crops
    for run in {(crop.track_id, crop.run) for crop in crops}:
        own = [crop for crop in crops if (crop.track_id, crop.run) == run]
        assert [crop.fine is not None for crop in own] == [n % 4 == 2 for n in range(len(own))]
    for crop in crops:
        assert crop.image.shape == (64, 64, 3)
        if crop.fine is not None:
            assert crop.fine.shape == (128, 128, 3)
            halved = crop.fine[::2, ::2].astype(int)  # its pixels lie on those of the coarser one
            assert np.abs(halved - crop.image).mean() < 3


def test_a_crop_that_is_fine_already_is_not_cut_twice() -> None:
    tracker = FaceTracker(Scripted(in_view((0, 20))), CropSizes(64, fine_px=64, fine_every=2))
    crops = [crop for frame in frames(20) for crop in tracker.push(frame).crops] + tracker.finish().crops
    assert [crop.fine is crop.image for crop in crops] == [n % 2 == 1 for n in range(20)]
