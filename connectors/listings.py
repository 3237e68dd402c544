"""Which objects of S3 there are to scan: from a listing of a bucket, or from a file that names them.

Both stream: memory does not grow with the number of objects.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mimetypes import MimeTypes
from pathlib import Path, PurePosixPath
from threading import Event
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from connectors import aws
from connectors.errors import ConnectorError, PoisonError, SettingsError
from connectors.retries import patiently

if TYPE_CHECKING:
    from connectors.media.s3 import S3

_TYPES = MimeTypes()  # what comes with Python, the same on every machine
for _ending in (".3gp", ".3gpp", ".3g2", ".ts", ".mts", ".m2ts", ".ogg", ".ogv"):  # not all, or as audio
    _TYPES.add_type("video/x-any", _ending)
_BROKEN = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error)


@dataclass(frozen=True, slots=True)
class S3Object:
    """One object, or one version of it, as a listing names it."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size_bytes: int | None = None

    @property
    def uri(self) -> str:
        """`s3://bucket/key`, the key as it stands."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def message_id(self) -> str:
        """The same whenever this content of this object is listed, and never that of another."""
        return json.dumps([self.uri, self.version_id, self.etag], ensure_ascii=False)

    @property
    def is_marker(self) -> bool:
        """Whether it stands for a folder."""
        return self.key.endswith("/") and not self.size_bytes

    @property
    def is_named_like_a_video(self) -> bool:
        """Whether nothing in its name says that it is something else; a name without a known ending says nothing."""
        kind, packed = _TYPES.guess_type(f"x{PurePosixPath(self.key).suffix.lower()}")
        return packed is None and (kind is None or kind.startswith(("video/", "application/octet-stream")))

    def body(self) -> bytes:
        """The request to scan it, as a message.

        Without its entity tag and size: an object that was replaced since it was listed is scanned as it stands.
        """
        asked = {"schema": "dmcl.scan/1", "uri": self.uri, "version_id": self.version_id}
        return json.dumps({name: value for name, value in asked.items() if value is not None}).encode()


def in_bucket(s3: S3, bucket: str, prefix: str, stopping: Event) -> Iterator[S3Object]:
    """What stands under a prefix now, in the order of keys; of versions the current ones.

    Args:
        s3: to ask.
        bucket: its name.
        prefix: what keys begin with; all for "".
        stopping: ends waits for a server that does not answer.

    Raises:
        SettingsError: no such bucket, or it may not be listed.
        StoppedError: we were asked to end while no server answered.
    """
    options: dict[str, Any] = {"RequestPayer": "requester"} if s3.settings.requester_pays else {}

    def page(**after: Any) -> Any:  # noqa: ANN401 - boto3's dictionaries
        try:
            return s3.client.list_objects_v2(Bucket=bucket, Prefix=prefix, **options, **after)
        except aws.AwsError as error:
            raise _of_listing(aws.translated(error, f"listing s3://{bucket}/{prefix}")) from error

    after: dict[str, str] = {}
    while True:
        answer = patiently(lambda: page(**after), stopping=stopping)  # noqa: B023 - called before it changes
        for found in answer.get("Contents", ()):
            yield S3Object(bucket, found["Key"], None, found["ETag"].strip('"'), found["Size"])
        if not answer.get("IsTruncated"):
            return
        after = {"ContinuationToken": answer["NextContinuationToken"]}


def in_csv(path: Path, *, encoded_keys: bool) -> Iterator[S3Object]:
    """What a CSV file names: `bucket,key` or `bucket,key,version`, with a line of headings or without; `.gz` too.

    Args:
        path: of the file.
        encoded_keys: whether keys are form-URL-encoded, as in the manifests of S3 Batch Operations.

    Raises:
        SettingsError: it cannot be read, or a line is not of this kind; the message says which.
    """
    with opened(path) as file:
        for number, row in rows(file, str(path), packed=path.suffix == ".gz"):
            if number == 1 and [name.strip().lower() for name in row[:2]] == ["bucket", "key"]:
                continue
            if len(row) not in {2, 3} or not row[0].strip() or not row[1]:
                raise SettingsError(f"{path}:{number}: a line is bucket,key or bucket,key,version")
            version = row[2].strip() if len(row) == 3 else ""
            key = decoded(row[1], f"{path}:{number}") if encoded_keys else row[1]
            yield S3Object(row[0].strip(), key, version or None)


def rows(file: IO[bytes], name: str, *, packed: bool) -> Iterator[tuple[int, Sequence[str]]]:
    """Lines of CSV that are not empty, with their numbers.

    Raises:
        SettingsError: it is not CSV in UTF-8, or not a whole gzip file.
    """
    number = 0
    try:
        unpacked = gzip.GzipFile(fileobj=file) if packed else file
        with io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            for row in reader:
                number = reader.line_num
                if row:
                    yield number, row
    except _BROKEN as error:
        raise SettingsError(f"{name}: cannot be read after line {number}: {error}") from error


def decoded(key: str, place: str) -> str:
    """A key that is form-URL-encoded, as it stands in the bucket."""
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError(f"{place}: the key is not URL-encoded UTF-8") from None


def opened(path: Path) -> IO[bytes]:
    """A file to read.

    Raises:
        SettingsError: it cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def _of_listing(error: ConnectorError) -> ConnectorError:
    return SettingsError(str(error)) if isinstance(error, PoisonError) else error
