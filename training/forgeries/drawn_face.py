"""A drawn face that moves, for demonstrations and tests where no video is at hand."""

from __future__ import annotations

import cv2
import numpy as np

from dmcl_sdk.faces import TEMPLATE
from training.forgeries.animate import animate
from training.forgeries.forged import Clip


def drawn_clip(*, frames: int = 48, crop_px: int = 160, seed: int = 0) -> Clip:
    """A clip (frames, S, S, 3) of a drawn face, landmarks on the template."""
    rng = np.random.default_rng(seed)
    face = np.empty((crop_px, crop_px, 3), np.uint8)
    face[:] = np.linspace((70, 90, 110), (130, 140, 150), crop_px)[:, None]
    right_eye, left_eye, nose, right_mouth, left_mouth = ((int(x), int(y)) for x, y in TEMPLATE * crop_px)
    unit = crop_px / 160
    middle = (crop_px // 2, int(crop_px * 0.53))
    cv2.ellipse(face, middle, (int(50 * unit), int(62 * unit)), 0, 0, 360, (208, 164, 140), -1, cv2.LINE_AA)
    for eye in (right_eye, left_eye):
        cv2.ellipse(face, eye, (int(11 * unit), int(6 * unit)), 0, 0, 360, (240, 238, 235), -1, cv2.LINE_AA)
        cv2.circle(face, eye, int(5 * unit), (60, 45, 35), -1, cv2.LINE_AA)
        brow = (eye[0], eye[1] - int(14 * unit))
        cv2.ellipse(face, brow, (int(14 * unit), int(3 * unit)), 0, 0, 360, (70, 50, 40), -1, cv2.LINE_AA)
    cv2.ellipse(face, nose, (int(7 * unit), int(4 * unit)), 0, 0, 180, (160, 110, 95), 2, cv2.LINE_AA)
    mouth = ((right_mouth[0] + left_mouth[0]) // 2, right_mouth[1])
    cv2.ellipse(face, mouth, (int(18 * unit), int(6 * unit)), 0, 0, 360, (170, 75, 75), -1, cv2.LINE_AA)
    texture = cv2.GaussianBlur(rng.standard_normal(face.shape, np.float32), (0, 0), 1.0) * 14
    return animate(np.clip(face + texture, 0, 255).astype(np.uint8), frames, rng)
