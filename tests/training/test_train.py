from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.worlds import carphone
from training.config import TrainConfig, read_config
from training.train import load_network, schedule, train


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user brings it; the fake is only another name, since learning is not what is tested here."""
    folder = tmp_path_factory.mktemp("world")
    for label in ("real", "fake"):
        (folder / label).mkdir()
        shutil.copy(carphone(), folder / label / "clip.mp4")
    return folder


def config(world: Path, out: Path, **changes: object) -> TrainConfig:
    settings = {
        "data": world, "cache": world / "cache", "out": out, "frames": 16, "pairs": 1, "picture_pairs": 2,
        "picture_steps": 2, "steps": 2, "workers": 0, "checkpoint_every": 1, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig.model_validate(settings | changes)


def test_a_run_that_was_cut_off_ends_where_an_unbroken_one_ends(world: Path, tmp_path: Path) -> None:
    whole = train(config(world, tmp_path / "whole"))
    cut = tmp_path / "cut"
    broken = config(world, cut)
    for stop in (1, 3):  # among the pictures, and among the clips
        with pytest.raises(_Killed):
            _train_until(broken, stop)
    resumed = train(broken)
    assert json.loads((cut / "log.jsonl").read_text().splitlines()[-1])["step"] == 3
    first, second = load_file(whole), load_file(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)


class _Killed(Exception):  # noqa: N818 - not an error of ours
    pass


def _train_until(settings: TrainConfig, stop: int) -> None:
    """Train, and die right after the checkpoint of a step."""
    import training.train as module

    checkpoint = module._checkpoint

    def die(config: TrainConfig, step: int, *rest: object) -> None:
        checkpoint(config, step, *rest)  # type: ignore[arg-type]
        if step == stop:
            raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_checkpoint", die)
        train(settings)


def test_what_was_trained_is_loaded_ready_to_answer(world: Path, tmp_path: Path) -> None:
    network = load_network(train(config(world, tmp_path, steps=1, picture_steps=0)))
    assert not network.training
    assert network.config.size_px == 128
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 1


def test_an_unknown_key_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('data = "here"\nstepz = 3\n')
    with pytest.raises(ValueError, match="stepz"):
        read_config(path, [])


def test_a_change_is_laid_over_the_file_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('data = "here"\nsteps = 3\n')
    changed = read_config(path, ["steps=5", "rate = 2e-4"])
    assert (changed.steps, changed.rate, changed.data) == (5, 2e-4, tmp_path / "here")
    with pytest.raises(ValueError, match="key=value"):
        read_config(path, ["steps"])


def test_the_rate_warms_up_and_falls_in_both_parts(world: Path, tmp_path: Path) -> None:
    settings = config(world, tmp_path, picture_steps=100, steps=200, picture_rate=1.0, rate=0.5)
    rates = [schedule(step, settings) for step in range(300)]
    assert rates[0] < rates[2] == 1.0
    assert rates[99] == pytest.approx(0.1, abs=0.01)
    assert rates[105] == pytest.approx(0.5, abs=0.01)
    assert rates[299] < 0.001


def test_the_configuration_that_ships_is_valid() -> None:
    path = Path(__file__).parents[2] / "configs" / "small.toml"
    assert read_config(path, []).network == "small"
