"""The shape of Amazon Rekognition's `GetContentModeration`, with labels aggregated by segments.

Source: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetContentModeration.html.
"""

from __future__ import annotations

import re
from typing import Any

from dmcl_sdk.verdict import Asset, Span, Verdict

LABEL = "Manipulated Face"
_S3_URI = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)", re.DOTALL)


def to_rekognition(verdict: Verdict) -> dict[str, Any]:
    """What Rekognition would answer if it had a label for manipulated faces.

    Every span whose label is `manipulated` is one entry, with its probability as `Confidence`, 0..100. A span in doubt
    is none, for every entry is a finding there. Rekognition knows no abstention either: a verdict that judged nothing
    is a job that SUCCEEDED without labels, and only `StatusMessage` says so. Whoever must not take that for a clean
    video reads it.
    """
    spans = sorted(
        (span for span in verdict.spans if span.label == "manipulated"),
        key=lambda span: (span.start_ms, span.span_id),
    )
    answer: dict[str, Any] = {
        "JobStatus": "FAILED" if verdict.status == "failed" else "SUCCEEDED",
        "VideoMetadata": _metadata(verdict.asset),
        "ModerationLabels": [_detection(span) for span in spans],
        "GetRequestMetadata": {"SortBy": "TIMESTAMP", "AggregateBy": "SEGMENTS"},
    }
    if verdict.status != "scored":
        reasons = "; ".join(f"{reason.code}: {reason.message}" for reason in verdict.reasons)
        answer["StatusMessage"] = f"{verdict.status}: {reasons}"
    if s3 := _S3_URI.fullmatch(verdict.asset.uri):
        version = {"Version": verdict.asset.version_id} if verdict.asset.version_id else {}
        answer["Video"] = {"S3Object": {"Bucket": s3["bucket"], "Name": s3["key"]} | version}
    if verdict.model is not None:
        answer["ModerationModelVersion"] = verdict.model.version
    return answer


def _detection(span: Span) -> dict[str, Any]:
    return {
        "Timestamp": span.start_ms,
        "ModerationLabel": {
            "Confidence": round(100 * span.probability, 6),
            "Name": LABEL,
            "ParentName": "",
            "TaxonomyLevel": 1,
        },
        "StartTimestampMillis": span.start_ms,
        "EndTimestampMillis": span.end_ms,
        "DurationMillis": span.end_ms - span.start_ms,
        "ContentTypes": [],
    }


def _metadata(asset: Asset) -> dict[str, Any]:
    rate = asset.frame_rate
    known = {
        "Codec": asset.codec,
        "DurationMillis": asset.duration_ms,
        "FrameRate": rate and rate.num / rate.den,
        "FrameHeight": asset.height,
        "FrameWidth": asset.width,
    }
    return {name: value for name, value in known.items() if value is not None}
