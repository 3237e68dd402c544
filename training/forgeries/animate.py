"""Motion for a photograph, so that stills can serve as real clips.

The head turns a little (a depth map of a mean head makes the parallax), lips part, eyes blink, brows move,
and a tracker's remaining drift lies over all of it. What moves is smooth, so that an animated still carries
none of what the forgeries add.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.forged import Clip, Mask, Points
from training.forgeries.grain import add_grain
from training.forgeries.regions import Layout, layout
from training.forgeries.trajectories import event, noise_paths


@dataclass(frozen=True, slots=True)
class AnimationSettings:
    """Ranges of the draws; distances in face units unless said.

    Attributes:
        turn: most parallax of the nose against the ears, one standard deviation.
        drift: most shift of the whole picture, one standard deviation.
        zoom: most change in size, one standard deviation of the logarithm.
        roll_deg: most rotation, one standard deviation.
        mouth: most opening of the lips.
        talking: share of clips in which the mouth moves.
        blink_every_s: mean time between blinks.
        brows: most lift of the brows, one standard deviation.
        grain: least and most sensor noise in grey levels.
        frame_rate: frames a second that the motion is meant for.
    """

    turn: float = 0.035
    drift: float = 0.004
    zoom: float = 0.006
    roll_deg: float = 0.6
    mouth: float = 0.05
    talking: float = 0.75
    blink_every_s: float = 3.0
    brows: float = 0.006
    grain: tuple[float, float] = (0.3, 2.0)
    frame_rate: float = 25.0

    def __post_init__(self) -> None:
        if not 0 <= self.talking <= 1 or self.blink_every_s <= 0 or self.frame_rate <= 0:
            raise ValueError(f"talking is a share, blink_every_s and frame_rate are above 0, got {self}")


def animate(
    still: NDArray[np.uint8],
    frames: int,
    rng: np.random.Generator,
    settings: AnimationSettings = AnimationSettings(),
    *,
    template: Points | None = None,
) -> Clip:
    """A clip (frames, S, S, 3) of the face in `still` (S, S, 3), moving.

    Args:
        still: an aligned crop, RGB uint8.
        frames: how many frames.
        rng: source of all draws.
        settings: ranges of the draws.
        template: the five landmarks in pixels of the crop; None when they lie at `TEMPLATE * S`.
    """
    if still.ndim != 3 or still.shape[0] != still.shape[1] or still.dtype != np.uint8 or frames < 1:
        raise ValueError(f"a still is uint8 (S, S, 3) and frames >= 1, got {still.shape}, {frames}")
    face = layout(still[None], template)
    opening = (
        _speech(rng, frames, settings) if rng.random() < settings.talking else np.zeros(frames, np.float32)
    )
    blinks, loads = _blinks(rng, frames, settings), _loads(rng, frames, settings)
    basis = _Basis(face)
    rows, columns = np.mgrid[: face.side_px, : face.side_px].astype(np.float32)
    clip = np.empty((frames, *still.shape), np.uint8)
    for t in range(frames):
        shown = _opened(still, basis, float(opening[t]))
        move_x, move_y = basis.moves(loads[t], float(opening[t]), float(blinks[t]))
        clip[t] = cv2.remap(
            shown, columns - move_x, rows - move_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return add_grain(clip, rng, float(rng.uniform(*settings.grain)))


class _Basis:
    """Displacement fields (S, S) in pixels for a unit of each motion."""

    def __init__(self, face: Layout) -> None:
        self._face = face
        rows, columns = np.mgrid[: face.side_px, : face.side_px].astype(np.float64)
        inverse = np.linalg.inv(np.vstack([face.unit_to_px, [0, 0, 1]]))
        self.x = (inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]).astype(np.float32)
        self.y = (inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]).astype(np.float32)
        unit = np.float32(face.face_px)
        self.depth = (_depth(self.x, self.y) - np.float32(0.75)) * unit  # landmarks lie at three quarters
        # the lower lip and chin fall, the upper lip rises a little; together they pull the lips apart
        jaw = self.bump(0.5, 0.75, 0.11, 0.045) + np.float32(0.7) * self.bump(0.5, 0.86, 0.16, 0.07)
        jaw = np.where(self.y < 0.705, jaw * self.bump(0.5, 0.705, 1, 0.012), np.minimum(jaw, 1))
        self.jaw = np.asarray((jaw - np.float32(0.2) * self.bump(0.5, 0.67, 0.09, 0.02)) * unit, np.float32)
        self.lids = (self.bump(0.36, 0.392, 0.055, 0.022) + self.bump(0.64, 0.392, 0.055, 0.022)) * unit
        self.brows = (self.bump(0.35, 0.315, 0.09, 0.035) + self.bump(0.65, 0.315, 0.09, 0.035)) * unit

    def bump(self, x: float, y: float, radius_x: float, radius_y: float) -> Mask:
        """A Gaussian of height 1 in unit crop coordinates."""
        square = ((self.x - x) / radius_x) ** 2 + ((self.y - y) / radius_y) ** 2
        return np.asarray(np.exp(-0.5 * square), np.float32)

    def moves(self, loads: NDArray[np.float32], opening: float, blink: float) -> tuple[Mask, Mask]:
        """Displacement right and down (S, S) each, in pixels."""
        turn_x, turn_y, shift_x, shift_y, zoom, roll, lift = (float(load) for load in loads)
        unit, about_x, about_y = self._face.face_px, self.x - 0.5, self.y - 0.55
        right = turn_x * self.depth + unit * (shift_x + zoom * about_x - roll * about_y)
        down = turn_y * self.depth + unit * (shift_y + zoom * about_y + roll * about_x)
        down += opening * self.jaw + 0.035 * blink * self.lids - lift * self.brows
        return np.asarray(right, np.float32), np.asarray(down, np.float32)


def _depth(x: Mask, y: Mask) -> Mask:
    """How far the mean head stands out of the picture, 0 behind it to about 1 at the nose's tip."""
    head = np.sqrt(np.maximum(0, 1 - ((x - 0.5) / 0.40) ** 2 - ((y - 0.50) / 0.52) ** 2))
    nose = 0.15 * np.exp(-0.5 * (((x - 0.5) / 0.05) ** 2 + ((y - 0.55) / 0.07) ** 2))
    return np.asarray(cv2.GaussianBlur((head + nose).astype(np.float32), (0, 0), 0.02 * len(x)), np.float32)


def _loads(rng: np.random.Generator, frames: int, settings: AnimationSettings) -> NDArray[np.float32]:
    """Paths (frames, 7): turn x, turn y, shift x, shift y, zoom, roll, brows."""
    most = np.array(
        [
            *[settings.turn, 0.6 * settings.turn, settings.drift, settings.drift],
            *[settings.zoom, np.deg2rad(settings.roll_deg), settings.brows],
        ],
        np.float32,
    )
    amounts = most * rng.uniform(0.1, 1, len(most)).astype(np.float32)
    slow = noise_paths(rng, frames, len(most), smooth_frames=0.5 * settings.frame_rate)
    quick = noise_paths(rng, frames, len(most), smooth_frames=0.12 * settings.frame_rate)
    return amounts * (slow + np.float32(0.25) * quick)


def _speech(rng: np.random.Generator, frames: int, settings: AnimationSettings) -> NDArray[np.float32]:
    """Opening of the lips (frames,) in face units: syllables, in phrases with pauses."""
    syllables = noise_paths(rng, frames, 1, smooth_frames=0.06 * settings.frame_rate)[:, 0]
    phrases = noise_paths(rng, frames, 1, smooth_frames=0.5 * settings.frame_rate)[:, 0]
    voiced = 1 / (1 + np.exp(-3 * (phrases + 0.7)))
    opening = np.clip(0.35 + 0.35 * syllables, 0, 1) * voiced
    return np.asarray(settings.mouth * rng.uniform(0.4, 1) * opening, np.float32)


def _blinks(rng: np.random.Generator, frames: int, settings: AnimationSettings) -> NDArray[np.float32]:
    """How far the eyes are shut (frames,), 0..1."""
    shut, t = np.zeros(frames, np.float32), 0.0
    while True:
        t += float(rng.exponential(settings.blink_every_s)) * settings.frame_rate + 4
        if t > frames + 4:
            return shut
        shut = np.maximum(shut, event(frames, t, float(rng.uniform(0.2, 0.4)) * settings.frame_rate))


def _opened(still: NDArray[np.uint8], basis: _Basis, opening: float) -> NDArray[np.uint8]:
    """The still with the line between the lips darkened, so that the lips part on something dark."""
    if opening < 0.004:
        return still
    line = basis.bump(0.5, 0.703, 0.05, 0.006 + 0.1 * opening)
    dim = 1 - np.float32(min(0.7, 18 * opening)) * line
    return np.rint(still * dim[..., None]).astype(np.uint8)
