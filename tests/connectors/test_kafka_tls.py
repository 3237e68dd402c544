"""Kafka by TLS: who is not whom we mean to speak to gets nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from connectors.errors import SettingsError
from connectors.sinks.kafka import KafkaSink, KafkaSinkSettings
from connectors.testing import made_delivery
from tests.connectors.daemons import daemon
from tests.connectors.faults import tls_relay
from tests.connectors.servers import tansu
from tests.connectors.topics import Topics

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("sockets_are_collected"),
]
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """Who signs certificates, and the file that makes clients trust them."""

    ca: trustme.CA
    file: str


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(trustme.CA(), str(tmp_path_factory.mktemp("ca") / "ca.pem"))
    made.ca.cert_pem.write_to_path(made.file)
    return made


@contextmanager
def broker_with(certificate: trustme.LeafCert, folder: Path, cafile: str) -> Iterator[dict[str, Any]]:
    """A broker behind TLS; the settings with which it is reached."""
    with tls_relay(certificate) as relay, tansu(folder, advertised=relay.port) as broker:
        relay.upstream_port = broker.port
        yield {
            "bootstrap_servers": [f"127.0.0.1:{relay.port}"],
            "security_protocol": "SSL",
            "ssl_cafile": cafile,
        }


def test_an_event_is_delivered_by_tls(tmp_path: Path, authority: Authority) -> None:
    with broker_with(authority.ca.issue_cert("127.0.0.1"), tmp_path, authority.file) as there:
        settings = KafkaSinkSettings.model_validate({**there, "topic": "verdicts", "timeout_s": 10})
        with closing(KafkaSink(settings)) as sink:
            sink.deliver(made_delivery())


@pytest.mark.slow
def test_a_daemon_reads_and_writes_by_tls(tmp_path: Path, authority: Authority) -> None:
    with broker_with(authority.ca.issue_cert("127.0.0.1"), tmp_path, authority.file) as there:
        broker = there["bootstrap_servers"][0]
        topics = Topics(broker, "tls", tmp_path, client=there)
        request = topics.upload("clip.mp4")
        topics.send(request, b"{")
        settings = topics.settings(kafka=there)
        settings["sinks"]["moderation"] |= there
        with daemon(tmp_path, "kafka run", settings) as process:
            process.wait_for(
                lambda: process.events("delivered") and process.events("dead letter"), "both dealt with"
            )
            assert process.stop() == 0
        assert {*topics.effective()} == {request["uri"]}
        assert [record.value for record in topics.records(topics.dead)] == [b"{"]


@pytest.mark.parametrize("wrong", ["another host's", "expired", "of another authority"])
def test_a_broker_with_a_certificate_that_does_not_hold_gets_nothing(
    tmp_path: Path, authority: Authority, wrong: str
) -> None:
    certificate = {
        "another host's": lambda: authority.ca.issue_cert("broker.example"),
        "expired": lambda: authority.ca.issue_cert("127.0.0.1", not_after=YESTERDAY),
        "of another authority": lambda: trustme.CA().issue_cert("127.0.0.1"),
    }[wrong]()
    with broker_with(certificate, tmp_path, authority.file) as there:
        settings = KafkaSinkSettings.model_validate({**there, "topic": "verdicts", "timeout_s": 1})
        with (
            closing(KafkaSink(settings)) as sink,
            pytest.raises(SettingsError, match=r"127\.0\.0\.1:\d+: its certificate does not hold: \w+"),
        ):
            sink.deliver(made_delivery())
