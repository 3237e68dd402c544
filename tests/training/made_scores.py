"""Scored videos without videos: curves of a made face, and a plain specification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmcl_sdk.assembly import FaceCurve
from dmcl_sdk.calibration import AbstentionRule
from dmcl_sdk.network import ModelSpec
from dmcl_sdk.sighting import Sighting, Sightings
from dmcl_sdk.testing import scripted_spec
from training.data.manifest import Clip
from training.figures import Labelled
from training.scores import Scored


def plain_spec() -> ModelSpec:
    """Probabilities are sigmoid(logit)."""
    return scripted_spec(abstention=AbstentionRule(0.9, 0.1))


def face_of(logits: npt.ArrayLike, track_id: int = 0) -> FaceCurve:
    """A face at 25 frames a second whose three curves are these logits."""
    values = np.asarray(logits, np.float64)
    starts = np.arange(len(values)) / 25
    seen = [
        Sighting(n, float(start), float(start) + 0.04, (0.25, 0.25, 0.5, 0.5), 120.0, 0.9, 0.5, 0.5, 0.1, 1.0)
        for n, start in enumerate(starts)
    ]
    times = np.column_stack([starts, np.arange(1, len(values) + 1) / 25])
    return FaceCurve(track_id, Sightings.of(seen), np.column_stack([values] * 3), times)


def scored_as(logit: float) -> Scored:
    """A video with one face of ten frames, all of this logit."""
    return Scored(logit, (face_of(np.full(10, logit)),))


def clip(name: str, *, fake: bool = False, generator: str = "", pair: str = "", identity: str = "") -> Clip:
    return Clip(Path(name), "val", fake, generator, Path(pair) if pair else None, identity)


def labelled(
    rng: np.random.Generator, *, people: int = 20, apart: float = 2.0, generators: tuple[str, ...] = ("swap",)
) -> Labelled:
    """One real video a person, and a fake of it by each generator; fakes score `apart` higher on average."""
    clips, scored = [], []
    for number in range(people):
        offset = rng.normal(0, 0.5)
        clips.append(clip(f"real{number}.mp4", identity=f"person {number}"))
        scored.append(scored_as(offset + rng.normal(-apart / 2, 0.5)))
        for name in generators:
            clips.append(clip(f"{name}{number}.mp4", fake=True, generator=name, pair=f"real{number}.mp4"))
            scored.append(scored_as(offset + rng.normal(apart / 2, 0.5)))
    return Labelled.of(clips, scored, plain_spec())
