from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.validate import ParamValidator
from hypothesis import given, settings

from dmcl_sdk.exporters import (
    COOP_FIELDS,
    PARQUET_COLUMNS,
    parquet_schema,
    to_coop,
    to_osprey,
    to_rekognition,
    to_rows,
    to_webvtt,
    write_parquet,
)
from dmcl_sdk.verdict import Asset, Reason, Verdict
from tests.sdk.verdicts import some_verdicts

GOLDEN = Path(__file__).parents[1] / "golden"
NOON = datetime(2025, 5, 4, 12, 0, 0, 250000, tzinfo=UTC)
REPORT = "https://dmcl.example.org/reports/post-81"


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return Verdict.model_validate_json((GOLDEN / "verdict.json").read_text())


@pytest.fixture(scope="module")
def unjudged() -> Verdict:
    reasons = (Reason(code="no_face", message="no face is seen"),)
    return Verdict(status="not_applicable", asset=Asset(uri="file:///clip.mp4"), reasons=reasons)


def osprey(verdict: Verdict) -> dict[str, Any]:
    return to_osprey(verdict, action_id=1042, send_time=NOON)


def coop(verdict: Verdict) -> dict[str, Any]:
    return to_coop(verdict, type_id="2f9c4f", item_id="post-81")


def parquet(verdicts: list[Verdict], **options: int) -> pa.Table:
    """The table that is read back from what was written."""
    file = io.BytesIO()
    written = write_parquet(verdicts, file, **options)
    table = pq.read_table(file)
    assert table.num_rows == written
    return table


@pytest.mark.parametrize(
    ("name", "export"),
    [
        ("parquet", lambda verdict: {"columns": PARQUET_COLUMNS, "rows": to_rows(verdict)}),
        ("rekognition", to_rekognition),
        ("coop", lambda verdict: to_coop(verdict, type_id="2f9c4f", report_url=REPORT)),
        ("osprey", osprey),
    ],
)
def test_a_shape_changes_only_with_its_golden_file(
    name: str, export: Callable[[Verdict], dict[str, Any]], verdict: Verdict
) -> None:
    assert export(verdict) == json.loads((GOLDEN / f"{name}.json").read_text())


def test_the_subtitles_change_only_with_their_golden_file(verdict: Verdict) -> None:
    assert to_webvtt(verdict) == (GOLDEN / "verdict.vtt").read_text()


@settings(max_examples=10)
@given(some_verdicts())
def test_every_verdict_has_every_shape(verdict: Verdict) -> None:
    for export in (to_rekognition, osprey, coop):
        json.dumps(export(verdict), allow_nan=False)
    assert to_webvtt(verdict).startswith("WEBVTT\n\n")
    assert parquet([verdict]).to_pylist() == to_rows(verdict)


def test_rekognitions_own_client_knows_every_field_and_its_type(verdict: Verdict, unjudged: Verdict) -> None:
    service = botocore.session.get_session().get_service_model("rekognition")
    answer = service.operation_model("GetContentModeration").output_shape
    assert answer is not None

    def problems(given: dict[str, Any]) -> str:
        return str(ParamValidator().validate(given, answer).generate_report())

    assert problems(to_rekognition(verdict)) == ""
    assert problems(to_rekognition(unjudged)) == ""
    assert "Start" in problems({"ModerationLabels": [{"Start": 1}]})


def test_rekognition_has_an_entry_for_manipulated_spans_alone(verdict: Verdict) -> None:
    (entry,) = to_rekognition(verdict)["ModerationLabels"]
    assert (entry["StartTimestampMillis"], entry["EndTimestampMillis"], entry["DurationMillis"]) == (
        2040,
        4520,
        2480,
    )
    assert entry["ModerationLabel"]["Confidence"] == 97.31


def test_a_verdict_that_judged_nothing_does_not_pass_for_a_clean_one(unjudged: Verdict) -> None:
    answer = to_rekognition(unjudged)
    assert answer["JobStatus"] == "SUCCEEDED"
    assert answer["StatusMessage"] == "not_applicable: no_face: no face is seen"
    assert to_rekognition(unjudged.model_copy(update={"status": "failed"}))["JobStatus"] == "FAILED"
    assert osprey(unjudged)["data"]["data"]["status"] == "not_applicable"
    assert "no_face" in to_webvtt(unjudged)


def test_coop_gets_the_fields_that_its_item_type_has_and_no_others(verdict: Verdict) -> None:
    (item,) = to_coop(verdict, type_id="t", video_url="https://cdn.example.org/81.mp4", report_url=REPORT)[
        "items"
    ]
    types: dict[str, tuple[type, ...]] = {
        "STRING": (str,),
        "NUMBER": (int, float),
        "URL": (str,),
        "VIDEO": (str,),
    }
    assert set(item["data"]) == set(COOP_FIELDS)
    assert all(isinstance(value, types[COOP_FIELDS[name]]) for name, value in item["data"].items())


def test_coop_needs_an_id(verdict: Verdict, unjudged: Verdict) -> None:
    unnamed = verdict.model_copy(update={"asset": verdict.asset.model_copy(update={"item": None})})
    assert to_coop(unnamed, type_id="t")["items"][0]["id"] == "a" * 64
    assert to_coop(verdict, type_id="t", item_id="mine")["items"][0]["id"] == "mine"
    with pytest.raises(ValueError, match="Coop needs an item id"):
        to_coop(unjudged, type_id="t")


def test_what_is_said_in_subtitles_cannot_break_them() -> None:
    reasons = (Reason(code="no_face", message="one\n\n00:00.000 --> 00:01.000\n<b>two</b>\0"),)
    text = to_webvtt(Verdict(status="not_applicable", asset=Asset(uri="s3://b/-->.mp4"), reasons=reasons))
    assert text.count("-->") == 0
    assert text.strip().count("\n\n") == 1
    assert "&lt;b&gt;two" in text


def test_subtitles_are_of_suspect_spans_in_order_of_time_and_count_hours(verdict: Verdict) -> None:
    cues = [block.split("\n") for block in to_webvtt(verdict).strip().split("\n\n")[2:]]
    assert [cue[0] for cue in cues] == ["span-0", "span-2"]
    assert cues[1][1] == "00:00:08.000 --> 01:01:01.007"


def test_subtitles_call_no_span_manipulated_that_is_not_so_by_itself(verdict: Verdict) -> None:
    spans = tuple(span.model_copy(update={"probability": 0.07}) for span in verdict.spans)
    text = to_webvtt(verdict.model_copy(update={"spans": spans}))
    assert "Face 1: stands out, 7.0 % by itself" in text
    assert "Face 1: manipulated" not in text


def test_parquet_has_a_row_a_span_and_one_for_a_video_without(verdict: Verdict, unjudged: Verdict) -> None:
    table = parquet([verdict, unjudged, verdict], rows_at_once=2)
    spans = [span.span_id for span in verdict.spans]
    assert table.column("span_id").to_pylist() == [*spans, None, *spans]
    last = table.to_pylist()[len(spans)]
    assert (last["status"], last["label"], last["reasons"]) == ("not_applicable", None, ["no_face"])


def test_parquet_is_read_with_the_columns_and_types_that_are_published(unjudged: Verdict) -> None:
    for table in (parquet([]), parquet([unjudged])):
        assert table.schema.equals(parquet_schema(), check_metadata=True)
    assert parquet_schema().names == list(PARQUET_COLUMNS)
    assert parquet_schema().metadata == {b"dmcl.schema": b"dmcl.verdict/1"}
