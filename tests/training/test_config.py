from __future__ import annotations

from pathlib import Path

import pytest

from training.config import TrainConfig, differences, read_config
from training.networks.two_stream import NetworkConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text('data = "here"\n' + text)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_configurations_that_ship_are_valid(path: Path) -> None:
    config = read_config(path, [])
    assert config.pictures.steps + config.clips.steps > 0


def test_a_run_says_which_forgeries_it_makes_and_what_corrupts_them(tmp_path: Path) -> None:
    path = written(
        tmp_path, "[menu]\nspliced = 0.1\nweights = {flicker = 1.0}\n[corruptions]\ncrf = [20, 30]"
    )
    config = read_config(path, ["menu.weights.jitter=2"])
    assert dict(config.menu.weights) == {"flicker": 1.0, "jitter": 2.0}
    assert (config.menu.spliced, config.corruptions.crf) == (0.1, (20, 30))
    with pytest.raises(ValueError, match=r"a menu names the kinds .*got \['flikker'\]"):
        read_config(path, ["menu.weights.flikker=1"])
    with pytest.raises(ValueError, match=r"did you mean corruptions.crf"):
        read_config(path, ["corruptions.crff=[1, 2]"])


def test_a_run_may_be_of_pictures_alone_but_not_of_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "[clips]\nsteps = 0")
    assert read_config(path, []).clips.steps == 0
    with pytest.raises(ValueError, match=r"pictures.steps or clips.steps"):
        read_config(path, ["pictures.steps=0"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", "stepz: there is no such key"),
        ("wokers = 3", "did you mean workers"),
        ("[clips]\nstepz = 3", "clips.stepz: there is no such key; did you mean clips.steps"),
        ("[mix]\nforgd = 1", "mix.forgd: there is no such key; did you mean mix.forged"),
        ("[loss]\nframse = 1", "did you mean loss.frames"),
        ("[network]\nsiz = 'small'", "did you mean network.size"),
        ("picture_steps = 3", "did you mean pictures.steps"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_config(written(tmp_path, text), [])


def test_a_change_is_read_as_toml_and_laid_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "seed = 3\n[clips]\nsteps = 3\nrate = 1e-3\n")
    changed = read_config(
        path,
        ["clips.steps=5", "precision=fp32", "pretrained = false", "network.spans=[1, 4, 8]", "mix.forged=2"],
    )
    assert (changed.clips.steps, changed.clips.rate, changed.precision) == (5, 1e-3, "fp32")
    assert (changed.pretrained, changed.network.spans, changed.mix.forged) == (False, (1, 4, 8), 2.0)


def test_paths_in_the_file_are_relative_to_it_and_those_in_changes_to_where_one_is(tmp_path: Path) -> None:
    changed = read_config(written(tmp_path, ""), ["out=somewhere"])
    assert (changed.data, changed.out) == (tmp_path / "here", Path("somewhere"))


def test_a_change_without_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key=value"):
        read_config(written(tmp_path, ""), ["clips.steps"])
    with pytest.raises(ValueError, match="seed is no table"):
        read_config(written(tmp_path, "seed = 3"), ["seed.steps=1"])


def test_a_value_out_of_range_is_named_with_its_value(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clips\.frames: .*multiple of 8, got 17"):
        read_config(written(tmp_path, "[clips]\nframes = 17"), [])
    with pytest.raises(ValueError, match=r"network: .*size_px is a multiple of 32"):
        read_config(written(tmp_path, "[network]\nsize_px = 33\nbackbone = 'plain'"), [])


def test_what_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.toml is no TOML"):
        read_config(written(tmp_path, "steps ="), [])


def test_a_size_is_a_start_and_any_field_of_the_network_lies_over_it(tmp_path: Path) -> None:
    base = read_config(written(tmp_path, "[network]\nsize = 'base'\ncross_attention = false"), []).network
    assert base.cross_attention is False
    assert base.flow_widths == NetworkConfig.named("base").flow_widths
    with pytest.raises(ValueError, match="network size is one of"):
        read_config(written(tmp_path, "[network]\nsize = 'huge'"), [])


def test_only_a_backbone_that_was_learned_can_be_held(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only the lite0 backbone"):
        read_config(written(tmp_path, "[network]\nbackbone = 'plain'\n[clips]\nheld = 2"), [])


def test_a_configuration_that_was_written_is_read_back_the_same() -> None:
    config = TrainConfig.model_validate({"data": "here", "network": {"size": "base", "token_width": 32}})
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_differences_name_the_key_and_both_values() -> None:
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == ["a.b: 1 -> 3"]
