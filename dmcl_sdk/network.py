"""The network as a file: what it needs, whether it fits this version, and where it runs.

A model is one ONNX file that carries its own specification. It reads crops and motion of whole stretches of
frames, and answers for every frame.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dmcl_sdk.calibration import AbstentionRule, Platt
from dmcl_sdk.errors import DeploymentError, DeviceError, ModelError
from dmcl_sdk.localization import SpanRule
from dmcl_sdk.motion import MotionFields, MotionSpec

SPEC_KEY = "dmcl.spec"
PREPROCESSING_VERSION = "1"
"""Changes whenever decoding, alignment or motion would give a model other numbers than it was trained on."""

Provider = Literal["cuda", "openvino", "cpu"]
PROVIDERS: tuple[Provider, ...] = ("openvino", "cpu", "cuda")
"""In the order in which one is chosen where none is asked for: CUDA has to be, since the CPU beside it was quicker."""
_EXECUTION_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_INSTALL = {
    "cuda": "pip install 'dmcl-sdk[gpu]' on a machine with an NVIDIA driver",
    "openvino": "pip install 'dmcl-sdk[openvino]'",
    "cpu": "pip install 'dmcl-sdk[cpu]'",
}
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all algorithms anew for every length of a run
    "use_tf32": "0",  # whose products carry 10 bits: a verdict would not be the CPU's
}
_CURVES = "fused", "spans", "rgb_curve", "flow_curve"
_PLACES = "rgb_places", "flow_places"  # models of an earlier export have none
# ONNX Runtime's memory at first, then as much again: of 2**25 to 2**28 what left the fewest gaps in a chunk's arrays,
# 310 MiB for the process where its own choice took 355.
_ARENA_BYTES = 2**26
Logits = npt.NDArray[np.float32]
Share = Annotated[float, Field(ge=0, le=1)]


class ModelSpec(BaseModel):
    """What travels inside a model file: everything that serving must do as training did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["dmcl.model/1"] = "dmcl.model/1"
    name: str
    version: str
    preprocessing: str
    """Version of decoding, alignment and motion that the weights were trained behind."""
    size_px: Annotated[int, Field(gt=0, multiple_of=2)]
    """Side of the aligned crop, S."""
    baselines: tuple[int, ...]
    """Frames between the two pictures of a flow."""
    spans: tuple[int, ...]
    """Window lengths in frames, one a curve of `FrameCurves.spans`."""
    frames_multiple: Annotated[int, Field(gt=0)]
    """T is a multiple of this."""
    max_fps: Annotated[float, Field(gt=0)]
    """Frames above this rate are thinned: spans and baselines are in frames of ordinary rates."""
    pooling_sharpness: Annotated[float, Field(gt=0)]
    """Of the LogSumExp that makes a face's logit of its frames'."""
    calibration: Platt
    """Of a face's logit."""
    frame_calibration: Platt
    """Of a frame's fused logit; spans are cut from what it gives."""
    rgb_calibration: Platt
    """Of a frame's logit by the RGB stream alone."""
    flow_calibration: Platt
    """Of a frame's logit by the flow stream alone."""
    abstention: AbstentionRule
    span_rule: SpanRule
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the trained weights that were exported."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """What convolutions compute in."""
    places_auc: tuple[Share, Share] | None = None
    """How true the RGB and the flow stream's places are, each place against itself in other clips: .5 is chance, 1 is
    perfect; None where nobody measured it, or the model says nothing of places."""
    training: dict[str, str] = Field(default_factory=dict)
    """Where the weights come from: configuration and data digests, for people."""

    @property
    def motion(self) -> MotionSpec:
        """The baselines, for `dmcl_sdk.motion`."""
        return MotionSpec(self.baselines)


@dataclass(frozen=True, slots=True, eq=False)
class FrameCurves:
    """The network's logits for B stretches of T frames.

    Attributes:
        fused: (B, T), all spans together: what verdicts are made of.
        spans: (B, T, K), one curve a span.
        rgb: (B, T), the RGB stream alone.
        flow: (B, T), the flow stream alone.
        rgb_places: (B, T, P, P), which places of the crop, rows from the top, the RGB stream holds to be
            manipulated; None from a model that does not say.
        flow_places: (B, T, P, P), the same by the flow stream, whose P may be another.
    """

    fused: Logits
    spans: Logits
    rgb: Logits
    flow: Logits
    rgb_places: Logits | None = None
    flow_places: Logits | None = None


class Network(Protocol):
    """What a detector asks of a network."""

    @property
    def spec(self) -> ModelSpec:
        """What it needs."""

    @property
    def sha256(self) -> str:
        """Digest of the model file."""

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers, first the one that takes the graph."""

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        """Answer every frame of (B, T, S, S, 3) crops and (B, T, 4K, S/2, S/2) motion fields, which are only lent."""


class OnnxNetwork:
    """A model file on ONNX Runtime.

    Args:
        path: the model; None for the one that ships.
        providers: names from `PROVIDERS` in order of preference; the first must be there. None takes the
            first of those that starts, never CUDA where the CPU does.

    Raises:
        ModelError: the file is missing, damaged, or does not fit this version.
        DeviceError: the provider asked for is not installed or does not start.
        DeploymentError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path | None = None, providers: Sequence[str] | None = None) -> None:
        path = path or default_model()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = _open_session(path, content, providers)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.spec = read_spec(path, self._session.get_modelmeta().custom_metadata_map)
        offered = {output.name for output in self._session.get_outputs()}
        self._outputs = [*_CURVES, *_PLACES] if offered.issuperset(_PLACES) else list(_CURVES)

    def run(self, rgb: npt.NDArray[np.uint8], motion: MotionFields) -> FrameCurves:
        """Answer every frame of (B, T, S, S, 3) crops and (B, T, 4K, S/2, S/2) motion fields."""
        return FrameCurves(*self._session.run(self._outputs, {"rgb": rgb, "motion": motion}))


def default_model() -> Path:
    """The model that ships with this package."""
    return Path(__file__).with_name("models") / "default.onnx"


def read_spec(path: Path, metadata: dict[str, str]) -> ModelSpec:
    """The specification inside a model file, checked against this version.

    Raises:
        ModelError: it has none, one of another format, or one made for other preprocessing.
    """
    if SPEC_KEY not in metadata:
        raise ModelError(
            f"{path}: carries no specification under {SPEC_KEY!r}: not a model exported by dmcl export"
        )
    try:
        spec = ModelSpec.model_validate_json(metadata[SPEC_KEY])
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all'}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{path}: its specification does not fit this version: {where}") from error
    if spec.preprocessing != PREPROCESSING_VERSION:
        raise ModelError(
            f"{path}: made for preprocessing {spec.preprocessing}, this version has {PREPROCESSING_VERSION}: "
            "export the model again with this version"
        )
    return spec


def preprocessing_digest(spec: ModelSpec, detector: str, detector_sha256: str) -> str:
    """SHA-256 of all that decides what the network sees: version, sizes, baselines, face detector."""
    parts = {
        "preprocessing": spec.preprocessing,
        "size_px": spec.size_px,
        "baselines": spec.baselines,
        "max_fps": spec.max_fps,
        "face_detector": detector,
        "face_detector_sha256": detector_sha256,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def available_providers() -> tuple[Provider, ...]:
    """Providers that are installed, in the order of `PROVIDERS`; a GPU's driver is only tried when a session starts.

    Raises:
        DeploymentError: ONNX Runtime is not installed.
    """
    offered = set(_runtime().get_available_providers())
    return tuple(
        name
        for name in PROVIDERS
        if _EXECUTION_PROVIDERS[name] in offered
        or (name == "openvino" and importlib.util.find_spec("onnxruntime_ep_openvino") is not None)
    )


def _runtime() -> Any:  # noqa: ANN401 - onnxruntime is published without types
    try:
        import onnxruntime  # noqa: PLC0415 - heavy, and absent until an extra is chosen
    except ImportError as error:
        raise DeploymentError(f"ONNX Runtime is missing: {_INSTALL['cpu']} (or [gpu], [openvino])") from error
    return onnxruntime


def _open_session(path: Path, content: bytes, wanted: Sequence[str] | None) -> Any:  # noqa: ANN401
    """A session on the first provider wanted, or on the first of all that starts."""
    if wanted is not None:
        unknown = [name for name in wanted if name not in PROVIDERS]
        if unknown or not wanted:
            raise DeviceError(
                f"a provider is one of {', '.join(PROVIDERS)}, got {', '.join(unknown) or 'none'}"
            )
        return _start(path, content, wanted[0])
    problems = []
    for name in available_providers():
        try:
            return _start(path, content, name)
        except DeviceError as error:
            problems.append(str(error))  # a plugin without its device: the next one will do
    raise DeviceError("no execution provider starts: " + "; ".join(problems))


def _start(path: Path, content: bytes, name: str) -> Any:  # noqa: ANN401
    runtime = _runtime()
    if name not in available_providers():
        raise DeviceError(f"the provider {name!r} is not installed: {_INSTALL[name]}")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # its own warnings go to standard error, past every logger
    options.enable_mem_pattern = False  # runs come in many lengths: a plan kept for each doubles the memory
    # threads that wait would burn a quarter of all processor time, which other videos could use
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    execution = _EXECUTION_PROVIDERS[name]
    try:
        if name == "openvino" and execution not in runtime.get_available_providers():
            options.add_provider_for_devices(_openvino_devices(runtime), {})
            session = runtime.InferenceSession(content, options)
        else:
            if name == "cpu":
                _open_arena()
                options.add_session_config_entry("session.use_env_allocators", "1")
            if name == "cuda":
                _load_cuda(runtime)
            own = CUDA_OPTIONS if name == "cuda" else {}
            session = runtime.InferenceSession(content, options, providers=[(execution, own)])
    except (
        Exception
    ) as error:  # the runtime raises a class of its own for every reason, without a common base
        problem = DeviceError if name != "cpu" else ModelError
        raise problem(f"{path}: does not start on {name}: {error}") from error
    if session.get_providers()[0] != execution:
        raise DeviceError(f"the provider {name!r} does not start on this machine: {_INSTALL[name]}")
    return session


@cache
def _load_cuda(runtime: Any) -> None:  # noqa: ANN401
    """CUDA's libraries where pip puts them, which no loader looks into; else the system's."""
    with redirect_stdout(io.StringIO()):  # it prints what it misses, and the session will say so anyway
        runtime.preload_dlls()


@cache
def _open_arena() -> None:
    """One piece of memory for those sessions of this process that ask for it."""
    runtime = _runtime()
    kind = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT
    sizes = {"arena_extend_strategy": 0, "initial_chunk_size_bytes": _ARENA_BYTES}
    runtime.create_and_register_allocator(runtime.OrtMemoryInfo("Cpu", *kind), runtime.OrtArenaCfg(sizes))


def _openvino_devices(runtime: Any) -> list[Any]:  # noqa: ANN401
    """The CPU as OpenVINO's plugin offers it."""
    import onnxruntime_ep_openvino as plugin  # noqa: PLC0415 - an optional extra

    execution = _EXECUTION_PROVIDERS["openvino"]
    if not any(device.ep_name == execution for device in runtime.get_ep_devices()):
        runtime.register_execution_provider_library(execution, plugin.get_library_path())
    devices = [device for device in runtime.get_ep_devices() if device.ep_name == execution]
    cpus = [device for device in devices if device.device.type == runtime.OrtHardwareDeviceType.CPU]
    if not cpus:
        raise DeviceError("OpenVINO's plugin offers no CPU on this machine")
    return cpus[:1]
