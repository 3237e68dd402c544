"""What a daemon tells its surroundings: `/livez`, `/readyz` and `/metrics`, on loopback unless told otherwise."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Annotated, Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from connectors.errors import SettingsError
from connectors.metrics import Metrics


class ServiceSettings(BaseModel):
    """Where health and metrics are served, and what is written about the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Loopback; `0.0.0.0` or `::` opens it to the network, for a probe or a scraper from elsewhere."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """0 for any that is free."""
    serve: bool = True
    """Whether anything is served at all."""
    stuck_after_s: Annotated[float, Field(gt=0)] = 120.0
    """A daemon whose loop has not come round for so long is not alive."""
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    tracing: bool = False
    """Send spans to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; needs the extra `[otel]`."""


class Health:
    """Whether the daemon lives and works; told by its loop, asked by probes."""

    def __init__(self, stuck_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stuck_after_s = stuck_after_s
        self._clock = clock
        self._beat_s = clock()
        self._why_not = "starting"

    def beat(self) -> None:
        """The loop has come round."""
        self._beat_s = self._clock()

    def ready(self) -> None:
        """It works."""
        self._why_not = ""

    def not_ready(self, why: str) -> None:
        """It does not work now, and why."""
        self._why_not = why

    def livez(self) -> tuple[int, str]:
        """Status and sentence."""
        silent_s = self._clock() - self._beat_s
        if silent_s > self._stuck_after_s:
            return 503, f"the loop has been stuck for {silent_s:.0f} s"
        return 200, "ok"

    def readyz(self) -> tuple[int, str]:
        """Status and sentence."""
        status, said = self.livez()
        if status == 200 and self._why_not:
            return 503, self._why_not
        return status, said


@contextmanager
def serving(settings: ServiceSettings, health: Health, metrics: Metrics) -> Iterator[int | None]:
    """A block in which probes are answered; the port.

    Raises:
        SettingsError: the port is taken, or the host is not ours.
    """
    if not settings.serve:
        yield None
        return
    try:
        server = _server(settings.host, settings.port, health, metrics)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise SettingsError(f"service: cannot listen on {where}: {error.strerror or error}") from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="service", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _server(host: str, port: int, health: Health, metrics: Metrics) -> ThreadingHTTPServer:
    class Answer(BaseHTTPRequestHandler):
        timeout = 10  # of one who connects and says nothing

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/livez":
                    self._say(*health.livez())
                case "/readyz":
                    self._say(*health.readyz())
                case "/metrics":
                    self._send(200, generate_latest(metrics.registry), CONTENT_TYPE_LATEST)
                case _:
                    self._say(404, "there are /livez, /readyz and /metrics")

        def _say(self, status: int, sentence: str) -> None:
            self._send(status, f"{sentence}\n".encode(), "text/plain; charset=utf-8")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the library's names
            """Probes come every second."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = _family(host)

    return Server((host, port), Answer)


def _family(host: str) -> Any:  # noqa: ANN401 - the library types it so

    try:
        return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return socket.AF_INET
