from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from dmcl_sdk.cli import FailOn, score_files
from dmcl_sdk.errors import VideoError
from dmcl_sdk.tables import clock, printable
from dmcl_sdk.verdict import (
    Asset,
    Box,
    Keyframe,
    Label,
    Modalities,
    Reason,
    Span,
    Summary,
    Track,
    Verdict,
    json_schema_text,
)

BOX = Box(left=0.3, top=0.2, width=0.25, height=0.4)
COMMAND = [sys.executable, "-c", "from dmcl_sdk.cli import main; main()"]


def scored(name: str, label: Label = "manipulated") -> Verdict:
    """One face with one span, and a second face that was too small."""
    return Verdict(
        status="scored",
        asset=Asset(uri=name, duration_ms=4004, width=176, height=144, codec="h264"),
        reasons=(
            Reason(code="motion_anomaly", message="motion does not fit the face", track_id=0),
            Reason(
                code="face_too_small", message="18 px wide, needs 40", track_id=1, start_ms=2000, end_ms=3000
            ),
        ),
        summary=Summary(
            label=label,
            probability=0.93,
            interval=(0.88, 0.97),
            flagged_ms=1200,
            scanned_ms=3900,
            coverage=0.974,
            faces=2,
            worst_track_id=0,
            worst_span_id=0,
        ),
        tracks=(
            Track(
                track_id=0,
                start_ms=0,
                end_ms=4004,
                label=label,
                probability=0.93,
                interval=(0.88, 0.97),
                keyframes=(Keyframe(t_ms=0, box=BOX),),
            ),
            Track(track_id=1, start_ms=2000, end_ms=3000),
        ),
        spans=(
            Span(
                span_id=0,
                track_id=0,
                start_ms=1500,
                end_ms=2700,
                start_frame=45,
                end_frame=81,
                peak_ms=1840,
                label="manipulated",
                score_raw=2.5,
                probability=0.93,
                modalities=Modalities(rgb=0.31, flow=0.9, disagreement=0.59),
                box_at_peak=BOX,
                media_fragment="#t=1.5,2.7",
            ),
        ),
    )


def without_judgement(name: str, *, abstained: bool = False) -> Verdict:
    return Verdict(
        status="abstained" if abstained else "not_applicable",
        asset=Asset(uri=name, duration_ms=1000),
        reasons=(Reason(code="low_coverage" if abstained else "no_face", message="no face was found"),),
    )


class Scripted:
    """A detector that answers as it was told, by name of the file."""

    def __init__(self, *answers: Verdict | VideoError | KeyboardInterrupt) -> None:
        self._answers = iter(answers)

    def score(
        self, video: str, *, on_progress: Callable[[float, float | None], None] | None = None
    ) -> Verdict:
        if on_progress is not None:
            on_progress(1.0, 4.0)
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer.model_copy(update={"asset": answer.asset.model_copy(update={"uri": video})})


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


NOT_A_VIDEO = VideoError("b.txt", "not_a_video", "the container is not one that we read")


def table_of(verdict: Verdict, capsys: pytest.CaptureFixture[str], name: str = "a.mp4") -> str:
    score_files(Scripted(verdict), [name], json=False, fail_on=None)
    return capsys.readouterr().out


def test_json_prints_one_verdict_a_line_in_input_order_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector = Scripted(scored("b.mp4"), without_judgement("a.mp4"))
    assert score_files(detector, ["b.mp4", "a.mp4"], json=True, fail_on=None) == 0
    verdicts = [Verdict.model_validate_json(line) for line in capsys.readouterr().out.splitlines()]
    assert [verdict.asset.uri for verdict in verdicts] == ["b.mp4", "a.mp4"]


def test_json_is_utf_8_whatever_the_terminal_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding="ascii"))
    score_files(Scripted(scored("")), ["視頻 é.mp4"], json=True, fail_on=None)
    assert json.loads(stream.getvalue().decode("utf-8"))["asset"]["uri"] == "視頻 é.mp4"


def test_a_table_survives_a_terminal_that_cannot_write_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding="ascii"))
    score_files(Scripted(scored("")), ["視頻.mp4"], json=False, fail_on=None)
    assert rb"\u8996\u983b.mp4" in stream.getvalue()


def test_a_file_that_is_not_a_video_fails_and_the_others_are_still_scored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector = Scripted(scored(""), NOT_A_VIDEO, scored(""))
    assert score_files(detector, ["a.mp4", "b.txt", "c.mp4"], json=True, fail_on=None) == 3
    verdicts = [Verdict.model_validate_json(line) for line in capsys.readouterr().out.splitlines()]
    assert [verdict.status for verdict in verdicts] == ["scored", "failed", "scored"]
    assert "not one that we read" in verdicts[1].reasons[0].message


def test_what_could_not_be_judged_is_a_verdict_too() -> None:
    detector = Scripted(without_judgement("", abstained=True), without_judgement(""))
    assert score_files(detector, ["a.mp4", "b.mp4"], json=True, fail_on="manipulated") == 0


@pytest.mark.parametrize(
    ("label", "fail_on", "status"),
    [
        ("manipulated", "manipulated", 1),
        ("manipulated", "uncertain", 1),
        ("uncertain", "uncertain", 1),
        ("uncertain", "manipulated", 0),
        ("not_manipulated", "uncertain", 0),
        ("manipulated", None, 0),
    ],
)
def test_fail_on_matches_its_label_and_what_is_worse(
    label: Label, fail_on: FailOn | None, status: int
) -> None:
    assert score_files(Scripted(scored("", label)), ["a.mp4"], json=True, fail_on=fail_on) == status


def test_a_match_outranks_a_file_that_is_not_a_video() -> None:
    detector = Scripted(NOT_A_VIDEO, scored(""))
    assert score_files(detector, ["b.txt", "a.mp4"], json=True, fail_on="manipulated") == 1


def test_the_table_says_who_when_how_sure_why_and_what_was_not_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = " ".join(table_of(scored(""), capsys).split())
    for words in (
        "face 0",
        "30% right, 20% down, 25% wide",
        "0:01.500 - 0:02.700",
        "0.93 (0.88 to 0.97)",
        "the motion stands out, the look does not",
        "motion_anomaly: motion does not fit",
        "not judged",
        "face_too_small: 18 px wide, needs 40",
        "3.9 s judged (97% of the video)",
    ):
        assert words in table


def test_the_table_calls_no_span_manipulated_that_is_not_so_by_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdict = scored("")
    calm = Modalities(rgb=0.1, flow=0.2, disagreement=0.1)
    span = verdict.spans[0].model_copy(update={"probability": 0.07, "modalities": calm})
    table = table_of(verdict.model_copy(update={"spans": (span,)}), capsys)
    assert re.search(r"span 0 +0:01.500 - 0:02.700 +stands out  0.07 by itself", table)
    assert "neither look nor motion is suspect (look 0.10, motion 0.20)" in table


def on_a_screen(verdict: Verdict, columns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The table's lines on a terminal, without their colours."""
    from rich.text import Text

    monkeypatch.setattr(sys, "stdout", screen := Terminal(io.BytesIO(), encoding="utf-8"))
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    score_files(Scripted(verdict), ["a.mp4"], json=False, fail_on=None)
    return [Text.from_ansi(line).plain for line in screen.text().splitlines()]


LONG = Reason(
    code="appearance_anomaly",
    message="the picture of the face stands out in more words than fit a line",
    track_id=0,
)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_narrow_terminal_breaks_no_word(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = on_a_screen(scored("").model_copy(update={"reasons": (LONG,)}), columns, monkeypatch)
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    assert "appearance_anomaly: the picture of the face stands out in more words than fit a line" in text
    assert "strongest at 0:01.840, 30% right, 20% down, 25% wide" in text


def test_a_pipe_gets_each_reason_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = LONG.model_copy(update={"message": "a word and another " * 30 + "end"})
    table = table_of(scored("").model_copy(update={"reasons": (long,)}), capsys)
    (line,) = (line for line in table.splitlines() if "appearance_anomaly" in line)
    assert line.endswith("another end")


def test_what_a_span_s_row_says_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    told = Reason(
        code="motion_anomaly", message="its motion stands out", track_id=0, start_ms=1500, end_ms=2700
    )
    other = Reason(
        code="motion_anomaly", message="a blink that is none", track_id=0, start_ms=3000, end_ms=3100
    )
    table = table_of(scored("").model_copy(update={"reasons": (told, other)}), capsys)
    assert "its motion stands out" not in table
    assert "a blink that is none" in table


def test_a_verdict_without_faces_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no_face: no face was found" in table_of(without_judgement(""), capsys)


def test_a_file_name_is_never_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[bold red]x[/] :smile:.mp4" in table_of(scored(""), capsys, "[bold red]x[/] :smile:.mp4")


def test_a_file_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(scored(""), capsys, "\x1b[2J\rgone\u202e.mp4")
    assert "\x1b" not in table
    assert r"\x1b[2J\rgone\u202e.mp4" in table


def test_wide_letters_keep_the_table_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = scored("")
    wide = Reason(code="motion_anomaly", message="動き" * 40, track_id=0)
    monkeypatch.setattr(sys, "stdout", screen := Terminal(io.BytesIO(), encoding="utf-8"))
    monkeypatch.setenv("COLUMNS", "80")
    score_files(
        Scripted(verdict.model_copy(update={"reasons": (wide,)})), ["視頻.mp4"], json=False, fail_on=None
    )
    from rich.cells import cell_len
    from rich.text import Text

    assert max(cell_len(Text.from_ansi(line).plain) for line in screen.text().splitlines()) <= 80


def test_colours_and_progress_show_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")  # even then a file gets plain text
    monkeypatch.delenv("NO_COLOR", raising=False)
    score_files(Scripted(scored("")), ["a.mp4"], json=False, fail_on=None)
    plain = capsys.readouterr()
    assert "\x1b" not in plain.out
    assert plain.err == ""

    out, err = Terminal(io.BytesIO(), encoding="utf-8"), Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    score_files(Scripted(scored("")), ["a.mp4"], json=False, fail_on=None)
    assert "\x1b[1;31m" in out.text()
    assert "1/1 a.mp4" in err.text()


def test_ctrl_c_ends_with_130_and_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    detector = Scripted(scored(""), KeyboardInterrupt())
    assert score_files(detector, ["a.mp4", "b.mp4", "c.mp4"], json=True, fail_on=None) == 130
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.err == "dmcl: stopped; 1 of 3 scored\n"


def dmcl(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args], capture_output=True, text=True, check=False, env=os.environ | environment
    )


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    with subprocess.Popen(
        [*COMMAND, "schema", "verdict"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
        assert command.wait() == 141


def test_the_version_is_the_package_s() -> None:
    assert dmcl("--version").stdout == f"dmcl {version('dmcl-sdk')}\n"


def test_the_schema_is_the_published_one() -> None:
    assert dmcl("schema", "verdict").stdout == json_schema_text()


@pytest.mark.parametrize(
    "args",
    [("score",), ("score", "--device", "abacus", "a.mp4"), ("score", "--max-seconds", "0", "a.mp4"), ("no",)],
)
def test_bad_usage_exits_with_2(args: tuple[str, ...]) -> None:
    assert dmcl(*args).returncode == 2


def test_a_model_that_is_not_there_is_a_wrong_installation_not_a_bug(tmp_path: Path) -> None:
    run = dmcl("score", "--model", str(tmp_path / "none.onnx"), "a.mp4")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("dmcl: ")
    assert "Traceback" not in run.stderr


def test_times_are_shown_as_a_player_shows_them() -> None:
    assert [clock(ms) for ms in (0, 1840, 62_005, 3_723_500)] == [
        "0:00.000",
        "0:01.840",
        "1:02.005",
        "1:02:03.500",
    ]


def test_printable_leaves_every_script_alone() -> None:
    assert printable("Ж視é 🙂.mp4") == "Ж視é 🙂.mp4"
