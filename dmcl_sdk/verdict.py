"""The verdict, `dmcl.verdict/1`: face track x [start, end) x calibrated probability x reasons.

Times are integer milliseconds from the first presentation timestamp, half-open. Boxes are normalised to the
displayed frame, after rotation. A probability is always P(manipulated), in 0..1. Within the major version the
schema only grows.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA = "dmcl.verdict/1"
SCHEMA_ID = "https://schemas.dmcl.dev/verdict/1.json"

Status = Literal["scored", "abstained", "not_applicable", "failed"]
Label = Literal["manipulated", "not_manipulated", "uncertain"]
ReasonCode = Literal[
    # why something was not judged
    "no_face",
    "face_too_small",
    "face_too_blurred",
    "face_in_profile",
    "face_partly_visible",
    "too_dark",
    "too_noisy",
    "too_short",
    "low_coverage",
    "too_many_faces",
    # why a judgement is withheld, or weaker
    "near_threshold",
    "modality_conflict",
    # what the file was like
    "truncated",
    "decode_error",
    "gap",
    "interlaced",
    "limit_reached",
    "not_a_video",
    "unreadable",
    "encrypted",
    # what was found
    "appearance_anomaly",
    "motion_anomaly",
]

Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    """Shared by every part of a verdict: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Stretch(_Frozen):
    start_ms: Milliseconds
    """First millisecond inside."""
    end_ms: Milliseconds
    """First millisecond after."""

    @model_validator(mode="after")
    def _runs_forward(self) -> _Stretch:
        if self.start_ms >= self.end_ms:
            raise ValueError(f"a stretch needs start_ms < end_ms, got [{self.start_ms}, {self.end_ms})")
        return self


class Box(_Frozen):
    """A rectangle in fractions of the displayed frame; it may reach past the frame's edges."""

    left: float
    top: float
    width: Annotated[float, Field(gt=0)]
    height: Annotated[float, Field(gt=0)]


class FrameRate(_Frozen):
    """Frames a second, as the container states it."""

    num: Annotated[int, Field(gt=0)]
    den: Annotated[int, Field(gt=0)]


class Item(_Frozen):
    """The caller's own name for what was scanned."""

    id: str
    type: str


class Quality(_Frozen):
    """How well the faces could be seen; None where there was none."""

    face_px: float | None = None
    """Median face width in source pixels."""
    sharpness: float | None = None
    """Median sharpness of the face, 0..1, of crops at the model's size."""
    brightness: float | None = None
    """Median luma of the face, 0..1."""


class Asset(_Frozen):
    """The video that was scanned."""

    uri: str
    item: Item | None = None
    sha256: Sha256 | None = None
    version_id: str | None = None
    etag: str | None = None
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    duration_ms: Milliseconds | None = None
    """What was decoded; None when nothing was."""
    frame_rate: FrameRate | None = None
    vfr: bool | None = None
    """Whether frames came at a variable rate."""
    width: Annotated[int, Field(gt=0)] | None = None
    """Displayed width: after rotation and pixel aspect."""
    height: Annotated[int, Field(gt=0)] | None = None
    rotation: Literal[0, 90, 180, 270] | None = None
    """Degrees clockwise by which the coded picture is turned for display."""
    codec: str | None = None
    quality: Quality | None = None


class Reason(_Frozen):
    """Why something was found, withheld or not looked at."""

    code: ReasonCode
    message: str
    """The same in words, for a person."""
    track_id: int | None = None
    start_ms: Milliseconds | None = None
    end_ms: Milliseconds | None = None


class Summary(_Frozen):
    """The video in one line: the worst face decides, and is named."""

    label: Label | None = None
    """None when nothing could be judged."""
    probability: Probability | None = None
    interval: tuple[Probability, Probability] | None = None
    """90 % interval of the probability, from the uncertainty of the calibration."""
    flagged_ms: Milliseconds = 0
    """Time inside at least one manipulated span of any face."""
    scanned_ms: Milliseconds = 0
    """Time in which at least one face was judged."""
    coverage: Probability = 0.0
    """Share of the video's duration in which at least one face was judged."""
    faces: Annotated[int, Field(ge=0)] = 0
    """Face tracks seen, judged or not."""
    worst_track_id: int | None = None
    worst_span_id: int | None = None


class Keyframe(_Frozen):
    """Where a face was at one instant."""

    t_ms: Milliseconds
    box: Box


class Track(_Stretch):
    """One face, followed until a shot cut or until it was lost."""

    track_id: Annotated[int, Field(ge=0)]
    label: Label | None = None
    """None when the face could not be judged; the verdict's reasons say why."""
    probability: Probability | None = None
    interval: tuple[Probability, Probability] | None = None
    score_raw: float | None = None
    """The network's logit for the track, before calibration."""
    judged_ms: Milliseconds = 0
    """Time in which this face was judged."""
    keyframes: tuple[Keyframe, ...] = ()


class Modalities(_Frozen):
    """What each stream says alone, calibrated; their disagreement is part of the explanation."""

    rgb: Probability
    flow: Probability
    disagreement: Probability
    """|rgb - flow|."""


class Evidence(_Frozen):
    """A picture or a plot that shows the finding."""

    kind: str
    uri: str
    sha256: Sha256


class Span(_Stretch):
    """A stretch of one face's track that stands out as manipulated."""

    span_id: Annotated[int, Field(ge=0)]
    track_id: Annotated[int, Field(ge=0)]
    start_frame: Annotated[int, Field(ge=0)]
    """Number of the first frame inside, counting decoded frames from 0."""
    end_frame: Annotated[int, Field(ge=0)]
    """Number of the first frame after."""
    peak_ms: Milliseconds
    """When the curve is highest."""
    label: Label
    """Its face's: `manipulated` in a face that is called so, else `uncertain`."""
    score_raw: float
    """The highest frame logit inside, before calibration."""
    probability: Probability
    """Of the stretch by itself, the mean of its more suspect half; what stands out of its own face may still be low."""
    modalities: Modalities
    box_at_peak: Box
    evidence: tuple[Evidence, ...] = ()
    media_fragment: str
    """W3C media fragment, e.g. `#t=1.2,3.4`."""

    @property
    def is_suspect(self) -> bool:
        """Whether by itself it is more likely manipulated than not."""
        return self.probability >= 0.5


class Decision(_Frozen):
    """What a policy made of the verdict; filled in by connectors."""

    policy_id: str
    version: str
    sha256: Sha256
    mode: Literal["enforce", "shadow"]
    action: str
    queue: str | None = None
    rule: str | None = None
    thresholds: dict[str, float] = Field(default_factory=dict)


class CalibrationInfo(_Frozen):
    """How raw scores became probabilities."""

    method: str
    version: str
    sha256: Sha256


class ModelInfo(_Frozen):
    """The network that answered."""

    name: str
    version: str
    sha256: Sha256
    card_uri: str | None = None
    calibration: CalibrationInfo


class Runtime(_Frozen):
    """What ran, exactly enough to run it again."""

    sdk: str
    preprocess_sha256: Sha256
    """Digest of the preprocessing version and its settings."""
    config_sha256: Sha256
    """Digest of the detector's settings."""
    onnxruntime: str
    execution_providers: tuple[str, ...]
    """Providers that really ran, first the one that took the graph."""
    precision: str
    face_detector: str


class Timings(_Frozen):
    """Wall seconds by stage; the only part of a verdict that differs from run to run.

    Stages overlap, in threads of their own: their seconds may add up to more than `total_s`.
    """

    decode_s: float = 0.0
    faces_s: float = 0.0
    motion_s: float = 0.0
    network_s: float = 0.0
    total_s: float = 0.0
    real_time_factor: float | None = None
    """Seconds of video scored in one second."""


class Verdict(_Frozen):
    """Everything said about one video."""

    # The wire name is `schema`, which pydantic keeps for itself.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, serialize_by_alias=True
    )

    schema_: Literal["dmcl.verdict/1"] = Field(default="dmcl.verdict/1", alias="schema")
    status: Status
    asset: Asset
    reasons: tuple[Reason, ...] = ()
    summary: Summary = Summary()
    tracks: tuple[Track, ...] = ()
    spans: tuple[Span, ...] = ()
    decision: Decision | None = None
    model: ModelInfo | None = None
    runtime: Runtime | None = None
    timings: Timings = Timings()

    @model_validator(mode="after")
    def _says_what_its_status_says(self) -> Verdict:
        tracks = {track.track_id for track in self.tracks}
        if any(span.track_id not in tracks for span in self.spans):
            raise ValueError("every span needs a track of its own verdict")
        if self.status == "scored" and self.summary.probability is None:
            raise ValueError("a scored verdict needs a probability")
        if self.status != "scored" and not self.reasons:
            raise ValueError(f"a verdict that is {self.status} needs a reason")
        return self

    def to_json(self, *, indent: int | None = None) -> str:
        """One JSON object; on one line unless an indent is given."""
        return self.model_dump_json(indent=indent)

    def without_timings(self) -> Verdict:
        """The part that is the same byte for byte on every run."""
        return self.model_copy(update={"timings": Timings()})


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a verdict as it is written."""
    schema = Verdict.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def json_schema_text() -> str:
    """The schema as it is published, with a final newline."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


__all__ = [
    "SCHEMA",
    "SCHEMA_ID",
    "Asset",
    "Box",
    "CalibrationInfo",
    "Decision",
    "Evidence",
    "FrameRate",
    "Item",
    "Keyframe",
    "Label",
    "Modalities",
    "ModelInfo",
    "Quality",
    "Reason",
    "ReasonCode",
    "Runtime",
    "Span",
    "Status",
    "Summary",
    "Timings",
    "Track",
    "Verdict",
    "json_schema",
    "json_schema_text",
]
