"""Reading videos: what comes back, when it is shown, and what is said of odd, damaged and other files."""

import gc
import hashlib
import io
import os
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame

from dmcl_sdk.errors import VideoError, VideoProblem
from dmcl_sdk.frame import Frame
from dmcl_sdk.verdict import Reason
from dmcl_sdk.video import Video, VideoLimits, VideoSource, open_video, video_name
from tests.made import (
    Pipe,
    frame_of,
    make_audio,
    make_video,
    number_of,
    numbered,
    scribbled,
    smooth,
    textured,
    trimmed,
)
from tests.sdk.footage import carphone

KEY = "00112233445566778899aabbccddeeff"


def read(
    source: VideoSource, limits: VideoLimits | None = None, *, max_fps: float = 32.0
) -> tuple[Video, list[Frame]]:
    with open_video(source, limits, max_fps=max_fps) as video:
        return video, list(video)


def problem_of(source: VideoSource, limits: VideoLimits | None = None) -> tuple[VideoProblem, str]:
    with pytest.raises(VideoError) as caught:
        read(source, limits)
    return caught.value.problem, str(caught.value)


def reasons_of(video: Video) -> list[tuple[str, int | None, int | None]]:
    return [(reason.code, reason.start_ms, reason.end_ms) for reason in video.reasons]


def numbers_of(frames: list[Frame]) -> list[int]:
    return [number_of(frame) for frame in frames]


MADE: dict[str, dict[str, Any]] = {
    "H.264 in MP4": {},
    "H.264 without B-frames": {"b_frames": 0},
    "H.264 10-bit": {"pixel_format": "yuv420p10le"},
    "H.264 4:4:4": {"pixel_format": "yuv444p"},
    "H.264 of odd size": {"pixel_format": "yuv444p", "width": 175, "height": 143},
    "H.264 with threads": {"width": 1024, "height": 600, "options": {"preset": "ultrafast"}},
    "H.264 in fragments": {"muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "H.264 in Matroska": {"container": "matroska"},
    "H.264 in MPEG-TS": {"container": "mpegts"},
    "H.264 in FLV": {"container": "flv"},
    "H.264 in AVI": {"container": "avi"},
    "H.264 in AVI with threads": {
        "width": 1024,
        "height": 600,
        "container": "avi",
        "options": {"preset": "ultrafast"},
    },
    "H.264 with sound": {"audio_s": 1.5},
    "H.264 with sound in Matroska": {"audio_s": 1.5, "container": "matroska"},
    "H.264 bare": {"container": "h264"},
    "HEVC": {"codec": "libx265"},
    "HEVC 10-bit": {"codec": "libx265", "pixel_format": "yuv420p10le"},
    "VP8": {"codec": "libvpx", "container": "webm"},
    "VP9": {"codec": "libvpx-vp9", "container": "webm"},
    "VP9 of odd size": {"codec": "libvpx-vp9", "container": "webm", "width": 175, "height": 143},
    "AV1": {"codec": "libsvtav1"},
    "AV1 10-bit in WebM": {"codec": "libsvtav1", "container": "webm", "pixel_format": "yuv420p10le"},
    "MPEG-2 in MPEG-TS": {"codec": "mpeg2video", "container": "mpegts"},
    "MPEG-2 in a program stream": {"codec": "mpeg2video", "container": "mpeg"},
    "MPEG-4 in AVI": {"codec": "mpeg4", "container": "avi"},
    "MJPEG in AVI": {"codec": "mjpeg", "container": "avi", "pixel_format": "yuvj420p"},
    "MJPEG 4:2:2 in MOV": {"codec": "mjpeg", "container": "mov", "pixel_format": "yuvj422p"},
    "ProRes": {"codec": "prores_ks", "container": "mov", "pixel_format": "yuv422p10le"},
    "GIF": {"codec": "gif", "container": "gif", "pixel_format": "rgb8"},
    "PNG in MOV": {"codec": "png", "container": "mov", "pixel_format": "rgb24"},
    "FFV1 grey": {"codec": "ffv1", "container": "matroska", "pixel_format": "gray"},
    "FFV1 16-bit": {"codec": "ffv1", "container": "matroska", "pixel_format": "yuv422p16le"},
    "raw in AVI": {"codec": "rawvideo", "container": "avi", "pixel_format": "bgr24"},
    "WMV in ASF": {"codec": "wmv2", "container": "asf"},
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_every_frame_comes_back_in_order_with_its_exact_time(made: dict[str, Any]) -> None:
    video, frames = read(make_video(24, **made))
    assert numbers_of(frames) == list(range(24))
    assert [frame.index for frame in frames] == list(range(24))
    assert [frame.start_s for frame in frames] == [float(Fraction(index, 25)) for index in range(24)]
    assert [frame.end_s for frame in frames] == [float(Fraction(index + 1, 25)) for index in range(24)]
    assert all(frame.continuous for frame in frames)
    assert video.duration_s == 0.96
    assert video.reasons == []
    assert not video.vfr


def test_the_information_says_what_the_file_is(tmp_path: Path) -> None:
    data = make_video(5, width=120, height=80, rotation=90, fps=Fraction(30_000, 1001))
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    video, _ = read(path)
    info = video.info
    assert video.container_duration_s == pytest.approx(5 * 1001 / 30_000, abs=1e-4)
    assert info.name == str(path)
    assert info.uri == path.as_uri()
    assert info.size_bytes == len(data)
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    assert info.codec == "h264"
    assert (info.width, info.height, info.rotation) == (80, 120, 90)
    assert info.frame_rate == Fraction(30_000, 1001)
    assert info.pixel_format == "yuv420p"


def test_pixels_are_let_go_with_their_frame_and_wait_for_no_collector() -> None:
    def frames() -> int:
        return sum(type(it) is VideoFrame for it in gc.get_objects())

    data = make_video(30, width=64, height=48, rotation=90)
    gc.collect()
    gc.disable()
    try:
        others = frames()  # what else in this process holds some is not meant
        with open_video(data) as video:
            held = [frames() - others for _ in video]
    finally:
        gc.enable()
    assert 0 < max(held) < 10


@pytest.mark.parametrize(
    ("codec", "name"), [("libsvtav1", "av1"), ("libx265", "hevc"), ("mjpeg", "mjpeg"), ("mpeg4", "mpeg4")]
)
def test_a_codec_is_named_after_its_standard_and_not_its_decoder(codec: str, name: str) -> None:
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    assert read(make_video(5, codec=codec, pixel_format=pixel_format))[0].info.codec == name


def test_a_path_bytes_a_file_and_a_pipe_are_the_same_video(tmp_path: Path) -> None:
    data = make_video(10)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    used = io.BytesIO(data)
    used.seek(500)
    with path.open("rb") as file:
        sources: list[Any] = [path, str(path), data, used, file, Pipe(data)]
        videos = [read(source) for source in sources]
    assert {video.info.sha256 for video, _ in videos} == {hashlib.sha256(data).hexdigest()}
    assert {video.info.size_bytes for video, _ in videos} == {len(data)}
    assert all(numbers_of(frames) == list(range(10)) for _, frames in videos)
    assert [video.info.name for video, _ in videos] == [
        str(path),
        str(path),
        "<bytes>",
        "<file>",
        str(path),
        "<file>",
    ]
    assert videos[2][0].info.uri == "urn:sha256:" + hashlib.sha256(data).hexdigest()


def test_a_file_object_is_left_open() -> None:
    file = io.BytesIO(make_video(3))
    read(file)
    assert not file.closed


def test_a_source_is_named_by_its_path_or_by_its_kind() -> None:
    assert video_name("a/b.mp4") == "a/b.mp4"
    assert video_name(Path("a") / "b.mp4") == str(Path("a") / "b.mp4")
    assert video_name(b"...") == "<bytes>"
    assert video_name(io.BytesIO()) == "<file>"


def test_frames_outlive_the_video() -> None:
    _, frames = read(make_video(12, width=160, height=120, painter=smooth))
    assert np.abs(frames[3].image(160) - smooth(3, 160, 120).astype(int)).mean() < 5


def test_a_variable_rate_keeps_every_time_exactly() -> None:
    times = [Fraction(time, 1000) for time in (0, 33, 66, 116, 166, 216, 249, 282, 350, 400, 433, 500)]
    for container in ("mp4", "matroska"):
        video, frames = read(make_video(12, times_s=times, container=container))
        assert [frame.start_s for frame in frames] == [float(time) for time in times]
        assert [frame.end_s for frame in frames[:-1]] == [float(time) for time in times[1:]]
        assert numbers_of(frames) == list(range(12))
        assert video.vfr
        assert video.reasons == []


def test_a_start_offset_is_taken_off() -> None:
    times = [5 + Fraction(index, 25) for index in range(10)]
    for container in ("mp4", "mpegts", "matroska"):
        _, frames = read(make_video(10, times_s=times, container=container))
        assert [frame.start_s for frame in frames] == [float(Fraction(index, 25)) for index in range(10)]


def test_an_offset_of_the_sound_does_not_move_the_picture() -> None:
    times = [2 + Fraction(index, 25) for index in range(10)]
    _, frames = read(make_video(10, times_s=times, audio_s=2.4))
    assert frames[0].start_s == 0


@pytest.mark.parametrize("first", [1, 5, 13])
def test_an_edit_list_that_begins_later_is_obeyed(first: int) -> None:
    video, frames = read(trimmed(make_video(24), first))
    assert numbers_of(frames) == list(range(first, 24))
    assert [frame.start_s for frame in frames] == [float(Fraction(index, 25)) for index in range(24 - first)]
    assert video.reasons == []


def test_sixty_frames_a_second_are_thinned_to_every_second_one() -> None:
    video, frames = read(make_video(25, fps=60))
    assert [frame.index for frame in frames] == list(range(0, 25, 2))
    assert numbers_of(frames) == list(range(0, 25, 2))
    assert [frame.start_s for frame in frames] == [float(Fraction(index, 60)) for index in range(0, 25, 2)]
    assert [frame.end_s for frame in frames[:-1]] == [frame.start_s for frame in frames[1:]]
    assert frames[-1].end_s == video.duration_s
    assert all(frame.continuous for frame in frames)


@pytest.mark.parametrize(
    ("fps", "max_fps", "step"),
    [(30, 32, 1), (50, 32, 2), (60, 32, 2), (120, 32, 4), (25, 10, 3), (24, 60, 1)],
)
def test_frames_are_thinned_by_time(fps: int, max_fps: float, step: int) -> None:
    _, frames = read(make_video(24, fps=fps), max_fps=max_fps)
    assert [frame.index for frame in frames] == list(range(0, 24, step))


def test_a_phone_whose_clock_jitters_loses_no_frame() -> None:
    rng = np.random.default_rng(4)
    times = [Fraction(1000 * index // 30 + int(rng.integers(-4, 5)) + 4, 1000) for index in range(40)]
    assert len(read(make_video(40, times_s=times))[1]) == 40


def test_a_hole_is_said_and_breaks_the_continuity() -> None:
    times = [Fraction(index, 25) + (3 if index > 4 else 0) for index in range(10)]
    for container in ("mp4", "matroska"):
        video, frames = read(make_video(10, times_s=times, container=container))
        assert reasons_of(video) == [("gap", 200, 3200)]
        assert [frame.index for frame in frames if not frame.continuous] == [5]
        assert frames[4].end_s == 0.2
        assert numbers_of(frames) == list(range(10))


def test_recordings_joined_end_to_end_go_on_in_time() -> None:
    video, frames = read(make_video(48, container="mpegts") + make_video(48, container="mpegts"))
    assert [frame.start_s for frame in frames] == [float(Fraction(frame.index, 25)) for frame in frames]
    assert {frame.index for frame in frames} >= {*range(36), *range(48, 96)}
    assert video.duration_s == 96 / 25


def test_a_real_recording_is_read_to_its_end() -> None:
    video, frames = read(carphone())
    assert [frame.start_s for frame in frames] == [
        pytest.approx(index * 1001 / 30_000, abs=1e-4) for index in range(120)
    ]
    # Its 176 columns are wider than high, by 128:117.
    assert (video.info.width, video.info.height) == (193, 144)
    assert video.reasons == []


def test_interlacing_is_said_once() -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    assert reasons_of(read(make_video(24, options=options))[0]) == [("interlaced", 0, None)]


SMALL_AND_LARGE: list[dict[str, Any]] = [
    {"width": 320, "height": 240},
    {"width": 1024, "height": 600, "options": {"preset": "ultrafast"}},
]


@pytest.mark.parametrize("made", SMALL_AND_LARGE, ids=["small", "large"])
def test_damaged_pictures_are_left_out_until_the_next_key_frame(made: dict[str, Any]) -> None:
    data = make_video(48, painter=textured, muxer={"movflags": "faststart"}, **made)
    video, frames = read(scribbled(data, 0.4, 0.42))
    missing = sorted(set(range(48)) - {frame.index for frame in frames})
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert missing[-1] % 12 == 11
    back = missing[-1] + 1
    assert reasons_of(video) == [("decode_error", 40 * missing[0], 40 * back)]
    assert [frame.index for frame in frames if not frame.continuous] == [back]
    assert frames[missing[0] - 1].end_s == missing[0] / 25


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_a_damaged_file_reads_the_same_every_time(container: str) -> None:
    data = make_video(48, painter=textured, container=container, **SMALL_AND_LARGE[1])
    damaged = scribbled(data, 0.3, 0.6, flips=40)
    readings = set()
    for _ in range(4):
        video, frames = read(damaged)
        pixels = b"".join(frame.image(64).tobytes() for frame in frames)
        readings.add((tuple(frame.start_s for frame in frames), str(reasons_of(video)), pixels))
    assert len(readings) == 1
    assert "decode_error" in readings.pop()[1]


def test_each_damaged_picture_alone_is_left_out_where_none_builds_on_another() -> None:
    data = bytearray(make_video(20, codec="mjpeg", container="matroska", pixel_format="yuvj420p"))
    at = -1
    for _ in range(8):
        at = data.index(b"\xff\xd8\xff", at + 1)
    data[at : at + 700] = bytes(700)
    video, frames = read(bytes(data))
    assert numbers_of(frames) == [*range(7), *range(8, 20)]
    assert reasons_of(video) == [("decode_error", 280, 320)]
    assert [frame.start_s for frame in frames if not frame.continuous] == [0.32]


def test_a_damaged_end_is_said_to_its_end() -> None:
    data = bytearray(make_video(20, codec="mjpeg", container="matroska", pixel_format="yuvj420p"))
    last = data.rindex(b"\xff\xd8\xff")
    data[last : last + 700] = bytes(700)
    video, frames = read(bytes(data))
    assert numbers_of(frames) == list(range(19))
    assert reasons_of(video) == [("decode_error", 760, 800)]


def test_damage_at_the_start_does_not_move_the_clock() -> None:
    data = make_video(48, width=160, height=120, painter=smooth, muxer={"movflags": "faststart"})
    start = (data.index(b"mdat") + 4) / len(data)
    video, frames = read(scribbled(data, start, start + 0.1, flips=400))
    assert reasons_of(video) == [("decode_error", 0, 480)]
    assert frames[0].start_s == 0.48
    assert frames[0].continuous


@pytest.mark.parametrize("container", ["mp4", "fragmented", "matroska", "mpegts", "avi", "flv"])
@pytest.mark.parametrize("audio_s", [0.0, 2.4])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(container: str, audio_s: float) -> None:
    fragmented = container == "fragmented"
    data = make_video(
        60,
        width=160,
        height=120,
        painter=smooth,
        container="mp4" if fragmented else container,
        muxer={"movflags": "frag_keyframe+empty_moov" if fragmented else "faststart"},
        audio_s=audio_s if container != "flv" else 0,
    )
    whole, _ = read(data)
    assert whole.reasons == []
    # Not at the end of a transport packet, where nobody could tell.
    video, frames = read(data[: len(data) * 6 // 10 // 188 * 188 + 7])
    assert "truncated" in [code for code, _, _ in reasons_of(video)]
    assert 0.7 < frames[-1].end_s <= video.duration_s < 2
    times = [frame.start_s for frame in frames]
    # The last picture of a cut file may come without those that the encoder had put off till after it.
    assert times[:-1] == [float(Fraction(index, 25)) for index in range(len(frames) - 1)]


def test_sound_that_outlasts_the_picture_is_no_truncation() -> None:
    for container in ("mp4", "matroska", "mpegts", "avi"):
        assert read(make_video(10, container=container, audio_s=3))[0].reasons == []


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (VideoLimits(max_duration_s=0.5), 13),
        (VideoLimits(max_frames=5), 5),
        (VideoLimits(max_work_s=1e-9), 0),
    ],
)
def test_a_limit_of_time_frames_or_work_ends_the_reading(limits: VideoLimits, kept: int) -> None:
    video, frames = read(make_video(24), limits)
    assert len(frames) == kept
    assert reasons_of(video) == [("limit_reached", 40 * kept, None)]
    assert video.duration_s == kept / 25


def test_work_is_timed_from_the_opening() -> None:
    with open_video(make_video(24), VideoLimits(max_work_s=60)) as video:
        assert len(list(video)) == 24
        assert 0 < video.decode_s < 60


@pytest.mark.parametrize("limits", [VideoLimits(max_bytes=1000), VideoLimits(max_pixels=6911)])
def test_too_many_bytes_or_pixels_are_refused(limits: VideoLimits, tmp_path: Path) -> None:
    data = make_video(24, width=96, height=72)
    path = tmp_path / "large.mp4"
    path.write_bytes(data)
    sources: list[Any] = [data, path, io.BytesIO(data), Pipe(data)]
    assert {problem_of(source, limits)[0] for source in sources} == {"over_limit"}


def test_limits_that_just_fit_are_kept() -> None:
    data = make_video(24, width=96, height=72)
    assert len(read(data, VideoLimits(max_bytes=len(data), max_pixels=96 * 72))[1]) == 24


def test_a_limit_of_nothing_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="over 0"):
        VideoLimits(max_frames=0)
    with pytest.raises(ValueError, match="over 0"), open_video(b"", max_fps=0):
        pass


def test_a_picture_larger_than_its_header_says_is_not_decoded() -> None:
    small, large = (make_video(24, width=size, height=size, container="mpegts") for size in (64, 512))
    video, frames = read(small + large, VideoLimits(max_pixels=100 * 100))
    assert {frame.width for frame in frames} == {64}
    assert [code for code, _, _ in reasons_of(video)] == ["decode_error"]


def test_a_picture_that_changes_its_size_is_read_at_each_size() -> None:
    small, large = (make_video(48, width=size, height=size, container="mpegts") for size in (64, 96))
    _, frames = read(small + large)
    assert {(frame.width, frame.image(500).shape) for frame in frames} == {
        (64, (64, 64, 3)),
        (96, (96, 96, 3)),
    }


def nothing(tmp_path: Path) -> dict[str, tuple[VideoSource, str, str]]:
    """Sources that are no video: the source, what is wrong, and a word of the message."""
    folder, empty = tmp_path / "folder", tmp_path / "empty.mp4"
    folder.mkdir()
    empty.touch()
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(make_video(5))
    return {
        "missing": (tmp_path / "missing.mp4", "missing", "no such file"),
        "folder": (folder, "unreadable", "name the videos in it"),
        "device": ("/dev/null", "unreadable", "regular"),
        "impossible path": ("a\0b", "unreadable", "null"),
        "empty file": (empty, "empty", "empty"),
        "empty bytes": (b"", "empty", "empty"),
        "text": (b"hello world " * 100, "not_a_video", "format"),
        "JPEG": (_picture(".jpg"), "not_a_video", "picture"),
        "PNG": (_picture(".png"), "not_a_video", "picture"),
        "BMP": (_picture(".bmp"), "not_a_video", "picture"),
        "text like a BMP": (b"BMW is a maker of cars. " * 50, "not_a_video", "format"),
        "WebP": (_picture(".webp"), "not_a_video", "picture"),
        "noise": (np.random.default_rng(0).bytes(5000), "not_a_video", ""),
        "sound": (make_audio(), "no_video_stream", "audio"),
        "MP3-like sound": (make_audio(container="adts"), "no_video_stream", "audio"),
        "cut before its index": (make_video(24)[:1500], "not_a_video", "cut off"),
        "index alone": (make_video(24, muxer={"movflags": "faststart"})[:1700], "no_frames", "decoded"),
        "encrypted": (
            make_video(
                24,
                muxer={
                    "encryption_scheme": "cenc-aes-ctr",
                    "encryption_key": KEY,
                    "encryption_kid": KEY,
                },
            ),
            "encrypted",
            "key",
        ),
        "encrypted sample entry": (make_video(24).replace(b"avc1", b"encv"), "encrypted", "key"),
        "unknown codec": (make_video(24).replace(b"avc1", b"zzzz"), "not_a_video", "decode"),
        "HLS": (
            f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n".encode(),
            "not_a_video",
            "list of other files",
        ),
        "concat": (f"ffconcat version 1.0\nfile '{secret}'\n".encode(), "not_a_video", "list of other files"),
        "DASH": (
            b'<?xml version="1.0"?>\n<MPD><BaseURL>http://localhost/</BaseURL></MPD>',
            "not_a_video",
            "list",
        ),
        "SDP": (
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5000 RTP/AVP 96\n",
            "not_a_video",
            "list",
        ),
    }


def _picture(suffix: str) -> bytes:
    return cv2.imencode(suffix, smooth(0, 64, 48))[1].tobytes()


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs devices that are files")
def test_what_is_no_video_is_refused_by_name_and_reason(tmp_path: Path) -> None:
    for name, (source, problem, word) in nothing(tmp_path).items():
        found, message = problem_of(source)
        assert (name, found) == (name, problem)
        assert message.startswith(f"{video_name(source)}: ")
        assert word in message


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "private.mp4"
    path.write_bytes(make_video(3))
    path.chmod(0)
    assert problem_of(path)[0] == "unreadable"


def test_a_playlist_under_a_video_name_opens_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(make_video(5))
    opened: list[str] = []
    sys.addaudithook(lambda event, details: opened.append(str(details[0])) if event == "open" else None)
    for name, text in [
        ("a.m3u8", "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n"),
        ("a.txt", "ffconcat version 1.0\nfile secret.mp4\n"),
    ]:
        (tmp_path / name).write_text(text)
        assert problem_of(tmp_path / name)[0] == "not_a_video"
    assert not any("secret" in path for path in opened)


def test_a_cover_picture_is_not_a_video() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=1)
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        audio = output.add_stream("aac", rate=48_000)
        output.mux(cover.encode(av.VideoFrame.from_ndarray(numbered(1, 64, 48), format="rgb24")))
        output.mux(cover.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        sound.sample_rate = 48_000
        output.mux(audio.encode(sound))
        output.mux(audio.encode(None))
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        assert len(container.streams.video) == 1
    assert problem_of(buffer.getvalue())[0] == "no_video_stream"


class Failing(io.BytesIO):
    """A file whose disk fails after some bytes."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise OSError("the disk is gone")
        return super().read(size)


@pytest.mark.parametrize("reads", [0, 2, 3])
def test_a_disk_that_fails_makes_a_file_unreadable(reads: int) -> None:
    problem, message = problem_of(Failing(make_video(24, width=640, height=480, painter=textured), reads))
    assert problem == "unreadable"
    assert "the disk is gone" in message


CONTAINERS: dict[str, dict[str, Any]] = {
    "mp4": {"audio_s": 0.3},
    "faststart": {"muxer": {"movflags": "faststart"}, "rotation": 90},
    "matroska": {"container": "matroska"},
    "mpegts": {"container": "mpegts"},
    "avi": {"container": "avi"},
    "hevc": {"codec": "libx265"},
    "vp9": {"codec": "libvpx-vp9", "container": "webm"},
    "av1": {"codec": "libsvtav1"},
    "gif": {"codec": "gif", "container": "gif", "pixel_format": "rgb8"},
    "prores": {"codec": "prores_ks", "container": "mov", "pixel_format": "yuv422p10le"},
}


@pytest.mark.parametrize("made", CONTAINERS.values(), ids=CONTAINERS)
def test_whatever_is_done_to_a_file_it_gives_frames_or_a_video_error(made: dict[str, Any]) -> None:
    whole = make_video(12, width=64, height=48, **made)
    matrix = np.array([[1.3, 0.1, 5], [-0.1, 1.3, 3]])
    for seed in range(60):
        rng = np.random.default_rng(seed)
        data = scribbled(whole, 0, rng.choice([0.2, 1.0]), flips=int(rng.integers(1, 12)), seed=seed)
        data = data[: int(rng.integers(1, len(data)))] if seed % 3 == 0 else data
        try:
            video, frames = read(data)
        except VideoError:
            continue
        edges = [edge for frame in frames for edge in (frame.start_s, frame.end_s)]
        assert edges == sorted(edges)
        assert all(frame.start_s < frame.end_s for frame in frames)
        assert all(frame.crop(matrix, 16).shape == (16, 16, 3) for frame in frames)
        assert all(isinstance(reason, Reason) for reason in video.reasons)


def test_a_file_damaged_all_over_has_a_bounded_number_of_reasons() -> None:
    data = bytearray(
        make_video(300, codec="mjpeg", container="matroska", pixel_format="yuvj420p", width=64, height=48)
    )
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", data)]
    for start, end in zip(starts[1::2], starts[2::2], strict=False):
        data[start : end - 80] = bytes(end - 80 - start)
    video, frames = read(bytes(data))
    assert 145 < len(frames) < 155
    assert len(video.reasons) == 50
    assert video.reasons[-1].end_ms == 298 * 40


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads its own memory from /proc")
def test_memory_does_not_grow_with_the_video() -> None:
    def resident_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    at: dict[int, float] = {}
    with open_video(
        make_video(1200, width=320, height=240, gop=100, options={"preset": "ultrafast"})
    ) as video:
        for frame in video:
            frame.crop(np.eye(3)[:2], 64)
            at[frame.index] = resident_mb()
    assert len(at) == 1200
    # All the frames together are 138 MB.
    assert at[1199] - at[200] < 8


def test_a_frame_of_an_image_shows_that_image() -> None:
    frame = frame_of(numbered(1234, 96, 72), index=3)
    assert number_of(frame) == 1234
    assert (frame.start_s, frame.end_s) == (0.12, 0.16)
