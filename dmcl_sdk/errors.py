"""What can go wrong, grouped by what the caller does next.

    DmclError
    ├── VideoError       this file cannot be scored: answer for it and go on with the next
    └── DeploymentError  nothing can be scored until a person mends the installation
        ├── ModelError   the model file is damaged or does not fit this version
        └── DeviceError  the execution provider asked for is not there

A video in which nothing can be judged (no face, too small, too dark) is not an error: it has a verdict
whose status and reasons say so.
"""

from __future__ import annotations

from typing import Literal

VideoProblem = Literal[
    "missing", "unreadable", "empty", "not_a_video", "no_video_stream", "encrypted", "no_frames", "over_limit"
]
"""What is wrong with a file, for programs; the message says it for people."""


class DmclError(Exception):
    """Any error that this package raises on purpose."""


class VideoError(DmclError):
    """A file that is not a video we can decode, or is over a limit.

    Attributes:
        name: the path, or `<bytes>` / `<file>` for input without one.
        problem: what is wrong, for programs.
    """

    def __init__(self, name: str, problem: VideoProblem, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.problem: VideoProblem = problem
        self.message = message

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, VideoProblem, str]]:
        """Keeps the error picklable, for worker processes."""
        return type(self), (self.name, self.problem, self.message)


class DeploymentError(DmclError):
    """The installation is wrong: no file can be scored until it is mended."""


class ModelError(DeploymentError):
    """The model file is missing, damaged, or made for another version."""


class DeviceError(DeploymentError):
    """The execution provider asked for is not installed or does not start."""
