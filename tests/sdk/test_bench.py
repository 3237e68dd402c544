from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from dmcl_sdk.bench.clips import versions
from dmcl_sdk.bench.cold import cold_start
from dmcl_sdk.bench.peers import PEER_KEY, read_peers
from dmcl_sdk.bench.plots import draw
from dmcl_sdk.bench.scale import Point, Series, durations, to_text
from dmcl_sdk.bench.stages import STAGES
from dmcl_sdk.bench.turns import Cost, Ratio, Work, in_turns
from dmcl_sdk.cli import app
from dmcl_sdk.errors import ModelError, VideoError
from dmcl_sdk.video import open_video
from tests.sdk.footage import carphone

ROOT = Path(__file__).parents[2]


def test_works_are_done_in_turns_and_those_that_warm_up_once_more() -> None:
    done: list[str] = []
    works = [
        Work("a", lambda: done.append("a"), 1.0),
        Work("b", lambda: done.append("b"), 1.0, warm=False),
    ]
    *_, costs = in_turns(works, 2)
    assert done == ["a", "a", "b", "a", "b"]
    assert [len(cost.cpu_s) for cost in costs] == [2, 2]


def test_processor_time_of_children_counts() -> None:
    busy = "sum(i * i for i in range(3_000_000))"
    work = Work("child", lambda: subprocess.run([sys.executable, "-c", busy], check=True), 1.0, warm=False)
    *_, (cost,) = in_turns([work], 1)
    assert cost.cpu_s[0] > 0.05


def test_a_ratio_is_taken_within_rounds_and_for_the_same_video() -> None:
    ours, theirs = Cost("ours", 10.0, [1.0, 2.0, 4.0]), Cost("theirs", 0.5, [1.0, 2.0, 8.0])
    ratio = Ratio.of(theirs, ours)
    assert (ratio.median, ratio.least, ratio.most) == (20.0, 20.0, 40.0)


def test_versions_have_the_height_asked_for_and_about_the_bitrate(tmp_path: Path) -> None:
    (clip,) = versions(carphone(), [360], tmp_path, max_seconds=1.0)
    with open_video(clip.path) as video:
        frames = list(video)
    assert (frames[0].height, frames[0].width) == (360, 440)
    assert 0.9 < frames[-1].end_s < 1.1
    assert clip.path.stat().st_size * 8 / 1000 < 2 * 800


def test_what_is_no_video_cannot_be_made_into_versions(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        versions(tmp_path / "text.mp4", [360], tmp_path, max_seconds=1.0)


def test_a_peer_that_slides_costs_by_the_second_and_one_that_samples_by_the_video(tmp_path: Path) -> None:
    for name, use in (("slides", {"per_second": 30}), ("samples", {"per_video": 32})):
        value = [onnx.helper.make_tensor_value_info(v, onnx.TensorProto.FLOAT, [1, 4]) for v in "xy"]
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["x"], ["y"])], "peer", value[:1], value[1:]
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        onnx.helper.set_model_props(model, {PEER_KEY: json.dumps({"name": name, "note": "", **use})})
        onnx.save(model, tmp_path / f"{name}.onnx")
    samples, slides = read_peers(tmp_path)
    assert np.isclose(slides.video_s(8.0), 1 / 30)
    assert samples.video_s(8.0) == 0.25
    slides.run()


def test_a_folder_without_peers_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"export_peers\.py"):
        read_peers(tmp_path)


def dmcl(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from dmcl_sdk.cli import main; main()", "bench", *args],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_a_height_without_a_bitrate_is_refused() -> None:
    run = dmcl("--heights", "361")
    assert run.returncode == 2
    assert "360, 480, 720" in run.stderr


def test_growth_is_of_the_example_alone(tmp_path: Path) -> None:
    run = dmcl(str(carphone()), "--scale", str(tmp_path / "figures"))
    assert run.returncode == 2
    assert "--scale" in run.stderr
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(("shortest", "lengths"), [(30, [30, 60, 120]), (50, [50, 100, 200]), (300, [300])])
def test_durations_double_until_they_reach_two_minutes(shortest: int, lengths: list[int]) -> None:
    assert durations(shortest) == lengths


def test_growth_is_drawn_with_units_and_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    names = "duration", "faces", "rows", "threads", "processes"
    series = [Series(name, "", [Point(n, 4.0, 2.0 * n, 2.0, 300.0) for n in (1, 2, 4)]) for name in names]
    for file in ("first.svg", "second.svg"):
        draw(series, tmp_path / file)
    drawn = (tmp_path / "first.svg").read_text()
    for label in ("duration [s]", "CPU time [s]", "most memory [MiB]", "faces at once", "processes"):
        assert label in drawn
    assert (tmp_path / "second.svg").read_text() == drawn
    draw(series[:2], tmp_path / "so far.svg")
    assert "processes" not in (tmp_path / "so far.svg").read_text()
    assert "0.500" in to_text(series)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells of the process alone")
def test_the_peak_of_a_fresh_process_is_its_own_however_large_its_parent() -> None:
    large = np.ones(1400 * 2**17)  # 1,400 MiB
    peak = cold_start(carphone(), None, ["cpu"]).peak_mib
    assert peak is not None
    assert 100 < peak < large.nbytes / 2**20 - 200


@pytest.mark.slow
def test_a_benchmark_shows_stages_ratios_and_the_cold_start_and_keeps_them(tmp_path: Path) -> None:
    figures, history = tmp_path / "figures.json", tmp_path / "history.jsonl"
    command = (
        "--heights",
        "360",
        "--rounds",
        "1",
        "--seconds",
        "2",
        "--json",
        str(figures),
        "--history",
        str(history),
    )
    run = dmcl(*command)
    assert run.returncode == 0, run.stderr
    assert "x bare decode" in run.stdout
    (clip,) = json.loads(figures.read_text())["clips"]
    assert tuple(clip["stages_ms"]) == STAGES
    assert min(clip["stages_ms"].values()) >= 0
    assert clip["faces"] == 1
    assert clip["cold"]["verdict_s"] > clip["cold"]["ready_s"] > clip["cold"]["import_s"] > 0
    assert json.loads(history.read_text())["carphone_pristine-360p_real_time_per_core"] > 0


@pytest.mark.slow
def test_growth_is_measured_with_duration_faces_rows_and_videos_at_once(tmp_path: Path) -> None:
    run = dmcl("--scale", str(tmp_path), "--seconds", "1")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "scale.svg").stat().st_size > 0
    series = {
        one["name"]: one["points"] for one in json.loads((tmp_path / "scale.json").read_text())["series"]
    }
    assert [point["at"] for point in series["duration"]] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert series["duration"][-1]["cpu_s"] > 4 * series["duration"][0]["cpu_s"]
    assert series["duration"][-1]["peak_mib"] < series["duration"][4]["peak_mib"] + 50
    assert series["faces"][-1]["cpu_s"] > 2 * series["faces"][0]["cpu_s"]
    assert {"rows", "threads", "processes"} <= set(series)


def test_what_cannot_be_measured_or_written_is_said_before_the_measuring(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not a video")
    asked = {
        "note.txt": (["bench", str(tmp_path / "note.txt"), "--heights", ""], 3),
        "gone.mp4": (["bench", str(tmp_path / "gone.mp4"), "--heights", ""], 3),
        "nowhere": (["bench", "--json", str(tmp_path / "nowhere" / "b.json")], 2),
    }
    for word, (arguments, status) in asked.items():
        ran = CliRunner().invoke(app, arguments)
        assert (ran.exit_code, word in ran.output) == (status, True), ran.output
