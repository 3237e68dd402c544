"""What httpx leaves open of an HTTP exchange: a limit on the whole of it, and how long a server asks to wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx


class Deadline:
    """Cuts the connections of one exchange when its time is up.

    httpx limits each read; a server that sends a byte now and then passes every such limit and holds a worker for days.
    Give `extensions` to the request. The exchange then fails or ends early, and `expired` says why.

        with Deadline(30.0) as deadline:
            response = client.send(client.build_request("GET", url, extensions=deadline.extensions))

    It sees connections being made, so that the client must not keep them from one exchange to the next.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.expired = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._sockets.clear()

    @property
    def extensions(self) -> dict[str, Any]:
        """For the request."""
        return {"trace": self._trace}

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if not event.endswith(("connect_tcp.complete", "start_tls.complete")):
            return
        connection = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._sockets.append(connection)
        if self.expired:
            self._expire()

    def _expire(self) -> None:
        self.expired = True
        with self._lock:
            for connection in self._sockets:
                # Not its own `shutdown`: that of a TLS socket would let the reader have bytes undeciphered.
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds that an answer asks to wait, from now; None when it does not, or not in a way that is known."""
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
