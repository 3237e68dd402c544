from __future__ import annotations

import asyncio
import io
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dmcl_sdk import Detector, SpanRule, Verdict, VideoError, VideoLimits
from dmcl_sdk.assembly import JudgementRule
from dmcl_sdk.detector import failed_verdict
from dmcl_sdk.errors import VideoProblem
from dmcl_sdk.report.words import headline, verdict_label
from dmcl_sdk.testing import KnownFaces, ScriptedNetwork
from tests.made import make_audio, make_video
from tests.sdk.scenes import known_face, red_detector, red_video, redness, tinted

TOLERANCE_MS = 80


def test_a_span_forged_in_the_middle_of_a_clip_comes_back() -> None:
    verdict = red_detector().score(red_video(100, 40, 60))
    assert (verdict.status, verdict.summary.label) == ("scored", "manipulated")
    (span,) = verdict.spans
    assert abs(span.start_ms - 1600) <= TOLERANCE_MS
    assert abs(span.end_ms - 2400) <= TOLERANCE_MS
    assert span.start_ms <= span.peak_ms < span.end_ms
    assert (span.start_frame, span.end_frame) == (round(span.start_ms / 40), round(span.end_ms / 40))
    assert span.modalities.rgb > 0.9
    assert span.modalities.flow < 0.1
    assert span.modalities.disagreement == pytest.approx(span.modalities.rgb - span.modalities.flow)
    assert {reason.code for reason in verdict.reasons} == {"appearance_anomaly", "modality_conflict"}


def test_a_span_that_crosses_chunks_is_one_span() -> None:
    verdict = red_detector().score(red_video(300, 90, 250))
    assert [
        (abs(s.start_ms - 3600) <= TOLERANCE_MS, abs(s.end_ms - 10000) <= TOLERANCE_MS) for s in verdict.spans
    ] == [(True, True)]


def test_a_clip_without_a_forgery_has_no_span() -> None:
    verdict = red_detector().score(red_video(60, 0, 0))
    assert (verdict.status, verdict.summary.label, verdict.spans) == ("scored", "not_manipulated", ())
    assert verdict.summary.coverage == 1
    assert verdict.summary.scanned_ms == verdict.asset.duration_ms == 2400


def test_several_faces_are_judged_apart_and_the_worst_speaks_for_the_video() -> None:
    def half_red(index: int, width: int, height: int) -> np.ndarray:
        clean, red = (tinted(0, end)(index, width, height) for end in (0, 1000))
        return np.concatenate([clean[:, : width // 2], red[:, width // 2 :]], 1)

    video = make_video(60, width=240, height=120, painter=half_red)
    left, right = known_face(0.05, 0.1, 0.35, 0.8), known_face(0.6, 0.1, 0.35, 0.8)
    verdict = red_detector(left, right).score(video)
    labels = {track.keyframes[0].box.left < 0.4: track.label for track in verdict.tracks}
    assert labels == {True: "not_manipulated", False: "manipulated"}
    assert verdict.summary.faces == 2
    assert {span.track_id for span in verdict.spans} == {verdict.summary.worst_track_id}


def test_boxes_are_fractions_of_the_displayed_frame() -> None:
    verdict = red_detector(known_face(0.3, 0.2, 0.4, 0.6)).score(red_video(40, 0, 0))
    box = verdict.tracks[0].keyframes[0].box
    assert (box.left, box.top, box.width, box.height) == pytest.approx((0.3, 0.2, 0.4, 0.6), abs=0.01)


def test_the_same_input_gives_the_same_bytes() -> None:
    video = red_video(60, 20, 40)
    first, second = (red_detector().score(video).without_timings().to_json() for _ in range(2))
    assert first == second


def test_a_detector_is_shared_by_threads() -> None:
    detector, video = red_detector(), red_video(60, 20, 40)
    with ThreadPoolExecutor(4) as pool:
        answers = {v.without_timings().to_json() for v in pool.map(detector.score, [video] * 4)}
    assert len(answers) == 1


def test_a_detector_travels_by_its_settings() -> None:
    faces = KnownFaces((known_face(),))
    detector = Detector(_Plain(), face_model=faces, rule=SpanRule(min_contrast=0.2))
    copy = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own bytes
    video = red_video(40, 10, 20)
    assert copy.score(video).without_timings() == detector.score(video).without_timings()


class _Plain(ScriptedNetwork):
    """A scripted network whose script is a module's function, so that it can be pickled."""

    def __init__(self) -> None:
        super().__init__(redness)


def test_a_path_bytes_and_a_file_object_are_the_same_video(tmp_path: Path) -> None:
    video = red_video(40, 10, 30)
    path = tmp_path / "clip.mp4"
    path.write_bytes(video)
    detector = red_detector()
    verdicts = [detector.score(source) for source in (path, str(path), video, io.BytesIO(video))]
    assert len({verdict.asset.sha256 for verdict in verdicts}) == 1
    assert len({verdict.spans for verdict in verdicts}) == 1


def test_score_async_answers_as_score_does() -> None:
    video = red_video(40, 10, 30)
    detector = red_detector()
    answer = asyncio.run(detector.score_async(video))
    assert answer.without_timings() == detector.score(video).without_timings()


def test_progress_is_told_in_seconds_of_video() -> None:
    told: list[tuple[float, float | None]] = []
    red_detector().score(red_video(60, 0, 0), on_progress=lambda done, total: told.append((done, total)))
    seconds = [done for done, _ in told]
    assert seconds == sorted(seconds)
    assert 2 < seconds[-1] <= 2.4
    assert told[0][1] == pytest.approx(2.4)


def test_a_scoring_that_is_cancelled_has_stopped_when_that_is_told() -> None:
    began = threading.Event()
    told: list[float] = []

    def heard(scanned_s: float, _: float | None) -> None:
        told.append(scanned_s)
        began.set()
        time.sleep(0.02)

    async def cancelled() -> float:
        work = asyncio.create_task(red_detector().score_async(red_video(600, 0, 600), on_progress=heard))
        await asyncio.to_thread(began.wait)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return told[-1]

    before = set(threading.enumerate())
    last_s = asyncio.run(cancelled())
    assert last_s < 12
    assert {one.name for one in set(threading.enumerate()) - before if one.is_alive()} == set()


def test_a_video_that_is_over_in_a_blink_is_too_short_and_not_without_a_face() -> None:
    verdict = red_detector().score(red_video(1, 0, 1))
    assert (verdict.status, [reason.code for reason in verdict.reasons]) == ("abstained", ["too_short"])
    assert verdict_label(verdict) == "Not judged"
    assert headline(verdict) == "This video is too short to judge a face."


@pytest.mark.parametrize(
    ("problem", "code", "label"),
    [
        ("missing", "unreadable", "Not readable"),
        ("encrypted", "encrypted", "Encrypted"),
        ("over_limit", "limit_reached", "Not scored"),
        ("no_frames", "not_a_video", "Not a video"),
    ],
)
def test_a_file_that_cannot_be_scored_says_why_to_programs_and_to_people(
    problem: VideoProblem, code: str, label: str
) -> None:
    verdict = failed_verdict(VideoError("clip.mp4", problem, "so it is"))
    assert (verdict.status, verdict.reasons[0].code, verdict_label(verdict)) == ("failed", code, label)


def test_a_file_that_is_no_video_raises_from_score_and_is_answered_in_score_many() -> None:
    detector, sound = red_detector(), make_audio()
    with pytest.raises(VideoError, match="no video"):
        detector.score(sound)
    verdicts = list(detector.score_many([sound, red_video(40, 0, 0), b""]))
    assert [verdict.status for verdict in verdicts] == ["failed", "scored", "failed"]
    assert verdicts[0].reasons[0].code == "not_a_video"


def test_a_failed_verdict_survives_the_wire() -> None:
    verdict = failed_verdict(VideoError("clip.mp4", "empty", "the file is empty"))
    assert Verdict.model_validate_json(verdict.to_json()) == verdict


def test_a_video_without_a_face_is_not_applicable() -> None:
    class Blind:
        name, sha256 = "blind", "0" * 64

        def detect(self, image: object) -> list[object]:  # noqa: ARG002
            return []

    verdict = Detector(ScriptedNetwork(redness), face_model=Blind()).score(red_video(40, 0, 40))  # type: ignore[arg-type]
    assert (verdict.status, verdict.summary.label, verdict.reasons[0].code) == (
        "not_applicable",
        None,
        "no_face",
    )


def test_a_face_that_is_too_small_is_answered_with_a_reason() -> None:
    verdict = red_detector(judgement=JudgementRule(min_face_px=100)).score(red_video(40, 0, 40))
    assert (verdict.status, verdict.summary.probability) == ("abstained", None)
    assert [(r.code, r.track_id) for r in verdict.reasons] == [("face_too_small", 0)]


def test_a_clip_that_is_too_short_is_answered_with_a_reason() -> None:
    verdict = red_detector().score(red_video(12, 0, 12))
    assert (verdict.status, verdict.reasons[0].code) == ("abstained", "too_short")


def test_a_limit_on_the_duration_ends_the_scan_and_says_so() -> None:
    verdict = red_detector(limits=VideoLimits(max_duration_s=1.0)).score(red_video(60, 0, 0))
    assert "limit_reached" in {reason.code for reason in verdict.reasons}
    assert verdict.summary.scanned_ms == 1000


def test_times_of_a_variable_rate_are_presentation_times() -> None:
    steps = [Fraction(1, 25) if n % 3 else Fraction(2, 25) for n in range(60)]
    times = [sum(steps[:n], Fraction(0)) for n in range(60)]
    verdict = red_detector().score(red_video(60, 20, 40, times_s=times))
    (span,) = verdict.spans
    assert verdict.asset.vfr
    assert abs(span.start_ms - float(times[20]) * 1000) <= 2 * TOLERANCE_MS
    assert abs(span.end_ms - float(times[40]) * 1000) <= 2 * TOLERANCE_MS


def test_a_shot_cut_ends_the_track() -> None:
    def two_shots(index: int, width: int, height: int) -> np.ndarray:
        picture = tinted(0, 0)(index, width, height)
        return picture if index < 30 else 255 - picture // 3

    video = make_video(60, width=160, height=120, painter=two_shots)
    verdict = red_detector().score(video)
    assert [(track.start_ms, track.end_ms) for track in verdict.tracks] == [(0, 1200), (1200, 2400)]
