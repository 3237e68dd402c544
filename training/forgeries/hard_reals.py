"""What real clips do that looks like forgery: shaky crops, fades, cuts, occluders, glasses, lost resolution.

The label stays real. Apply it to the real clip before it is forged, so that both clips of a pair carry it:
then it explains nothing, and what remains is the forgery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.forged import Clip, Points, check_clip
from training.forgeries.occluders import add_caption, add_glasses, pass_object
from training.forgeries.regions import layout
from training.forgeries.trajectories import event, noise_paths

Hardship: TypeAlias = Literal[
    "shake", "steps", "fade", "exposure", "cut", "object", "caption", "glasses", "resolution", "motion_blur"
]


Moves: TypeAlias = NDArray[np.float32]
"""The whole crop's motion (T, 4): right, down, growth and turn, in pixels at the rim."""


@dataclass(frozen=True, slots=True)
class HardRealSettings:
    """Ranges of the draws.

    Attributes:
        hardships: what may happen, of which one or two are drawn.
        twice: share of clips to which a second thing happens.
        shake_px: least and most jitter of the crop, root mean square in pixels of a crop of 128.
        step_px: most that the crop leaps when the tracker corrects itself.
        detect_every: frames between two corrections.
        scale: least and most relative resolution in a stretch that lost some.
    """

    hardships: tuple[Hardship, ...] = (
        *("shake", "shake", "steps", "fade", "exposure", "cut"),
        *("object", "object", "caption", "glasses", "resolution", "motion_blur"),
    )
    twice: float = 0.3
    shake_px: tuple[float, float] = (0.1, 1.2)
    step_px: float = 1.5
    detect_every: int = 5
    scale: tuple[float, float] = (0.3, 0.8)

    def __post_init__(self) -> None:
        if not self.hardships or not 0 <= self.twice <= 1 or self.detect_every < 1:
            raise ValueError(f"hardships, a share in 0..1 and detect_every >= 1 are needed, got {self}")


def harden(
    clip: Clip,
    rng: np.random.Generator,
    settings: HardRealSettings = HardRealSettings(),
    *,
    template: Points | None = None,
) -> Clip:
    """The clip (T, S, S, 3) after something that happens to real ones; every frame may differ."""
    check_clip(clip)
    for _ in range(1 + int(rng.random() < settings.twice)):
        name = settings.hardships[rng.integers(len(settings.hardships))]
        clip = endure(clip, rng, name, settings, template=template)
    return clip


def endure(
    clip: Clip,
    rng: np.random.Generator,
    hardship: Hardship,
    settings: HardRealSettings = HardRealSettings(),
    *,
    template: Points | None = None,
) -> Clip:
    """The clip after one hardship."""
    face = layout(clip, template)
    scale = np.float32(face.scale)
    endured: dict[Hardship, Callable[[], Clip]] = {
        "shake": lambda: _moved(clip, scale * _shake(rng, len(clip), settings)),
        "steps": lambda: _moved(clip, scale * _steps(rng, len(clip), settings)),
        "fade": lambda: _relit(clip, rng, fading=True),
        "exposure": lambda: _relit(clip, rng, fading=False),
        "cut": lambda: _cut(clip, rng, scale),
        "object": lambda: pass_object(clip, rng),
        "caption": lambda: add_caption(clip, rng),
        "glasses": lambda: add_glasses(clip, rng, face),
        "resolution": lambda: _coarsened(clip, rng, settings),
        "motion_blur": lambda: _blurred(clip, rng),
    }
    return endured[hardship]()


def _shake(rng: np.random.Generator, frames: int, settings: HardRealSettings) -> Moves:
    """Jitter of the crop (T, 4), white or smooth."""
    amount_px = np.float32(rng.uniform(*settings.shake_px))
    return amount_px * noise_paths(rng, frames, 4, smooth_frames=float(rng.choice((0.0, 1.0, 3.0))))


def _moved(clip: Clip, moves: Moves) -> Clip:
    """The whole crop moved; `moves` (T, 4): right, down, growth and turn, in pixels at the rim."""
    side_px = clip.shape[1]
    centre, moved = (side_px - 1) / 2, np.empty_like(clip)
    for t, (right, down, growth, turn) in enumerate(moves.astype(np.float64) * (1, 1, 0.5, 0.5)):
        scale, angle = 1 + growth / centre, turn / centre
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = np.array([centre + right, centre + down]) - linear @ np.array([centre, centre])
        affine = np.hstack([linear, offset[:, None]])
        moved[t] = cv2.warpAffine(clip[t], affine, (side_px, side_px), borderMode=cv2.BORDER_REPLICATE)
    return moved


def _steps(rng: np.random.Generator, frames: int, settings: HardRealSettings) -> Moves:
    """A tracker's error (T, 4): drawn at each detection, held or interpolated until the next."""
    ticks = frames // settings.detect_every + 2
    errors = rng.uniform(-settings.step_px, settings.step_px, (ticks, 4))
    where = (np.arange(frames) + rng.integers(settings.detect_every)) / settings.detect_every
    if rng.random() < 0.5:
        where = np.floor(where)
    return np.stack([np.interp(where, np.arange(ticks), column) for column in errors.T], 1).astype(np.float32)


def _relit(clip: Clip, rng: np.random.Generator, *, fading: bool) -> Clip:
    """Light over the whole picture changes: a fade to black or white, or exposure that hunts."""
    frames = len(clip)
    if fading:
        level = float(rng.choice((0.0, 0.0, 255.0)))
        share = rng.uniform(0.3, 1) * event(frames, rng.uniform(0, frames), rng.uniform(0.3, 1.5) * frames)
        gain, offset = 1 - share, share * level
    else:
        wander = noise_paths(rng, frames, 1, smooth_frames=float(rng.choice((0.0, 2.0, 6.0))))[:, 0]
        gain, offset = 1 + np.float32(rng.uniform(0.01, 0.08)) * wander, np.zeros(frames, np.float32)
    lit = [
        cv2.addWeighted(frame, float(g), frame, 0, float(o))
        for frame, g, o in zip(clip, gain, offset, strict=True)
    ]
    return np.stack([np.asarray(frame, np.uint8) for frame in lit])


def _cut(clip: Clip, rng: np.random.Generator, scale: np.float32) -> Clip:
    """A cut inside one shot, as in interviews: another moment, a little closer or farther."""
    frames = len(clip)
    first = int(rng.integers(1, max(2, frames)))
    leap = int(rng.integers(frames // 4, max(frames // 4 + 1, frames)))
    later = np.arange(frames) + leap
    period = max(2 * frames - 2, 1)
    moments = np.minimum(later % period, period - later % period)
    moves = np.zeros((frames, 4), np.float32)
    moves[:] = scale * rng.uniform(-1, 1, 4) * (3, 3, 10, 3)
    after = _moved(clip[moments], moves)
    return np.concatenate([clip[:first], after[first:]])


def _coarsened(clip: Clip, rng: np.random.Generator, settings: HardRealSettings) -> Clip:
    """A stretch at lower resolution, as when a stream adapts."""
    frames, side_px = clip.shape[:2]
    first, end = sorted(int(t) for t in rng.integers(0, frames + 1, 2))
    small_px = max(8, round(side_px * float(rng.uniform(*settings.scale))))
    coarse = clip.copy()
    for t in range(first, end):
        small = cv2.resize(clip[t], (small_px, small_px), interpolation=cv2.INTER_AREA)
        coarse[t] = cv2.resize(small, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    return coarse


def _blurred(clip: Clip, rng: np.random.Generator) -> Clip:
    """A burst of motion blur along one direction."""
    frames = len(clip)
    reach = rng.uniform(1, 4) * event(frames, rng.uniform(0, frames), rng.uniform(4, 16))
    angle, blurred = rng.uniform(0, np.pi), clip.copy()
    for t in np.flatnonzero(reach > 0.5):
        kernel = np.zeros((9, 9), np.uint8)
        along = np.array([np.cos(angle), np.sin(angle)]) * reach[t]
        ends = np.rint((4 + np.stack([-along, along])) * 16).astype(np.int32)
        cv2.polylines(kernel, [ends], isClosed=False, color=255, thickness=1, lineType=cv2.LINE_AA, shift=4)
        blurred[t] = cv2.filter2D(clip[t], -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return blurred
