"""S3 Inventory: the objects of a bucket as S3 wrote them down, in a manifest and the CSV files that it names.

Every file is checked against the digest that its manifest gives before a line of it is believed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import IO, TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors import aws
from connectors.errors import ConnectorError, PoisonError, SettingsError
from connectors.listings import S3Object, decoded, opened, rows
from connectors.retries import patiently

if TYPE_CHECKING:
    from connectors.media.s3 import S3

MAX_MANIFEST_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_SPOOL_BYTES = 8 << 20


class _Shape(BaseModel):
    """Takes what it needs and leaves the rest."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _File(_Shape):
    key: Annotated[str, Field(min_length=1)]
    md5: Annotated[str, Field(alias="MD5checksum", pattern="^[0-9a-fA-F]{32}$")]


class _Manifest(_Shape):
    bucket: Annotated[str, Field(alias="destinationBucket", min_length=1)]
    """As an ARN, or its plain name."""
    format: Annotated[str, Field(alias="fileFormat")]
    columns: Annotated[str, Field(alias="fileSchema", min_length=1)]
    """`Bucket, Key, ...`; files have no line of headings."""
    files: tuple[_File, ...]


def in_inventory(manifest: str, s3: S3, stopping: Event) -> Iterator[S3Object]:
    """What an inventory names: of versions the latest, and no deletions.

    Args:
        manifest: path or `s3://` URI of its manifest.json. Of a path, the CSV files are looked for beside it and in
            `data`, as they lie when an inventory was copied; what is not there is fetched from where S3 put it.
        s3: to fetch with.
        stopping: ends waits for a server that does not answer.

    Raises:
        SettingsError: a file is not there, is not what its digest says, or is no inventory in CSV.
        StoppedError: we were asked to end while no server answered.
    """
    place = _Place(manifest, s3, stopping)
    found = _read_manifest(place)
    columns = {name.strip().lower(): number for number, name in enumerate(found.columns.split(","))}
    if found.format.upper() != "CSV":
        raise SettingsError(f"{manifest}: its files are {found.format}; inventories in CSV are read")
    if not {"bucket", "key"} <= set(columns):
        raise SettingsError(f"{manifest}: has no columns Bucket and Key but {found.columns}")
    bucket = found.bucket.rpartition(":")[2]
    for file in found.files:
        with place.data(bucket, file.key, file.md5.lower()) as data:
            for number, row in rows(data, file.key, packed=file.key.endswith(".gz")):
                if len(row) != len(columns):
                    raise SettingsError(
                        f"{file.key}:{number}: {len(row)} columns; its manifest says {len(columns)}"
                    )
                if one := _object(row, columns, f"{file.key}:{number}"):
                    yield one


class _Place:
    """Where a manifest and what belongs to it are."""

    def __init__(self, manifest: str, s3: S3, stopping: Event) -> None:
        self.manifest = manifest
        self._s3 = s3
        self._stopping = stopping
        self._path = None if manifest.startswith("s3://") else Path(manifest)
        self._bucket, self._key = ("", "") if self._path else _split(manifest)

    @contextmanager
    def beside(self, name: str) -> Iterator[IO[bytes] | None]:
        """The file of this name beside the manifest; None when there is none."""
        if self._path is None:
            key = f"{self._key.rpartition('/')[0]}/{name}".lstrip("/")
            with self._fetched(self._bucket, key) as fetched:
                yield fetched
        elif (path := self._path.parent / name).exists():
            with opened(path) as file:
                yield file
        else:
            yield None

    @contextmanager
    def data(self, bucket: str, key: str, md5: str) -> Iterator[IO[bytes]]:
        """A file that the manifest names, once its digest was checked."""
        copied = self._copied(key.rpartition("/")[2])
        with opened(copied) if copied else self._fetched(bucket, key) as file:
            if file is None:
                raise SettingsError(f"{self.manifest}: there is no s3://{bucket}/{key}, which it names")
            found = hashlib.md5(usedforsecurity=False)
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
            if found.hexdigest() != md5:
                name = copied or f"s3://{bucket}/{key}"
                raise SettingsError(f"{name}: has MD5 {found.hexdigest()}; {self.manifest} says {md5}")
            file.seek(0)
            yield file

    def _copied(self, name: str) -> Path | None:
        if self._path is None or name in {"", ".", ".."}:
            return None
        here = self._path.parent
        places = (here / name, here / "data" / name, here.parent / "data" / name)
        return next((path for path in places if path.is_file()), None)

    @contextmanager
    def _fetched(self, bucket: str, key: str) -> Iterator[IO[bytes] | None]:
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
            there = patiently(lambda: self._fetch(bucket, key, file), stopping=self._stopping)
            file.seek(0)
            yield file if there else None

    def _fetch(self, bucket: str, key: str, into: Any) -> bool:  # noqa: ANN401 - a temporary file
        into.seek(0)
        into.truncate()
        try:
            with closing(self._s3.client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    into.write(chunk)
        except aws.AwsError as error:
            ours: ConnectorError = aws.translated(error, f"s3://{bucket}/{key}")
            if isinstance(ours, PoisonError) and ours.reason == "not_found":
                return False
            raise SettingsError(str(ours)) if isinstance(ours, PoisonError) else ours from error
        return True


def _read_manifest(place: _Place) -> _Manifest:
    name = place.manifest.rpartition("/")[2]
    with place.beside(name) as file:
        if file is None:
            raise SettingsError(f"{place.manifest}: not found")
        text = file.read(MAX_MANIFEST_BYTES + 1)
    if len(text) > MAX_MANIFEST_BYTES:
        raise SettingsError(
            f"{place.manifest}: more than {MAX_MANIFEST_BYTES} bytes; no manifest of an inventory"
        )
    with place.beside("manifest.checksum") as file:  # S3 writes one; not every store does
        said = None if file is None else file.read(1000).decode(errors="replace").strip().lower()
    if said is not None and hashlib.md5(text, usedforsecurity=False).hexdigest() != said:
        raise SettingsError(f"{place.manifest}: is not what manifest.checksum says; fetch it again")
    try:
        return _Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(
            f"{place.manifest}: no manifest of an inventory: {where}: {first['msg']}"
        ) from None


def _object(row: Sequence[str], columns: Mapping[str, int], place: str) -> S3Object | None:
    def field(name: str) -> str:
        return row[columns[name]].strip() if name in columns else ""

    if field("isdeletemarker").lower() == "true" or field("islatest").lower() == "false":
        return None
    size = field("size")
    return S3Object(
        bucket=field("bucket"),
        key=decoded(row[columns["key"]], place),
        version_id=field("versionid") or None,
        etag=field("etag").strip('"') or None,
        size_bytes=int(size) if size.isascii() and size.isdigit() else None,
    )


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise SettingsError(f"{uri}: a manifest is s3://bucket/key")
    return bucket, key
