"""The verdict: what may exist, that it survives the wire, and that its published schema is true."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from dmcl_sdk.verdict import (
    SCHEMA,
    SCHEMA_ID,
    Asset,
    Box,
    Reason,
    Summary,
    Timings,
    Verdict,
    json_schema,
    json_schema_text,
)
from tests.sdk.verdicts import a_span, a_track, a_verdict, some_verdicts

# A shared machine stalls: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / "verdict-1.json"

PARTS = [a_verdict(), a_track(), a_span(), a_span().box_at_peak, Summary(), Timings(), Asset(uri="a.mp4")]


class TestTheWire:
    @given(some_verdicts())
    def test_a_verdict_comes_back_from_json_as_it_went(self, verdict: Verdict) -> None:
        assert Verdict.model_validate_json(verdict.to_json()) == verdict
        assert Verdict.model_validate(json.loads(verdict.to_json(indent=2))) == verdict

    @given(some_verdicts())
    def test_json_is_one_line_and_the_same_every_time(self, verdict: Verdict) -> None:
        assert "\n" not in verdict.to_json()
        assert Verdict.model_validate_json(verdict.to_json()).to_json() == verdict.to_json()

    def test_it_says_which_schema_it_follows_under_the_wire_name(self) -> None:
        assert json.loads(a_verdict().to_json())["schema"] == SCHEMA == "dmcl.verdict/1"

    def test_a_verdict_of_another_major_version_is_refused(self) -> None:
        message = json.loads(a_verdict().to_json()) | {"schema": "dmcl.verdict/2"}

        with pytest.raises(ValidationError, match=r"dmcl\.verdict/1"):
            Verdict.model_validate(message)

    @given(some_verdicts())
    def test_two_runs_that_differ_in_timings_alone_say_the_same(self, verdict: Verdict) -> None:
        slower = verdict.model_copy(update={"timings": Timings(total_s=verdict.timings.total_s + 1)})

        assert slower != verdict
        assert slower.without_timings().to_json() == verdict.without_timings().to_json()


class TestTheSchema:
    def test_the_published_file_is_the_schema_of_this_version(self) -> None:
        # Within a major version the schema only grows: look at the difference before writing the file anew.
        assert PUBLISHED.read_text(encoding="utf-8") == json_schema_text()

    def test_it_is_a_json_schema_with_an_address(self) -> None:
        schema = json_schema()
        Draft202012Validator.check_schema(schema)

        assert schema["$id"] == SCHEMA_ID
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"

    @given(some_verdicts())
    def test_every_verdict_obeys_it(self, verdict: Verdict) -> None:
        Draft202012Validator(json_schema()).validate(json.loads(verdict.to_json()))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("schema",), "dmcl.verdict/2"),
            (("status",), "done"),
            (("status",), None),
            (("surprise",), 1),
            (("asset", "sha256"), "beef"),
            (("asset", "rotation"), 45),
            (("summary", "probability"), 1.5),
            (("spans", 0, "start_ms"), 1.5),
            (("spans", 0, "modalities", "audio"), 0.5),
            (("tracks", 0, "end_ms"), -1),
            (("reasons",), [{"code": "because", "message": ""}]),
        ],
    )
    def test_what_the_models_refuse_the_schema_refuses(
        self, path: tuple[str | int, ...], value: object
    ) -> None:
        message = json.loads(a_verdict().to_json())
        parent = message
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value

        assert not Draft202012Validator(json_schema()).is_valid(message)
        with pytest.raises(ValidationError):
            Verdict.model_validate(message)


class TestWhatMayExist:
    @pytest.mark.parametrize("part", PARTS)
    def test_no_part_can_be_changed(self, part: BaseModel) -> None:
        name = next(iter(type(part).model_fields))

        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))

    @pytest.mark.parametrize("part", PARTS)
    def test_an_unknown_key_is_an_error_in_every_part(self, part: BaseModel) -> None:
        with pytest.raises(ValidationError, match="surprise"):
            type(part).model_validate(part.model_dump(by_alias=True) | {"surprise": 1})

    def test_a_scored_verdict_needs_a_probability(self) -> None:
        with pytest.raises(ValidationError, match="a scored verdict needs a probability"):
            a_verdict(summary=Summary())

    def test_a_probability_of_zero_is_one(self) -> None:
        assert a_verdict(summary=Summary(probability=0.0)).summary.probability == 0.0

    @pytest.mark.parametrize("status", ["abstained", "not_applicable", "failed"])
    def test_a_verdict_that_does_not_score_needs_a_reason(self, status: str) -> None:
        reason = Reason(code="no_face", message="no face was seen")

        assert a_verdict(status=status, reasons=(reason,)).reasons == (reason,)
        with pytest.raises(ValidationError, match=f"a verdict that is {status} needs a reason"):
            a_verdict(status=status)

    def test_every_span_belongs_to_a_track_of_its_verdict(self) -> None:
        with pytest.raises(ValidationError, match="every span needs a track"):
            a_verdict(spans=(a_span(track_id=1),))

    @pytest.mark.parametrize("make", [a_track, a_span])
    @pytest.mark.parametrize(("start_ms", "end_ms"), [(5, 5), (6, 5)])
    def test_a_stretch_runs_forward(self, make: Callable[..., BaseModel], start_ms: int, end_ms: int) -> None:
        with pytest.raises(ValidationError, match="start_ms < end_ms"):
            make(start_ms=start_ms, end_ms=end_ms)

    @pytest.mark.parametrize(
        "change",
        [
            {"probability": 1.01},
            {"probability": -0.01},
            {"probability": float("nan")},
            {"score_raw": float("inf")},
            {"start_ms": -1},
            {"start_ms": 0.5},
            {"label": "fake"},
            {"box_at_peak": {"left": 0.0, "top": 0.0, "width": 0.0, "height": 1.0}},
        ],
    )
    def test_a_value_out_of_range_is_refused(self, change: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            a_span(**change)

    @pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n"])
    def test_a_digest_is_64_small_hex_digits(self, sha256: str) -> None:
        with pytest.raises(ValidationError):
            Asset(uri="a.mp4", sha256=sha256)

    def test_a_box_may_reach_past_the_frame(self) -> None:
        assert Box(left=-0.2, top=0.9, width=0.5, height=0.5).left == -0.2
