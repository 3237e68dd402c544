"""Whether videos can be scored here: what is installed, what really runs, and how long each stage takes."""

from __future__ import annotations

import importlib
import importlib.util
import io
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

State = Literal["ok", "failed", "absent"]

_NEEDED = {"NumPy": "numpy", "OpenCV": "cv2", "SciPy": "scipy", "PyAV": "av", "ONNX Runtime": "onnxruntime"}
_OPTIONAL = {
    "report": "jinja2",
    "connectors": "kafka",
    "openvino": "onnxruntime_ep_openvino",
    "train": "torch",
}
_CLIP_S, _CLIP_RATE, _CLIP_WIDTH, _CLIP_HEIGHT = 2, 25, 640, 360


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination.

    Attributes:
        name: what was looked at.
        state: "absent" is an option that is not installed, and no fault.
        found: what was found, in words.
        seconds: wall time, where a stage was timed.
    """

    name: str
    state: State
    found: str
    seconds: float | None = None


def examine() -> Iterator[Check]:
    """Look at one thing after another, and go on after a fault: later lines may explain it."""
    yield Check("Python", "ok", f"{platform.python_version()}, {platform.platform()}")
    yield Check("dmcl-sdk", "ok", version("dmcl-sdk"))
    for name, module in _NEEDED.items():
        yield from _guarded(name, _package(name, module))
    yield from (_option(extra, module) for extra, module in _OPTIONAL.items())
    yield from _guarded("providers", _providers())
    yield from _guarded("cuda", _cuda())
    yield from _guarded("self-test", _decode_and_faces())
    yield from _guarded("self-test", _motion_and_network())


def _guarded(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    try:
        yield from checks
    except Exception as error:  # noqa: BLE001 - whatever is wrong here is the finding
        yield Check(name, "failed", f"{type(error).__name__}: {error}")


def _package(name: str, module: str) -> Iterator[Check]:
    yield Check(name, "ok", str(importlib.import_module(module).__version__))


def _option(extra: str, module: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(f"[{extra}]", "absent", f"pip install 'dmcl-sdk[{extra}]' brings {module}")
    return Check(f"[{extra}]", "ok", f"{module} is installed")


def _providers() -> Iterator[Check]:
    from dmcl_sdk.sessions import available_providers

    installed = available_providers()
    if not installed:
        yield Check(
            "providers", "failed", "none that this package knows is installed: pip install 'dmcl-sdk[cpu]'"
        )
    else:
        yield Check("providers", "ok", f"{', '.join(installed)} installed; the first that starts is taken")


def _cuda() -> Iterator[Check]:
    """A GPU is taken only when it is asked for, so it is started here, to say whether it would."""
    from dmcl_sdk.errors import DeviceError
    from dmcl_sdk.network import OnnxNetwork
    from dmcl_sdk.sessions import available_providers

    if "cuda" not in available_providers():
        return
    try:
        OnnxNetwork(providers=["cuda"])
    except DeviceError as error:
        yield Check("cuda", "absent", str(error))
    else:
        asked = 'taken when asked for, by --device cuda or Detector(providers=["cuda"])'
        yield Check("cuda", "ok", f"starts; {asked}; docs/how-to/gpu.md says when that pays")


def _decode_and_faces() -> Iterator[Check]:
    """A whole video through the detector; it has no face, so the network has nothing to say."""
    from dmcl_sdk.detector import Detector

    with Detector() as detector:
        model, providers = detector.model, detector.providers
        verdict = detector.score(made_clip())
    yield Check("model", "ok", f"{model.name} {model.version}, sha256 {model.sha256[:12]}")
    yield Check("runs on", "ok", ", ".join(providers))
    made = f"of {_CLIP_S} s at {_CLIP_WIDTH}x{_CLIP_HEIGHT}"
    yield Check("decode", "ok", made, verdict.timings.decode_s)
    yield Check("faces", "ok", made, verdict.timings.faces_s)
    codes = [reason.code for reason in verdict.reasons]
    if "no_face" not in codes:
        yield Check(
            "verdict", "failed", f"a clip without a face came back {verdict.status}: {', '.join(codes)}"
        )
    else:
        yield Check("verdict", "ok", "no face in a clip without one")


def _motion_and_network() -> Iterator[Check]:
    """A made face crop through the stages that the clip without a face does not reach."""
    import numpy as np

    from dmcl_sdk.motion import motion_fields
    from dmcl_sdk.network import OnnxNetwork

    network = OnnxNetwork()
    spec = network.spec
    frames = -(-_CLIP_S * _CLIP_RATE // spec.frames_multiple) * spec.frames_multiple
    noise = np.random.default_rng(0).integers(0, 256, (1, spec.size_px, spec.size_px, 3), np.uint8)
    crops = np.concatenate([np.roll(noise, t, 2) for t in range(frames)])  # (T, S, S, 3)
    made = f"of {frames} made crops of {spec.size_px} px"
    began = time.perf_counter()
    motion = motion_fields(crops, spec.motion)
    yield Check("motion", "ok", made, time.perf_counter() - began)
    rgb = crops[None, spec.looks]
    network.run(rgb, motion[None])  # the first call also plans memory
    began = time.perf_counter()
    curves = network.run(rgb, motion[None])
    took = time.perf_counter() - began
    sound = bool(np.isfinite(curves.fused).all()) and curves.fused.shape == (1, frames)
    yield Check(
        "network",
        "ok" if sound else "failed",
        made if sound else "its answer is not one number a frame",
        took,
    )


def made_clip() -> bytes:
    """Two seconds of a moving pattern without a face, as an MP4 file in memory."""
    import av
    import numpy as np

    file = io.BytesIO()
    columns, rows = np.meshgrid(np.arange(_CLIP_WIDTH), np.arange(_CLIP_HEIGHT))
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=_CLIP_RATE)
        stream.width, stream.height, stream.pix_fmt = _CLIP_WIDTH, _CLIP_HEIGHT, "yuv420p"
        for t in range(_CLIP_S * _CLIP_RATE):
            waves = 128 + 100 * np.sin((columns + 4 * t) / 17) * np.cos((rows - 2 * t) / 23)
            picture = np.repeat(waves.astype(np.uint8)[..., None], 3, 2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
