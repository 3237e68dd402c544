"""Where reports are written: a page beside its verdict, and one index of all that lie in the folder."""

from __future__ import annotations

import base64
import mimetypes
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import ValidationError

from dmcl_sdk.errors import DeploymentError, VideoError
from dmcl_sdk.explanation import Explanation
from dmcl_sdk.report import words
from dmcl_sdk.report.page import Film, page, render, require
from dmcl_sdk.verdict import Verdict

MOST_EMBEDDED_BYTES = 64 * 2**20
"""A page with a larger video inside is slow to open, if it opens at all."""

_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 80
_SUFFIX = ".verdict.json"


class ReportFolder:
    """A folder of pages. Each is whole as soon as it is written, so a run that is stopped leaves what it had.

    Args:
        folder: made if it is not there; pages of earlier runs stay, and stay in the index.
        embed: whether each page carries its video; otherwise it links to it.

    Raises:
        DeploymentError: the folder cannot be made, or jinja2 is not installed.
    """

    def __init__(self, folder: Path, *, embed: bool = False) -> None:
        self.folder, self.embed = folder, embed
        self._read: dict[tuple[str, int, int], Verdict | None] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeploymentError(f"{folder}: cannot be made: {error.strerror}") from error
        require()

    def add(self, verdict: Verdict, explanation: Explanation | None, video: Path) -> Path:
        """Write one video's page and verdict, and the index anew; returns the page.

        Raises:
            VideoError: the video is too large to be embedded.
        """
        stem = self._stem(video.name, verdict)
        film = Film(None) if verdict.status == "failed" else film_of(video, self.folder, embed=self.embed)
        path = self.folder / f"{stem}.html"
        write(path, page(verdict, explanation, name=video.name, film=film))
        write(self.folder / f"{stem}{_SUFFIX}", verdict.to_json() + "\n")
        self.write_index()
        return path

    def write_index(self) -> Path:
        """An index of every verdict in the folder that has a page."""
        rows = []
        for file in sorted(self.folder.glob(f"*{_SUFFIX}")):
            href = file.name.removesuffix(_SUFFIX) + ".html"
            verdict = self._verdict(file)
            if verdict is not None and (self.folder / href).exists():
                name = Path(verdict.asset.uri).name if verdict.asset.uri.startswith("file:") else href
                rows.append({"name": unquote(name), "href": f"./{quote(href)}", "verdict": verdict})
        path = self.folder / "index.html"
        write(path, render("index.html.j2", "index.js", _index(rows)))
        return path

    def _verdict(self, file: Path) -> Verdict | None:
        """A verdict of the folder, read once: the index is written after each of many."""
        try:
            found = file.stat()
        except OSError:
            return None
        key = file.name, found.st_mtime_ns, found.st_size
        if key not in self._read:
            self._read[key] = _read(file)
        return self._read[key]

    def _stem(self, name: str, verdict: Verdict) -> str:
        """A file name for this video's page; that of an earlier run, if it has one."""
        safe = _UNSAFE.sub("_", name)[:_LONGEST_NAME].strip(".") or "video"
        for number in range(1, 10_000):
            stem = safe if number == 1 else f"{safe}-{number}"
            file = self.folder / f"{stem}{_SUFFIX}"
            if not file.exists():
                return stem
            other = _read(file)
            if other is not None and other.asset.uri == verdict.asset.uri:
                return stem
        raise DeploymentError(f"{self.folder}: there are too many reports called {safe}")


def film_of(video: Path, folder: Path, *, embed: bool) -> Film:
    """How a page in a folder refers to a video.

    Raises:
        VideoError: it is too large to be embedded.
    """
    if embed:
        check_embeddable(video)
        return Film(embedded(video.read_bytes(), video.name))
    try:
        relative = os.path.relpath(video.absolute(), folder.absolute())
    except ValueError:  # on another drive
        return Film(video.absolute().as_uri())
    return Film("./" + quote(relative.replace(os.sep, "/")))


def embedded(content: bytes, name: str) -> str:
    """A whole video as a data: URI."""
    kind = mimetypes.guess_type(name)[0] or "video/mp4"
    kind = kind if kind.startswith("video/") else "video/mp4"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def check_embeddable(video: Path) -> None:
    """Say before any work is done whether a video is too large to lie in a page.

    Raises:
        VideoError: it is.
    """
    try:
        size = video.stat().st_size
    except OSError:
        return  # whoever reads it says what is wrong
    if size > MOST_EMBEDDED_BYTES:
        bound = MOST_EMBEDDED_BYTES // 2**20
        raise VideoError(
            str(video),
            "over_limit",
            f"a page carries at most {bound} MiB; without --embed it links to the video",
        )


def write(path: Path, text: str) -> None:
    """`write_bytes`, of a text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        DeploymentError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise DeploymentError(f"{path}: cannot be written: {error.strerror}") from error


def _read(file: Path) -> Verdict | None:
    try:
        return Verdict.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None  # not ours


def _index(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst first, and those without a probability last."""
    whole = [row | {"label": words.verdict_label(row["verdict"])} for row in rows]
    whole.sort(key=lambda row: (-(row["verdict"].summary.probability or 0.0), row["name"]))
    counts = Counter(row["label"] for row in whole)
    summary = ", ".join(f"{count} {label.lower()}" for label, count in counts.most_common())
    return {"rows": whole, "summary": summary, "kinds": sorted(counts)}
