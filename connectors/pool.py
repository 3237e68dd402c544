"""Scoring in processes of its own, so that a video can take down nothing but the process that decodes it.

A decoder is a large piece of C that reads what strangers wrote. Here it runs apart: a video that crashes it, eats all
memory or never ends costs one process, which is replaced, and the video is poison. Verdicts come back as JSON: a
process that a video took over must not be able to hand the daemon objects of its choice.

Each thread that calls `score` watches over the process that it borrowed; there is no other supervision.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, LifoQueue
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from connectors.errors import PoisonError, SettingsError, StoppedError
from connectors.scoring_process import Setup, serve
from dmcl_sdk.errors import VideoError
from dmcl_sdk.verdict import Verdict

_START_S = 300.0
"""Longest time for a process to load its model, on the slowest machine."""
_DYING_S = 5.0
"""Longest wait for a process that has closed its pipe to be gone, and say how it ended."""
_MAX_ANSWER_BYTES = 64 << 20
_SPAWN = multiprocessing.get_context("spawn")  # a fork would inherit locks that other threads hold


class ScoringSettings(BaseModel):
    """Who scores, in how many processes, and what one video may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str = "default"
    """An entry point of `dmcl.detectors`, or `package.module:callable`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of that; of the default: model, providers, face_model, max_seconds."""
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    """Videos that are scored at the same time."""
    time_limit_s: Annotated[float, Field(gt=0)] = 900.0
    """Longest time for one video."""
    tries: Annotated[int, Field(ge=1, le=10)] = 2
    """How often in all a video is tried that ends the process it is in."""
    memory_limit: ByteSize | None = None
    """Most that one process may have; what the container allows without. Needs Linux."""


class ScoringPool:
    """Processes that hold a detector each; for any number of threads.

    Raises:
        SettingsError: the detector does not start.
    """

    def __init__(self, settings: ScoringSettings) -> None:
        self._settings = settings
        threads = max(1, (os.cpu_count() or 1) // settings.processes)
        self._setup = Setup(settings.detector, settings.options, settings.memory_limit, threads)
        self._stopped = threading.Event()
        self._processes = [_Scoring(self._setup) for _ in range(settings.processes)]
        self._idle: LifoQueue[_Scoring | None] = LifoQueue()
        self.killed = 0
        """Processes that were replaced so far."""
        try:
            self.fingerprint = self._processes[0].start()
        except BaseException:
            self.close()
            raise
        for one in reversed(self._processes):
            self._idle.put(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def score(self, video: Path) -> Verdict:
        """Wait for a process and have the video scored there.

        Raises:
            VideoError: the file is not a video.
            PoisonError: `killed_worker`, `timeout`, or `detector_failed` when it raises what it should not.
            SettingsError: no process starts any more.
            StoppedError: the pool was closed.
        """
        one = self._idle.get()
        try:
            if one is None or self._stopped.is_set():
                raise StoppedError("the pool is closed")
            return self._scored(one, video)
        finally:
            self._idle.put(one)

    def close(self) -> None:
        """End every process, also those at work: their `score` raises `StoppedError`."""
        self._stopped.set()
        for one in self._processes:
            one.strike()
        with suppress(Empty):
            while (idle := self._idle.get_nowait()) is not None:  # those at work are left to their threads
                idle.kill()
        self._idle.put(None)  # wakes whoever waits, who wakes the next

    def _scored(self, one: _Scoring, video: Path) -> Verdict:
        died = ""
        for _ in range(self._settings.tries):
            self._start(one)
            try:
                return _verdict(one.ask(str(video), self._settings.time_limit_s))
            except TimeoutError:
                self._replace(one)
                limit_s = self._settings.time_limit_s
                raise PoisonError("timeout", f"not scored within {limit_s:g} s") from None
            except EOFError:
                died = self._replace(one, wait_s=_DYING_S)
        raise PoisonError(
            "killed_worker", f"ended its process {self._settings.tries} times, the last time {died}"
        )

    def _start(self, one: _Scoring) -> None:
        try:
            one.start()
        except SettingsError:
            if not self._stopped.is_set():
                raise
        if self._stopped.is_set():
            one.kill()
            raise StoppedError("the pool is closed")

    def _replace(self, one: _Scoring, *, wait_s: float = 0.0) -> str:
        died = one.kill(wait_s=wait_s)
        if self._stopped.is_set():
            raise StoppedError("the pool is closed")
        self.killed += 1
        return died


class _Scoring:
    """One process, and our end of the pipe to it."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()
        self._fingerprint = ""

    def start(self) -> str:
        """Have a living process; the detector's fingerprint."""
        if self._process is not None and self._process.is_alive():
            return self._fingerprint
        self.kill()
        with self._lock:
            self._pipe, theirs = _SPAWN.Pipe()
            self._process = _SPAWN.Process(target=serve, args=(theirs, self._setup), daemon=True)
            self._process.start()
            theirs.close()
        try:
            said = self._answer(_START_S)
        except (EOFError, TimeoutError):
            raise SettingsError(
                f"a scoring process does not start: it ended {self.kill(wait_s=_DYING_S)}"
            ) from None
        if "ready" not in said:
            self.kill()
            raise SettingsError(str(said.get("deployment", "a scoring process does not start")))
        self._fingerprint = str(said["ready"])
        return self._fingerprint

    def ask(self, video: str, limit_s: float) -> dict[str, Any]:
        """What the process says of a video.

        Raises:
            EOFError: it is no more.
            TimeoutError: it says nothing in time.
        """
        pipe = self._pipe
        if pipe is None:
            raise EOFError
        with suppress(OSError):  # of a process that is no more: the answer will tell
            pipe.send_bytes(video.encode())
        return self._answer(limit_s)

    def strike(self) -> None:
        """End it; whoever waits for its answer finds it dead and cleans up."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def kill(self, *, wait_s: float = 0.0) -> str:
        """End it, whatever it does, and clean up; how it ended, if it did so by itself within `wait_s`."""
        with self._lock:
            process, self._process = self._process, None
            pipe, self._pipe = self._pipe, None
        if process is None:
            return "not started"
        process.join(wait_s)
        code = process.exitcode
        process.kill()
        process.join()
        process.close()
        if pipe is not None:
            pipe.close()
        return _ending(code)

    def _answer(self, limit_s: float) -> dict[str, Any]:
        pipe = self._pipe
        until = time.monotonic() + limit_s
        try:
            while pipe is not None and not pipe.poll(min(1.0, max(0.0, until - time.monotonic()))):
                if time.monotonic() >= until:
                    raise TimeoutError
            if pipe is None:
                raise EOFError
            said = json.loads(pipe.recv_bytes(_MAX_ANSWER_BYTES))
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise EOFError from error
        return said if isinstance(said, dict) else {}


def _verdict(said: Mapping[str, Any]) -> Verdict:
    match said:
        case {"verdict": str(text)}:
            try:
                return Verdict.model_validate_json(text)
            except ValidationError as error:
                raise PoisonError("detector_failed", f"no verdict but {error.error_count()} faults") from None
        case {"video": [str(name), str(problem), str(message)]}:
            raise VideoError(name, problem, message)  # type: ignore[arg-type]
        case {"deployment": str(message)}:
            raise SettingsError(message)
    raise PoisonError("detector_failed", str(said.get("failed", "an answer of another kind"))[:2000])


def _ending(code: int | None) -> str:
    if code is None:
        return "killed by us"
    if code >= 0:
        return f"with exit status {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
