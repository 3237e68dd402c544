"""Other systems' networks as yardsticks: files that `benchmarks/export_peers.py` writes.

Their weights are random, for it is the cost that counts. One run is measured and multiplied by how many a second of
video takes; what else those systems do, finding faces before all, is left out in their favour.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmcl_sdk.errors import ModelError

PEER_KEY = "dmcl.peer"
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True, slots=True)
class Peer:
    """A network beside which ours is measured.

    Attributes:
        name: whose, and which.
        per_second: runs for a second of video; None where their number does not grow with the video.
        per_video: runs for a video of any length; None where it does.
        note: how it is used there.
        run: runs it once.
    """

    name: str
    per_second: float | None
    per_video: float | None
    note: str
    run: Callable[[], object]

    def video_s(self, duration_s: float) -> float:
        """Seconds of video that one run stands for, in a video of this length."""
        if self.per_second is not None:
            return 1 / self.per_second
        return duration_s / (self.per_video or 1)


def read_peers(folder: Path) -> list[Peer]:
    """The networks in a folder, by name of file.

    Raises:
        ModelError: there are none, or one says nothing of its use.
    """
    files = sorted(folder.glob("*.onnx"))
    if not files:
        raise ModelError(f"{folder}: no *.onnx in it: python benchmarks/export_peers.py {folder} writes them")
    return [_opened(file) for file in files]


def _opened(path: Path) -> Peer:
    import onnxruntime  # noqa: PLC0415 - heavy

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map[PEER_KEY])
        feed = {value.name: _noise(value.shape, value.type) for value in session.get_inputs()}
    except Exception as error:  # the runtime raises a class of its own for every reason
        raise ModelError(f"{path}: not a file of benchmarks/export_peers.py: {error}") from error
    return Peer(
        about["name"],
        about.get("per_second"),
        about.get("per_video"),
        about["note"],
        lambda: session.run(None, feed),
    )


def _noise(shape: list[int], kind: str) -> np.typing.NDArray[np.floating[Any]]:
    return np.random.default_rng(0).standard_normal(shape, np.float32).astype(_DTYPES[kind])
