"""Explanations of videos that nobody filmed: many faces, many spans, hours; made by the real assembly."""

from __future__ import annotations

import numpy as np

from dmcl_sdk.assembly import JudgementRule, assemble, face_curves
from dmcl_sdk.explanation import Explanation
from dmcl_sdk.judging import JudgedRun
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.sighting import Sighting, Sightings
from dmcl_sdk.testing import scripted_spec
from dmcl_sdk.verdict import Asset, FrameRate

RATE = 10


def crowd(faces: int, seconds: int, spans: int, *, span_s: float = 1.0) -> Explanation:
    """Faces side by side for the whole time; the spans lie in the first of them, and one in each of the others.

    There are no pictures: those take a video.
    """
    runs = [_run(face, faces, seconds, spans if face == 0 else 1, span_s) for face in range(faces)]
    spec, judgement = scripted_spec(), JudgementRule()
    asset = Asset(
        uri="file:///crowd.mp4",
        sha256="0" * 64,
        duration_ms=seconds * 1000,
        frame_rate=FrameRate(num=RATE, den=1),
        width=1280,
        height=720,
    )
    verdict = assemble(asset, runs, [], spec=spec, rule=SpanRule(), judgement=judgement)
    return Explanation(verdict, spec, tuple(face_curves(runs, judgement)))


def _run(face: int, faces: int, seconds: int, spans: int, span_s: float) -> JudgedRun:
    at = np.arange(seconds * RATE) / RATE
    calm = np.full(len(at), -3.0 - face / 10)
    logits = np.stack([calm, calm - 0.5, calm + 0.3], 1)
    for start_s in np.linspace(0, seconds, spans + 2)[1:-1] - span_s / 2:
        logits[(at >= start_s) & (at < start_s + span_s)] = 3.0, 2.0, 1.0
    width = 0.8 / max(faces, 1)
    sightings = [
        Sighting(
            frame_index=n,
            start_s=n / RATE,
            end_s=(n + 1) / RATE,
            box=(0.1 + face * width, 0.3, 0.8 * width, 0.4),
            face_px=90.0,
            sharpness=0.5,
            brightness=0.5,
            noise=0.5,
            yaw=0.0,
            visible=1.0,
        )
        for n in range(len(at))
    ]
    return JudgedRun(face, Sightings.of(sightings), logits.astype(np.float32))
