"""From a request to a file on this machine, checked against what the request says of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from connectors.errors import PoisonError, SettingsError
from connectors.media import guard
from connectors.media.files import FileOrigin
from connectors.media.folder import Folder, Incoming
from connectors.media.settings import MediaSettings
from connectors.media.web import Web, WebOrigin
from connectors.requests import ScanRequest
from connectors.retries import retrying

if TYPE_CHECKING:
    from connectors.media.s3 import S3


class Origin(Protocol):
    """Where one video comes from."""

    @property
    def etag(self) -> str | None:
        """As the server says; like the next two, known once something was read."""

    @property
    def version_id(self) -> str | None:
        """Which version it was."""

    @property
    def content_type(self) -> str | None:
        """What the server takes it for."""

    def read(self, into: Incoming, remaining_s: float) -> bool:
        """Append the next bytes, from `into.size` on, and say whether they were the last.

        After a `TransientError` it may be called again, and goes on where it was.
        """


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """A video on this machine, for as long as the fetch lasts.

    Attributes:
        path: the file; it goes away with the fetch, and its name says nothing.
        sha256: of its bytes, in hexadecimal.
        etag: of the version that was read; without quotation marks.
        content_type: what the server takes it for; nobody checked.
    """

    path: Path
    size_bytes: int
    sha256: str
    etag: str | None = None
    version_id: str | None = None
    content_type: str | None = None


class MediaStore:
    """Fetches what requests name, into a bounded folder that is empty again afterwards; for any number of threads.

        with MediaStore(MediaSettings()) as store, store.fetch(request) as media:
            verdict = detector.score(media.path)

    Args:
        settings: what may be fetched, and how much of it.
        resolver: how hosts are looked up; the system's way without.

    Raises:
        SettingsError: the folder cannot be used.
    """

    def __init__(self, settings: MediaSettings, *, resolver: guard.Resolver = guard.resolve) -> None:
        self._settings = settings
        with ExitStack() as opened:
            self._folder = Folder(settings)
            opened.callback(self._folder.close)
            self._web = Web(settings, resolver)
            opened.callback(self._web.close)
            self._opened = opened.pop_all()
        self._s3: S3 | None = None
        self._first_s3 = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections and remove every file."""
        self._opened.close()

    @contextmanager
    def fetch(self, request: ScanRequest) -> Iterator[LocalMedia]:
        """The video that a request names, on this machine, until the end of the block.

        Raises:
            PoisonError: it is not to be had, or is not what the request says: access_denied, address_refused,
                archived, bad_uri, digest_mismatch, empty, encoded, host_not_found, not_a_file, not_a_video,
                not_found, object_changed, path_refused, redirect_refused, refused, size_mismatch, tls_failed,
                too_large.
            TransientError: it cannot be had now.
            SettingsError: credentials are missing or wrong.
        """
        origin = self._origin(request)
        with self._folder.incoming() as incoming:
            if request.size_bytes:
                incoming.expect(request.size_bytes)
            self._read(origin, incoming)
            incoming.close()
            _check(incoming, request)
            yield LocalMedia(
                path=incoming.path,
                size_bytes=incoming.size,
                sha256=incoming.sha256,
                etag=origin.etag,
                version_id=origin.version_id,
                content_type=origin.content_type,
            )

    def _origin(self, request: ScanRequest) -> Origin:
        if request.s3_object is not None:
            return self._in_s3(request, *request.s3_object)
        if request.uri.startswith("file:"):
            return FileOrigin(request.uri, self._settings.file_roots)
        return WebOrigin(self._web, request.uri)

    def _in_s3(self, request: ScanRequest, bucket: str, key: str) -> Origin:
        try:
            from connectors.media.s3 import S3, S3Origin  # noqa: PLC0415 - an extra, and slow to load
        except ModuleNotFoundError as error:
            raise SettingsError(f"s3:// needs {error.name}: pip install 'dmcl-sdk[connectors]'") from error
        with self._first_s3:
            if self._s3 is None:
                self._s3 = S3(self._settings)
                self._opened.callback(self._s3.close)
        return S3Origin(self._s3, request, bucket, key)

    def _read(self, origin: Origin, into: Incoming) -> None:
        until = time.monotonic() + self._settings.timeout_s
        attempt = retrying(self._settings.attempts, until=until)
        finished = False
        while not finished:
            finished = attempt(lambda: origin.read(into, until - time.monotonic()))


def _check(incoming: Incoming, request: ScanRequest) -> None:
    name = request.key
    if incoming.size == 0:
        raise PoisonError("empty", f"{name}: empty")
    if request.sha256 is not None and incoming.sha256 != request.sha256:
        raise PoisonError("digest_mismatch", f"{name}: has digest {incoming.sha256}, not {request.sha256}")
    if request.size_bytes is not None and incoming.size != request.size_bytes:
        raise PoisonError("size_mismatch", f"{name}: has {incoming.size} bytes, not {request.size_bytes}")
