"""A face blended with a changed copy of itself, or with another face, consistently over time.

All draws are made once and replayed over the frames (self-blended video): nothing flickers, so that only the
boundary, the colour, the sharpness and the geometry tell. With `source` it is a face swap: the copy comes
from a clip of a similar face, and either follows the clip's motion or brings its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.blending import Blend, BlendRanges, blend, draw_alpha, draw_texture
from training.forgeries.detail import ENLARGE, soften
from training.forgeries.driven import drive
from training.forgeries.forged import Clip, Forged, Mask, Points, check_clip, compare
from training.forgeries.regions import Layout, Part, layout, region
from training.forgeries.trajectories import back_and_forth
from training.forgeries.warping import HANDLES, pull, warp

KIND = "self_blended"
SWAPPED = "face_swapped"


@dataclass(frozen=True, slots=True)
class SelfBlendedSettings:
    """Ranges of the draws.

    Attributes:
        ranges: what may differ between the face and the copy.
        colour_match: least and most of another face's colours that is matched to the face it replaces.
        swap_parts: hulls for another face, of which one is drawn.
        crude: share of swaps that are put together without care, as many genuine ones are: colours hardly matched,
            hair and background of the other face brought along, the old face shining through.
        crude_parts: the hulls of those.
        coarse: least and most reduction in size that another face was drawn at, in a crude swap.
        follow: share of swaps in which one picture of the other face follows the clip's motion; in the others
            that face moves by itself.
        misplaced: share of clips whose copy has its landmarks a little elsewhere, as tools fit them.
        misplaced_px: least and most displacement of its landmarks, one standard deviation in pixels.
        trembling_px: the same for noise from frame to frame.
        milder: least share of the colour ranges that a copy uses; tools do match colours, and well-matched copies
            are the hard case.
    """

    ranges: BlendRanges = field(default_factory=BlendRanges)
    colour_match: tuple[float, float] = (0.7, 1.0)
    swap_parts: tuple[Part, ...] = ("face", "face", "whole_face")
    crude: float = 0.4
    crude_parts: tuple[Part, ...] = ("face", "whole_face", "inner_face", "lower_face")
    coarse: tuple[float, float] = (1.0, 5.0)
    follow: float = 0.7
    misplaced: float = 0.4
    misplaced_px: tuple[float, float] = (0.3, 2.0)
    trembling_px: tuple[float, float] = (0.0, 0.4)
    milder: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.colour_match[0] <= self.colour_match[1] <= 1 or not 0 <= self.follow <= 1:
            raise ValueError(f"colour_match and follow lie in 0..1, got {self.colour_match}, {self.follow}")
        if not all(0 <= share <= 1 for share in (self.misplaced, self.milder, self.crude)):
            raise ValueError(
                f"misplaced, milder and crude lie in 0..1, got {self.misplaced}, {self.milder}, {self.crude}"
            )


def forge(
    clip: Clip,
    rng: np.random.Generator,
    settings: SelfBlendedSettings = SelfBlendedSettings(),
    *,
    template: Points | None = None,
    source: Clip | None = None,
) -> Forged:
    """Blend the face with a copy of itself or, given `source`, with that face.

    Args:
        clip: (T, S, S, 3) uint8.
        rng: source of all draws.
        settings: ranges of the draws.
        template: the five landmarks in pixels of the crop; None when they lie at `TEMPLATE * S`.
        source: aligned crops (T', S, S, 3) of another face; played back and forth when T' < T.
    """
    check_clip(clip)
    face = layout(clip, template)
    if source is None:
        plan = draw_blend(rng, face, settings.ranges)
        plan = replace(plan, colour=plan.colour * rng.uniform(settings.milder, 1))
        return compare(clip, *blend(clip, _misplaced(clip, rng, face, settings), plan), KIND)
    if source.shape[1:] != clip.shape[1:]:
        raise ValueError(f"a source has the clip's size {clip.shape[1:]}, got {source.shape[1:]}")
    crude, factor, enlarge = rng.random() < settings.crude, 1.0, cv2.INTER_LINEAR
    parts = settings.crude_parts if crude else settings.swap_parts
    plan = draw_blend(rng, face, replace(settings.ranges, parts=parts))
    if crude:
        strength, opacity = float(rng.uniform(0, settings.colour_match[0])), rng.uniform(0.6, 1.0, 1)
        # another face as a network draws it, smaller than it is shown
        factor, enlarge = float(rng.uniform(*settings.coarse)), ENLARGE[rng.integers(len(ENLARGE))]
    else:
        # a careful tool matches colours and shows nothing of the old face
        strength, opacity = float(rng.uniform(*settings.colour_match)), rng.uniform(0.85, 1.0, 1)
        plan = replace(plan, colour=0.4 * plan.colour)
    if rng.random() < settings.follow:
        still, reference = source[rng.integers(len(source))], int(rng.integers(len(clip)))
        donor = drive(soften(still, factor, enlarge=enlarge), clip, reference, smooth_px=0.02 * face.face_px)
    else:
        drawn = np.stack([soften(frame, factor, enlarge=enlarge) for frame in source])
        donor = drawn[back_and_forth(rng, len(clip), len(source))]
    donor = match_colour(donor, clip, region(face, "inner_face", feather_px=0), strength)
    alpha = plan.alpha if crude else _fitting(plan.alpha, donor, clip, face)
    plan = replace(plan, opacity=opacity, alpha=alpha)
    return compare(clip, *blend(clip, _misplaced(donor, rng, face, settings), plan), SWAPPED)


def _misplaced(copy: Clip, rng: np.random.Generator, face: Layout, settings: SelfBlendedSettings) -> Clip:
    """The copy, in some clips with its landmarks pulled elsewhere and trembling a little."""
    if rng.random() >= settings.misplaced:
        return copy
    field = pull(face, HANDLES, radius=float(rng.uniform(0.06, 0.13)))
    held, trembling = rng.uniform(*settings.misplaced_px), rng.uniform(*settings.trembling_px)
    columns = 2 * len(HANDLES)
    paths = held * rng.standard_normal((1, columns)) + trembling * rng.standard_normal((len(copy), columns))
    return warp(copy, field, paths.astype(np.float32).reshape(len(copy), len(HANDLES), 2))


def _fitting(alpha: Mask, donor: Clip, clip: Clip, face: Layout) -> Mask:
    """The hull (S, S) without its outskirts where the other face's hair or background would lie on skin.

    Tools cut the new face out along its own outline; without one, great difference in colour tells.
    """
    few, reach_px = max(1, len(clip) // 4), 0.02 * face.face_px
    apart = np.abs(donor[::few].mean(0, np.float32) - clip[::few].mean(0, np.float32)).max(-1)
    misfit = np.clip((cv2.GaussianBlur(apart, (0, 0), reach_px) - 25) / 35, 0, 1)
    core = region(face, "inner_face", feather_px=0.04 * face.face_px)
    return np.asarray(alpha * (1 - cv2.GaussianBlur(misfit * (1 - core), (0, 0), reach_px)), np.float32)


def draw_blend(rng: np.random.Generator, face: Layout, ranges: BlendRanges) -> Blend:
    """All draws of one blended clip, held over its frames: every path has one entry."""
    part = ranges.parts[rng.integers(len(ranges.parts))]
    alpha = draw_alpha(rng, face, ranges, part)
    geometry = rng.uniform(-1, 1, (1, 4)) * ranges.geometry()
    colour = rng.uniform(-1, 1, (1, 7)) * ranges.colour()
    texture = draw_texture(rng, ranges)
    return Blend(
        alpha=alpha,
        geometry=geometry,
        mask_geometry=geometry,
        colour=colour,
        opacity=rng.choice(ranges.ratios, 1),
        texture=texture,
    )


def match_colour(donor: Clip, clip: Clip, skin: Mask, strength: float) -> Clip:
    """Move the donor's colours towards the clip's, in mean and spread of each channel over `skin` (S, S)."""
    inside, few = skin > 0.5, max(1, len(clip) // 8)
    have, want = donor[::few][:, inside].reshape(-1, 3), clip[::few][:, inside].reshape(-1, 3)
    # hair or a background inside the hull would make for colours that no swapping tool leaves
    gain = 1 + strength * (np.clip((want.std(0) + 1) / (have.std(0) + 1), 0.8, 1.25) - 1)
    middle = strength * np.median(want, axis=0) + (1 - strength) * np.median(have, axis=0)
    levels = (np.arange(256)[:, None] - np.median(have, axis=0)) * gain + middle  # (256, 3)
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    tall = np.ascontiguousarray(donor).reshape(-1, donor.shape[2], 3)
    return np.asarray(cv2.LUT(tall, table[None]), np.uint8).reshape(donor.shape)


def likeness(a: Clip, b: Clip, *, template: Points | None = None) -> float:
    """How well one face would pass for the other, -1..1: correlation of their time means inside the face.

    Pose and light count most, which is what a swap needs: a frontal face on a profile shows two noses.
    """
    inside = _core(layout(a, template))
    pictures = [_thumbnail(clip)[inside] for clip in (a, b)]
    first, second = (picture - picture.mean() for picture in pictures)
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-9))


@lru_cache(maxsize=16)
def _core(face: Layout) -> NDArray[np.bool_]:
    """The face in a thumbnail, (32, 32)."""
    core = region(face, "face", feather_px=0)
    return np.asarray(cv2.resize(core, (32, 32), interpolation=cv2.INTER_AREA) > 0.5)


def _thumbnail(clip: Clip) -> NDArray[np.float32]:
    """Grey mean over a few frames, (32, 32)."""
    few = clip[:: max(1, len(clip) // 8)]
    small = [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in few]
    return np.asarray(np.mean(small, axis=(0, 3), dtype=np.float32))
