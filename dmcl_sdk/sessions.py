"""Where a model file runs: execution providers, and ONNX Runtime's sessions on them."""

from __future__ import annotations

import importlib.util
import io
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy.typing as npt

from dmcl_sdk.errors import DeploymentError, DeviceError, ModelError

Provider = Literal["cuda", "openvino", "cpu"]
PROVIDERS: tuple[Provider, ...] = ("openvino", "cpu", "cuda")
"""In the order in which one is chosen where none is asked for: CUDA has to be, since the CPU beside it was quicker."""
EXECUTION_PROVIDERS = {
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
# ONNX Runtime's memory at first, then as much again: of 24, 32 and 64 MiB what left the fewest gaps in a chunk's
# arrays, 480 MiB for the process with a face at 1080p where 64 took 511.
_ARENA_BYTES = 24 * 2**20
_threads = 0  # of a session; 0 leaves it to ONNX Runtime
MOST_SHAPES = 24
"""Of input: as many as there are lengths of a chunk, 16 to 192 frames by eights, one chunk at a time."""


class SessionPerShape:
    """Runs every shape of input in a session of its own, which is opened when that shape first comes.

    ONNX Runtime's CUDA provider plans its convolutions anew whenever a session's input has another shape than the one
    before: some 2 to 5 s in half precision on an H200, for each of the one to three lengths that a video's chunks have.
    Kept apart, a length is planned once in a process. **Written after that was measured, and not yet measured on a GPU
    itself**: neither what it gains nor what so many sessions take of a GPU's memory.

    Args:
        first: a session that is open already, for the first shape that comes.
        opened: opens one more.
        most: sessions that are kept; the shape that was not asked for longest gives way.
    """

    def __init__(self, first: Any, opened: Callable[[], Any], *, most: int = MOST_SHAPES) -> None:  # noqa: ANN401
        self._spare, self._opened, self._most = [first], opened, most
        self._sessions: OrderedDict[tuple[tuple[int, ...], ...], tuple[Any, Lock]] = OrderedDict()
        self._lock = Lock()

    def run(
        self, outputs: Sequence[str] | None, feed: Mapping[str, npt.NDArray[Any]]
    ) -> list[npt.NDArray[Any]]:
        """As the session's own."""
        session, turn = self._session(tuple(value.shape for value in feed.values()))
        with turn:  # a session that answers one at a time holds memory for one
            answer: list[npt.NDArray[Any]] = session.run(outputs, feed)
            return answer

    def _session(self, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, Lock]:
        with self._lock:
            if shapes not in self._sessions:
                self._sessions[shapes] = self._spare.pop() if self._spare else self._opened(), Lock()
            self._sessions.move_to_end(shapes)
            if len(self._sessions) > self._most:
                self._sessions.popitem(last=False)
            return self._sessions[shapes]


def use_threads(count: int) -> None:
    """How many threads sessions that this process opens from now on answer with; 0 for as many as there are cores.

    Several processes want their share of the cores each: on two cores a second thread takes a fifth more processor time
    for the network. Answers are the same for any count. OpenCV has its own: `cv2.setNumThreads`.

    Raises:
        ValueError: the count is negative.
    """
    global _threads  # noqa: PLW0603 - the process's, as OpenCV's is
    if count < 0:
        raise ValueError(f"threads are 0 or more, got {count}")
    _threads = count


def available_providers() -> tuple[Provider, ...]:
    """Providers that are installed, in the order of `PROVIDERS`; a GPU's driver is only tried when a session starts.

    Raises:
        DeploymentError: ONNX Runtime is not installed.
    """
    offered = set(_runtime().get_available_providers())
    return tuple(
        name
        for name in PROVIDERS
        if EXECUTION_PROVIDERS[name] in offered
        or (name == "openvino" and importlib.util.find_spec("onnxruntime_ep_openvino") is not None)
    )


def _runtime() -> Any:  # noqa: ANN401 - onnxruntime is published without types
    try:
        import onnxruntime  # noqa: PLC0415 - heavy, and absent until an extra is chosen
    except ImportError as error:
        raise DeploymentError(f"ONNX Runtime is missing: {_INSTALL['cpu']} (or [gpu], [openvino])") from error
    return onnxruntime


def open_session(path: Path, content: bytes, wanted: Sequence[str] | None) -> Any:  # noqa: ANN401
    """A session on the first provider wanted, or on the first of all that starts.

    Raises:
        DeviceError: the provider does not exist, is not installed, or does not start.
        ModelError: the file is damaged.
    """
    if wanted is not None:
        unknown = [name for name in wanted if name not in PROVIDERS]
        if unknown or not wanted:
            raise DeviceError(
                f"a provider is one of {', '.join(PROVIDERS)}, got {', '.join(unknown) or 'none'}"
            )
        return start(path, content, wanted[0])
    problems = []
    for name in available_providers():
        try:
            return start(path, content, name)
        except DeviceError as error:
            problems.append(str(error))  # a plugin without its device: the next one will do
    raise DeviceError("no execution provider starts: " + "; ".join(problems))


def start(path: Path, content: bytes, name: str) -> Any:  # noqa: ANN401
    """A session on that provider.

    Raises:
        DeviceError: it is not installed, or does not start on this machine.
        ModelError: the file is damaged.
    """
    runtime = _runtime()
    if name not in available_providers():
        raise DeviceError(f"the provider {name!r} is not installed: {_INSTALL[name]}")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # its own warnings go to standard error, past every logger
    options.enable_mem_pattern = False  # runs come in many lengths: a plan kept for each doubles the memory
    options.intra_op_num_threads = _threads
    # threads that wait would burn a quarter of all processor time, which other videos could use
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    execution = EXECUTION_PROVIDERS[name]
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
    if name == "cuda":
        # cuDNN's plans that do not fit half precision are tried and left out, each with an error on standard error
        runtime.set_default_logger_severity(4)
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

    execution = EXECUTION_PROVIDERS["openvino"]
    if not any(device.ep_name == execution for device in runtime.get_ep_devices()):
        runtime.register_execution_provider_library(execution, plugin.get_library_path())
    devices = [device for device in runtime.get_ep_devices() if device.ep_name == execution]
    cpus = [device for device in devices if device.device.type == runtime.OrtHardwareDeviceType.CPU]
    if not cpus:
        raise DeviceError("OpenVINO's plugin offers no CPU on this machine: it takes Intel's alone")
    return cpus[:1]
