"""`s3://`, in ranges, so that a connection that breaks costs the rest of one part."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from connectors import aws
from connectors.errors import PoisonError, TransientError
from connectors.media.folder import Incoming
from connectors.media.settings import MediaSettings
from connectors.requests import ScanRequest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
_REASONS = {
    "InvalidObjectState": ("archived", "archived; restore it first"),
    "InvalidRange": ("empty", "empty"),
    "PreconditionFailed": ("object_changed", "another object stands there now"),
}


class S3:
    """A client, for many objects and threads."""

    def __init__(self, settings: MediaSettings) -> None:
        self.settings = settings.s3
        self.client: S3Client = aws.session().client(
            "s3",
            endpoint_url=self.settings.endpoint_url,
            region_name=self.settings.region,
            config=aws.config(timeout_s=settings.read_timeout_s, attempts=1),
        )

    def close(self) -> None:
        """End all connections."""
        self.client.close()


class S3Origin:
    """One version of one object: that of the request, else the one with its entity tag, else what stands there."""

    def __init__(self, s3: S3, request: ScanRequest, bucket: str, key: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._name = request.key
        self.etag = None if request.version_id else request.etag
        self.version_id = request.version_id
        self.content_type: str | None = None

    def read(self, into: Incoming, remaining_s: float) -> bool:
        """Append what is missing of one part, and say whether it was the last.

        Raises:
            PoisonError: not_found, access_denied, object_changed, archived, empty, refused, too_large.
            TransientError: the store or the way to it fails, or there is no time left.
            SettingsError: the credentials are missing or wrong.
        """
        if remaining_s <= 0:
            raise TransientError(f"{self._name}: not there in time")
        start = into.size
        span = f"bytes={start}-{start - start % PART_BYTES + PART_BYTES - 1}"
        try:
            answer = self._s3.client.get_object(
                Bucket=self._bucket, Key=self._key, Range=span, **self._options()
            )
            with closing(answer["Body"]) as body:
                total = self._noted(answer, into)
                into.expect(total)
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    into.write(chunk)
        except aws.AwsError as error:
            reason = _REASONS.get(aws.code_of(error))
            if reason is not None:
                raise PoisonError(reason[0], f"{self._name}: {reason[1]}") from error
            raise aws.translated(error, self._name) from error
        if into.size == start < total:
            raise TransientError(f"{self._name}: nothing came of {span}")
        return into.size >= total

    def _noted(self, answer: Any, into: Incoming) -> int:  # noqa: ANN401 - boto3's dictionary
        """Keep what later parts must agree with; the size of the whole object in bytes."""
        self.etag = answer["ETag"].strip('"')
        self.version_id = answer.get("VersionId", self.version_id)
        self.content_type = answer.get("ContentType")
        if "ContentRange" in answer:
            return int(answer["ContentRange"].rpartition("/")[2])
        into.rewind()  # a store that knows no ranges sends the whole
        return int(answer["ContentLength"])

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.version_id:
            options["VersionId"] = self.version_id
        if self.etag:
            options["IfMatch"] = f'"{self.etag}"'
        if self._s3.settings.requester_pays:
            options["RequestPayer"] = "requester"
        if self._s3.settings.sse_customer_key is not None:
            options["SSECustomerAlgorithm"] = "AES256"
            options["SSECustomerKey"] = self._s3.settings.sse_customer_key.get_secret_value()
        return options
