from __future__ import annotations

import gc
import re
import subprocess
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors import config_cli
from connectors.errors import SettingsError
from connectors.settings import Settings, read_settings
from connectors.sinks import open_sink
from tests.connectors.scripted import __name__ as scripted
from tests.connectors.servers import free_port

# kafka-python leaves the socket of a connection that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def _sockets_are_collected() -> Iterator[None]:
    yield
    until = time.monotonic() + 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        while any("kafka" in thread.name for thread in threading.enumerate()) and time.monotonic() < until:
            time.sleep(0.05)
        gc.collect()


EXAMPLE = """
policy = "policy.toml"

[kafka]
bootstrap_servers = ["broker:9092"]
topics = ["uploads"]
security_protocol = "SASL_SSL"
sasl_mechanism = "PLAIN"
sasl_username = "scanner"
sasl_password = "sesame"

[sinks.moderation]
type = "webhook"
url = "https://moderation.example/sesame"
secrets = ["whsec_sesame"]
attempts = 5

[media]
max_file = "2 GiB"

[scoring]
processes = 3
options = { providers = ["cpu"], api_key = "sesame" }
"""


def read(text: str = EXAMPLE, tmp: Path | None = None, **environment: str) -> Settings:
    path = None
    if tmp is not None:
        path = tmp / "dmcl.toml"
        path.write_text(text)
    return read_settings(path, environment)


def test_a_file_says_what_is_in_force(tmp_path: Path) -> None:
    settings = read(tmp=tmp_path)
    assert settings.kafka is not None
    assert settings.kafka.topics == ("uploads",)
    assert settings.kafka.dead_letters == "uploads.dead-letters"
    assert settings.media.max_file == 2 << 30
    assert settings.sinks["moderation"]["attempts"] == 5
    assert settings.scoring.processes == 3


def test_the_environment_goes_before_the_file_and_leaves_the_rest(tmp_path: Path) -> None:
    settings = read(
        tmp=tmp_path,
        DMCL_KAFKA__GROUP_ID="others",
        DMCL_KAFKA__TOPICS='["a", "b"]',
        DMCL_SCORING__PROCESSES="7",
        DMCL_SINKS__MODERATION__SECRETS='["whsec_other"]',
        DMCL_SERVICE__SERVE="false",
        DMCL_MEDIA__S3__ENDPOINT_URL="http://ceph:7480",
    )
    assert settings.kafka is not None
    assert (settings.kafka.group_id, settings.kafka.topics) == ("others", ("a", "b"))
    assert settings.kafka.bootstrap_servers == ("broker:9092",)
    assert settings.scoring.processes == 7
    assert settings.sinks["moderation"]["secrets"] == ["whsec_other"]
    assert settings.sinks["moderation"]["type"] == "webhook"
    assert settings.service.serve is False
    assert settings.media.s3.endpoint_url == "http://ceph:7480"


def test_a_deployment_may_live_from_the_environment_alone() -> None:
    settings = read(
        DMCL_KAFKA='{"bootstrap_servers": ["b:1"], "topics": ["t"]}', DMCL_SINKS__OUT__TYPE="stdout"
    )
    assert settings.kafka is not None
    assert settings.sinks == {"out": {"type": "stdout"}}


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    read(tmp=tmp_path)
    settings = read_settings(None, {"DMCL_CONFIG": str(tmp_path / "dmcl.toml")})
    assert settings.policy == "policy.toml"


def test_the_example_of_the_documentation_is_right(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "connectors.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    settings = read(example, tmp_path)
    with closing(open_sink(settings.sinks["moderation"])) as sink:
        assert sink.name == "webhook:moderation.example"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN"},
            "SASL_SSL needs sasl_username, sasl_password",
        ),
        (
            {"SASL_USERNAME": "scanner", "SASL_PASSWORD": "sesame"},
            "PLAINTEXT has no use for sasl_username, sasl_pass",
        ),
        ({"SECURITY_PROTOCOL": "SSL", "SASL_PASSWORD": "sesame"}, "SSL has no use for sasl_password"),
        ({"SSL_CAFILE": "/etc/ca.pem"}, "PLAINTEXT has no use for ssl_cafile"),
    ],
)
def test_credentials_that_would_not_be_used_are_an_error(given: dict[str, str], message: str) -> None:
    servers = {"DMCL_KAFKA__BOOTSTRAP_SERVERS": '["broker:9092"]', "DMCL_KAFKA__TOPICS": '["uploads"]'}
    variables = {f"DMCL_KAFKA__{name}": value for name, value in given.items()}
    with pytest.raises(SettingsError, match=f"kafka: security_protocol {message}") as caught:
        read_settings(None, servers | variables)
    assert "sesame" not in str(caught.value)


def test_what_kubernetes_sets_for_a_service_of_our_name_is_not_ours() -> None:
    read(DMCL_PORT="tcp://10.0.0.1:80", DMCL_PORT_80_TCP_ADDR="10.0.0.1", DMCL_SERVICE_HOST="10.0.0.1")


@pytest.mark.parametrize(
    ("text", "environment", "says"),
    [
        ("[kafkaa]\n", {}, r"kafkaa: there is no such setting; did you mean kafka\?"),
        ("[media]\nmax_fle = 3\n", {}, r"media.max_fle: there is no such setting; did you mean max_file\?"),
        ("[media.s3]\nregon = 'x'\n", {}, r"media.s3.regon: .* did you mean region\?"),
        ("", {"DMCL_SCORING__PROCESES": "2"}, r"scoring.proceses: .* did you mean processes\?"),
        ("", {"DMCL_SCORINGS": "2"}, r"scorings: .* did you mean scoring\?"),
        ("", {"DMCL_ZZZ": "2"}, "zzz: there is no such setting$"),
        ("[kafka]\ntopics = ['a']\n", {}, "kafka.bootstrap_servers: field required"),
        ("[scoring]\nprocesses = 0\n", {}, "scoring.processes: input should be greater than or equal to 1"),
        ("[ledger]\nurl = 'mysql://u:sesame@h/d'\n", {}, "ledger.url: starts with postgresql://"),
        ("[kafka\n", {}, "not TOML"),
        ("", {"DMCL_KAFKA__TOPICS": '["a"'}, "DMCL_KAFKA__TOPICS: begins as JSON does, and is not"),
        ("", {"DMCL_POLICY": "x", "DMCL_POLICY__ID": "y"}, "DMCL_POLICY__ID: policy is set as a whole"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, environment: Mapping[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        read(text, tmp_path, **environment)
    assert "sesame" not in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"/absent/dmcl\.toml: No such file"):
        read_settings(Path("/absent/dmcl.toml"), {})


def test_what_is_in_force_is_toml_without_secrets(tmp_path: Path) -> None:
    lines = "\n".join(read(tmp=tmp_path, DMCL_LEDGER__URL="postgresql://dmcl:sesame@host/db").lines())
    assert "sesame" not in lines
    shown = tomllib.loads(lines)
    assert shown["kafka"]["sasl_password"] == "**********"  # noqa: S105 - no secret
    assert shown["sinks"]["moderation"]["type"] == "webhook"
    assert shown["sinks"]["moderation"]["attempts"] == 5
    assert shown["scoring"]["processes"] == 3


def test_settings_do_not_show_secrets_when_they_are_printed(tmp_path: Path) -> None:
    settings = read(tmp=tmp_path)
    assert "sesame" not in f"{settings.kafka!r}"


def config_check(*args: str, **environment: str) -> tuple[int, str, str]:
    result = CliRunner(env=environment).invoke(config_cli.app, ["check", *args])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_shows_what_is_in_force(tmp_path: Path) -> None:
    read(tmp=tmp_path)
    status, shown, _ = config_check(str(tmp_path / "dmcl.toml"))
    assert status == 0
    assert 'kafka.topics = ["uploads"]' in shown
    assert "sesame" not in shown


def test_the_command_names_a_mistake_and_ends_with_2() -> None:
    status, _, said = config_check(DMCL_KAFKAA__X="1")
    assert status == 2
    assert "did you mean kafka?" in said


def test_the_command_says_what_cannot_be_reached(tmp_path: Path) -> None:
    port = free_port()
    status, _, said = config_check(
        "--connect",
        DMCL_KAFKA__BOOTSTRAP_SERVERS=f'["127.0.0.1:{port}"]',
        DMCL_KAFKA__TOPICS='["uploads"]',
        DMCL_KAFKA__TIMEOUT_S="1",
        DMCL_SINKS__OUT__TYPE="stdout",
        DMCL_SINKS__BAD__TYPE="pigeon",
        DMCL_SINKS__AWAY__TYPE="kafka",
        DMCL_SINKS__AWAY__BOOTSTRAP_SERVERS=f'["127.0.0.1:{port}"]',
        DMCL_SINKS__AWAY__TOPIC="verdicts",
        DMCL_SINKS__AWAY__TIMEOUT_S="1",
        DMCL_LEDGER__PATH=str(tmp_path / "ledger.db"),
        DMCL_SCORING__DETECTOR=f"{scripted}:broken",
    )
    assert status == 1
    assert "ok      ledger" in said
    assert "ok      sinks.out" in said
    assert "FAILED  sinks.bad: no sink of type 'pigeon'" in said
    assert "FAILED  sinks.away: kafka:verdicts" in said
    assert "FAILED  scoring: the detector" in said
    assert "FAILED  kafka: kafka:uploads" in said


@pytest.mark.parametrize(
    ("command", "table"),
    [("kafka run", "kafka"), ("s3 run", "s3"), ("source run pigeons", "sources.pigeons")],
)
def test_a_daemon_without_its_table_says_which_one_it_needs(command: str, table: str) -> None:
    program = Path(sys.executable).with_name("dmcl")
    ended = subprocess.run([program, *command.split()], capture_output=True, text=True, check=False, env={})
    assert ended.returncode == 2
    assert f"[{table}]" in ended.stderr


def test_a_daemon_without_a_sink_says_so(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("dmcl")
    table = '{"bootstrap_servers": ["broker:9092"], "topics": ["uploads"]}'
    ended = subprocess.run(
        [program, "kafka", "run"],
        capture_output=True,
        text=True,
        check=False,
        env={"DMCL_KAFKA": table},
        cwd=tmp_path,
    )
    assert ended.returncode == 2
    assert "verdicts go nowhere" in ended.stderr
