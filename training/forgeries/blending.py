"""Laying a changed copy of a face over the face, through a soft hull.

After the idea of self-blended images (Shiohara & Yamasaki, CVPR 2022): what betrays a swapped face is that
two images of slightly different colour, sharpness and geometry meet along a boundary. Every quantity is a
path over the frames, so that one routine serves draws held for the clip and draws made for each frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.detail import sharpen, soften
from training.forgeries.forged import Clip, Mask
from training.forgeries.regions import Layout, Part, bounds, region

_LUMA = np.array([0.299, 0.587, 0.114])
_CYCLE = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)


@dataclass(frozen=True, slots=True)
class BlendRanges:
    """How far the copy may differ from the face it is laid over; each is drawn from minus to plus the figure.

    Attributes:
        shift_x: sideways shift, in crop sides.
        shift_y: shift up or down, in crop sides.
        log_scale: natural logarithm of the change in size.
        turn_deg: rotation in the image plane.
        hue_deg: rotation of hue.
        saturation: relative change of colourfulness.
        contrast: relative change about mid-grey.
        value: relative change of brightness.
        channel: shift of each of R, G, B in grey levels.
        downscales: factors of which one is drawn when the copy loses sharpness.
        sharpen: most of an unsharp mask that is added when the copy gains sharpness.
        parts: hulls, of which one is drawn.
        outline: how far the hull is shifted as a whole, in crop sides.
        elastic: standard deviation of the elastic warp of the mask, in crop sides.
        erode: most that the hull shrinks, in crop sides.
        feather: narrowest and widest soft edge, in crop sides.
        ratios: opacities, of which one is drawn.
    """

    shift_x: float = 0.03
    shift_y: float = 0.015
    log_scale: float = 0.05
    turn_deg: float = 1.5
    hue_deg: float = 4.0
    saturation: float = 0.15
    contrast: float = 0.1
    value: float = 0.1
    channel: float = 14.0
    downscales: tuple[float, ...] = (1.5, 2.0, 3.0)
    sharpen: float = 0.8
    parts: tuple[Part, ...] = ("face", "face", "whole_face", "inner_face", "lower_face")
    outline: float = 0.015
    elastic: float = 0.012
    erode: float = 0.04
    feather: tuple[float, float] = (0.012, 0.05)
    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)

    def geometry(self) -> NDArray[np.float64]:
        """Limits of the four geometric draws, in the order of `affines`."""
        return np.array([self.shift_x, self.shift_y, self.log_scale, np.deg2rad(self.turn_deg)])

    def colour(self) -> NDArray[np.float64]:
        """Limits of the seven colour draws, in the order of `colours`."""
        return np.array(
            [np.deg2rad(self.hue_deg), self.saturation, self.contrast, self.value, *[self.channel] * 3]
        )


@dataclass(frozen=True, slots=True)
class Texture:
    """How the copy's sharpness differs: reduced by `downscale` and enlarged again, then `sharpen` added."""

    downscale: float = 1.0
    sharpen: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Everything that is drawn for one blended clip; a path of one entry is held for all frames.

    Attributes:
        alpha: (S, S) the hull, 0..1, before the mask's own motion and opacity.
        geometry: (T, 4) shift x, shift y (crop sides), log scale, turn (radians) of the copy.
        mask_geometry: (T, 4) the same for the mask.
        colour: (T, 7) hue (radians), saturation, contrast, value (relative), R, G, B (grey levels).
        opacity: (T,) 0..1.
        texture: sharpness of the copy.
    """

    alpha: Mask
    geometry: NDArray[np.float64]
    mask_geometry: NDArray[np.float64]
    colour: NDArray[np.float64]
    opacity: NDArray[np.float64]
    texture: Texture


def affines(geometry: NDArray[np.float64], side_px: int) -> NDArray[np.float64]:
    """Maps (T, 2, 3) from a pixel of the result to one of the copy, about the crop's centre."""
    shift, scale, turn = geometry[:, :2] * side_px, np.exp(-geometry[:, 2]), geometry[:, 3]
    cosine, sine, centre = scale * np.cos(turn), scale * np.sin(turn), (side_px - 1) / 2
    linear = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], 1)  # (T, 2, 2)
    offset = centre - linear @ np.array([centre, centre]) - shift
    return np.concatenate([linear, offset[..., None]], -1)


def colours(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine colour maps (T, 3, 4) on RGB in 0..255 from draws (T, 7)."""
    hue, saturation, contrast, value = (colour[:, i, None, None] for i in range(4))
    grey = np.full((3, 3), 1 / 3)
    rotation = np.cos(hue) * np.eye(3) + np.sin(hue) * _CYCLE + (1 - np.cos(hue)) * grey
    vividness = (1 + saturation) * np.eye(3) - saturation * np.tile(_LUMA, (3, 1))
    gain = (1 + contrast) * (1 + value)
    offset = colour[:, 4:] - 128 * contrast[..., 0]
    return np.concatenate([gain * (vividness @ rotation), offset[..., None]], -1)


def draw_alpha(rng: np.random.Generator, face: Layout, ranges: BlendRanges, part: Part) -> Mask:
    """A hull (S, S): the part's outline, moved about, warped, shrunk or not, and softened."""
    side = face.face_px
    hull = np.rint(255 * region(face, part, feather_px=0)).astype(np.uint8)
    coarse_px = -(-face.side_px // 4)  # the push is smooth: a quarter of the pixels tells all of it
    noise = rng.standard_normal((coarse_px, coarse_px, 2), np.float32)
    push = cv2.resize(cv2.GaussianBlur(noise, (0, 0), max(side * 0.02, 0.3)), (face.side_px, face.side_px))
    push = push * np.float32(side * ranges.elastic / max(float(push.std()), 1e-6))
    push = push + np.float32(side) * rng.uniform(-ranges.outline, ranges.outline, 2).astype(np.float32)
    rows, columns = np.mgrid[: face.side_px, : face.side_px].astype(np.float32)
    warped = cv2.remap(hull, columns + push[..., 0], rows + push[..., 1], cv2.INTER_LINEAR)
    reach = round(float(rng.uniform(0, ranges.erode)) * side)
    shrunk = cv2.erode(warped, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    soft = cv2.GaussianBlur(shrunk, (0, 0), max(float(rng.uniform(*ranges.feather)) * side, 0.3))
    return np.asarray(soft * np.float32(1 / 255), np.float32)


def draw_texture(rng: np.random.Generator, ranges: BlendRanges) -> Texture:
    """Softer, sharper, or neither, with equal chance."""
    choice = rng.integers(3)
    if choice == 0:
        return Texture(downscale=float(rng.choice(ranges.downscales)))
    if choice == 1:
        return Texture(sharpen=float(rng.uniform(0.2, 1.0) * ranges.sharpen))
    return Texture()


def retexture(image: Clip, texture: Texture) -> Clip:
    """One image (H, W, 3) with its sharpness changed."""
    return sharpen(soften(image, texture.downscale), texture.sharpen)


def blend(clip: Clip, donor: Clip, plan: Blend) -> tuple[Clip, Mask]:
    """Lay `donor` over `clip` as planned.

    Returns:
        The blended clip (T, S, S, 3), and the opacity of the copy at each pixel (T, S, S).
    """
    side_px, frames = clip.shape[1], len(clip)
    copies, masks = affines(plan.geometry, side_px), affines(plan.mask_geometry, side_px)
    tints = colours(plan.colour)
    blended, alphas = clip.copy(), np.zeros(clip.shape[:3], np.float32)
    still = len(masks) == 1
    hull = _move(plan.alpha, masks[0]) if still else plan.alpha
    box = bounds(hull)
    for t in range(frames):
        if not still:
            hull = _move(plan.alpha, masks[t])
            box = bounds(hull)
        alpha = hull[box] * np.float32(plan.opacity[t % len(plan.opacity)])
        if alpha.size == 0:
            continue
        copy = retexture(
            _tinted(_cut(donor[t], copies[t % len(copies)], box), tints[t % len(tints)]), plan.texture
        )
        blended[t][box] = cv2.blendLinear(copy, clip[t][box], alpha, 1 - alpha)
        alphas[t][box] = alpha
    return blended, alphas


def _move(mask: Mask, affine: NDArray[np.float64]) -> Mask:
    return np.asarray(cv2.warpAffine(mask, affine, mask.shape[::-1], flags=_INVERSE), np.float32)


def _cut(image: Clip, affine: NDArray[np.float64], box: tuple[slice, slice]) -> Clip:
    """The part of a moved image (S, S, 3) that lies in `box`."""
    rows, columns = box
    shifted = affine.copy()
    shifted[:, 2] += affine[:, :2] @ np.array([columns.start, rows.start])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    moved = cv2.warpAffine(image, shifted, size, flags=_INVERSE, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _tinted(image: Clip, tint: NDArray[np.float64]) -> Clip:
    return np.asarray(cv2.transform(image, tint), np.uint8)


_INVERSE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
