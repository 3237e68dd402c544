"""What a listing, an inventory or a CSV file names, over S3's own protocol."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from connectors.errors import SettingsError
from connectors.inventory import in_inventory
from connectors.listings import S3Object, in_bucket, in_csv
from connectors.media.s3 import S3
from connectors.media.settings import MediaSettings, S3Settings
from tests.connectors.servers import Aws

SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"


@pytest.fixture
def s3(aws: Aws) -> Iterator[S3]:
    made = S3(MediaSettings(s3=S3Settings(endpoint_url=aws.endpoint_url, region=aws.region)))
    with closing(made):
        yield made


@pytest.fixture
def bucket(aws: Aws) -> str:
    name = f"b{uuid4().hex[:12]}"
    aws.s3.create_bucket(Bucket=name)
    return name


def write_inventory(folder: Path, lines: list[str], *, packed: bool = True, **changes: Any) -> Path:  # noqa: ANN401
    """An inventory as it lies when it was copied from S3; the path of its manifest."""
    name = "0b1c.csv.gz" if packed else "0b1c.csv"
    data = "\n".join(lines).encode()
    data = gzip.compress(data) if packed else data
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / name).write_bytes(data)
    manifest = {
        "sourceBucket": "uploads",
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1777852800000",
        "fileFormat": "CSV",
        "fileSchema": SCHEMA,
        "files": [
            {"key": f"all/data/{name}", "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()}  # noqa: S324
        ],
    }
    text = json.dumps(manifest | changes).encode()
    dated = folder / "2026-05-04T01-00Z"
    dated.mkdir(exist_ok=True)
    (dated / "manifest.json").write_bytes(text)
    (dated / "manifest.checksum").write_text(hashlib.md5(text).hexdigest() + "\n")  # noqa: S324
    return dated / "manifest.json"


def line(key: str, **changes: str) -> str:
    fields = {"version": "", "latest": "true", "deleted": "false", "size": "7", "etag": "e"} | changes
    return ",".join(f'"{value}"' for value in ["uploads", key, *fields.values()])


def test_a_bucket_lists_keys_as_they_stand_with_size_and_entity_tag(aws: Aws, s3: S3, bucket: str) -> None:
    keys = ["in/a b+c.mp4", "in/naïve/影片.mp4", "in/%20.mp4", "out.mp4"]
    for key in keys:
        aws.s3.put_object(Bucket=bucket, Key=key, Body=b"1234")
    found = list(in_bucket(s3, bucket, "in/", Event()))
    assert {one.key for one in found} == set(keys[:3])
    assert {one.size_bytes for one in found} == {4}
    assert all(one.etag and '"' not in one.etag for one in found)


def test_a_bucket_that_is_not_there_is_named(s3: S3) -> None:
    with pytest.raises(SettingsError, match=r"s3://absent-bucket/in/"):
        list(in_bucket(s3, "absent-bucket", "in/", Event()))


def test_an_inventory_names_what_is_latest_with_its_version(s3: S3, tmp_path: Path) -> None:
    lines = [
        line("a+b%2Bc.mp4", version="v2"),
        line("a+b%2Bc.mp4", version="v1", latest="false"),
        line("gone.mp4", deleted="true", size=""),
        line("plain.mp4"),
    ]
    found = list(in_inventory(str(write_inventory(tmp_path, lines)), s3, Event()))
    assert found == [
        S3Object("uploads", "a b+c.mp4", "v2", "e", 7),
        S3Object("uploads", "plain.mp4", None, "e", 7),
    ]


def test_an_inventory_is_read_from_where_s3_put_it(aws: Aws, s3: S3, bucket: str, tmp_path: Path) -> None:
    destination = f"arn:aws:s3:::{bucket}"
    local = write_inventory(tmp_path, [line("a.mp4")], packed=False, destinationBucket=destination)
    for path in [tmp_path / "data" / "0b1c.csv", local, local.with_name("manifest.checksum")]:
        key = f"all/{path.relative_to(tmp_path)}"
        aws.s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    found = in_inventory(f"s3://{bucket}/all/2026-05-04T01-00Z/manifest.json", s3, Event())
    assert [one.uri for one in found] == ["s3://uploads/a.mp4"]
    (tmp_path / "data" / "0b1c.csv").unlink()
    assert [one.key for one in in_inventory(str(local), s3, Event())] == ["a.mp4"]


def test_a_file_that_is_not_what_its_digest_says_is_not_believed(s3: S3, tmp_path: Path) -> None:
    manifest = write_inventory(tmp_path, [line("a.mp4")])
    (tmp_path / "data" / "0b1c.csv.gz").write_bytes(gzip.compress(line("b.mp4").encode()))
    with pytest.raises(SettingsError, match=r"0b1c\.csv\.gz: has MD5"):
        list(in_inventory(str(manifest), s3, Event()))


def test_a_manifest_that_is_not_what_its_checksum_says_is_not_believed(s3: S3, tmp_path: Path) -> None:
    manifest = write_inventory(tmp_path, [line("a.mp4")])
    manifest.with_name("manifest.checksum").write_text("0" * 32)
    with pytest.raises(SettingsError, match=r"manifest\.checksum"):
        list(in_inventory(str(manifest), s3, Event()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fileFormat": "ORC"}, "inventories in CSV are read"),
        ({"fileSchema": "Bucket, Size"}, "no columns Bucket and Key"),
        ({"fileSchema": "Bucket, Key"}, "0b1c.csv.gz:1: 7 columns"),
        ({"files": None}, "no manifest of an inventory: files"),
    ],
)
def test_an_inventory_of_another_kind_is_an_error_that_says_so(
    s3: S3, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    manifest = write_inventory(tmp_path, [line("a.mp4")], **changes)
    with pytest.raises(SettingsError, match=said):
        list(in_inventory(str(manifest), s3, Event()))


def test_a_manifest_that_is_not_there_is_named(s3: S3, bucket: str, tmp_path: Path) -> None:
    for manifest in (str(tmp_path / "manifest.json"), f"s3://{bucket}/manifest.json"):
        with pytest.raises(SettingsError, match=r"manifest\.json: not found"):
            list(in_inventory(manifest, s3, Event()))


def test_a_csv_file_may_have_headings_versions_quotes_and_be_packed(tmp_path: Path) -> None:
    text = 'bucket,key,version\nuploads,"a, b.mp4",v1\n\nuploads,c+d.mp4\n'
    (tmp_path / "list.csv").write_text(text)
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(text.encode()))
    wanted = [S3Object("uploads", "a, b.mp4", "v1"), S3Object("uploads", "c+d.mp4")]
    for name in ("list.csv", "list.csv.gz"):
        assert list(in_csv(tmp_path / name, encoded_keys=False)) == wanted
    assert [one.key for one in in_csv(tmp_path / "list.csv", encoded_keys=True)] == ["a, b.mp4", "c d.mp4"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"uploads,a.mp4\nonly-one\n", r"list\.csv:2: a line is bucket,key"),
        (b"uploads,a.mp4\nuploads,\n", r"list\.csv:2: a line is bucket,key"),
        (b"uploads,\xff.mp4\n", r"list\.csv: cannot be read after line 0"),
        (b"uploads,%ff.mp4\n", r"list\.csv:1: the key is not URL-encoded"),
    ],
)
def test_a_line_that_names_no_object_is_an_error_with_its_number(
    tmp_path: Path, data: bytes, said: str
) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(SettingsError, match=said):
        list(in_csv(tmp_path / "list.csv", encoded_keys=True))


def test_a_packed_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(b"uploads,a.mp4\n" * 1000)[:-10])
    with pytest.raises(SettingsError, match="cannot be read"):
        list(in_csv(tmp_path / "list.csv.gz", encoded_keys=False))


@pytest.mark.parametrize(
    "key", ["a.mp4", "a.MOV", "a.webm", "a.3gp", "a.ts", "a.ogv", "0f3c", "a.v2", "x/a.bin"]
)
def test_names_of_videos_and_names_that_say_nothing_are_taken(key: str) -> None:
    assert S3Object("uploads", key).is_named_like_a_video


@pytest.mark.parametrize("key", ["a.jpg", "a.JSON", "a.mp4.gz", "a.mp3", "a.txt", "a.m3u8", "a.html"])
def test_names_of_something_else_are_left_out(key: str) -> None:
    assert not S3Object("uploads", key).is_named_like_a_video
