"""Clips of a drawn face whose truth is known to a fraction of a pixel.

A face (one layer) moves before a background (another); its mouth and lids move on their own, the tracker trembles,
the sensor adds grain, and H.264 compresses: all of that alike in a real clip and in the forgery beside it. A forgery
adds a movement of one region, a tint of one, or both. Nothing here comes from a dataset.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.data.corruptions import Codec, Corruption, apply
from training.forgeries.drawn_face import drawn_clip
from training.forgeries.trajectories import event, noise_paths

Floats = npt.NDArray[np.float32]
Clip = npt.NDArray[np.uint8]

OVERSAMPLING = 2
"""A still has this many times the crop's resolution, so that moving it by a fraction of a pixel does not blur it."""
PLACES: Floats = np.array(
    [(0.30, 0.30), (0.70, 0.30), (0.50, 0.52), (0.28, 0.57), (0.72, 0.57), (0.50, 0.84)], np.float32
)
"""Where a forged region may lie, in a crop of side 1: brows, nose, cheeks, chin. (6, 2), x then y."""
TINT: Floats = np.array([-60.0, 40.0, -60.0], np.float32)
"""Grey levels that a tint adds to red, green and blue."""
_HEAD: Floats = np.array([(0.50, 0.53), (0.34, 0.42)], np.float32)  # centre and radii
_MOUTH: Floats = np.array([0.50, 0.72], np.float32)
_EYES: Floats = np.array([(0.36, 0.40), (0.64, 0.40)], np.float32)


@dataclass(frozen=True, slots=True)
class World:
    """What a real clip and its forgery share; distances in pixels of the crop.

    Attributes:
        size_px: side of the crop.
        frames: frames of a clip.
        head_px: largest distance of the head from its mean place.
        tracker_px: the tracker's trembling, root mean square distance.
        mouth_px: largest opening of the mouth.
        lids_px: how far lids close in a blink.
        region_px: standard deviation of the Gaussian that a forged region is.
        grain: sensor noise in grey levels.
        crf: H.264 constant rate factor.
    """

    size_px: int = 64
    frames: int = 16
    head_px: float = 1.0
    tracker_px: float = 0.1
    mouth_px: float = 1.5
    lids_px: float = 1.5
    region_px: float = 5.0
    grain: float = 1.0
    crf: int = 18

    def __post_init__(self) -> None:
        if self.size_px < 32 or self.frames < 3 or self.region_px <= 0:
            raise ValueError(f"a world needs size_px >= 32, frames >= 3, region_px > 0, got {self}")
        if min(self.head_px, self.tracker_px, self.mouth_px, self.lids_px, self.grain) < 0:
            raise ValueError(f"distances and grain are not negative, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Forgery:
    """What a forged clip has and its real one has not; the default is a real clip.

    Attributes:
        path: movement of the region's centre in pixels, (T, 2), right and down; None for none.
        tinted: whether a region is tinted, in all frames.
    """

    path: Floats | None = None
    tinted: bool = False


REAL = Forgery()


class Scene:
    """One person and one take: everything that a real clip and the forgeries made from it have in common."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        rng = np.random.default_rng(seed)
        side = world.size_px * OVERSAMPLING
        self._face, self._background = _layers(rng, side, seed)
        self._moves = _Moves.draw(rng, world)
        self.region = PLACES[rng.integers(len(PLACES))] * world.size_px
        self._tinted = PLACES[rng.integers(len(PLACES))] * world.size_px
        self._tint = TINT * np.float32(rng.uniform(0.8, 1.2))
        self._corruption = Corruption(
            noise_levels=world.grain or None,
            noise_seed=int(rng.integers(2**31)),
            codec=Codec(world.crf, "veryfast", (2 * int(rng.integers(8)), 2 * int(rng.integers(8)))),
        )

    def clip(self, forgery: Forgery = REAL) -> Clip:
        """The clip (T, S, S, 3) as a viewer gets it: grain and codec included."""
        return apply(self.render(forgery), self._corruption)

    def render(self, forgery: Forgery = REAL) -> Clip:
        """The clip before grain and codec, (T, S, S, 3)."""
        face = self._face.copy()
        if forgery.tinted:
            places = _grid(face.shape[0]) / np.float32(OVERSAMPLING)
            face[..., :3] += _bump(places, self._tinted, self.world.region_px)[..., None] * self._tint
        return np.stack([self._frame(face, forgery.path, t) for t in range(self.world.frames)])

    def mask(self, side: int) -> Floats:
        """Where the forged region lies, (side, side) of 0 or 1: within two standard deviations of its centre."""
        places = (_grid(side) + 0.5) * (self.world.size_px / side)
        inside = np.linalg.norm(places - self.region, axis=-1) < 2 * self.world.region_px
        return np.asarray(inside, np.float32)

    def _frame(self, face: Floats, path: Floats | None, t: int) -> Clip:
        world, moves = self.world, self._moves
        seen = _grid(world.size_px) - moves.tracker[t]
        head = _turned_back(seen, moves.head[t], float(moves.roll[t]), world.size_px / 2)
        source = head.copy()
        source[..., 1] -= moves.mouth[t] * _bump(
            head, _MOUTH * np.float32(world.size_px), 0.09 * world.size_px
        )
        for eye in _EYES:
            source[..., 1] -= moves.lids[t] * _bump(
                head, eye * np.float32(world.size_px), 0.05 * world.size_px
            )
        if path is not None:
            source -= _bump(head, self.region, world.region_px)[..., None] * path[t]
        shown = _sampled(face, source)
        behind = _sampled(self._background, seen - 0.3 * moves.head[t])
        alpha = shown[..., 3:]
        return np.clip(np.rint(alpha * shown[..., :3] + (1 - alpha) * behind), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """What moves in both classes: head and tracker (T, 2), roll in radians, mouth and lids in pixels, (T,)."""

    head: Floats
    roll: Floats
    tracker: Floats
    mouth: Floats
    lids: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, world: World) -> _Moves:
        frames = world.frames
        wander = noise_paths(rng, frames, 3, smooth_frames=3.0)
        wander -= wander.mean(0)
        wander[:, :2] *= world.head_px / max(float(np.linalg.norm(wander[:, :2], axis=1).max()), 1e-6)
        speech = np.clip(0.5 + 0.5 * noise_paths(rng, frames, 1, smooth_frames=1.5)[:, 0], 0, 1)
        blink = event(frames, float(rng.uniform(-0.5, 1.5)) * frames, float(rng.uniform(5, 9)))
        return cls(
            head=wander[:, :2],
            roll=wander[:, 2] * np.float32(np.deg2rad(0.4) * world.head_px),
            tracker=noise_paths(rng, frames, 2, smooth_frames=0) * np.float32(world.tracker_px / np.sqrt(2)),
            mouth=speech * np.float32(world.mouth_px * rng.uniform(0.3, 1)),
            lids=blink * np.float32(world.lids_px),
        )


def jitter(rng: np.random.Generator, frames: int, amplitude_px: float) -> Floats:
    """A region that trembles anew in every frame: (frames, 2), root mean square distance `amplitude_px`."""
    path = noise_paths(rng, frames, 2, smooth_frames=0)
    size = np.sqrt((path**2).sum(1).mean())
    return np.asarray(path * np.float32(amplitude_px / size), np.float32)


def transient(
    rng: np.random.Generator, frames: int, amplitude_px: float, *, first: int, length: int
) -> Floats:
    """A region that jumps aside by `amplitude_px` in `length` frames from `first` on, and back: (frames, 2)."""
    path = np.zeros((frames, 2), np.float32)
    path[first : first + length] = _direction(rng) * np.float32(amplitude_px)
    return path


def drift(rng: np.random.Generator, frames: int, amplitude_px: float) -> Floats:
    """A region that slides steadily, `amplitude_px` from the first frame to the last: (frames, 2)."""
    return np.linspace(0, amplitude_px, frames, dtype=np.float32)[:, None] * _direction(rng)


def _direction(rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def _layers(rng: np.random.Generator, side: int, seed: int) -> tuple[Floats, Floats]:
    """A face with its opacity, (side, side, 4), and what lies behind it, (side, side, 3)."""
    still = drawn_clip(frames=1, crop_px=side, seed=seed)[0].astype(np.float32)
    # no two faces are shaped alike, or a displaced region would show in a single frame
    bent = _grid(side) + cv2.GaussianBlur(rng.standard_normal((side, side, 2), np.float32), (0, 0), 10) * 90
    still = cv2.remap(still, bent, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # type: ignore[call-overload]
    texture = _texture(rng, side)
    still = np.clip(still * rng.uniform(0.85, 1.1, 3).astype(np.float32) + texture, 8, 247)
    places = (_grid(side) / side - _HEAD[0]) / _HEAD[1]
    alpha = 1 / (1 + np.exp(20 * (np.linalg.norm(places, axis=-1) - 1)))
    background = np.float32(rng.uniform(60, 190, 3)) + 2 * _texture(rng, side)
    return np.dstack([still, alpha]).astype(np.float32), np.clip(background, 8, 247).astype(np.float32)


def _texture(rng: np.random.Generator, side: int) -> Floats:
    """Skin, hair and cloth at two sizes: (side, side, 1), about 12 grey levels."""
    fine, coarse = (
        cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), size) * size
        for size in (2.0, 5.0)
    )
    return np.asarray((30 * fine + 15 * coarse)[..., None], np.float32)


def _grid(side: int) -> Floats:
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    return np.stack([columns, rows], -1)  # (side, side, 2)


def _bump(places: Floats, centre: Floats, size: float) -> Floats:
    return np.asarray(np.exp(-((places - centre) ** 2).sum(-1) / np.float32(2 * size**2)), np.float32)


def _turned_back(places: Floats, shift: Floats, roll: float, centre: float) -> Floats:
    """Where on the resting head the places seen (S, S, 2) lie."""
    cos, sin = np.float32(np.cos(roll)), np.float32(np.sin(roll))
    turn = np.array([[cos, sin], [-sin, cos]], np.float32)
    return np.asarray((places - shift - centre) @ turn.T + centre, np.float32)


def _sampled(layer: Floats, places: Floats) -> Floats:
    source = places * OVERSAMPLING + (OVERSAMPLING - 1) / 2
    mapped = cv2.remap(layer, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # type: ignore[call-overload]
    return np.asarray(mapped, np.float32)
