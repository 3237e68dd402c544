"""AWS, and what speaks its protocol: how it is reached, and what its errors mean for a request.

Credentials come from where boto3 looks for them: the environment, a profile, the machine's or the pod's role.
"""

from __future__ import annotations

from functools import cache

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from connectors.errors import ConnectorError, PoisonError, SettingsError, TransientError

AwsError = (BotoCoreError, ClientError)
"""Whatever boto3 raises when a call does not succeed."""

NO_SUCH_QUEUE = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "AccessDenied",
        "AccessDeniedException",
        "InvalidAddress",
        "QueueDoesNotExist",
    }
)
"""Codes of an answer that says that the queue is not there, or not for us."""

_PASSING = {
    "InternalError",
    "InternalFailure",
    "OperationAborted",
    "RequestThrottled",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_CREDENTIALS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_REASONS = {
    401: "access_denied",
    403: "access_denied",
    404: "not_found",
    405: "not_found",
    412: "object_changed",
}


def config(*, timeout_s: float, attempts: int) -> Config:
    """Settings of a client.

    Args:
        timeout_s: longest wait for a connection, and for the next bytes of an answer.
        attempts: how often in all a call is made, with jitter between.
    """
    return Config(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )


@cache
def session() -> boto3.Session:
    """The process's own: what it has loaded about services and credentials serves all clients.

    Clients may be used by any number of threads, and made by one at a time.
    """
    return boto3.Session()


def translated(error: Exception, doing: str) -> ConnectorError:
    """What an `AwsError` asks of the caller, named by what was being done.

    An answer that refuses one request is a `PoisonError`: access_denied, not_found, object_changed or refused.
    """
    if isinstance(error, ClientError):
        return _answered(error, doing)
    message = f"{doing}: {error}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | NoRegionError | ProfileNotFound):
        return SettingsError(message)
    if isinstance(error, ParamValidationError):
        return PoisonError("refused", message)
    return TransientError(message)


def _answered(error: ClientError, doing: str) -> ConnectorError:
    code = error.response["Error"].get("Code", "")
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    said = error.response["Error"].get("Message") or ""  # Ceph has an empty one, which is read as None
    message = f"{doing}: {status} {code}: {said[:300]}"
    if code in _CREDENTIALS:
        return SettingsError(message)
    if status in {429, *range(500, 600)} or code in _PASSING:
        return TransientError(message)
    return PoisonError(_REASONS.get(status, "refused"), message)


def code_of(error: Exception) -> str:
    """The code of an answer, as `NoSuchKey`; empty for an error without an answer."""
    return error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""


__all__ = ["NO_SUCH_QUEUE", "AwsError", "code_of", "config", "session", "translated"]
