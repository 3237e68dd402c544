"""SASL in front of a broker that knows no users.

This is a server's side of the protocol and not a server: no broker that authenticates is to be had where the tests run
(Apache Kafka 0.9 knows GSSAPI alone, Tansu keeps no users). SCRAM is computed by a library of its own, and messages are
read and written by kafka-python's definitions of them.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)
from scramp import ScramException, ScramMechanism

from tests.connectors.faults import pumped

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
NO_ERROR, UNSUPPORTED_MECHANISM, FAILED = 0, 33, 58


class RefusedError(Exception):
    """Who this is was not proved."""


@dataclass
class Exchange:
    """One client's way through one mechanism."""

    mechanism: str
    users: Mapping[str, str]

    def __post_init__(self) -> None:
        self.over = False
        if self.mechanism.startswith("SCRAM"):
            scram = ScramMechanism(self.mechanism)
            known = {name: scram.make_auth_info(password) for name, password in self.users.items()}
            self._scram = scram.make_server(known.__getitem__)
            self._first = True

    def answer(self, said: bytes) -> bytes:
        """The server's next message; raises RefusedError."""
        if self.mechanism == "PLAIN":
            _, name, password = said.decode().split("\0")
            if self.users.get(name) != password:
                raise RefusedError("Authentication failed: Invalid username or password")
            self.over = True
            return b""
        try:
            if self._first:
                self._scram.set_client_first(said.decode())
                self._first = False
                return bytes(self._scram.get_server_first(), "ascii")
            self._scram.set_client_final(said.decode())
            self.over = True
            return bytes(self._scram.get_server_final(), "ascii")
        except (ScramException, KeyError):
            raise RefusedError(
                "Authentication failed during authentication due to invalid credentials with SASL mechanism"
                f" {self.mechanism}"
            ) from None


class SaslRelay:
    """Lets through to a broker on loopback whoever proves to be one of its users.

    Attributes:
        admitted: connections that were let through.
    """

    def __init__(self, users: Mapping[str, str], mechanisms: tuple[str, ...]) -> None:
        self.upstream_port = 0
        self.admitted = 0
        self._users = users
        self._mechanisms = mechanisms
        self._loop = asyncio.new_event_loop()
        self._listener = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.port: int = self._listener.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection there is."""
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Stop; connections end with it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()
        self._cut()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    def _cut(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _relay(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError):
            server, requests = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            try:
                if await self._admits(client, answers, server, requests):
                    self.admitted += 1
                    await asyncio.gather(pumped(client, requests), pumped(server, answers))
            finally:
                requests.close()
                answers.close()

    async def _admits(
        self,
        client: asyncio.StreamReader,
        answers: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
    ) -> bool:
        exchange = Exchange("", {})
        while not exchange.over:
            frame = await _frame(client)
            key, version = struct.unpack_from(">hh", frame)
            if key == API_VERSIONS:
                requests.write(_framed(frame))
                answers.write(_framed(await _frame(server)))
            elif key == HANDSHAKE:
                wanted = SaslHandshakeRequest.decode(frame, version=version, header=True).mechanism
                error = NO_ERROR if wanted in self._mechanisms else UNSUPPORTED_MECHANISM
                said = SaslHandshakeResponse(error_code=error, mechanisms=list(self._mechanisms))
                answers.write(_answer(frame, said, version))
                exchange = Exchange(wanted, self._users)
            elif key == AUTHENTICATE and exchange.mechanism in self._mechanisms:
                token = SaslAuthenticateRequest.decode(frame, version=version, header=True).auth_bytes
                try:
                    fields: dict[str, Any] = {"auth_bytes": exchange.answer(token)}
                except RefusedError as error:
                    fields = {"error_code": FAILED, "error_message": str(error), "auth_bytes": b""}
                answers.write(_answer(frame, SaslAuthenticateResponse(**fields), version))
                await answers.drain()
                if "error_code" in fields:
                    await asyncio.sleep(0.1)  # as Kafka does, so that the answer is read before the end
                    return False
            else:
                return False  # as Kafka does with whoever asks before it is known
        return True


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _framed(frame: bytes) -> bytes:
    return struct.pack(">i", len(frame)) + frame


def _answer(asked: bytes, said: Any, version: int) -> bytes:  # noqa: ANN401 - published without types
    (correlation,) = struct.unpack_from(">i", asked, 4)
    said.API_VERSION = version
    said.with_header(correlation_id=correlation)
    return bytes(said.encode(header=True, framed=True))


@contextmanager
def sasl_relay(users: Mapping[str, str], *mechanisms: str) -> Iterator[SaslRelay]:
    """A relay that ends with the block."""
    relay = SaslRelay(users, mechanisms)
    try:
        yield relay
    finally:
        relay.close()
