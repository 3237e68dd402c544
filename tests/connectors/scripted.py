"""Detectors for the connectors' tests, named by `package.module:callable` as a user's own would be.

`detector` is the real one with a scripted network: the brightness of a face decides. The others do to their process
what a video may do to it.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NoReturn

import numpy as np

from dmcl_sdk import Detector
from dmcl_sdk.faces import Face
from dmcl_sdk.testing import Crops, KnownFaces, ScriptedNetwork
from dmcl_sdk.verdict import Verdict

KNOWN = Face(
    (0.2, 0.1, 0.8, 0.9), np.array([[0.4, 0.4], [0.6, 0.4], [0.5, 0.6], [0.42, 0.75], [0.58, 0.75]]), 1.0
)


def _logit(crop: Crops) -> tuple[float, float, float]:
    brightness = float(crop.mean()) / 32 - 4
    return brightness, brightness, brightness


class Scripted:
    """Scores with the real detector, unless the file says otherwise in its first bytes.

    Args:
        delay_s: taken for each video, as real ones take their time.
        log: a file that gets a line for each video that is scored.
    """

    def __init__(self, *, delay_s: float = 0.0, log: str | None = None) -> None:
        self._detector = Detector(ScriptedNetwork(_logit), face_model=KnownFaces((KNOWN,)))
        self._delay_s = delay_s
        self._log = log
        self.model = self._detector.model
        self.runtime = self._detector.runtime

    def score(self, video: Path) -> Verdict:
        """A verdict, or the end."""
        with video.open("rb") as file:
            script = file.read(16)
        if self._log is not None:
            with Path(self._log).open("a") as log:
                log.write(f"{os.getpid()}\n")
        if script.startswith(b"#"):
            _obey(script.decode().strip())
        time.sleep(self._delay_s)
        return self._detector.score(video)


def _obey(script: str) -> NoReturn:
    match script:
        case "#segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "#abort":
            os.abort()
        case "#exit":
            os._exit(3)
        case "#forever":
            time.sleep(3600)
        case "#bug":
            raise IndexError("list index out of range")
        case "#memory":
            np.ones(1 << 40)
        case "#4 GiB":
            np.empty(4 << 30, np.uint8)  # there is so much, or else a limit
            raise ValueError("nothing has kept it from 4 GiB")
    raise AssertionError(script)


def broken(**_: object) -> NoReturn:
    """A detector that does not start."""
    raise ValueError("the model file is from another planet")


def dying(**_: object) -> NoReturn:
    """A detector that takes its process down when it starts."""
    os._exit(4)


detector = Scripted
