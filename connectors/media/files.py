"""`file://`, below the folders that are allowed and nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from connectors.errors import PoisonError, TransientError
from connectors.media.folder import Incoming

_CHUNK_BYTES = 1 << 20


class FileOrigin:
    """One file of this machine."""

    etag = None
    version_id = None
    content_type = None

    def __init__(self, uri: str, roots: Sequence[Path]) -> None:
        self._uri = uri
        self._roots = roots

    def read(self, into: Incoming, remaining_s: float) -> bool:
        """Copy the file, and say that this was all of it.

        Raises:
            PoisonError: path_refused, not_found, access_denied, not_a_file, too_large.
            TransientError: the disk fails, or there is no time left.
        """
        if remaining_s <= 0:
            raise TransientError(f"{self._uri}: not there in time")
        into.rewind()
        try:
            with self._opened() as file:
                into.expect(os.fstat(file.fileno()).st_size)
                while chunk := file.read(_CHUNK_BYTES):
                    into.write(chunk)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PoisonError("not_found", f"{self._uri}: no such file") from error
        except PermissionError as error:
            raise PoisonError("access_denied", f"{self._uri}: may not be read") from error
        except OSError as error:
            raise TransientError(f"{self._uri}: {error.strerror}") from error
        return True

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        path = unquote(urlsplit(self._uri).path)
        if "\0" in path:
            raise PoisonError("path_refused", "a path has no NUL")
        real = Path(path).resolve(strict=True)
        for root in self._roots:
            if real.is_relative_to(base := root.resolve()) and real != base:
                break
        else:
            raise PoisonError("path_refused", f"{self._uri}: not below a folder that may be read")
        descriptor = _open_below(base, real.relative_to(base).parts)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise PoisonError("not_a_file", f"{self._uri}: is no regular file")
        with os.fdopen(descriptor, "rb") as file:
            yield file


def _open_below(base: Path, parts: Sequence[str]) -> int:
    """Open without following links: one may have been put there since the path was resolved."""
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # A pipe nobody writes to must not hold us.
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
