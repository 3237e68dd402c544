from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dmcl_sdk.network import OnnxNetwork, default_model
from tests.sdk.footage import carphone
from training.data.manifest import read_manifest
from training.forgeries.one_place import ONE_PLACE
from training.places import Sample, as_markdown, command, figures, place_by_place


def made(look: float, *, videos: int = 6, kinds: int = 4) -> list[Sample]:
    """Clips whose maps are a fixed hill in the middle, and `look` times the truth."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:16, :16]
    hill = -((xs - 7.5) ** 2) - (ys - 7.5) ** 2
    samples = []
    for video in range(videos):
        for kind in range(kinds):
            x, y = rng.uniform(4, 12, 2)
            changed = (xs - x) ** 2 + (ys - y) ** 2 < 16
            samples.append(
                Sample(video, str(kind), changed, dict.fromkeys(("rgb", "flow"), hill / 20 + look * changed))
            )
    return samples


def test_a_map_that_never_looks_has_half_place_by_place_however_right_it_is_on_average() -> None:
    samples = made(0.0)
    assert figures(samples)["all"]["rgb"] > 0.7
    assert place_by_place(samples, "rgb") == 0.5


def test_a_map_that_only_says_how_suspect_a_clip_is_has_half_too() -> None:
    samples = [
        Sample(one.video, one.kind, one.changed, {"rgb": one.maps["rgb"] * size + 3 * size})
        for one in made(0.0)
        if (size := float(one.changed.mean()))
    ]
    assert place_by_place(samples, "rgb") == 0.5


def test_a_hill_in_the_middle_is_no_better_than_the_middle_of_the_crop() -> None:
    report = figures(made(0.0))
    assert report["all"]["rgb"] == report["all"]["middle"]
    assert report["overlap"]["rgb"] == report["overlap"]["middle"]


def test_a_map_that_looks_beats_the_mean_mask() -> None:
    report = figures(made(4.0))
    assert report["all"]["rgb"] > report["all"]["middle"]
    assert report["all"]["rgb"] > report["all"]["mean"]
    assert report["all"]["rgb + mean"] > report["all"]["mean"]
    assert report["place by place"]["rgb"] > 0.95
    assert "more than the mean mask" in as_markdown(report)


@pytest.mark.parametrize("name", ONE_PLACE)
def test_a_forgery_of_one_place_changes_what_its_mask_says_and_nothing_else(name: str) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)
    made = ONE_PLACE[name](clip, np.random.default_rng(1))
    differs = (made.clip != clip).any((0, 3))
    assert differs.any()
    assert not (differs & ~(made.mask > 0).any(0)).any()
    assert made.mask.mean() < 0.45


def test_the_halves_of_a_face_meet_in_the_middle() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)
    for name, far in (("left half", slice(40, None)), ("right half", slice(0, 24))):
        assert (ONE_PLACE[name](clip, np.random.default_rng(1)).clip[:, :, far] == clip[:, :, far]).all()


def test_a_map_that_never_looks_adds_nothing_to_the_mean_mask() -> None:
    report = figures(made(0.0))
    assert report["all"]["rgb + mean"] == report["all"]["mean"]
    assert report["beaten"] == {"rgb": 0, "flow": 0}


def test_a_map_that_is_the_truth_overlaps_it_wholly() -> None:
    report = figures(made(100.0))
    assert report["overlap"]["rgb"] == 1
    assert report["overlap"]["mean"] < 0.7
    assert report["beaten"] == {"rgb": 6, "flow": 6}


def test_clips_without_a_changed_place_are_refused() -> None:
    with pytest.raises(ValueError, match="no forgery left a place"):
        figures([Sample(0, "real", np.zeros((16, 16), bool), {})])


@pytest.mark.slow
def test_the_model_that_ships_is_measured_on_a_real_clip(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(command)
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
        shutil.copy(carphone(), tmp_path / name / f"{name}.mp4")
    out, model = tmp_path / "places.json", tmp_path / "model.onnx"
    shutil.copy(default_model(), model)
    arguments = ["--store", str(model), str(tmp_path), "--cache", str(tmp_path / "cache"), "--out", str(out)]
    found = CliRunner().invoke(app, [*arguments, "--split", read_manifest(tmp_path)[0].split])
    assert found.exit_code == 0, found.output
    assert "| lip-sync (1) |" in found.output
    assert "Place by place" in found.output
    apart = json.loads(out.read_text())["place by place"]
    assert OnnxNetwork(model, ["cpu"]).spec.places_auc == (round(apart["rgb"], 3), round(apart["flow"], 3))
