"""What may be fetched, from where, and how much of it at a time."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, model_validator

Positive = Annotated[float, Field(gt=0)]


class S3Settings(BaseModel):
    """How `s3://` is read. Credentials come from where boto3 looks for them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: str | None = None
    """Of another server that speaks the protocol; AWS's own without."""
    region: str | None = None
    """The first to ask; a bucket elsewhere is found by itself."""
    requester_pays: bool = False
    """Agree to pay for reading from buckets that ask for it."""
    sse_customer_key: SecretStr | None = None
    """Key of 32 characters for objects encrypted with the customer's own (SSE-C)."""


class MediaSettings(BaseModel):
    """What may be fetched, from where, and how much of it at a time. Sizes may be written "2 GiB"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = None
    """Where videos lie while they are scanned; a folder of the user's own among the temporary files without."""
    max_file: ByteSize = ByteSize(4 << 30)
    """Largest video."""
    max_total: ByteSize = ByteSize(16 << 30)
    """Most that all videos in flight may take."""
    keep_free: ByteSize = ByteSize(1 << 30)
    """What is left free on the disk, whatever else is asked."""
    timeout_s: Positive = 600.0
    """Longest time for one video, with all attempts."""
    read_timeout_s: Positive = 20.0
    """Longest wait for a connection, and for the next bytes."""
    attempts: Annotated[int, Field(ge=1)] = 4
    """How often in all one part is tried."""
    file_roots: tuple[Path, ...] = ()
    """Folders below which `file://` may read; none without."""
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Private networks that `https://` may reach, as `10.20.0.0/16`; none without."""
    ca_file: Path | None = None
    """Certificates to trust for `https://` beside the public ones."""
    s3: S3Settings = S3Settings()

    @model_validator(mode="after")
    def _holds_its_largest_file(self) -> Self:
        if self.max_file > self.max_total:
            raise ValueError(
                f"max_total must hold a file of max_file, got {self.max_total} < {self.max_file}"
            )
        return self
