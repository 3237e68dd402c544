"""An HTTP endpoint that receives events signed as Standard Webhooks asks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from standardwebhooks import Webhook

from connectors.errors import PoisonError, TransientError
from connectors.events import STRUCTURED_CONTENT_TYPE, Delivery
from connectors.exchange import Deadline, retry_after_s
from connectors.retries import retrying

_PASSING = {408, 425, 429}


class WebhookSettings(BaseModel):
    """Where to post, and how to sign."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr
    """Secret, because many an endpoint's address is all that guards it."""
    secrets: Annotated[tuple[SecretStr, ...], Field(min_length=1)]
    """`whsec_...`; each signs, so that a receiver can change to a new one while the old one still holds."""
    timeout_s: Annotated[float, Field(gt=0)] = 15.0
    """Longest time for one answer, from the first byte sent to the last received."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """How often in all an event is sent before it is handed back."""

    @field_validator("url")
    @classmethod
    def _is_of_http(cls, url: SecretStr) -> SecretStr:
        try:
            parts = httpx.URL(url.get_secret_value())
        except httpx.InvalidURL:
            raise ValueError("is no URL") from None
        if parts.scheme not in {"https", "http"} or not parts.host:
            raise ValueError("starts with https:// and a host")
        return url

    @field_validator("secrets")
    @classmethod
    def _sign(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            try:
                Webhook(secret.get_secret_value())
            except Exception:  # noqa: BLE001 - the library's own and binascii's
                raise ValueError("each is whsec_ and base64") from None
        return secrets


class WebhookSink:
    """Posts structured CloudEvents; any answer of 2xx confirms.

    Redirects are not followed: a signed event is for the endpoint that was named and for nobody else.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._url = httpx.URL(settings.url.get_secret_value())
        self._signers = [Webhook(secret.get_secret_value()) for secret in settings.secrets]
        self._client = httpx.Client(
            timeout=settings.timeout_s, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self.name = f"webhook:{self._url.host}"

    def deliver(self, delivery: Delivery) -> None:
        """Post until it is confirmed, at most `attempts` times.

        Raises:
            PoisonError: `webhook_redirected` or `webhook_refused`.
            TransientError: 408, 425, 429 or 5xx, no answer, or none in time.
            RuntimeError: the sink is closed.
        """
        if self._client.is_closed:
            raise RuntimeError("the sink is closed")
        body = delivery.structured()
        retrying(self._settings.attempts)(lambda: self._post(delivery.id, body))

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    def _post(self, number: str, body: bytes) -> None:
        with Deadline(self._settings.timeout_s) as deadline:
            request = self._client.build_request(
                "POST",
                self._url,
                content=body,
                headers=self._headers(number, body),
                extensions=deadline.extensions,
            )
            try:
                response = self._client.send(request, stream=True)
            except httpx.TransportError as error:
                why = "no answer in time" if deadline.expired else f"{type(error).__name__}: {error}"
                raise TransientError(f"{self.name}: {why}") from error
            try:
                self._judge(response)
            finally:
                response.close()

    def _headers(self, number: str, body: bytes) -> dict[str, str]:
        now = datetime.fromtimestamp(int(time.time()), UTC)
        signatures = (signer.sign(number, now, body.decode()) for signer in self._signers)
        return {
            "content-type": f"{STRUCTURED_CONTENT_TYPE}; charset=utf-8",
            "webhook-id": number,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _judge(self, response: httpx.Response) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        message = f"{self.name}: answered {status}"
        if 300 <= status < 400:
            raise PoisonError("webhook_redirected", f"{message}; redirects are not followed")
        if status >= 500 or status in _PASSING:
            raise TransientError(message, retry_after_s=retry_after_s(response.headers))
        raise PoisonError("webhook_refused", f"{message}: {_start_of(response)!r}")


def _start_of(response: httpx.Response) -> str:
    """What an answer says, as far as it fits into a message."""
    said = b""
    try:
        for chunk in response.iter_raw():
            said += chunk
            if len(said) >= 200:
                break
    except httpx.TransportError:
        pass  # what came is enough
    return said[:200].decode(errors="replace")


def open_sink(settings: Mapping[str, Any]) -> WebhookSink:
    """From a table of settings."""
    return WebhookSink(WebhookSettings.model_validate(settings))
