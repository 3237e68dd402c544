"""Short forged spans inside real videos: what localisation is judged on.

A stretch of a genuine fake is laid, frame by frame, into the real video it was made from, and the whole is encoded
again, so that only the stretch's own content tells it apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from dmcl_sdk.segment import Segment
from training.data.manifest import Clip

_log = logging.getLogger(__name__)

Picture = npt.NDArray[np.uint8]
LENGTHS_S = (0.4, 1.0, 2.0)
CRF = 23
_MOST_BYTES = 2**29
MOST_APART = 3.0  # grey levels, from one encoding to another
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
    """Splices of every pair among the clips that is aligned frame by frame, one of each length.

    The same for the same seed. They are as long as the shorter of the two, or as half a GiB of its pictures. A pair of
    which one cannot be read has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        if not clip.fake or clip.pair is None:
            continue
        try:
            real, fake = _frames(clip.pair), _frames(clip.path)
        except (av.FFmpegError, IndexError) as error:
            _log.warning("no spans of %s in %s: %s", clip.path, clip.pair, error)
            continue
        if not real[0] or not fake[0] or not _aligned(real[0], fake[0]):
            continue
        rate, total = real[1], min(len(real[0]), len(fake[0]))
        for length_s in LENGTHS_S:
            rng = np.random.default_rng([seed, round(length_s * 1000), *clip.path.stem.encode()])
            length = round(length_s * rate)
            if length > total // 2:
                continue
            first = int(rng.integers(total // 8, total - total // 8 - length))
            path = folder / f"{clip.path.stem}-{round(length_s * 1000)}ms.mp4"
            _write(
                real[0][:first] + fake[0][first : first + length] + real[0][first + length : total],
                rate,
                path,
            )
            truth = Segment(float(first / rate), float((first + length) / rate))
            yield Splice(path, truth, clip.pair.name, clip.generator)


def _aligned(real: list[Picture], fake: list[Picture]) -> bool:
    """Whether the fake is the real one's beginning, frame by frame: outside the face the pictures are the same."""
    if real[0].shape != fake[0].shape:
        return False
    height = real[0].shape[0] * 2 // 3
    shown = range(0, min(len(real), len(fake)), 10)
    apart = [np.median(np.abs(real[n][:height].astype(np.int16) - fake[n][:height])) for n in shown]
    return float(np.mean(apart)) <= MOST_APART


def _frames(path: Path) -> tuple[list[Picture], Fraction]:
    """Pictures as planar YUV 4:2:0, as many as may be held, and the frame rate."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        most = max(1, _MOST_BYTES * 2 // (3 * stream.width * stream.height or 1))
        frames = [
            np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)
            for frame in islice(container.decode(stream), most)
        ]
        return frames, Fraction(stream.average_rate or 25)


def _write(frames: list[Picture], rate: Fraction, path: Path) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=_SAME_BITS)
        stream.height, stream.width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
        stream.pix_fmt = "yuv420p"
        for planes in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())
