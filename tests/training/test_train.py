from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.made import make_video
from tests.sdk.footage import carphone
from tests.training.folders import as_toml, folder_of, tiny_run
from tests.training.worlds import TINY, small_pairs
from training.batches import numbered
from training.checkpoint import Checkpoint, Progress, load_network, save_weights
from training.config import TrainConfig
from training.distributed import Place, processes
from training.fit import Judge, fit
from training.losses import LossWeights
from training.networks.two_stream import TwoStream
from training.objectives import ClipObjective
from training.train import chosen_clips, load_pairs, stages, train
from training.validation import Validated, Validation

HERE = Place(0, 1, torch.device("cpu"))
PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user brings it; the fake is only another name, since learning is not what is tested here."""
    return folder_of(tmp_path_factory.mktemp("world") / "data", real=carphone(), fake=carphone(), each=5)


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def same(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class _Killed(Exception):  # noqa: N818 - not an error of ours
    pass


def _train_until(settings: TrainConfig, stop: int) -> None:
    """Train, and die right after the checkpoint of a step."""
    save = Checkpoint.save

    def die(self: Checkpoint, progress: object, *rest: object) -> None:
        save(self, progress, *rest)  # type: ignore[arg-type]
        if getattr(progress, "step", 0) == stop:
            raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", die)
        with pytest.raises(_Killed):
            train(settings)


def test_a_run_that_was_cut_off_ends_where_an_unbroken_one_ends(world: Path, tmp_path: Path) -> None:
    asked = {"validation": {"every": 1, "pairs": 2}}
    whole = train(tiny_run(world, tmp_path / "whole", **asked))
    broken = tiny_run(world, tmp_path / "cut", **asked)
    for stop in (1, 3):  # among the pictures, and among the clips
        _train_until(broken, stop)
    assert same(whole, train(broken))
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


def test_a_run_may_start_from_weights_that_looked_more_often_but_not_from_another_network(
    world: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_weights(tmp_path / "start.safetensors", TwoStream(TINY), {})
    asked: dict[str, Any] = {"start": tmp_path / "start.safetensors", "pictures": {"steps": 0}}
    trained = train(tiny_run(world, tmp_path / "seldom", network={"rgb_stride": 2}, **asked))
    assert load_network(trained).config.rgb_stride == 2
    with pytest.raises(ValueError, match="holds another network"):
        train(tiny_run(world, tmp_path / "wide", network={"token_width": 32}, **asked))


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bits(world: Path, tmp_path: Path) -> None:
    changes = {"clips": {"steps": 8}, "checkpoint_every": 2}
    whole = train(tiny_run(world, tmp_path / "whole", **changes))
    killed = tiny_run(world, tmp_path / "killed", **changes)
    (tmp_path / "run.toml").write_text(as_toml(killed))
    code = (
        "import sys; from pathlib import Path; from training.config import read_config; "
        "from training.train import train; train(read_config(Path(sys.argv[1]), []))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run.toml")])
    log = tmp_path / "killed" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 6):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before it could be killed"
    assert not (tmp_path / "killed" / "final.safetensors").exists()
    assert same(whole, train(killed))
    assert rows(tmp_path / "whole") == rows(tmp_path / "killed")


def test_a_checkpoint_of_another_configuration_is_refused_and_the_difference_named(
    world: Path, tmp_path: Path
) -> None:
    train(tiny_run(world, tmp_path, pictures={"steps": 0}, clips={"steps": 1}))
    with pytest.raises(ValueError, match=r"clips\.rate: 0\.0006 -> 0\.001"):
        train(tiny_run(world, tmp_path, pictures={"steps": 0}, clips={"steps": 1, "rate": 1e-3}))
    train(
        tiny_run(world, tmp_path, pictures={"steps": 0}, clips={"steps": 1}, workers=1)
    )  # as good as the same


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, tmp_path / "out")
    network = TwoStream(TINY)
    optimizer = torch.optim.AdamW(network.parameters())
    config.out.mkdir()
    Checkpoint(config, "one").save(Progress(step=1), network, network, optimizer)
    assert Checkpoint(config, "one").load(network, network, optimizer) == Progress(step=1)
    with pytest.raises(ValueError, match="the data have changed"):
        Checkpoint(config, "other").load(network, network, optimizer)


def test_what_was_trained_is_loaded_ready_to_answer(tmp_path: Path) -> None:
    network = TwoStream(TINY)
    save_weights(tmp_path / "w.safetensors", network, {})
    loaded = load_network(tmp_path / "w.safetensors")
    assert not loaded.training
    assert loaded.config == TINY
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), loaded.parameters(), strict=True))


def test_a_file_that_holds_no_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"w\.safetensors is no safetensors file"):
        load_network(path)


def test_the_rate_warms_up_and_falls_in_both_stages(tmp_path: Path) -> None:
    settings = tiny_run(
        tmp_path, tmp_path, pictures={"steps": 100, "rate": 1.0}, clips={"steps": 200, "rate": 0.5}
    )
    pictures, clips = stages(settings, small_pairs(tmp_path), HERE)
    assert pictures.rate_at(0) < pictures.rate_at(2) == 1.0
    assert pictures.rate_at(99) == pytest.approx(0.1, abs=0.01)
    assert clips.rate_at(5) == pytest.approx(0.5, abs=0.01)
    assert clips.rate_at(199) < 0.001


def test_a_rate_of_zero_freezes_the_rgb_backbone_and_nothing_else(tmp_path: Path) -> None:
    settings = tiny_run(tmp_path, tmp_path / "out", pictures={"steps": 0}, clips={"rgb_rate": 0.0})
    network = TwoStream(TINY)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit(settings, network, stages(settings, small_pairs(tmp_path), HERE), digest="", place=HERE)
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in moved if name.startswith(("rgb.stem", "rgb.norm", "rgb.scales.scales"))}
    assert {"rgb_head.logit.weight", "flow_stem.conv.weight", "flow_stem.norm.running_mean"} <= moved


def test_the_weights_of_streams_and_spans_go_as_far_as_their_own_rate_lets_them(tmp_path: Path) -> None:
    moved = []
    for factor in (1.0, 50.0):
        settings = tiny_run(
            tmp_path, tmp_path / f"{factor}", pictures={"steps": 0}, clips={"fusion_rate": factor}, ema=0.0
        )
        network = TwoStream(TINY)
        fit(settings, network, stages(settings, small_pairs(tmp_path), HERE), digest="", place=HERE)
        moved.append(float((network.stream_weight - 0.5).detach().abs().max()))
    assert moved[1] > 10 * moved[0] > 0


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_running_mean_lags_behind_and_is_what_is_kept(tmp_path: Path, precision: str) -> None:
    settings = tiny_run(tmp_path, tmp_path / "out", pictures={"steps": 0}, ema=0.9, precision=precision)
    network = TwoStream(TINY)
    path = fit(settings, network, stages(settings, small_pairs(tmp_path), HERE), digest="", place=HERE)
    assert not torch.equal(load_file(path)["rgb_head.logit.weight"], network.rgb_head.logit.weight)
    assert network.rgb_head.logit.weight.dtype == torch.float32
    assert network.rgb_head.logit.weight.isfinite().all()


class _Scripted(Validation):
    """A judge with answers of its own, so that what follows from them can be tested."""

    answers = iter([0.6, 0.9, 0.7, 0.8, 0.95])

    def judge(self, network: TwoStream, device: torch.device) -> Validated:
        super().judge(network, device)
        return Validated(next(_Scripted.answers), 1.0)


def test_training_stops_when_nothing_gets_better_and_keeps_the_best(tmp_path: Path) -> None:
    settings = tiny_run(tmp_path, tmp_path / "out", pictures={"steps": 0}, clips={"steps": 8})
    pairs = small_pairs(tmp_path)
    objective = ClipObjective(LossWeights(), bf16=False, alone=True)
    judge = Judge(_Scripted(pairs.pair, 2, 2, 0, objective), every=1, by="auc", patience=2)
    recipe = stages(settings, pairs, HERE)
    final = fit(settings, TwoStream(TINY), recipe, digest="", place=HERE, judge=judge)
    assert (
        len({row["step"] for row in rows(settings.out)}) == 4
    )  # the second was best; two more were waited for
    assert same(final, settings.out / "best.safetensors")
    again = fit(settings, TwoStream(TINY), recipe, digest="", place=HERE, judge=judge)
    assert len({row["step"] for row in rows(settings.out)}) == 4, "a run that has stopped does not go on"
    assert same(final, again)


def test_validation_is_the_same_every_time_and_pictures_its_fakes(tmp_path: Path) -> None:
    pairs = small_pairs(tmp_path)
    objective = ClipObjective(LossWeights(), bf16=False, alone=True)
    validation = Validation(pairs.pair, 3, 2, 0, objective, samples=2)
    network = TwoStream(TINY)
    first, second = validation.judge(network, HERE.device), validation.judge(network, HERE.device)
    assert (first.auc, first.loss) == (second.auc, second.loss)
    assert 0 <= first.auc <= 1
    assert [sheet.shape for sheet in first.sheets] == [(64 + 52, 8 * 64, 3)] * 2


def test_of_equal_aucs_the_lower_loss_is_better() -> None:
    assert Validated(0.9, 1.0).rank("auc") > Validated(0.9, 2.0).rank("auc") > Validated(0.8, 0.0).rank("auc")
    assert Validated(0.1, 1.0).rank("loss") > Validated(0.9, 2.0).rank("loss")


def test_curves_and_clips_are_written_for_tensorboard(world: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    train(
        tiny_run(
            world,
            tmp_path,
            pictures={"steps": 1},
            clips={"steps": 1},
            validation={"every": 1, "pairs": 2},
            tensorboard={"every": 1, "samples": 1},
        )
    )
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"pictures/loss", "clips/video", "rate/msca", "validation/auc"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["clip/0"]


def test_a_run_says_what_it_was_made_of(world: Path, tmp_path: Path) -> None:
    train(tiny_run(world, tmp_path, pictures={"steps": 1}, clips={"steps": 1}))
    info = json.loads((tmp_path / "run.json").read_text())
    assert len(info["data_sha256"]) == 64
    assert info["packages"]["torch"] == torch.__version__
    assert info["device"]
    assert json.loads((tmp_path / "config.json").read_text())["clips"]["steps"] == 1


def test_pairs_are_made_by_the_menu_and_the_corruptions_of_the_configuration(
    world: Path, tmp_path: Path
) -> None:
    asked = {"menu": {"weights": {"flicker": 1.0}}, "corruptions": {"untouched": 1.0}}
    config = tiny_run(world, tmp_path, **asked)
    with processes("cpu") as place:
        pairs = load_pairs(config, chosen_clips(config), place)
    assert dict(pairs.menu.weights) == {"flicker": 1.0}
    assert pairs.corruptions.untouched == 1.0


def test_a_generator_that_nobody_knows_cannot_be_left_out(tmp_path: Path) -> None:
    rows = ["file,split,label,generator", "a.mp4,train,real,", "b.mp4,train,fake,FaceSwap"]
    (tmp_path / "set.csv").write_text("\n".join(rows) + "\n")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"no fakes of FaceSwop; its generators: FaceSwap"):
        train(tiny_run(tmp_path / "set.csv", tmp_path, without=("FaceSwop",)))


def test_weights_to_start_from_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.safetensors"):
        load_network(tmp_path / "gone.safetensors")


def test_a_folder_without_faces_says_so(tmp_path: Path) -> None:
    path = tmp_path / "noface.mp4"
    path.write_bytes(make_video(frames=8))
    data = folder_of(tmp_path / "data", real=path, fake=path)
    with pytest.raises(ValueError, match="no face was found in any of 2 videos"):
        train(tiny_run(data, tmp_path / "out"))


def test_rights_that_no_video_has_are_refused_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(make_video(frames=8))
    (tmp_path / "manifest.csv").write_text("file,split,label,rights\na.mp4,train,real,research use\n")
    with pytest.raises(ValueError, match=r"rights: .*CC BY.*manifest.csv has .*research use"):
        train(tiny_run(tmp_path / "manifest.csv", tmp_path / "out", rights=["CC BY"]))


def test_a_stage_of_the_loader_leaves_torchs_own_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert next(iter(numbered(lambda n: n, [3, 4, 5], batch=2, workers=0))).tolist() == [3, 4]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.skipif(
    not PAGES.is_file() or "[madvise]" not in PAGES.read_text(),
    reason="large pages are not given on request here",
)
def test_tensors_get_large_pages_of_memory_where_they_are_offered() -> None:
    code = """
import resource, training, torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    large, small = (
        int(
            subprocess.check_output(
                [sys.executable, "-c", code], text=True, timeout=120, env=os.environ | asked
            )
        )
        for asked in ({}, {"THP_MEM_ALLOC_ENABLE": "0"})
    )
    assert large < small / 4
