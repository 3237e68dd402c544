"""S3 as Ceph speaks it: a real store of which several versions lie under one key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.errors import PoisonError
from connectors.media import MediaSettings, MediaStore, S3Settings, s3
from connectors.requests import ScanRequest
from tests.connectors.servers import Aws, aws_credentials, radosgw
from tests.connectors.test_backfill import Stock

pytestmark = pytest.mark.ceph

VIDEO = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with radosgw(tmp_path_factory.mktemp("ceph")) as gateway, aws_credentials():
        yield Aws(f"http://127.0.0.1:{gateway.port}", region="default")


def test_each_version_of_an_object_comes_whole_in_ranges(
    ceph: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 100_000)  # so that a small object has several
    ceph.s3.create_bucket(Bucket="versions")
    ceph.s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    contents = [VIDEO + name for name in (b"first", b"second", b"third")]
    key = "a folder/100% +ü.mp4"
    put = [ceph.s3.put_object(Bucket="versions", Key=key, Body=content) for content in contents]
    settings = MediaSettings(
        folder=tmp_path, s3=S3Settings(endpoint_url=ceph.endpoint_url, region=ceph.region), attempts=3
    )
    with MediaStore(settings) as store:
        for content, answer in zip(contents, put, strict=True):
            request = ScanRequest(uri=f"s3://versions/{key}", version_id=answer["VersionId"])
            with store.fetch(request) as media:
                assert media.path.read_bytes() == content
                assert media.version_id == answer["VersionId"]
        with store.fetch(ScanRequest(uri=f"s3://versions/{key}")) as media:
            assert media.path.read_bytes() == contents[-1]
        old = ScanRequest(uri=f"s3://versions/{key}", etag=put[0]["ETag"].strip('"'))
        with pytest.raises(PoisonError) as caught, store.fetch(old):
            pass
        assert caught.value.reason == "object_changed"
        ceph.s3.delete_object(Bucket="versions", Key=key)
        with pytest.raises(PoisonError) as caught, store.fetch(ScanRequest(uri=f"s3://versions/{key}")):
            pass
        assert caught.value.reason == "not_found"


def test_what_lies_there_is_scanned_once_and_versions_that_a_list_names_each_on_their_own(
    ceph: Aws, tmp_path: Path
) -> None:
    stock = Stock(ceph, tmp_path)
    videos = {stock.put(key) for key in ("a clip.mp4", "naïve/影片.mp4", "a+b%20.mp4")}
    status, said = stock.run()
    assert status == 0, said
    assert {*stock.verdicts()} == videos
    assert "0 delivered, 3 delivered before" in stock.run()[1]

    ceph.s3.put_bucket_versioning(Bucket=stock.name, VersioningConfiguration={"Status": "Enabled"})
    versions = [
        ceph.s3.put_object(Bucket=stock.name, Key="v.mp4", Body=stock.clip + body)["VersionId"]
        for body in (b"1", b"2")
    ]
    listed = tmp_path / "list.csv"
    listed.write_text("".join(f"{stock.name},v.mp4,{version}\n" for version in versions))
    stock.results = tmp_path / "versions.jsonl"
    status, said = stock.run("--csv", str(listed))
    assert status == 0, said
    assert "2 delivered, 0 delivered before" in said
    lines = stock.results.read_text()
    assert all(version in lines for version in versions)
