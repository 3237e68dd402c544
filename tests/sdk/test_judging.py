from __future__ import annotations

import threading
import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmcl_sdk.judging import (
    CHUNK_FRAMES,
    LEAST_FRAMES,
    OVERLAP_FRAMES,
    Judge,
    JudgeBeside,
    JudgedRun,
    Stopwatch,
)
from dmcl_sdk.motion import motion_fields
from dmcl_sdk.network import FrameCurves
from dmcl_sdk.testing import ScriptedNetwork, scripted_spec
from dmcl_sdk.tracking import FaceCrop, TrackerOutput

SPEC = scripted_spec(size_px=32)


def crop(index: int, image: npt.NDArray[np.uint8], track: int = 0, *, looked_at: bool = True) -> FaceCrop:
    return FaceCrop(
        track_id=track, run=0, frame_index=index, start_s=index / 25, end_s=(index + 1) / 25,
        image=image, fine=image if looked_at else None,
        box=(0.1, 0.1, 0.5, 0.5), face_px=90.0, sharpness=0.5, brightness=0.5, noise=0.5,
        yaw=0.0, visible=1.0, confidence=1.0,
        alignment=(1.0, 0.0, float(index), 0.0),
    )  # fmt: skip


def numbered(frames: int) -> npt.NDArray[np.uint8]:
    """Crops that carry their number in two corner pixels, over noise."""
    crops = np.random.default_rng(0).integers(0, 256, (frames, 32, 32, 3), np.uint8)
    crops[:, 0, 0, 0], crops[:, 0, 0, 1] = np.arange(frames) % 256, np.arange(frames) // 256
    return crops


def number(image: npt.NDArray[np.uint8]) -> int:
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


class Watching(ScriptedNetwork):
    """Answers with each crop's number, and keeps the motion it was given for it."""

    def __init__(self) -> None:
        super().__init__(lambda image: (float(number(image)), 0.0, 1.0), SPEC)
        object.__setattr__(self, "seen", {})
        object.__setattr__(self, "lengths", [])

    def run(self, rgb: npt.NDArray[np.uint8], motion: npt.NDArray[np.int8]) -> FrameCurves:
        self.lengths.append(rgb.shape[1])  # type: ignore[attr-defined]
        for image, fields in zip(rgb[0], motion[0], strict=True):
            self.seen[number(image)] = fields.copy()  # type: ignore[attr-defined]
        return super().run(rgb, motion)


def judged(frames: int, network: ScriptedNetwork) -> JudgedRun:
    judge = Judge(network, Stopwatch())
    images = numbered(frames)
    for index, image in enumerate(images):
        assert judge.take(TrackerOutput([crop(index, image)])) == []
    (run,) = judge.take(TrackerOutput(closed=[(0, 0)]))
    return run


@settings(max_examples=10)
@given(frames=st.integers(LEAST_FRAMES, 2 * CHUNK_FRAMES + 9))
def test_every_frame_of_a_run_of_any_length_is_answered_with_its_own_logits(frames: int) -> None:
    network = Watching()
    run = judged(frames, network)
    assert run.logits is not None
    assert np.array_equal(run.logits[:, 0], np.arange(frames))
    assert [sighting.frame_index for sighting in run.sightings] == list(range(frames))
    assert all(length % SPEC.frames_multiple == 0 for length in network.lengths)  # type: ignore[attr-defined]


@pytest.mark.parametrize("frames", [16, 29, CHUNK_FRAMES, CHUNK_FRAMES + 1, CHUNK_FRAMES + 60])
def test_motion_is_the_same_as_that_of_the_whole_run(frames: int) -> None:
    network = Watching()
    judged(frames, network)
    whole = motion_fields(numbered(frames), SPEC.motion)
    for index in range(frames):
        assert np.array_equal(network.seen[index], whole[index]), index  # type: ignore[attr-defined]


@pytest.mark.parametrize("stride", [2, 4, 8])
@settings(max_examples=5)
@given(frames=st.integers(LEAST_FRAMES, 2 * CHUNK_FRAMES + 9))
def test_a_stream_that_looks_at_one_of_a_few_frames_answers_by_the_middle_one(
    stride: int, frames: int
) -> None:
    spec = scripted_spec(size_px=32, rgb_stride=stride)
    judge = Judge(ScriptedNetwork(lambda image: (float(number(image)), 0.0, 1.0), spec), Stopwatch())
    for index, image in enumerate(numbered(frames)):
        judge.take(TrackerOutput([crop(index, image, looked_at=index % stride == stride // 2)]))
    (run,) = judge.take(TrackerOutput(closed=[(0, 0)]))
    assert run.logits is not None
    at = np.arange(frames)
    sure = max(0, frames - OVERLAP_FRAMES)
    assert np.array_equal(run.logits[:sure, 0], at[:sure] // stride * stride + stride // 2)
    # a chunk of the last few frames may begin between two that were looked at
    assert np.abs(run.logits[:, 0] - at).max() <= stride


def test_a_run_under_the_longest_window_is_kept_without_logits() -> None:
    run = judged(LEAST_FRAMES - 1, Watching())
    assert run.logits is None
    assert len(run.sightings) == LEAST_FRAMES - 1


def test_runs_of_several_faces_are_kept_apart() -> None:
    judge = Judge(Watching(), Stopwatch())
    images = numbered(40)
    for index in range(20):
        judge.take(TrackerOutput([crop(index, images[index], 0), crop(index, images[20 + index], 1)]))
    runs = judge.take(TrackerOutput(closed=[(1, 0), (0, 0)]))
    assert [run.track_id for run in runs] == [1, 0]
    assert runs[0].logits is not None
    assert runs[0].logits[0, 0] == 20


def test_a_judge_beside_the_tracker_finishes_the_same_runs() -> None:
    images = numbered(3 * CHUNK_FRAMES)
    with JudgeBeside(Judge(Watching(), Stopwatch())) as judge:
        for index, image in enumerate(images):
            judge.take(TrackerOutput([crop(index, image)]))
        judge.take(TrackerOutput(closed=[(0, 0)]))
        (run,) = judge.finish()
    alone = judged(len(images), Watching())
    assert run.sightings == alone.sightings
    assert run.logits is not None
    assert alone.logits is not None
    assert np.array_equal(run.logits, alone.logits)


def test_what_is_kept_of_a_crop_is_what_it_said() -> None:
    told = replace(
        crop(3, numbered(1)[0]),
        box=(0.1, 0.2, 0.3, 0.4), face_px=80.0, sharpness=0.5, brightness=0.6, noise=0.4, yaw=-0.7, visible=0.8,
    )  # fmt: skip
    judge = Judge(ScriptedNetwork(lambda _: (0.0, 0.0, 0.0), SPEC), Stopwatch())
    (run,) = judge.take(TrackerOutput([told], closed=[(0, 0)]))
    kept = asdict(run.sightings[0])
    assert kept == {name: getattr(told, name) for name in kept}


def test_hours_of_a_face_are_held_in_less_than_two_hundred_bytes_a_frame() -> None:
    judge, image = Judge(ScriptedNetwork(lambda _: (0.0, 0.0, 0.0), SPEC), Stopwatch()), numbered(1)[0]
    held, step = [], CHUNK_FRAMES - OVERLAP_FRAMES  # as many crops wait after each
    tracemalloc.start()
    for index in range(4 * step):
        if index % step == 0:
            held.append(tracemalloc.get_traced_memory()[0])
        judge.take(TrackerOutput([crop(index, image)]))
    tracemalloc.stop()
    assert held[-1] - held[1] < 200 * 2 * step


def test_what_fails_beside_the_tracker_fails_the_video() -> None:
    def fail(_image: npt.NDArray[np.uint8]) -> tuple[float, float, float]:
        raise RuntimeError("no more memory")

    with JudgeBeside(Judge(ScriptedNetwork(fail, SPEC), Stopwatch())) as judge:
        for index, image in enumerate(numbered(LEAST_FRAMES)):
            judge.take(TrackerOutput([crop(index, image)]))
        judge.take(TrackerOutput(closed=[(0, 0)]))
        with pytest.raises(RuntimeError, match="no more memory"):
            judge.finish()


def test_a_video_that_is_not_read_to_its_end_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with JudgeBeside(Judge(Watching(), Stopwatch())) as judge:
        judge.take(TrackerOutput([crop(0, numbered(1)[0])]))
    assert threading.active_count() == before


def test_a_stopwatch_counts_what_fails_too() -> None:
    clock = Stopwatch()

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        clock.time("work", fail)
    assert clock.seconds["work"] >= 0
