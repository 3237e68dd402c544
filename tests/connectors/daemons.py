"""A daemon as a process of its own, as an operator runs it: started, asked to end, killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.connectors.scripted import __name__ as scripted
from tests.connectors.servers import PATIENCE_S, _dying_with_us, free_port

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("dmcl")
START_S = 300.0
"""Longest wait for a daemon to have loaded everything, on a busy machine."""


@dataclass
class DaemonProcess:
    """One daemon, in a folder that holds its settings, its ledger and what it wrote."""

    folder: Path
    command: str
    settings: Mapping[str, Any]
    name: str = "daemon"
    inside: Sequence[str] = ()
    """What goes before the command, as `ip netns exec NAME`."""
    port: int = field(default_factory=free_port)
    running: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Run, and wait until the loop does."""
        began = len(self.log())
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DMCL_")}
        plugins = environment.get("PYTHONPATH", "")
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.running = subprocess.Popen(
                [*_dying_with_us(), *self.inside, str(PROGRAM), *self.command.split()],
                cwd=ROOT,
                env=environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{plugins}"} | self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_for(
                lambda: any(line.get("event") == "started" for line in self.log()[began:]), "start", START_S
            )

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self._signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """As an operator does; the exit status."""
        self._signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Until it has ended by itself; the exit status."""
        assert self.running is not None
        try:
            status = self.running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
            raise AssertionError(f"it does not end: {self.text()[-3000:]}") from None
        self.running = None
        return status

    def pause(self) -> None:
        """As a machine that is overloaded."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `pause`."""
        self._signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.running is not None and self.running.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.running is not None
        return self.running.pid

    def log(self) -> list[dict[str, Any]]:
        """Its log, an event each."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def text(self) -> str:
        """All that it wrote."""
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Of this name in its log."""
        return [line for line in self.log() if line.get("event") == name]

    def get(self, path: str) -> tuple[int, str]:
        """What its service answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 when it is not there."""
        wanted = re.compile(rf"^{name}(\{{(?P<labels>.*)\}})? (?P<value>\S+)$", re.MULTILINE)
        return sum(
            float(found["value"])
            for found in wanted.finditer(self.get("/metrics")[1])
            if all(f'{key}="{value}"' in (found["labels"] or "") for key, value in labels.items())
        )

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Until something holds, while it runs."""
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until or not self.alive:
                raise AssertionError(f"{what}: not so after {timeout_s:g} s: {self.text()[-3000:]}")
            time.sleep(0.05)

    def _signal(self, number: signal.Signals) -> None:
        assert self.running is not None
        self.running.send_signal(number)

    def _variables(self) -> dict[str, str]:
        own = {
            "scoring": {"detector": f"{scripted}:detector"},
            "ledger": {"path": str(self.folder / "ledger.db")},
            "media": {"folder": str(self.folder / "in flight"), "keep_free": 0},
            "service": {"port": self.port},
        }
        tables = {name: own.get(name, {}) | self.settings.get(name, {}) for name in {*own, *self.settings}}
        return {f"DMCL_{name.upper()}": json.dumps(table) for name, table in tables.items()}


@contextmanager
def daemon(folder: Path, command: str, settings: Mapping[str, Any], **others: Any) -> Iterator[DaemonProcess]:  # noqa: ANN401
    """A daemon that is started, and gone with the block."""
    made = DaemonProcess(folder, command, settings, **others)
    made.start()
    try:
        yield made
    finally:
        if made.alive:
            made.kill()
