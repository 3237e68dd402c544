"""Verdicts for tests: any that may exist, drawn by hypothesis, and a plain one to change."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from dmcl_sdk.verdict import (
    Asset,
    Box,
    CalibrationInfo,
    Decision,
    Evidence,
    FrameRate,
    Item,
    Keyframe,
    Label,
    Modalities,
    ModelInfo,
    Quality,
    Reason,
    ReasonCode,
    Runtime,
    Span,
    Status,
    Summary,
    Timings,
    Track,
    Verdict,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
shas = st.text("0123456789abcdef", min_size=64, max_size=64)
numbers = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)
counts = st.integers(0, 2**40)
positive = st.integers(1, 2**20)
labels = st.sampled_from(get_args(Label))
intervals = st.tuples(shares, shares)


def perhaps(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def few(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


boxes = st.builds(
    Box,
    left=numbers,
    top=numbers,
    width=st.floats(1e-6, 10),
    height=st.floats(1e-6, 10),
)
assets = st.builds(
    Asset,
    uri=words,
    item=perhaps(st.builds(Item, id=words, type=words)),
    sha256=perhaps(shas),
    version_id=perhaps(words),
    etag=perhaps(words),
    size_bytes=perhaps(counts),
    duration_ms=perhaps(counts),
    frame_rate=perhaps(st.builds(FrameRate, num=positive, den=positive)),
    vfr=perhaps(st.booleans()),
    width=perhaps(positive),
    height=perhaps(positive),
    rotation=perhaps(st.sampled_from([0, 90, 180, 270])),
    codec=perhaps(words),
    quality=perhaps(
        st.builds(Quality, face_px=perhaps(numbers), sharpness=perhaps(numbers), brightness=perhaps(numbers))
    ),
)
reasons = st.builds(
    Reason,
    code=st.sampled_from(get_args(ReasonCode)),
    message=words,
    track_id=perhaps(counts),
    start_ms=perhaps(counts),
    end_ms=perhaps(counts),
)
calibrations = st.builds(CalibrationInfo, method=words, version=words, sha256=shas)
models = st.builds(
    ModelInfo, name=words, version=words, sha256=shas, card_uri=perhaps(words), calibration=calibrations
)
decisions = st.builds(
    Decision,
    policy_id=words,
    version=words,
    sha256=shas,
    mode=st.sampled_from(["enforce", "shadow"]),
    action=words,
    queue=perhaps(words),
    rule=perhaps(words),
    thresholds=st.dictionaries(words, numbers, max_size=3),
)
runtimes = st.builds(
    Runtime,
    sdk=words,
    preprocess_sha256=shas,
    config_sha256=shas,
    onnxruntime=words,
    execution_providers=few(words),
    precision=words,
    face_detector=words,
)


@st.composite
def some_tracks(draw: st.DrawFn, track_id: int) -> Track:
    start_ms = draw(counts)
    return Track(
        start_ms=start_ms,
        end_ms=start_ms + draw(positive),
        track_id=track_id,
        label=draw(perhaps(labels)),
        probability=draw(perhaps(shares)),
        interval=draw(perhaps(intervals)),
        score_raw=draw(perhaps(numbers)),
        judged_ms=draw(counts),
        keyframes=draw(few(st.builds(Keyframe, t_ms=counts, box=boxes))),
    )


@st.composite
def some_spans(draw: st.DrawFn, track_id: int, span_id: int) -> Span:
    start_ms = draw(counts)
    return Span(
        start_ms=start_ms,
        end_ms=start_ms + draw(positive),
        span_id=span_id,
        track_id=track_id,
        start_frame=draw(counts),
        end_frame=draw(counts),
        peak_ms=draw(counts),
        label=draw(labels),
        score_raw=draw(numbers),
        probability=draw(shares),
        modalities=draw(st.builds(Modalities, rgb=shares, flow=shares, disagreement=shares)),
        box_at_peak=draw(boxes),
        evidence=draw(few(st.builds(Evidence, kind=words, uri=words, sha256=shas))),
        media_fragment=draw(words),
    )


@st.composite
def some_verdicts(draw: st.DrawFn) -> Verdict:
    status = draw(st.sampled_from(get_args(Status)))
    scored = status == "scored"
    tracks = tuple(draw(some_tracks(track_id)) for track_id in range(draw(st.integers(0, 2))))
    owners = draw(st.lists(st.sampled_from(tracks), max_size=2)) if tracks else []
    return Verdict(
        status=status,
        asset=draw(assets),
        reasons=draw(st.lists(reasons, min_size=0 if scored else 1, max_size=3).map(tuple)),
        summary=Summary(
            label=draw(perhaps(labels)),
            probability=draw(shares if scored else perhaps(shares)),
            interval=draw(perhaps(intervals)),
            flagged_ms=draw(counts),
            scanned_ms=draw(counts),
            coverage=draw(shares),
            faces=len(tracks),
        ),
        tracks=tracks,
        spans=tuple(draw(some_spans(owner.track_id, number)) for number, owner in enumerate(owners)),
        decision=draw(perhaps(decisions)),
        model=draw(perhaps(models)),
        runtime=draw(perhaps(runtimes)),
        timings=Timings(decode_s=draw(st.floats(0, 1e6)), real_time_factor=draw(perhaps(st.floats(0, 1e6)))),
    )


def a_track(**changes: object) -> Track:
    return Track.model_validate(
        {"track_id": 0, "start_ms": 0, "end_ms": 4000, "label": "manipulated"} | changes
    )


def a_span(**changes: object) -> Span:
    fields = {
        "span_id": 0,
        "track_id": 0,
        "start_ms": 1200,
        "end_ms": 3400,
        "start_frame": 30,
        "end_frame": 85,
        "peak_ms": 2000,
        "label": "manipulated",
        "score_raw": 2.5,
        "probability": 0.9,
        "modalities": {"rgb": 0.4, "flow": 0.9, "disagreement": 0.5},
        "box_at_peak": {"left": 0.4, "top": 0.2, "width": 0.2, "height": 0.3},
        "media_fragment": "#t=1.2,3.4",
    }
    return Span.model_validate(fields | changes)


def a_verdict(**changes: object) -> Verdict:
    fields = {
        "status": "scored",
        "asset": Asset(uri="clip.mp4"),
        "summary": Summary(probability=0.9),
        "tracks": (a_track(),),
        "spans": (a_span(),),
    }
    return Verdict.model_validate(fields | changes)
