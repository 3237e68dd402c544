"""Servers and ways to servers that misbehave on demand."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from uuid import uuid4

import pytest
import trustme

Mode = Literal["pass", "refuse", "blackhole", "lose_answers"]


class ChaosProxy:
    """Stands between a client and a server on loopback.

    Attributes:
        port: where clients connect; a Kafka broker must advertise it.
        mode: pass; refuse (reset whoever connects); blackhole (swallow both ways); lose_answers (what the client says
            arrives, what the server says does not).
        latency_s: before each piece is passed on.
        lost: bytes of answers that were swallowed.
    """

    def __init__(self, upstream_port: int = 0) -> None:
        self.upstream_port = upstream_port
        self.mode: Mode = "pass"
        self.latency_s = 0.0
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Of an HTTP server behind it."""
        return f"http://{self.address}"

    def cut(self) -> None:
        """Reset every connection there is."""
        for pair in list(self._pairs):
            for one in pair:
                _reset(one)

    @contextmanager
    def out_of_order(self, mode: Mode) -> Iterator[None]:
        """A block in which connections, those that stand included, meet this fault."""
        self.mode = mode
        self.cut()
        yield
        self.mode = "pass"
        self.cut()

    def close(self) -> None:
        """Stop, and wait for all that was under way."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream_port))
            except OSError:
                _reset(client)
                continue
            self._pairs.append((client, server))
            self._run(self._pump, client, server)
            self._run(self._pump, server, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        answers = (target, source) in self._pairs
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                time.sleep(self.latency_s)
                if self.mode == "blackhole" or (answers and self.mode == "lose_answers"):
                    self.lost += len(piece) if answers else 0
                    continue
                target.sendall(piece)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes who waits for it to speak
    connection.close()


@contextmanager
def chaos_proxy(upstream_port: int = 0) -> Iterator[ChaosProxy]:
    """A proxy that ends with the block."""
    proxy = ChaosProxy(upstream_port)
    try:
        yield proxy
    finally:
        proxy.close()


class TlsRelay:
    """Speaks TLS to clients and plainly to a server on loopback that knows none; a certificate may be changed."""

    def __init__(self, certificate: trustme.LeafCert, upstream_port: int = 0) -> None:
        self.upstream_port = upstream_port
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        self._loop = asyncio.new_event_loop()
        self._listener = self._loop.run_until_complete(
            asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._tls)
        )
        self.port: int = self._listener.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; connections end with it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    async def _relay(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            server, requests = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            await asyncio.gather(pumped(client, requests), pumped(server, answers))


async def pumped(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(1 << 16):
            target.write(piece)
            await target.drain()
    finally:
        target.close()


@contextmanager
def tls_relay(certificate: trustme.LeafCert) -> Iterator[TlsRelay]:
    """A relay that ends with the block."""
    relay = TlsRelay(certificate)
    try:
        yield relay
    finally:
        relay.close()


@dataclass(frozen=True)
class Link:
    """A wire between this network and one of its own, in which a process may run."""

    ours: str
    inside: tuple[str, ...]
    """Goes before a command that is to run at the other end."""
    host: str = "10.213.47.1"
    """Our end's address."""

    @contextmanager
    def pulled_out(self) -> Iterator[None]:
        """A block in which nothing passes, and nobody is told."""
        _ip("link", "set", "dev", self.ours, "down")
        yield
        _ip("link", "set", "dev", self.ours, "up")


@contextmanager
def network_namespace() -> Iterator[Link]:
    """Another network, one wire away; skips where that needs rights that we have not."""
    name = f"dmcl-{uuid4().hex[:6]}"
    link = Link(f"{name}-a", ("ip", "netns", "exec", name))
    try:
        _ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces need root and iproute2: {error}")
    try:
        _ip("link", "add", link.ours, "type", "veth", "peer", "name", "worker", "netns", name)
        _ip("addr", "add", f"{link.host}/30", "dev", link.ours)
        _ip("link", "set", "dev", link.ours, "up")
        _ip("-n", name, "addr", "add", "10.213.47.2/30", "dev", "worker")
        for device in ("worker", "lo"):
            _ip("-n", name, "link", "set", "dev", device, "up")
        yield link
    finally:
        _ip("netns", "del", name)  # and with it the wire


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S607 - where it is differs


# HTTP -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: WebServer
    asked: Seen

    def answer(
        self, status: int = 200, body: bytes = b"", headers: Mapping[str, object] | None = None
    ) -> None:
        """A whole answer; `headers` go before what would be right."""
        self.send_response(status)
        for name, value in ({"content-length": len(body)} | dict(headers or {})).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def vanish(self) -> None:
        """End the connection without another word."""
        self.wfile.flush()
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        """Say nothing until the client has gone or the test is over."""
        self.server.over.wait(30)

    def trickle(self, *, every_s: float = 0.05) -> None:
        """A byte now and then, for as long as the client takes it."""
        while not self.server.over.wait(every_s):
            self.wfile.write(b"x")
            self.wfile.flush()

    def do_GET(self) -> None:
        """By the server's routes."""
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size)
        self.asked = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        self.server.seen.append(self.asked)
        route = self.server.routes.get(self.path.partition("?")[0], _nothing_there)
        with suppress(ConnectionError, ssl.SSLError):
            route(self)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the library's names
        """Keep quiet."""


def _nothing_there(exchange: Exchange) -> None:
    exchange.answer(404)


@dataclass(eq=False)
class WebServer(ThreadingHTTPServer):
    """An HTTP or HTTPS server that does what its routes say, and remembers what it was asked."""

    address: str = "127.0.0.1"
    at_port: int = 0
    tls: ssl.SSLContext | None = None
    routes: dict[str, Callable[[Exchange], None]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    daemon_threads = True
    block_on_close = False

    def __post_init__(self) -> None:
        super().__init__((self.address, self.at_port), Exchange)
        if self.tls is not None:
            # The handshake belongs to the exchange's own thread: a client that says nothing holds nobody else.
            self.socket = self.tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Where a route is found."""
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away in these tests."""


@contextmanager
def web_server(**settings: Any) -> Iterator[WebServer]:  # noqa: ANN401 - those of WebServer
    """A server that ends with the block."""
    server = WebServer(**settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def authority() -> trustme.CA:
    """A certificate authority that only these tests know."""
    return trustme.CA()


def tls_of(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    """A server's side of TLS, under these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    return context


def file_of(
    data: bytes, *, etag: str | None = None, content_type: str = "video/mp4"
) -> Callable[[Exchange], None]:
    """A route that serves a file as a good server does, ranges included."""

    def route(exchange: Exchange) -> None:
        headers: dict[str, object] = {"content-type": content_type}
        if etag is not None:
            headers["etag"] = f'"{etag}"'
        asked = exchange.headers.get("range")
        if asked is None or exchange.headers.get("if-range") != f'"{etag}"':
            return exchange.answer(200, data, headers)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return exchange.answer(206, data[start:], headers)

    return route


def first(*routes: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """One route after the other, a request each; the last one for all that follow."""
    left = list(routes)

    def route(exchange: Exchange) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return route
