from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from pydantic import ValidationError

from dmcl_sdk.errors import DeploymentError, DeviceError, ModelError
from dmcl_sdk.network import (
    SPEC_KEY,
    ModelSpec,
    OnnxNetwork,
    default_model,
    preprocessing_digest,
    read_spec,
)
from dmcl_sdk.sessions import PROVIDERS, available_providers
from dmcl_sdk.testing import scripted_spec

SPEC = scripted_spec()


def read(spec: str) -> ModelSpec:
    return read_spec(Path("model.onnx"), {SPEC_KEY: spec})


def test_a_specification_comes_back_as_it_was_written() -> None:
    assert read(SPEC.model_dump_json()) == SPEC


def test_a_file_without_a_specification_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.onnx: carries no specification"):
        read_spec(Path("model.onnx"), {})


def test_a_model_for_other_preprocessing_is_refused_and_the_message_says_which() -> None:
    with pytest.raises(ModelError, match="made for preprocessing 0, this version has"):
        read(SPEC.model_copy(update={"preprocessing": "0"}).model_dump_json())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size_px": 0}, "size_px"),
        ({"format": "dmcl.model/2"}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"weights_sha256": "abc"}, "weights_sha256"),
        ({"abstention": {"manipulated_above": 0.2, "not_manipulated_below": 0.7}}, "abstention"),
    ],
)
def test_a_specification_that_does_not_fit_is_refused_by_the_name_of_its_field(
    change: dict[str, object], words: str
) -> None:
    import json

    with pytest.raises(ModelError, match=words):
        read(json.dumps(SPEC.model_dump() | change))


def test_a_missing_file_and_a_damaged_one_are_named(tmp_path: Path) -> None:
    missing, damaged = tmp_path / "missing.onnx", tmp_path / "damaged.onnx"
    with pytest.raises(ModelError, match=r"missing\.onnx"):
        OnnxNetwork(missing)
    damaged.write_bytes(default_model().read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"damaged\.onnx"):
        OnnxNetwork(damaged, ["cpu"])


def test_a_provider_that_is_not_installed_is_not_replaced_by_another() -> None:
    for name in set(PROVIDERS) - set(available_providers()):
        with pytest.raises(DeviceError, match=f"{name}.*pip install"):
            OnnxNetwork(providers=[name])


def test_no_device_is_taken_before_the_cpu_that_has_to_be_asked_for() -> None:
    order = available_providers()
    assert list(order) == [name for name in PROVIDERS if name in order]
    assert PROVIDERS.index("cpu") < PROVIDERS.index("cuda")
    assert OnnxNetwork().providers[0] != "CUDAExecutionProvider"


@pytest.mark.parametrize("wanted", [[], ["tpu"]])
def test_a_provider_that_does_not_exist_is_refused(wanted: list[str]) -> None:
    with pytest.raises(DeviceError, match="a provider is one of"):
        OnnxNetwork(providers=wanted)


def test_a_missing_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeploymentError, match=r"pip install 'dmcl-sdk\[cpu\]'"):
        available_providers()


def test_the_model_that_ships_answers_every_frame_of_every_clip() -> None:
    network = OnnxNetwork(providers=["cpu"])
    spec = network.spec
    curves = network.run(*noise(spec, frames=24))
    assert network.providers[0] == "CPUExecutionProvider"
    assert curves.fused.shape == curves.rgb.shape == curves.flow.shape == (2, 24)
    assert curves.spans.shape == (2, 24, len(spec.spans))
    assert np.isfinite(curves.fused).all()


def test_a_clip_is_answered_alike_alone_and_in_a_batch() -> None:
    network = OnnxNetwork(providers=["cpu"])
    rgb, motion = noise(network.spec, clips=3)
    together = network.run(rgb, motion).fused
    alone = np.concatenate([network.run(rgb[n : n + 1], motion[n : n + 1]).fused for n in range(3)])
    assert np.abs(together - alone).max() < 1e-4


def test_the_number_of_threads_changes_no_bit_of_an_answer() -> None:
    import onnxruntime

    rgb, motion = noise(OnnxNetwork(providers=["cpu"]).spec)
    answers = []
    for threads in (1, 2, 3):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(default_model(), options, providers=["CPUExecutionProvider"])
        answers.append(session.run(["fused", "spans"], {"rgb": rgb, "motion": motion}))
    for fused, spans in answers[1:]:
        assert np.array_equal(fused, answers[0][0])
        assert np.array_equal(spans, answers[0][1])


def test_the_model_that_ships_fits_in_the_wheel() -> None:
    assert default_model().stat().st_size < 25e6


def test_another_face_detector_is_another_preprocessing() -> None:
    digests = {preprocessing_digest(SPEC, name, "0" * 64) for name in ("mtcnn", "yunet")}
    assert len(digests) == 2


def test_motion_of_other_pictures_and_fewer_looks_are_another_preprocessing() -> None:
    specs = [SPEC, SPEC.model_copy(update={"motion_shrink": 4}), SPEC.model_copy(update={"rgb_stride": 4})]
    assert len({preprocessing_digest(spec, "mtcnn", "0" * 64) for spec in specs}) == 3


def test_a_crop_that_motion_does_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match="size_px is a multiple of motion_shrink"):
        ModelSpec.model_validate(SPEC.model_dump() | {"size_px": 130, "motion_shrink": 4})


def test_a_look_at_every_few_frames_that_leaves_a_rest_is_refused() -> None:
    with pytest.raises(ValidationError, match="frames_multiple is a multiple of rgb_stride"):
        ModelSpec.model_validate(SPEC.model_dump() | {"frames_multiple": 4, "rgb_stride": 8})


def test_the_rgb_stream_is_given_the_middle_of_each_few_frames() -> None:
    given = {
        stride: list(range(16))[SPEC.model_copy(update={"rgb_stride": stride}).looks] for stride in (1, 4)
    }
    assert given == {1: list(range(16)), 4: [2, 6, 10, 14]}


def test_motion_and_quality_are_taken_from_crops_no_finer_than_they_need() -> None:
    sizes = {(128, 2): 128, (256, 4): 128, (224, 2): 224, (128, 1): 128, (256, 1): 256}
    for (size_px, shrink), coarse_px in sizes.items():
        spec = SPEC.model_copy(update={"size_px": size_px, "motion_shrink": shrink})
        assert spec.coarse_px == coarse_px
        assert spec.coarse_px // spec.coarse_motion.shrink == spec.motion_px


@pytest.mark.parametrize("name", ["default.onnx", "default-int8.onnx"])
def test_the_models_that_ship_say_which_places_they_mean(name: str) -> None:
    network = OnnxNetwork(default_model().with_name(name), ["cpu"])
    curves = network.run(*noise(network.spec))
    assert curves.rgb_places is not None
    assert curves.flow_places is not None
    assert (curves.rgb_places.shape, curves.flow_places.shape) == ((2, 16, 16, 16), (2, 16, 16, 16))
    assert np.isfinite(curves.rgb_places).all()


def test_a_model_of_an_earlier_export_answers_without_places(tmp_path: Path) -> None:
    earlier = onnx.load(default_model())
    kept = [output for output in earlier.graph.output if not output.name.endswith("_places")]
    del earlier.graph.output[:]
    earlier.graph.output.extend(kept)
    onnx.save(earlier, tmp_path / "earlier.onnx")
    network = OnnxNetwork(tmp_path / "earlier.onnx", ["cpu"])
    curves = network.run(*noise(network.spec))
    assert (curves.rgb_places, curves.flow_places) == (None, None)
    assert curves.fused.shape == (2, 16)


def noise(
    spec: ModelSpec, *, clips: int = 2, frames: int = 16
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]:
    rng, side, small = np.random.default_rng(2), spec.size_px, spec.motion_px
    return (
        rng.integers(0, 256, (clips, frames // spec.rgb_stride, side, side, 3), np.uint8),
        rng.integers(-40, 40, (clips, frames, spec.motion.channels, small, small), np.int8),
    )


def test_openvino_answers_as_the_cpu_does() -> None:
    try:
        other = OnnxNetwork(providers=["openvino"])
    except DeviceError as error:
        pytest.skip(str(error))
    spec, rng = other.spec, np.random.default_rng(0)
    rgb = rng.integers(0, 256, (1, 24 // spec.rgb_stride, spec.size_px, spec.size_px, 3), np.uint8)
    motion = rng.integers(-40, 41, (1, 24, spec.motion.channels, spec.motion_px, spec.motion_px), np.int8)
    answers = [network.run(rgb, motion).logits for network in (other, OnnxNetwork(providers=["cpu"]))]
    assert np.abs(answers[0] - answers[1]).max() < 0.05
