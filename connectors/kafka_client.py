"""How Kafka is reached, for whoever reads or writes there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from kafka import errors as broken
from kafka.net.compat import KafkaNetClient
from kafka.net.connection import KafkaConnection as Connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from connectors.errors import SettingsError

_REFUSED = (broken.SaslAuthenticationFailedError, broken.UnsupportedSaslMechanismError)
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

    @model_validator(mode="after")
    def _means_what_it_says(self) -> Self:
        """A password that is not sent, or a certificate that is not looked at, would pass for protection."""
        sasl = ("sasl_mechanism", "sasl_username", "sasl_password")
        tls = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
        wanted = sasl if self.security_protocol.startswith("SASL") else ()
        idle = (() if wanted else sasl) + (() if self.security_protocol.endswith("SSL") else tls)
        if lacking := [name for name in wanted if getattr(self, name) is None]:
            raise ValueError(f"security_protocol {self.security_protocol} needs {', '.join(lacking)}")
        if unused := [name for name in idle if getattr(self, name) is not None]:
            raise ValueError(f"security_protocol {self.security_protocol} has no use for {', '.join(unused)}")
        return self

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


class _Connections(KafkaConnectionManager):  # type: ignore[misc] # published without types
    """Raises what a server has against our credentials: the library would log it and ask again for ever."""

    _refused: Exception | None = None

    def get_connection(self, node_id: Any, **options: Any) -> Connection:  # noqa: ANN401 - the library's own
        if self._refused is not None:
            raise self._refused
        connection = super().get_connection(node_id, **options)
        connection.init_future.add_errback(self._note)
        return connection

    def _note(self, error: Exception) -> None:
        if isinstance(error, _REFUSED):
            self._refused = error
        elif isinstance(error, (LookupError, ValueError)) and self.config["sasl_mechanism"] is not None:
            # what its SCRAM makes of a server that refuses within the exchange, or does not know the password itself
            self._refused = broken.SaslAuthenticationFailedError("the exchange has failed")


@contextmanager
def opening(connection: KafkaConnection) -> Iterator[dict[str, Any]]:
    """A block that makes a consumer or a producer: with these options nothing is left running when that fails.

    The library says nothing of certificates that do not hold and of credentials that are refused. Here they are errors,
    the latter whenever they come: a password may be changed while we run.

    Raises:
        SettingsError: it failed because no server has a certificate that holds.
    """
    clients: list[KafkaNetClient] = []

    def client(**options: Any) -> KafkaNetClient:  # noqa: ANN401 - the library's own
        net = NetworkSelector(**options)
        clients.append(KafkaNetClient(net, _Connections(net, **options)))
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
