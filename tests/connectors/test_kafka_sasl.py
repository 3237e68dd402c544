"""Kafka by SASL: who proves its password gets through, and who does not is told which settings to look at."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from connectors.errors import SettingsError
from connectors.sinks.kafka import KafkaSink, KafkaSinkSettings
from connectors.sources.kafka import KafkaSource
from connectors.sources.kafka_consumer import KafkaSettings
from connectors.testing import made_delivery
from tests.connectors.daemons import daemon
from tests.connectors.faults import tls_relay
from tests.connectors.sasl import sasl_relay
from tests.connectors.servers import tansu
from tests.connectors.topics import Topics

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("sockets_are_collected"),
]
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
USERS = {"scanner": "open sesame"}


def table(port: int, mechanism: str, password: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": [f"127.0.0.1:{port}"],
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_username": "scanner",
        "sasl_password": password,
        "timeout_s": 10,
    }


def sink(there: dict[str, Any]) -> KafkaSink:
    return KafkaSink(KafkaSinkSettings.model_validate({**there, "topic": "verdicts"}))


def source(there: dict[str, Any]) -> KafkaSource:
    return KafkaSource(KafkaSettings.model_validate({**there, "topics": ["verdicts"]}))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_event_is_delivered_by_whoever_proves_its_password(tmp_path: Path, mechanism: str) -> None:
    with sasl_relay(USERS, *MECHANISMS) as relay, tansu(tmp_path, advertised=relay.port) as broker:
        relay.upstream_port = broker.port
        with closing(sink(table(relay.port, mechanism, "open sesame"))) as opened:
            opened.deliver(made_delivery())
        assert relay.admitted


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_an_error_that_names_the_setting_and_not_the_password(
    tmp_path: Path, mechanism: str
) -> None:
    with sasl_relay(USERS, *MECHANISMS) as relay, tansu(tmp_path, advertised=relay.port) as broker:
        relay.upstream_port = broker.port
        there = table(relay.port, mechanism, "open barley")
        with closing(sink(there)) as writing, closing(source(there)) as reading:
            for attempt in (lambda: writing.deliver(made_delivery()), lambda: reading.receive(1)):
                with pytest.raises(SettingsError, match="see sasl_username and sasl_password") as caught:
                    attempt()
                assert "barley" not in str(caught.value)
        assert not relay.admitted


def test_a_mechanism_that_the_server_does_not_know_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with sasl_relay(USERS, "PLAIN") as relay, tansu(tmp_path, advertised=relay.port) as broker:
        relay.upstream_port = broker.port
        with (
            closing(sink(table(relay.port, "SCRAM-SHA-256", "open sesame"))) as opened,
            pytest.raises(SettingsError, match="see sasl_mechanism"),
        ):
            opened.deliver(made_delivery())


def test_a_server_that_refuses_within_the_exchange_is_understood(tmp_path: Path) -> None:
    """A real one, for which everybody is unknown."""
    with (
        tansu(tmp_path, authentication=True) as broker,
        closing(sink(table(broker.port, "SCRAM-SHA-256", "open sesame"))) as opened,
        pytest.raises(SettingsError, match="see sasl_username and sasl_password"),
    ):
        opened.deliver(made_delivery())


@pytest.mark.slow
def test_a_daemon_works_by_sasl_over_tls_until_its_password_is_changed(tmp_path: Path) -> None:
    users, ca = dict(USERS), trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with (
        tls_relay(ca.issue_cert("127.0.0.1")) as tls,
        sasl_relay(users, "SCRAM-SHA-512") as relay,
        tansu(tmp_path, advertised=tls.port) as broker,
    ):
        tls.upstream_port, relay.upstream_port = relay.port, broker.port
        there = table(tls.port, "SCRAM-SHA-512", "open sesame")
        there |= {"security_protocol": "SASL_SSL", "ssl_cafile": str(tmp_path / "ca.pem")}
        names = {"sasl_username": "sasl_plain_username", "sasl_password": "sasl_plain_password"}
        client = {names.get(name, name): value for name, value in there.items() if name != "timeout_s"}
        topics = Topics(there["bootstrap_servers"][0], "sasl", tmp_path, client=client)
        request = topics.upload("clip.mp4")
        topics.send(request, b"{")
        settings = topics.settings(kafka=there)
        settings["sinks"]["moderation"] |= there
        with daemon(tmp_path, "kafka run", settings) as process:
            process.wait_for(
                lambda: process.events("delivered") and process.events("dead letter"), "both dealt with"
            )
            assert {*topics.effective()} == {request["uri"]}
            users["scanner"] = "open barley"
            relay.cut()
            assert process.wait() == 2
        (stopped,) = process.events("stopped")
        assert "see sasl_username and sasl_password" in stopped["error"]
        assert "sesame" not in process.text()
