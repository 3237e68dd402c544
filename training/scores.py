"""What a model file says of labelled videos: a logit a video, and the frame curve of every face; remembered on disk."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmcl_sdk import Detector, VideoError
from dmcl_sdk.assembly import STEADY_S, FaceCurve, pool_face
from dmcl_sdk.sighting import COLUMNS, Sightings

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One video as the detector saw it.

    Attributes:
        logit: of its worst face, before calibration; None when no face could be judged.
        faces: the curve of every judged face, the worst first.
        problem: why the file could not be read; empty if it could.
    """

    logit: float | None
    faces: tuple[FaceCurve, ...] = ()
    problem: str = ""

    @property
    def curve(self) -> FaceCurve | None:
        """Of the worst face; None when no face could be judged."""
        return self.faces[0] if self.faces else None

    @property
    def face_px(self) -> float:
        """Median width of the worst face in pixels; NaN without one."""
        curve = self.curve
        return float("nan") if curve is None else float(np.median(curve.sightings.column("face_px")))


def score_video(detector: Detector, video: Path) -> Scored:
    """The raw score of one video, by the very path that serves it, of the frames and faces that a verdict judges."""
    cv2.setNumThreads(1)
    try:
        curves = detector.curves(video)
    except VideoError as error:
        return Scored(None, (), error.message)
    return _ranked(detector, curves)


def face_logit(curve: FaceCurve, detector: Detector) -> float:
    """A face's logit, pooled as in a verdict."""
    return pool_face(curve.logits[curve.judged], curve.times[curve.judged, 0], detector.spec)


class Scorer:
    """Scores videos with one model, and remembers what it has scored.

    A score is found again by the model's weights and by path, size and time of change of the video; a changed model or
    video is scored anew, a changed calibration needs no new scores: they are raw logits. One file a video, written at
    once, so that a run that was cut off goes on where it was.

    Args:
        detector: with the model.
        folder: where scores are kept; None to keep none.
    """

    def __init__(self, detector: Detector, folder: Path | None = None) -> None:
        self.detector = detector
        spec = detector.spec
        # an 8-bit file depends on what it was quantized with, too
        exact = f"{spec.weights_sha256} {spec.preprocessing} {detector.providers[0]}"
        network = exact if spec.precision == "fp32" else detector.model.sha256
        self._model = f"{network} {COLUMNS} {STEADY_S} {detector.judgement}"
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def score(self, video: Path) -> Scored:
        """`score_video`, remembered."""
        return self._remembered(self._file("", video), lambda: score_video(self.detector, video))

    def derived(self, recipe: str, origin: Path, make: Callable[[Path, Path], None]) -> Scored:
        """The score of what `make(origin, target)` writes, which is made only if it is not known yet.

        Args:
            recipe: names what is made; another recipe, another score.
            origin: what it is made of.
            make: writes an .mp4 file; a `VideoError` means that the origin is no video.
        """

        def scored() -> Scored:
            with tempfile.TemporaryDirectory() as folder:
                target = Path(folder) / "derived.mp4"
                try:
                    make(origin, target)
                except VideoError as error:
                    return Scored(None, (), error.message)
                return score_video(self.detector, target)

        return self._remembered(self._file(recipe, origin), scored)

    def _file(self, recipe: str, video: Path) -> Path | None:
        if self._folder is None:
            return None
        key = f"{self._model} {recipe} {file_key(video)}"
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"

    def _remembered(self, file: Path | None, scored: Callable[[], Scored]) -> Scored:
        if file is None:
            return scored()
        if not file.exists():
            _write(file, scored())
        return _read(file, self.detector)


def file_key(path: Path) -> str:
    """What tells one state of a file from another without reading it: path, size, time of change."""
    stat = path.stat()
    return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"


def _ranked(detector: Detector, curves: Iterable[FaceCurve], problem: str = "") -> Scored:
    judged = [curve for curve in curves if curve.judged_s >= detector.judgement.min_judged_s]
    logits = [face_logit(curve, detector) for curve in judged]
    order = np.argsort([-logit for logit in logits], kind="stable")
    return Scored(max(logits, default=None), tuple(judged[n] for n in order), problem)


def _write(file: Path, scored: Scored) -> None:
    arrays: dict[str, Any] = {"problem": np.array(scored.problem)}
    for number, face in enumerate(scored.faces):
        arrays |= {
            f"track{number}": np.array(face.track_id),
            f"sightings{number}": face.sightings.rows,
            f"logits{number}": face.logits,
            f"times{number}": face.times,
        }
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    partial.replace(file)


def _read(file: Path, detector: Detector) -> Scored:
    with np.load(file, allow_pickle=False) as arrays:
        faces = [
            FaceCurve(
                int(arrays[f"track{number}"]),
                Sightings(arrays[f"sightings{number}"]),
                arrays[f"logits{number}"],
                arrays[f"times{number}"],
            )
            for number in range(sum(name.startswith("track") for name in arrays.files))
        ]
        return _ranked(detector, faces, str(arrays["problem"]))
