"""A contact sheet: every kind of forgery on one clip, for the eye to judge."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dmcl_sdk.faces import Mtcnn
from dmcl_sdk.tracking import CropSizes, FaceCrop, FaceTracker
from dmcl_sdk.video import open_video
from training.forgeries import hard_reals, splice
from training.forgeries.animate import animate
from training.forgeries.forged import Clip
from training.forgeries.menu import KINDS

_GAIN = 4  # differences of a few grey levels cannot be seen


def write_sheet(path: Path, clip: Clip, *, seed: int = 0, columns: int = 4) -> None:
    """Write a PNG: rows are the real clip, the kinds, hard reals and an animated still.

    Columns are frames spread over the clip, then the difference from the real frame (times four) and the
    mask, both at the frame that the forgery changed most.
    """
    rows = [_row(name, changed, clip, mask, columns) for name, changed, mask in _versions(clip, seed)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} could not be written")


def load_clip(video: Path, *, crop_px: int = 160, most_frames: int = 64) -> Clip:
    """Aligned crops (T, S, S, 3) of the first long enough stretch of the largest face in `video`.

    Raises:
        ValueError: no face is followed in it.
        VideoError: it is not a video.
    """
    tracker, crops = FaceTracker(Mtcnn(), CropSizes(crop_px)), list[FaceCrop]()
    with open_video(video) as opened:
        for frame in opened:
            crops += tracker.push(frame).crops
            if len(crops) >= 2 * most_frames:
                break
    crops += tracker.finish().crops
    runs = [list(run) for _, run in groupby(sorted(crops, key=_place), key=lambda crop: _place(crop)[:2])]
    if not runs:
        raise ValueError(f"no face is followed in {video}")
    longest = max(runs, key=lambda run: sum(crop.face_px for crop in run[:most_frames]))
    return np.stack([crop.image for crop in longest[:most_frames]])


def _place(crop: FaceCrop) -> tuple[int, int, int]:
    return crop.track_id, crop.run, crop.frame_index


def _versions(clip: Clip, seed: int) -> Iterator[tuple[str, Clip, NDArray[np.float32]]]:
    """Every row's name, clip and mask (T, S, S)."""
    nothing = np.zeros(clip.shape[:3], np.float32)
    yield "real", clip, nothing
    for name, kind in KINDS.items():
        forged = kind(clip, np.random.default_rng(seed))
        yield name, forged.clip, forged.mask
    spliced = splice.forge(clip, np.random.default_rng(seed), partial(KINDS["resynthesis"]))
    yield spliced.kind, spliced.clip, spliced.mask
    for hardship in dict.fromkeys(hard_reals.HardRealSettings().hardships):
        yield f"real: {hardship}", hard_reals.endure(clip, np.random.default_rng(seed), hardship), nothing
    yield "real: animated", animate(clip[0], len(clip), np.random.default_rng(seed)), nothing


def _row(name: str, changed: Clip, clip: Clip, mask: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    difference = np.abs(changed.astype(np.int16) - clip)
    most = int(difference.reshape(len(clip), -1).sum(axis=1).argmax())
    shown = np.linspace(0, len(clip) - 1, columns).round().astype(int)
    bright = np.minimum(_GAIN * difference[most], 255).astype(np.uint8)
    grey = np.repeat((255 * mask[most]).astype(np.uint8)[..., None], 3, axis=-1)
    row = np.hstack([*changed[shown], bright, grey])
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(row, name, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, thickness, cv2.LINE_AA)
    return row
