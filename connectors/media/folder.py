"""A folder for videos in flight: bounded, the user's own, and empty again after whatever happens."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from connectors.errors import NoRoomError, PoisonError, SettingsError
from connectors.media.settings import MediaSettings

_PREFIX = "dmcl-media-"


class Folder:
    """Room for the videos of one process.

    What a process that was killed left behind is removed by the next one to start: each holds a lock in its own
    subfolder for as long as it lives, also in another container that shares the disk.
    """

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._room = threading.Lock()
        self._used = 0
        parent = settings.folder or Path(tempfile.gettempdir()) / f"dmcl-{os.getuid()}"
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if settings.folder is None and parent.stat().st_uid != os.getuid():
                raise SettingsError(f"{parent}: belongs to another user; set media.folder")
            with (parent / ".lock").open("wb") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                _remove_left_behind(parent)
                self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
                self._alive = (self.path / "lock").open("wb")
                fcntl.flock(self._alive, fcntl.LOCK_EX)
        except OSError as error:
            raise SettingsError(f"{parent}: cannot hold videos: {error}; set media.folder") from error

    def close(self) -> None:
        """Remove the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._alive.close()

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """A new file, gone at the end."""
        number, name = tempfile.mkstemp(dir=self.path)
        path = Path(name)
        incoming = Incoming(self, path, os.fdopen(number, "wb", buffering=0))
        try:
            yield incoming
        finally:
            incoming.close()
            path.unlink(missing_ok=True)
            self._reserve(-incoming.reserved)

    def grow(self, incoming: Incoming, size: int) -> None:
        """Keep room for a file of `size` bytes.

        Raises:
            PoisonError: `too_large`; no file may be that large.
            NoRoomError: now.
        """
        if size > self._settings.max_file:
            allowed = self._settings.max_file.human_readable()
            raise PoisonError("too_large", f"larger than the {allowed} that a video may have")
        more = size - incoming.reserved
        if more > 0:
            if shutil.disk_usage(self.path).free - (size - incoming.size) < self._settings.keep_free:
                raise NoRoomError("too little room on the disk for another video")
            self._reserve(more)
            incoming.reserved = size

    def _reserve(self, size: int) -> None:
        with self._room:
            if size > 0 and self._used + size > self._settings.max_total:
                raise NoRoomError("the videos in flight take all the room they may")
            self._used += size


class Incoming:
    """A file that is being fetched.

    Attributes:
        size: bytes written.
        reserved: bytes that room is kept for.
    """

    def __init__(self, folder: Folder, path: Path, file: BinaryIO) -> None:
        self._folder = folder
        self._file = file
        self._digest = hashlib.sha256()
        self.path = path
        self.size = 0
        self.reserved = 0

    def expect(self, size: int) -> None:
        """Keep room for a file of this size in all; see `Folder.grow` for what it raises."""
        self._folder.grow(self, size)

    def write(self, chunk: bytes) -> None:
        """Append; see `Folder.grow` for what it raises."""
        self._folder.grow(self, self.size + len(chunk))
        try:
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._cut()
            raise NoRoomError(f"the disk takes no more: {error.strerror}") from error
        self._digest.update(chunk)
        self.size += len(chunk)

    def rewind(self) -> None:
        """Forget what was written."""
        self._digest = hashlib.sha256()
        self.size = 0
        self._cut()

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def _cut(self) -> None:
        self._file.seek(self.size)
        self._file.truncate()

    @property
    def sha256(self) -> str:
        """Of what was written, in hexadecimal."""
        return self._digest.hexdigest()


def _remove_left_behind(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with (folder / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # killed before it had a lock: nobody starts while we do
        except OSError:
            continue  # alive
        shutil.rmtree(folder, ignore_errors=True)
