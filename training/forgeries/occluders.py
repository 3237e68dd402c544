"""Things that pass in front of real faces: hands, microphones, captions, glasses."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.forgeries.forged import Clip, Mask
from training.forgeries.regions import Layout
from training.forgeries.trajectories import noise_paths


def pass_object(clip: Clip, rng: np.random.Generator) -> Clip:
    """A rounded thing of one colour and some shading moves over the picture, or rests in it."""
    frames, side_px = clip.shape[:2]
    length, width = rng.uniform(0.12, 0.35) * side_px, rng.uniform(0.05, 0.16) * side_px
    start, end = rng.uniform(0.0, 1.0, 2), rng.uniform(0.0, 1.0, 2)
    start[rng.integers(2)] = rng.choice((-0.1, 1.1))  # it comes in from a side
    way = np.linspace(0, 1, frames)[:, None] * rng.choice((0.0, 0.5, 1.0))
    places = (start * (1 - way) + end * way) * side_px + 2 * noise_paths(rng, frames, 2, smooth_frames=4)
    angles = rng.uniform(0, np.pi) + 0.1 * noise_paths(rng, frames, 1, smooth_frames=6)[:, 0]
    colour = _some_colour(clip, rng)
    shading = _shading(rng, side_px)
    passed = clip.copy()
    for t, (place, angle) in enumerate(zip(places, angles, strict=True)):
        shape = _capsule(side_px, place, float(angle), float(length), float(width))
        passed[t] = _paint(clip[t], shape, np.clip(colour * shading, 0, 255))
    return passed


def add_caption(clip: Clip, rng: np.random.Generator) -> Clip:
    """A strip of blocks like writing, at rest low or high in the picture."""
    side_px = clip.shape[1]
    top = int(side_px * rng.choice((rng.uniform(0.02, 0.15), rng.uniform(0.78, 0.93))))
    height = max(3, int(side_px * rng.uniform(0.04, 0.09)))
    shape = np.zeros((side_px, side_px), np.float32)
    left = int(rng.uniform(0, 0.4) * side_px)
    right = min(0.97, left / side_px + rng.uniform(0.2, 0.9)) * side_px
    while left < right:
        letter = max(1, int(rng.uniform(0.3, 0.8) * height))
        rows = rng.random((height, 1), np.float32).round()
        place = shape[top : top + height, left : left + letter]
        place[:] = rows[: len(place)]
        left += letter + max(1, height // 5)
    colour = rng.choice((np.full(3, 245.0), np.array([240.0, 220.0, 40.0]), np.full(3, 15.0)))
    paper = np.broadcast_to(colour, (side_px, side_px, 3))
    soft = np.asarray(cv2.GaussianBlur(shape, (0, 0), 0.6), np.float32)
    return np.stack([_paint(frame, soft, paper) for frame in clip])


def add_glasses(clip: Clip, rng: np.random.Generator, face: Layout) -> Clip:
    """Frames and faintly tinted lenses over both eyes, trembling as little as a tracker does."""
    frames, unit = len(clip), face.face_px
    radii = rng.uniform((0.085, 0.055), (0.125, 0.10))
    squareness, drop = rng.uniform(2, 5), rng.uniform(-0.01, 0.03)
    rim_px = max(1.0, rng.uniform(0.006, 0.02) * unit)
    rims, lenses = np.zeros(clip.shape[1:3], np.uint8), np.zeros(clip.shape[1:3], np.uint8)
    outlines = [_superellipse(face, x, 0.40 + drop, radii, squareness) for x in (0.36, 0.64)]
    cv2.fillPoly(lenses, outlines, 255, cv2.LINE_AA, 4)
    cv2.polylines(
        rims, outlines, isClosed=True, color=255, thickness=round(rim_px), lineType=cv2.LINE_AA, shift=4
    )
    for half in (
        [(0.36 + radii[0], 0.39 + drop), (0.64 - radii[0], 0.39 + drop)],
        [(0.36 - radii[0], 0.39 + drop), (0.18, 0.37 + drop)],
        [(0.64 + radii[0], 0.39 + drop), (0.82, 0.37 + drop)],
    ):
        ends = np.rint(face.place(np.array(half, np.float32)) * 16).astype(np.int32)
        cv2.polylines(
            rims, [ends], isClosed=False, color=255, thickness=round(rim_px), lineType=cv2.LINE_AA, shift=4
        )
    tint, strength = _some_colour(clip, rng) * 0.4, rng.uniform(0, 0.35)
    lens, rim = lenses * np.float32(strength / 255), rims * np.float32(rng.uniform(0.75, 1) / 255)
    paper = np.broadcast_to(rng.uniform(0, 70, 3), clip.shape[1:])
    tinted = np.broadcast_to(tint, clip.shape[1:])
    shake = 0.15 * noise_paths(rng, frames, 2, smooth_frames=2)
    return np.stack(
        [
            _paint(_paint(frame, _shifted(lens, move), tinted), _shifted(rim, move), paper)
            for frame, move in zip(clip, shake, strict=True)
        ]
    )


def _some_colour(clip: Clip, rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour of the picture itself (a hand is as lit as the face), or any dark one."""
    if rng.random() < 0.3:
        return rng.uniform(5, 90, 3)
    t, y, x = (int(rng.integers(n)) for n in clip.shape[:3])
    return np.asarray(clip[t, y, x], np.float64)


def _shading(rng: np.random.Generator, side_px: int) -> NDArray[np.float32]:
    """Light and texture (S, S, 1) about 1."""
    light, grain = (
        np.asarray(
            cv2.GaussianBlur(rng.standard_normal((side_px, side_px), np.float32), (0, 0), sigma), np.float32
        )
        for sigma in (side_px * 0.08, 1.0)
    )
    light, grain = light / np.float32(light.std() + 1e-6), grain / np.float32(grain.std() + 1e-6)
    return np.asarray(1 + 0.15 * light + 0.05 * grain, np.float32)[..., None]


def _capsule(side_px: int, place: NDArray[np.float64], angle: float, length: float, width: float) -> Mask:
    along = length * np.array([np.cos(angle), np.sin(angle)])
    ends = np.rint((place[None] + np.array([[-0.5], [0.5]]) * along) * 16).astype(np.int32)
    shape = np.zeros((side_px, side_px), np.uint8)
    cv2.polylines(
        shape,
        [ends],
        isClosed=False,
        color=255,
        thickness=max(1, round(width)),
        lineType=cv2.LINE_AA,
        shift=4,
    )
    return np.asarray(cv2.blur(shape, (3, 3)) * np.float32(1 / 255), np.float32)


def _superellipse(
    face: Layout, x: float, y: float, radii: NDArray[np.float64], power: float
) -> NDArray[np.int32]:
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    unit = np.stack([np.cos(angles), np.sin(angles)], 1)
    points = np.sign(unit) * np.abs(unit) ** (2 / power) * radii + (x, y)
    return np.rint(face.place(points.astype(np.float32)) * 16).astype(np.int32)


def _shifted(mask: Mask, move: NDArray[np.float32]) -> Mask:
    affine = np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float64)
    return np.asarray(cv2.warpAffine(mask, affine, mask.shape[::-1]), np.float32)


def _paint(frame: Clip, shape: Mask, paper: NDArray[np.float64] | NDArray[np.float32]) -> Clip:
    """One frame (S, S, 3) with `paper` (S, S, 3) showing where `shape` (S, S) is above 0."""
    left, top, width, height = cv2.boundingRect((shape > 0).astype(np.uint8))
    box = slice(top, top + height), slice(left, left + width)
    painted = frame.copy()
    if height > 0:
        mixed = frame[box] + shape[box][..., None] * (paper[box] - frame[box])
        painted[box] = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    return painted
