"""How Kafka is reached, for whoever reads or writes there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from kafka import errors as broken
from kafka.net.compat import KafkaNetClient
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connectors.errors import SettingsError

_ASKED_S = 5.0
"""Longest wait for a server to show its certificate."""


class KafkaConnection(BaseModel):
    """Servers, and how they know us. The names are Kafka's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: Annotated[tuple[str, ...], Field(min_length=1)]
    """`host:port`; one that answers is enough."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: str | None = None
    """Certificates to trust; the system's without."""
    ssl_certfile: str | None = None
    """Our own certificate, where servers ask for one."""
    ssl_keyfile: str | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    api_version: tuple[int, ...] | None = None
    """Of servers older than 0.10, which cannot be asked for it: `[0, 9]`. Before 0.11 there are no headers."""

    @property
    def has_headers(self) -> bool:
        """Whether records have headers there; before 0.11 they had none."""
        return self.api_version is None or self.api_version >= (0, 11)

    def options(self) -> dict[str, Any]:
        """Arguments of any client of kafka-python."""
        given = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.security_protocol,
            "ssl_cafile": self.ssl_cafile,
            "ssl_certfile": self.ssl_certfile,
            "ssl_keyfile": self.ssl_keyfile,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password and self.sasl_password.get_secret_value(),
            "api_version": self.api_version,
        }
        return {name: value for name, value in given.items() if value is not None}


@contextmanager
def opening(connection: KafkaConnection) -> Iterator[dict[str, Any]]:
    """A block that makes a consumer or a producer: with these options nothing is left running when that fails.

    Raises:
        SettingsError: it failed because no server has a certificate that holds, of which the library says nothing.
    """
    clients: list[KafkaNetClient] = []

    def client(**options: Any) -> KafkaNetClient:  # noqa: ANN401 - the library's own
        clients.append(KafkaNetClient(**options))
        return clients[0]

    try:
        yield {"kafka_client": client}
    except broken.KafkaError:
        for one in clients:
            one.close()
        _check_certificates(connection)
        raise


def _check_certificates(connection: KafkaConnection) -> None:
    if not connection.security_protocol.endswith("SSL"):
        return
    tls = ssl.create_default_context(cafile=connection.ssl_cafile)
    for server in connection.bootstrap_servers:
        host, _, port = server.rpartition(":")
        host = host.strip("[]")
        try:
            with socket.create_connection((host, int(port)), _ASKED_S) as plain:
                plain.settimeout(_ASKED_S)
                tls.wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            raise SettingsError(f"{server}: its certificate does not hold: {error.verify_message}") from error
        except (OSError, ValueError):
            continue  # another matter, which the caller has an error for
