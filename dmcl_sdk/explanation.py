"""A verdict's evidence: frame curves of every face, and what was seen where a span is strongest.

    verdict, runs ─ spans' peaks ─> the same video read again, only as far as the last peak
      ─> stills, crops, motion ─ network ─> places and parts that the answer rests on

A video is not kept while it is scored, so its few moments of interest are read again. Nothing is searched anew: the
crops are cut where tracking put them, so that what is shown is what was judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dmcl_sdk.assembly import FaceCurve
from dmcl_sdk.attribution import Removal, attribute
from dmcl_sdk.frame import Frame
from dmcl_sdk.judging import LEAST_FRAMES, JudgedRun
from dmcl_sdk.motion import CHANNELS_PER_BASELINE, MotionEstimator
from dmcl_sdk.network import ModelSpec, Network
from dmcl_sdk.verdict import Span, Verdict

STILL_PX = 960
_STRETCH_FRAMES = 32  # the longest span's window on both sides of a peak
_MOMENT_FRAMES = 4  # on each side of a peak: one frame alone is noise
_SHOWN_BASELINE = 4  # frames; long enough for slow motion to show, short enough to follow

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The moment at which a span is strongest.

    Attributes:
        span_id: of which span.
        at_s: when the frame appears.
        still: the displayed picture, RGB (h, w, 3), its longer side at most `STILL_PX`.
        crop: the aligned face, RGB (S, S, 3).
        rgb_places: (P, P) in 0..1, which places of the crop the RGB stream holds to be manipulated, as the mean of
            the frames around; None from a model that does not say.
        flow_places: the same by the flow stream.
        motion: (2, M, M), what moves besides the head: right and down, in pixels of the crop.
        motion_frames: over how many frames.
        removals: what the answer rests on.
    """

    span_id: int
    at_s: float
    still: Image
    crop: Image
    rgb_places: Floats | None
    flow_places: Floats | None
    motion: Floats
    motion_frames: int
    removals: tuple[Removal, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A verdict and what stands behind it.

    Attributes:
        verdict: what `Detector.score` says of the video.
        spec: the model's own words: calibrations and thresholds.
        curves: every face's logits, NaN where it was not judged.
        peaks: of the most probable spans, in order of span.
    """

    verdict: Verdict
    spec: ModelSpec
    curves: tuple[FaceCurve, ...]
    peaks: tuple[Peak, ...] = ()


def most_probable(spans: Sequence[Span], count: int) -> list[Span]:
    """At most `count` spans, in their own order."""
    kept = sorted(spans, key=lambda span: (-span.probability, span.span_id))[:count]
    return sorted(kept, key=lambda span: span.span_id)


def last_frame(stretches: Sequence[Stretch]) -> int:
    """Number of the last frame that any stretch needs."""
    return max(max(stretch.needed) for stretch in stretches)


@dataclass(slots=True, eq=False)
class Stretch:
    """The frames about one span's peak: those that are answered, and those that their motion looks back on.

    Attributes:
        span: whose peak.
        indices: numbers of the frames in order, the past first.
        alignments: where to cut each of them.
        past: how many serve as past only.
        peak: the peak's place among all of them.
    """

    span: Span
    indices: list[int]
    alignments: npt.NDArray[np.float64]
    past: int
    peak: int
    needed: dict[int, int] = field(init=False)
    _grey: list[Image] = field(default_factory=list)
    _rgb: list[Image] = field(default_factory=list)
    _crop: Image | None = None
    _still: Image | None = None
    _at_s: float = 0.0

    def __post_init__(self) -> None:
        self.needed = {index: place for place, index in enumerate(self.indices)}

    def take(self, frame: Frame, spec: ModelSpec) -> bool:
        """Keep what is needed of a frame; True with the last one."""
        place = self.needed.get(frame.index)
        if place is None:
            return False
        a, b, x, y = self.alignments[place].tolist()
        coarse = np.array([[a, -b, x], [b, a, y]])
        self._grey.append(spec.coarse_motion.luma(frame.crop(coarse, spec.coarse_px)))
        looks = place >= self.past and (place - self.past) % spec.rgb_stride == spec.rgb_stride // 2
        if looks or place == self.peak:
            crop = frame.crop(_finer(coarse, spec.coarse_px / spec.size_px), spec.size_px)
            if looks:
                self._rgb.append(crop)
            if place == self.peak:
                self._crop, self._still, self._at_s = crop, frame.image(STILL_PX), frame.start_s
        return len(self._grey) == len(self.indices)

    def look(self, network: Network, estimator: MotionEstimator) -> Peak:
        """What the network makes of the stretch; the crops are let go."""
        fields = estimator.fields(np.stack(self._grey), skip=self.past)
        rgb, peak = np.stack(self._rgb), self.peak - self.past
        self._grey, self._rgb = [], []
        moment = slice(max(0, peak - _MOMENT_FRAMES), peak + _MOMENT_FRAMES + 1)
        curves = network.run(rgb[None], fields[None])
        slot = _slot(estimator.spec.baselines)
        motion = fields[peak, slot * CHANNELS_PER_BASELINE :][:2]
        assert self._crop is not None and self._still is not None  # noqa: S101, PT018 - the peak is one of the frames
        return Peak(
            span_id=self.span.span_id,
            at_s=self._at_s,
            still=self._still,
            crop=self._crop,
            rgb_places=_shares(curves.rgb_places, moment),
            flow_places=_shares(curves.flow_places, moment),
            motion=-network.spec.motion.pixels(motion),  # flow leads back to where a pixel was
            motion_frames=estimator.spec.baselines[slot],
            removals=attribute(network, rgb, fields, moment),
        )


def stretches_of(spans: Iterable[Span], runs: Sequence[JudgedRun], spec: ModelSpec) -> list[Stretch]:
    """Where to look again for each span: about its peak, inside the run that holds it."""
    found = []
    for span in spans:
        for run in runs:
            at = _peak_of(span, run)
            if at is not None and run.alignments is not None and len(run.sightings) >= LEAST_FRAMES:
                found.append(_stretch(span, run, at, spec))
                break
    return found


def show(frames: Iterable[Frame], stretches: Sequence[Stretch], network: Network) -> list[Peak]:
    """Look at each stretch again; of the frames, only those of the stretches under way are held."""
    estimator, peaks = MotionEstimator(network.spec.coarse_motion), []
    waiting, last = list(stretches), last_frame(stretches) if stretches else -1
    for frame in frames:
        whole = [stretch for stretch in waiting if stretch.take(frame, network.spec)]
        peaks += [stretch.look(network, estimator) for stretch in whole]
        waiting = [stretch for stretch in waiting if stretch not in whole]
        if frame.index >= last:
            break
    return sorted(peaks, key=lambda peak: peak.span_id)


def _peak_of(span: Span, run: JudgedRun) -> int | None:
    """The peak's place in a run, if it lies there."""
    if run.track_id != span.track_id or run.logits is None:
        return None
    inside = np.flatnonzero(np.rint(run.sightings.column("start_s") * 1000) == span.peak_ms)
    return int(inside[0]) if len(inside) else None


def _stretch(span: Span, run: JudgedRun, at: int, spec: ModelSpec) -> Stretch:
    multiple, count = spec.frames_multiple, len(run.sightings)
    length = min(_STRETCH_FRAMES, count) // multiple * multiple
    start = min(max(0, at - length // 2), count - length) // spec.rgb_stride * spec.rgb_stride
    first = max(0, start - spec.motion.history)
    kept = slice(first, start + length)
    assert run.alignments is not None  # noqa: S101 - asked for by the caller
    indices = [sighting.frame_index for sighting in run.sightings[kept]]
    return Stretch(span, indices, run.alignments[kept], past=start - first, peak=at - first)


def _finer(matrix: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """The map of a crop of as many more pixels, whose centres lie on whole numbers, as the template has it."""
    return np.concatenate([matrix[:, :2] * step, matrix[:, 2:]], 1)


def _slot(baselines: tuple[int, ...]) -> int:
    """Which baseline is shown."""
    return int(np.argmin([abs(baseline - _SHOWN_BASELINE) for baseline in baselines]))


def _shares(places: npt.NDArray[np.float32] | None, moment: slice) -> Floats | None:
    """The mean probability of each place in a moment; (1, T, P, P) -> (P, P)."""
    if places is None:
        return None
    return np.asarray((1 / (1 + np.exp(-places[0, moment]))).mean(0), np.float32)
