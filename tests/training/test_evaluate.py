"""The whole evaluation on a small set of made and real videos: report, tables, plots, and the second run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.made import make_video, smooth
from tests.training.made_scores import clip, labelled, plain_spec, scored_as
from tests.training.test_span_figures import localised
from tests.training.test_splices import darkened
from training import audit, evaluate
from training.figures import COUNTED, Labelled, Report, cross_fitted, video_figures
from training.perturbations import KINDS
from training.plots import plot_report
from training.robustness import Perturbed, robustness_figures
from training.span_figures import span_figures
from training.tables import as_markdown, figure

MODEL = Path(__file__).parents[2] / "dmcl_sdk" / "models" / "default.onnx"


@pytest.fixture(scope="module")
def data() -> Labelled:
    return labelled(np.random.default_rng(0), generators=("swap", "sync"))


@pytest.fixture(scope="module")
def report(data: Labelled) -> Report:
    perturbed = Perturbed(data, {(kind, level): data for kind in KINDS for level in range(1, 6)})
    return {
        "model": {"name": "made", "version": "0", "sha256": "0" * 64},
        "data": {"name": "made", "split": "val", "seed": 0, "limit": None},
        "counted": list(COUNTED),
        **video_figures(data, plain_spec(), resamples=20),
        "spliced": span_figures(localised(), resamples=20),
        "robustness": robustness_figures(perturbed, 0.6, resamples=10),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two real videos without a face and a fake of one of them."""
    for label in ("real", "fake"):
        (tmp_path / "set" / label).mkdir(parents=True)
    (tmp_path / "set" / "manifest.csv").write_text(
        "file,split,label,generator,pair,identity\n"
        "real/a.mp4,val,real,,,ann\nreal/b.mp4,val,real,,,bob\nfake/a.mp4,val,fake,darkener,real/a.mp4,ann\n"
    )
    (tmp_path / "set/real/a.mp4").write_bytes(make_video(40, painter=smooth))
    (tmp_path / "set/real/b.mp4").write_text("not a video")
    (tmp_path / "set/fake/a.mp4").write_bytes(make_video(40, painter=darkened))
    return tmp_path / "set"


def test_the_tables_say_every_figure_and_how_it_was_counted(report: Report) -> None:
    text = as_markdown(report)

    for words in (
        "AUC, mean over generators",
        "pairs: ranked right",
        "swap",
        "sync",
        "AP@.75",
        "AUC lost at level",
    ):
        assert words in text
    assert all(f"* {sentence}" in text for sentence in COUNTED)
    assert "read the cross-fitted column" in text
    assert f"| AUC, all videos | {figure(report['auc'])} |" in text


def test_what_has_no_answer_is_a_dash() -> None:
    nothing = {"value": float("nan"), "low": float("nan"), "high": float("nan")}

    assert (figure(nothing), figure(float("nan")), figure(0.5), figure(3)) == ("-", "-", "0.500", "3")
    assert figure({"value": 0.5, "low": float("nan"), "high": float("nan")}) == "0.500"
    assert figure({"value": 0.5, "low": 0.25, "high": 0.75}) == "0.500 (0.250-0.750)"


def test_every_plot_is_drawn(report: Report, data: Labelled, tmp_path: Path) -> None:
    crossed = cross_fitted(data, 0)
    assert crossed is not None
    files = plot_report(report, data, tmp_path, probability=crossed[0])

    assert [file.stem for file in files] == ["roc", "reliability", "generators", "spans", "robustness"]
    assert "swap (20)" in files[2].read_text()
    assert "noise" in files[4].read_text()


def test_the_same_report_is_drawn_the_same(report: Report, data: Labelled, tmp_path: Path) -> None:
    plain = report | {"generators": {}, "robustness": None}
    del plain["robustness"], plain["spliced"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        plot_report(plain, data, tmp_path / name)

    assert (tmp_path / "a" / "roc.svg").read_bytes() == (tmp_path / "b" / "roc.svg").read_bytes()


def test_a_set_of_one_generator_and_no_spans_has_fewer_plots(tmp_path: Path) -> None:
    clips = [clip("a"), clip("b"), clip("c", fake=True, generator="g")]
    some = Labelled.of(clips, [scored_as(x) for x in (0.0, 1.0, 2.0)], plain_spec())
    figures = video_figures(some, plain_spec(), resamples=10)

    assert [file.stem for file in plot_report(figures, some, tmp_path)] == ["roc", "generators"]


def test_an_evaluation_writes_its_report_and_the_second_run_scores_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = evaluate.evaluate(MODEL, folder, out=out, resamples=10)
    assert {"report.json", "report.md", "roc.svg"} <= {file.name for file in out.iterdir()}
    stored = json.loads((out / "report.json").read_text())
    assert stored["videos"] == {"real": 2, "fake": 1, "groups": 2, "not_judged": 2, "unreadable": 1}
    assert stored["auc"]["value"] == 0.5  # nothing was judged
    assert stored["spliced"]["spans"] == 1
    assert stored["spliced"]["ap@0.5"]["value"] == 0.0

    monkeypatch.setattr("training.scores.score_video", lambda *_: pytest.fail("it was scored again"))
    assert as_markdown(evaluate.evaluate(MODEL, folder, out=out, resamples=10)) == as_markdown(first)


def test_fakes_of_generators_that_were_left_out_count_from_every_split(folder: Path) -> None:
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text() + "fake/b.mp4,train,fake,blurrer,,\n")
    (folder / "fake/b.mp4").write_bytes(make_video(40, painter=darkened))
    report = evaluate.evaluate(MODEL, folder, unseen=["blurrer"], resamples=10)

    assert list(report["generators"]) == ["blurrer"]
    assert report["videos"]["real"] == 2
    with pytest.raises(ValueError, match="no fakes of swapper; its generators: blurrer, darkener"):
        evaluate.evaluate(MODEL, folder, unseen=["swapper"])


def test_a_split_without_fakes_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="split train has no real"):
        evaluate.evaluate(MODEL, folder, split="train")


class TestCommands:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "give a data set, or a --protocol"),
            (["--protocol", "ff++-cross"], "at least one --root"),
            (["--protocol", "ff++-cross", "--root", "nothing"], "written name=folder"),
        ],
    )
    def test_what_is_asked_wrongly_is_explained(self, arguments: list[str], message: str) -> None:
        result = invoke(evaluate.command, [str(MODEL), *arguments])

        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())

    def test_a_split_that_there_is_not_is_refused(self, folder: Path) -> None:
        for command in (evaluate.command, audit.command):
            result = invoke(command, [str(MODEL), str(folder), "--split", "dev"])
            assert result.exit_code == 2
            assert "train, val or test" in " ".join(result.output.replace("│", " ").split())

    def test_help_teaches(self) -> None:
        assert "--robustness" in invoke(evaluate.command, ["--help"], width=200).output
        assert "file properties" in invoke(audit.command, ["--help"], width=200).output


def invoke(command: object, arguments: list[str], width: int = 100):  # type: ignore[no-untyped-def]  # noqa: ANN201
    import typer

    app = typer.Typer()
    app.command()(command)  # type: ignore[type-var]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "dumb"})
