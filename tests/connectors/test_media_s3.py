from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ByteSize

from connectors.aws import session
from connectors.errors import PoisonError, SettingsError, TransientError
from connectors.media import LocalMedia, MediaSettings, MediaStore, S3Settings, s3
from connectors.requests import ScanRequest
from tests.connectors.faults import ChaosProxy, Exchange, chaos_proxy, web_server
from tests.connectors.servers import Aws

VIDEO = bytes(range(256)) * 1000
PART = 100_000
CUSTOMER_KEY = "k" * 32


@pytest.fixture
def bucket(aws: Aws, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own that keeps versions."""
    name = f"videos-{hashlib.md5(request.node.name.encode()).hexdigest()}"  # noqa: S324 - no secret
    aws.s3.create_bucket(Bucket=name)
    aws.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", PART)  # so that a small object has several


@pytest.fixture
def settings(aws: Aws, tmp_path: Path) -> MediaSettings:
    return MediaSettings(
        folder=tmp_path, s3=S3Settings(endpoint_url=aws.endpoint_url, region=aws.region), attempts=3
    )


@pytest.fixture
def store(settings: MediaSettings) -> Iterator[MediaStore]:
    with MediaStore(settings) as store:
        yield store


def get(store: MediaStore, uri: str, **more: object) -> tuple[bytes, LocalMedia]:
    with store.fetch(ScanRequest(uri=uri, **more)) as media:
        return media.path.read_bytes(), media


def reason(store: MediaStore, uri: str, **more: object) -> str:
    with pytest.raises(PoisonError) as caught:
        get(store, uri, **more)
    return caught.value.reason


def at(settings: MediaSettings, **changed: object) -> MediaSettings:
    return settings.model_copy(update={"s3": settings.s3.model_copy(update=changed)})


@pytest.mark.parametrize("key", ["clip.mp4", "a folder/100% +ü?#.mp4", "../up.mp4"])
def test_an_object_comes_whole_whatever_its_key(aws: Aws, store: MediaStore, bucket: str, key: str) -> None:
    put = aws.s3.put_object(Bucket=bucket, Key=key, Body=VIDEO, ContentType="video/mp4")
    digest = hashlib.sha256(VIDEO).hexdigest()
    data, media = get(store, f"s3://{bucket}/{key}", sha256=digest, size_bytes=len(VIDEO))
    assert data == VIDEO
    assert (media.version_id, media.etag) == (put["VersionId"], put["ETag"].strip('"'))
    assert media.content_type == "video/mp4"


def test_the_version_that_was_asked_for_comes(aws: Aws, store: MediaStore, bucket: str) -> None:
    old = aws.s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    aws.s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert get(store, f"s3://{bucket}/k")[0] == b"new"
    assert get(store, f"s3://{bucket}/k", version_id=old["VersionId"], etag="other")[0] == b"old"


def test_an_object_that_was_overwritten_is_not_taken_for_the_one_meant(
    aws: Aws, store: MediaStore, bucket: str
) -> None:
    old = aws.s3.put_object(Bucket=bucket, Key="k", Body=b"old")["ETag"].strip('"')
    assert get(store, f"s3://{bucket}/k", etag=old)[0] == b"old"
    aws.s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert reason(store, f"s3://{bucket}/k", etag=old) == "object_changed"


def test_what_is_not_there_and_what_is_empty_is_poison(aws: Aws, store: MediaStore, bucket: str) -> None:
    aws.s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    aws.s3.put_object(Bucket=bucket, Key="gone", Body=b"x")
    aws.s3.delete_object(Bucket=bucket, Key="gone")
    assert reason(store, f"s3://{bucket}/empty") == "empty"
    assert reason(store, f"s3://{bucket}/gone") == "not_found"
    assert reason(store, f"s3://{bucket}/absent") == "not_found"
    assert reason(store, f"s3://{bucket}/empty", version_id="absent") == "not_found"
    assert reason(store, "s3://no-such-bucket-here/k") == "not_found"


def test_an_object_over_the_limit_is_refused(aws: Aws, settings: MediaSettings, bucket: str) -> None:
    aws.s3.put_object(Bucket=bucket, Key="k", Body=VIDEO)
    with MediaStore(settings.model_copy(update={"max_file": ByteSize(len(VIDEO) - 1)})) as store:
        assert reason(store, f"s3://{bucket}/k") == "too_large"


def test_an_object_of_the_customers_key_is_read_with_it(
    aws: Aws, settings: MediaSettings, bucket: str
) -> None:
    aws.s3.put_object(
        Bucket=bucket, Key="k", Body=VIDEO, SSECustomerAlgorithm="AES256", SSECustomerKey=CUSTOMER_KEY
    )
    with MediaStore(settings) as store:
        assert reason(store, f"s3://{bucket}/k") == "refused"
    with MediaStore(MediaSettings.model_validate(_with_key(settings))) as store:
        assert get(store, f"s3://{bucket}/k")[0] == VIDEO


def _with_key(settings: MediaSettings) -> dict[str, object]:
    return {**dict(settings), "s3": {**dict(settings.s3), "sse_customer_key": CUSTOMER_KEY}}


def test_a_secret_is_never_shown(settings: MediaSettings) -> None:
    shown = MediaSettings.model_validate(_with_key(settings))
    assert CUSTOMER_KEY not in f"{shown!r} {shown.model_dump_json()}"


def test_a_connection_that_breaks_costs_the_rest_of_a_part(
    settings: MediaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_CHUNK_BYTES", 10_000)
    asked: list[str | None] = []

    def breaking(exchange: Exchange) -> None:
        """Serves as S3 would, and breaks off in the middle of each second answer."""
        asked.append(exchange.headers["range"])
        start, end = map(int, (asked[-1] or "").removeprefix("bytes=").split("-"))
        end = min(end, len(VIDEO) - 1)
        headers = {
            "etag": '"abc"',
            "content-range": f"bytes {start}-{end}/{len(VIDEO)}",
            "content-length": end - start + 1,
        }
        cut = (end - start + 1) // 2 if len(asked) % 2 else None
        exchange.answer(206, VIDEO[start : end + 1][:cut], headers)
        if cut is not None:
            exchange.vanish()

    with web_server(routes={"/bucket/k": breaking}) as server:
        with MediaStore(at(settings, endpoint_url=server.url(""))) as store:
            assert get(store, "s3://bucket/k")[0] == VIDEO
        assert asked[:3] == ["bytes=0-99999", "bytes=50000-99999", "bytes=100000-199999"]
        assert len(asked) == 6
        assert "if-match" not in server.seen[0].headers
        assert all(seen.headers["if-match"] == '"abc"' for seen in server.seen[1:])


def test_a_bucket_elsewhere_is_found(settings: MediaSettings) -> None:
    def abroad(exchange: Exchange) -> None:
        if "/eu-west-1/s3/" not in exchange.headers["authorization"]:
            body = b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
            return exchange.answer(301, body, {"x-amz-bucket-region": "eu-west-1"})
        return exchange.answer(206, VIDEO, {"etag": '"a"', "content-range": f"bytes 0-9/{len(VIDEO)}"})

    with (
        web_server(routes={"/abroad/k": abroad}) as server,
        MediaStore(at(settings, endpoint_url=server.url(""))) as store,
    ):
        assert get(store, "s3://abroad/k")[0] == VIDEO


def test_a_requester_says_that_it_pays(settings: MediaSettings) -> None:
    def asks(exchange: Exchange) -> None:
        if exchange.headers["x-amz-request-payer"] != "requester":
            return exchange.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        return exchange.answer(200, VIDEO, {"etag": '"a"'})

    with web_server(routes={"/paid/k": asks}) as server:
        there = at(settings, endpoint_url=server.url(""))
        with MediaStore(there) as store:
            assert reason(store, "s3://paid/k") == "access_denied"
        with MediaStore(at(there, requester_pays=True)) as store:
            assert get(store, "s3://paid/k")[0] == VIDEO


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (503, "SlowDown", TransientError),
        (500, "InternalError", TransientError),
        (400, "RequestTimeout", TransientError),
        (403, "SignatureDoesNotMatch", SettingsError),
        (403, "InvalidAccessKeyId", SettingsError),
        (403, "InvalidObjectState", PoisonError),
    ],
)
def test_an_answer_means_what_can_be_done_about_it(
    settings: MediaSettings, status: int, code: str, error: type[Exception]
) -> None:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    with web_server(routes={"/bucket/k": lambda exchange: exchange.answer(status, body)}) as server:
        settings = at(settings, endpoint_url=server.url("")).model_copy(update={"attempts": 1})
        with MediaStore(settings) as store, pytest.raises(error):
            get(store, "s3://bucket/k")


def test_an_answer_that_does_not_say_why_is_an_answer_too(settings: MediaSettings) -> None:
    body = b"<Error><Code>NoSuchKey</Code><Message></Message></Error>"
    with (
        web_server(routes={"/bucket/k": lambda exchange: exchange.answer(404, body)}) as server,
        MediaStore(at(settings, endpoint_url=server.url(""))) as store,
    ):
        assert reason(store, "s3://bucket/k") == "not_found"


@pytest.fixture
def proxy(aws: Aws) -> Iterator[ChaosProxy]:
    with chaos_proxy(aws.port) as proxy:
        yield proxy


@pytest.mark.parametrize("mode", ["refuse", "blackhole", "lose_answers"])
def test_a_store_that_cannot_be_reached_may_be_later(
    aws: Aws, settings: MediaSettings, bucket: str, proxy: ChaosProxy, mode: str
) -> None:
    aws.s3.put_object(Bucket=bucket, Key="k", Body=VIDEO)
    there = at(settings, endpoint_url=proxy.url)
    with MediaStore(there.model_copy(update={"read_timeout_s": 0.3, "attempts": 1})) as store:
        proxy.mode = mode  # type: ignore[assignment]
        with pytest.raises(TransientError):
            get(store, f"s3://{bucket}/k")
    proxy.mode = "pass"
    with MediaStore(there) as store:
        assert get(store, f"s3://{bucket}/k")[0] == VIDEO


def test_without_credentials_nothing_is_read_and_it_is_said(
    settings: MediaSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    session.cache_clear()
    try:
        with MediaStore(settings) as store, pytest.raises(SettingsError, match="credentials"):
            get(store, "s3://bucket/k")
    finally:
        session.cache_clear()
