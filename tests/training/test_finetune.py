from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from dmcl_sdk.motion import MotionEstimator, MotionSpec
from tests.sdk.footage import carphone
from tests.training.folders import folder_of, tinted
from tests.training.worlds import TINY, drawn, run_of, small_pairs
from training.batches import numbered
from training.before_after import Compared, _chunks, as_markdown
from training.checkpoint import save_weights
from training.config import checked, read_config
from training.data.runs import side_with_margin, without_margin
from training.finetune import FinetuneConfig, GuardedObjective, finetune, frozen_parts, steps_for
from training.losses import LossWeights
from training.metrics import Estimate
from training.networks.two_stream import TwoStream
from training.objectives import ClipObjective
from training.parts import part_of, set_trainable
from training.train_command import command


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mine/`, four people with a fake each; `swapped/`, with the labels exchanged; and tiny weights to start from."""
    folder = tmp_path_factory.mktemp("videos")
    green = tinted(folder / "green.mp4")
    folder_of(folder / "mine", real=carphone(), fake=green, each=4)
    folder_of(folder / "swapped", real=green, fake=carphone(), each=4)
    torch.manual_seed(0)
    save_weights(folder / "start.safetensors", TwoStream(TINY), {})
    return folder


def settings(videos: Path, out: Path, **changes: object) -> FinetuneConfig:
    values = {
        "data": videos / "mine", "start": videos / "start.safetensors", "cache": videos / "cache", "out": out,
        "steps": 2, "pairs": 1, "frames": 16, "judged": 8, "workers": 0, "device": "cpu", "tolerance": 1.0,
        "tensorboard": {"every": 0},
    }  # fmt: skip
    return checked(FinetuneConfig, values | changes, [])


def test_only_the_parts_that_were_asked_for_move(videos: Path, tmp_path: Path) -> None:
    outcome = finetune(settings(videos, tmp_path, train=("msca", "heads")))
    before, after = load_file(videos / "start.safetensors"), load_file(outcome.weights)
    moved = {part_of(name) for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"msca", "heads", "fusion"}


def test_sources_of_the_users_videos_are_held_out_and_compared_before_and_after(
    videos: Path, tmp_path: Path
) -> None:
    outcome = finetune(settings(videos, tmp_path, precision="fp32"))
    assert (outcome.real, outcome.fake) == (3, 3)
    assert (outcome.held_out.real, outcome.held_out.fake) == (1, 1)
    assert outcome.weights.name == "final.safetensors"
    report = as_markdown(outcome, videos / "mine")
    assert "dmcl export" in report
    assert "dmcl calibrate" in report
    assert "--rgb-discount" not in report
    assert "model.onnx --rgb-discount 0.15" in as_markdown(
        replace(outcome, rgb_discount=0.15), videos / "mine"
    )


def test_what_is_real_is_anchored_where_the_weights_that_ship_have_it() -> None:
    shipped = read_config(Path(__file__).parents[2] / "configs" / "small-fine-noise.toml", [])
    assert FinetuneConfig(data=Path("mine")).loss == shipped.loss


@pytest.mark.slow
def test_it_learns_a_new_forgery_and_is_refused_where_it_unlearns_one(videos: Path, tmp_path: Path) -> None:
    hard = {
        "steps": 60,
        "rate": 1e-2,
        "ema": 0.8,
        "drift": 0.0,
        "distillation": 0.0,
        "mix": {"genuine": 1.0, "forged": 0.0},
    }
    learned = finetune(settings(videos, tmp_path / "mine", **hard))
    assert learned.accepted
    assert learned.held_out.after.value == 1.0
    opposite = {
        "data": videos / "swapped", "start": learned.weights, "guard": videos / "mine", "tolerance": 0.02
    }  # fmt: skip
    refused = finetune(settings(videos, tmp_path / "opposite", **hard, **opposite))
    assert not refused.accepted
    assert refused.weights.name == "rejected.safetensors"
    assert not (tmp_path / "opposite" / "final.safetensors").exists()
    assert [guard.name for guard in refused.guards if guard.fell(0.02)][-1] == str(videos / "mine")
    assert "Rejected" in as_markdown(refused, videos / "swapped")


def test_what_it_said_before_and_where_it_began_weigh_against_moving(tmp_path: Path) -> None:
    network = TwoStream(TINY)
    set_trainable(network, {"msca"}, keep_statistics=True)
    objective = GuardedObjective(
        ClipObjective(LossWeights(), bf16=False),
        copy.deepcopy(network).eval().requires_grad_(requires_grad=False),
        distillation=1.0,
        drift=0.1,
    )
    pairs = small_pairs(tmp_path)
    batch = next(iter(numbered(lambda n: (pairs.pair(n), pairs.pair(n + 1)), [0], batch=1, workers=0)))
    _, parts = objective(network, batch)
    assert parts["distillation"] < 1e-9
    assert parts["drift"] == 0
    with torch.no_grad():
        network.rgb_head.logit.bias.add_(2.0)
        network.span_weight[0].add_(1.0)
        for parameter in network.attention.parameters():
            parameter.add_(0.1)
    loss, parts = objective(network, batch)
    assert parts["drift"].item() == pytest.approx(0.1 * (2.0**2 + 1.0**2) / 2), (
        "what is frozen does not count"
    )
    assert parts["distillation"] > 0.5
    assert loss.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-5)
    parts["distillation"].backward()
    assert network.rgb_head.logit.bias.grad is not None
    assert network.rgb_head.logit.bias.grad > 0, "it is drawn back"


def test_the_command_writes_a_report_and_says_what_comes_next(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    changes = [
        "steps=1",
        "pairs=1",
        "frames=16",
        "judged=8",
        "workers=0",
        "tensorboard.every=0",
        "tolerance=1.0",
    ]
    changes.append(f"cache={videos / 'cache'}")
    arguments = [
        str(videos / "mine"),
        "--finetune",
        "--from",
        str(videos / "start.safetensors"),
        "--out",
        str(out),
    ]
    arguments += ["--train", "heads", *(part for change in changes for part in ("--set", change))]
    result = CliRunner().invoke(_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "| your held-out videos | 1 + 1 |" in result.stdout
    assert json.loads((out / "report.json").read_text())["train"] == ["heads"]
    assert (out / "report.md").read_text() in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--finetune", "--from", "START"], "nowhere is not there: give a manifest CSV"),
        (["MINE"], "is a folder: give a configuration"),
        (["MINE", "--finetune", "--from", "elsewhere.safetensors"], "elsewhere.safetensors is not there"),
        (["MINE", "--finetune", "--from", "START", "--train", "hands"], "train"),
        (["run.toml", "--guard", "MINE"], "only with --finetune"),
    ],
)
def test_a_mistake_is_said_and_not_thrown(videos: Path, arguments: list[str], message: str) -> None:
    known = {"MINE": str(videos / "mine"), "START": str(videos / "start.safetensors")}
    result = CliRunner().invoke(_app(), [known.get(part, part) for part in arguments], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert message in result.output


def test_a_folder_without_fakes_says_what_is_missing(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mp4").symlink_to(carphone())
    with pytest.raises(ValueError, match="fake"):
        finetune(settings(videos, tmp_path / "out", data=tmp_path))


def test_help_teaches_both_ways() -> None:
    text = CliRunner().invoke(_app(), ["--help"], env={"COLUMNS": "120"}).output
    for taught in ("dmcl train configs/small.toml", "--finetune", "torchrun", "--guard", "dmcl calibrate"):
        assert taught in text


def test_steps_follow_the_number_of_videos() -> None:
    assert steps_for(10, 2) == 40
    assert steps_for(200, 2) == 150
    assert steps_for(10_000, 2) == 240


def test_all_moves_everything_and_parts_add_up() -> None:
    assert frozen_parts(("all",)) == frozen_parts(("heads", "all")) == frozenset()
    assert frozen_parts(("msmr", "heads")) == {"backbone", "streams", "msca"}


def test_a_guard_that_fell_by_just_what_is_tolerated_has_not_fallen() -> None:
    def changed(by: float) -> Compared:
        figure = Estimate(by, by, by, 1)
        return Compared("guard", 1, 1, figure, figure, figure)

    assert not changed(-0.02).fell(0.02)
    assert changed(-0.021).fell(0.02)
    assert not changed(0.5).fell(0.02)


def test_a_video_is_judged_in_three_places_or_whole_up_to_its_last_frame(tmp_path: Path) -> None:
    run = run_of(drawn(120, side_with_margin(64), 0), tmp_path, "real")
    network, motion = TwoStream(TINY), MotionEstimator(MotionSpec(TINY.baselines))
    whole = [rgb[0].numpy() for rgb, _ in _chunks(run, None, motion, network)]
    assert [len(chunk) for chunk in whole] == [48, 48, 48]
    assert len(list(_chunks(run, 2, motion, network))) == 2
    inside = without_margin(run.crops())
    assert np.array_equal(whole[0], inside[:48])
    assert np.array_equal(whole[-1], inside[-48:])


def _app() -> typer.Typer:

    app = typer.Typer(add_completion=False)
    app.command()(command)
    return app
