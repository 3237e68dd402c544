"""The bytes of a video: found, measured, hashed and made seekable, before anything is decoded."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dmcl_sdk.errors import VideoError

VideoSource = str | os.PathLike[str] | bytes | BinaryIO
"""A path, a whole file in memory, or a binary file object, which is read from its start and left open."""

_CHUNK_BYTES = 2**20
_IN_MEMORY_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Input:
    """One file, ready to be read.

    Attributes:
        file: seekable, at its start.
        name: for messages: the path, or `<bytes>` / `<file>`.
        uri: `file://...`, or `urn:sha256:...` for what has no path.
        size_bytes: of the whole file.
        sha256: of the whole file, in hexadecimal.
    """

    file: BinaryIO
    name: str
    uri: str
    size_bytes: int
    sha256: str


def video_name(source: VideoSource) -> str:
    """What a message calls this source: its path, or `<bytes>` / `<file>` where it has none."""
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<file>"


@contextmanager
def open_source(source: VideoSource, *, max_bytes: int) -> Iterator[Input]:
    """Opens a source and reads it once, for its digest.

    Raises:
        VideoError: missing, unreadable, empty or over_limit.
    """
    name = video_name(source)
    if isinstance(source, bytes):
        with io.BytesIO(source) as file:
            yield _measured(file, name, None, max_bytes)
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        with _open_path(path, name, max_bytes) as file:
            yield _measured(file, name, path.absolute().as_uri(), max_bytes)
    elif source.seekable():
        yield _measured(source, name, None, max_bytes)
    else:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as copy:
            yield _spooled(source, copy, name, max_bytes)


def _open_path(path: Path, name: str, max_bytes: int) -> BinaryIO:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise VideoError(
                name, "unreadable", f"this is a folder: name the videos in it, as in {path / '*.mp4'}"
            )
        # Reading a pipe or a device could block for ever.
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(name, "unreadable", "this is not a regular file")
        _check_size(name, status.st_size, max_bytes)
        return path.open("rb")
    except FileNotFoundError as error:
        raise VideoError(name, "missing", "there is no such file") from error
    except (OSError, ValueError) as error:
        raise VideoError(name, "unreadable", f"the file cannot be read: {error}") from error


def _measured(file: BinaryIO, name: str, uri: str | None, max_bytes: int) -> Input:
    try:
        size = file.seek(0, os.SEEK_END)
        _check_size(name, size, max_bytes)
        file.seek(0)
        digest = hashlib.sha256()
        for chunk in _chunks(file):
            digest.update(chunk)
        file.seek(0)
    except (OSError, ValueError) as error:
        raise VideoError(name, "unreadable", f"the file cannot be read: {error}") from error
    return Input(file, name, uri or f"urn:sha256:{digest.hexdigest()}", size, digest.hexdigest())


def _spooled(
    source: BinaryIO, copy: tempfile.SpooledTemporaryFile[bytes], name: str, max_bytes: int
) -> Input:
    """A copy of what can be read only once: containers are read back and forth."""
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in _chunks(source):
            digest.update(chunk)
            size += copy.write(chunk)
            _check_size(name, size, max_bytes)
    except (OSError, ValueError) as error:
        raise VideoError(name, "unreadable", f"the file cannot be read: {error}") from error
    _check_size(name, size, max_bytes)
    copy.seek(0)
    return Input(copy, name, f"urn:sha256:{digest.hexdigest()}", size, digest.hexdigest())  # type: ignore[arg-type]


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _check_size(name: str, size_bytes: int, max_bytes: int) -> None:
    if size_bytes == 0:
        raise VideoError(name, "empty", "the file is empty")
    if size_bytes > max_bytes:
        raise VideoError(name, "over_limit", f"the file has more than {max_bytes} bytes")
