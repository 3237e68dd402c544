"""Short forged spans inside real videos: what localisation is judged on.

A stretch of a genuine fake is laid, frame by frame, into the real video it was made from, and the whole is encoded
again, so that only the stretch's own content tells it apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dmcl_sdk.segment import Segment
from training.data.manifest import Clip

LENGTHS_S = (0.4, 1.0, 2.0)
CRF = 23
_SAME_BITS = {
    "crf": str(CRF),
    "preset": "veryfast",
    "threads": "1",
    "x264-params": "cpu-independent=1:mbtree=0",
}


@dataclass(frozen=True, slots=True)
class Splice:
    """A video with one forged span.

    Attributes:
        path: the video.
        truth: where it was forged.
        source: the real video it was made of: splices of one source are not independent.
        generator: what made the fake.
    """

    path: Path
    truth: Segment
    source: str
    generator: str


def make_splices(clips: list[Clip], folder: Path, *, seed: int = 0) -> Iterator[Splice]:
    """Splices of every aligned pair among the clips, one of each length; the same for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        if not clip.fake or clip.pair is None:
            continue
        real, fake = _frames(clip.pair), _frames(clip.path)
        if len(real[0]) != len(fake[0]) or real[0][0].shape != fake[0][0].shape:
            continue  # not aligned frame by frame
        rate = real[1]
        for length_s in LENGTHS_S:
            rng = np.random.default_rng([seed, round(length_s * 1000), *clip.path.stem.encode()])
            length, total = round(length_s * rate), len(real[0])
            if length > total // 2:
                continue
            first = int(rng.integers(total // 8, total - total // 8 - length))
            path = folder / f"{clip.path.stem}-{round(length_s * 1000)}ms.mp4"
            _write(real[0][:first] + fake[0][first : first + length] + real[0][first + length :], rate, path)
            truth = Segment(float(first / rate), float((first + length) / rate))
            yield Splice(path, truth, clip.pair.name, clip.generator)


def _frames(path: Path) -> tuple[list[np.ndarray], Fraction]:
    """All pictures as planar YUV 4:2:0, and the frame rate."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="yuv420p") for frame in container.decode(stream)]
        return frames, Fraction(stream.average_rate or 25)


def _write(frames: list[np.ndarray], rate: Fraction, path: Path) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=_SAME_BITS)
        stream.height, stream.width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
        stream.pix_fmt = "yuv420p"
        for planes in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())
