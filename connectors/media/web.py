"""`https://`, presigned or public."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from connectors.errors import PoisonError, SettingsError, TransientError
from connectors.exchange import Deadline, retry_after_s
from connectors.media import guard
from connectors.media.folder import Incoming
from connectors.media.settings import MediaSettings

# At its usual level it writes every URL whole, signature and all.
logging.getLogger("httpx").setLevel(logging.WARNING)

MAX_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429}
_REASONS = {401: "access_denied", 403: "access_denied", 404: "not_found", 410: "not_found"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_NO_VIDEO = re.compile(
    r"(text|image|audio|font|multipart|message)/|application/(json|xml|xhtml|javascript|pdf)\b"
)


class Web:
    """Reads over HTTPS; each hop is checked, and the connection goes to the very address that was checked."""

    def __init__(self, settings: MediaSettings, resolver: guard.Resolver = guard.resolve) -> None:
        trust = ssl.create_default_context()
        if settings.ca_file is not None:
            try:
                trust.load_verify_locations(settings.ca_file)
            except OSError as error:
                raise SettingsError(f"media.ca_file {settings.ca_file}: {error}") from error
        self.allowed = settings.allowed_networks
        self.resolver = resolver
        # Another request may name the same address and mean another host: a connection is not used again.
        self.client = httpx.Client(
            verify=trust,
            trust_env=False,
            timeout=settings.read_timeout_s,
            limits=httpx.Limits(max_keepalive_connections=0),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    def close(self) -> None:
        """End all connections."""
        self.client.close()


class WebOrigin:
    """One video behind a URL."""

    def __init__(self, web: Web, uri: str) -> None:
        self._web = web
        self._uri = uri
        self.etag: str | None = None
        self.version_id: str | None = None
        self.content_type: str | None = None

    def read(self, into: Incoming, remaining_s: float) -> bool:
        """Append all that is missing, and say that it was the last.

        Raises:
            PoisonError: bad_uri, address_refused, host_not_found, redirect_refused, tls_failed, access_denied,
                not_found, refused, not_a_video, encoded, too_large.
            TransientError: the server or the way to it fails, or is too slow.
        """
        name = guard.redacted(self._uri)
        with Deadline(remaining_s) as deadline:
            try:
                with self._answer(into, deadline) as response:
                    self._take(response, into)
            except httpx.TransportError as error:
                if deadline.expired:
                    raise TransientError(f"{name}: not there after {remaining_s:.0f} s") from error
                if _is_of_certificate(error):
                    raise PoisonError("tls_failed", f"{name}: its certificate is not trusted") from error
                raise TransientError(f"{name}: {type(error).__name__}: {error}") from error
            if deadline.expired:
                raise TransientError(f"{name}: not there after {remaining_s:.0f} s")
        return True

    @contextmanager
    def _answer(self, into: Incoming, deadline: Deadline) -> Iterator[httpx.Response]:
        url = _parsed(self._uri)
        headers = {"accept-encoding": "identity"}
        if into.size and self.etag:
            headers |= {"range": f"bytes={into.size}-", "if-range": f'"{self.etag}"'}
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(url, headers, deadline)
            try:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                url = _parsed(response.headers.get("location", ""), url)
            finally:
                response.close()
        raise PoisonError(
            "redirect_refused", f"{guard.redacted(self._uri)}: more than {MAX_REDIRECTS} redirects"
        )

    def _send(self, url: httpx.URL, headers: dict[str, str], deadline: Deadline) -> httpx.Response:
        addresses = guard.reachable(url, self._web.allowed, self._web.resolver)
        extensions = deadline.extensions | {"sni_hostname": url.raw_host.decode("ascii")}
        named = headers | {"host": url.netloc.decode("ascii")}
        for last, address in enumerate(addresses, 1 - len(addresses)):
            pinned = url.copy_with(host=str(address))
            request = self._web.client.build_request("GET", pinned, headers=named, extensions=extensions)
            try:
                return self._web.client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if last == 0:
                    raise
        raise AssertionError("there is always an address")

    def _take(self, response: httpx.Response, into: Incoming) -> None:
        name = guard.redacted(self._uri)
        total = self._checked(response, into, name)
        if total is not None:
            into.expect(total)
        for chunk in response.iter_raw():
            into.write(chunk)
        if total is not None and into.size != total:
            raise TransientError(f"{name}: {into.size} bytes came of {total}")

    def _checked(self, response: httpx.Response, into: Incoming, name: str) -> int | None:
        """What the answer says of itself, as far as it can be believed; the size of the whole, if it says."""
        status, headers = response.status_code, response.headers
        if status == 206 and (part := _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))):
            if int(part[1]) != into.size:
                raise TransientError(f"{name}: another range came than was asked for")
        elif status == 200:
            into.rewind()
        elif status >= 500 or status in _PASSING:
            raise TransientError(f"{name}: answered {status}", retry_after_s=retry_after_s(headers))
        else:
            raise PoisonError(_REASONS.get(status, "refused"), f"{name}: answered {status}")
        if headers.get("content-encoding", "identity") != "identity":
            raise PoisonError("encoded", f"{name}: encoded as {headers['content-encoding'][:40]!r}, unasked")
        self.content_type = headers.get("content-type", "").partition(";")[0].strip().lower() or None
        if self.content_type and _NO_VIDEO.match(self.content_type):
            raise PoisonError("not_a_video", f"{name}: is {self.content_type[:80]!r}")
        etag = headers.get("etag", "")
        self.etag = etag.strip('"') if etag.startswith('"') else None  # a weak one promises no equal bytes
        self.version_id = headers.get("x-amz-version-id")
        if status == 206:
            return int(part[2]) if part else None
        return int(headers["content-length"]) if "content-length" in headers else None


def _parsed(text: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        url = httpx.URL(text) if base is None else base.join(text)
    except httpx.InvalidURL as error:
        raise PoisonError("bad_uri" if base is None else "redirect_refused", f"no URL: {error}") from None
    if url.scheme != "https" or not url.host or url.userinfo:
        reason = "bad_uri" if base is None else "redirect_refused"
        raise PoisonError(reason, f"{guard.redacted(url)}: only https:// without a user's name is read")
    return url


def _is_of_certificate(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None
