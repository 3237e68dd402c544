"""The inside of a scoring process: it holds a detector, takes paths and answers with verdicts."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from connectors.detectors import fingerprint, open_detector
from connectors.errors import SettingsError
from dmcl_sdk.errors import DeploymentError, VideoError
from dmcl_sdk.sessions import use_threads


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process is told when it starts."""

    detector: str
    options: Mapping[str, Any]
    memory_limit: int | None
    threads: int


def serve(pipe: Connection, setup: Setup) -> None:
    """Open the detector, and answer for one video after the other until the pipe ends.

    Each answer is a JSON object of one key. The first is `ready`, with the detector's fingerprint, or `deployment`,
    with what is wrong. Then for each path comes `verdict`, `video` (what is wrong with the file), `deployment` or
    `failed`.
    """
    _live_as_long_as_the_parent()
    # A Ctrl-C or a stopped service is for the daemon, which lets us finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.dup2(2, 1)  # standard output may be where verdicts go: no library is to write there
    try:
        if setup.memory_limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (setup.memory_limit, setup.memory_limit))
        use_threads(setup.threads)
        detector = open_detector(setup.detector, setup.options)
        ready = fingerprint(setup.detector, setup.options, detector)
    except Exception as error:  # noqa: BLE001 - the daemon reports it
        _tell(pipe, "deployment", str(error) if isinstance(error, SettingsError) else traceback.format_exc())
        return
    _tell(pipe, "ready", ready)
    with suppress(EOFError, OSError):
        while True:
            video = pipe.recv_bytes().decode()
            try:
                _tell(pipe, "verdict", detector.score(Path(video)).to_json())
            except VideoError as error:
                _tell(pipe, "video", [error.name, error.problem, error.message])
            except DeploymentError as error:
                _tell(pipe, "deployment", str(error))
            except MemoryError:
                os._exit(137)  # what is left of it cannot be trusted
            except Exception as error:  # noqa: BLE001 - the video is poison, and says why
                where = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
                _tell(pipe, "failed", what)


def _tell(pipe: Connection, kind: str, what: str | list[str]) -> None:
    pipe.send_bytes(json.dumps({kind: what}).encode())


def _live_as_long_as_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
