from __future__ import annotations

import gzip
import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme

from connectors.errors import PoisonError, SettingsError, TransientError
from connectors.media import LocalMedia, MediaSettings, MediaStore
from connectors.requests import ScanRequest
from tests.connectors.faults import Exchange, WebServer, authority, file_of, first, tls_of, web_server

VIDEO = bytes(range(256)) * 1000
SIGNED = "?X-Amz-Credential=me&X-Amz-Signature=5ec2e7"
LOOPBACK = (ip_network("127.0.0.1/32"),)


@dataclass
class World:
    """A server on loopback, and who may be asked for its name."""

    server: WebServer
    store: MediaStore
    settings: MediaSettings

    def get(self, path: str, **more: object) -> tuple[bytes, LocalMedia]:
        """What comes of a request for a path of the server."""
        uri = self.server.url(path, host="media.test") + SIGNED
        with self.store.fetch(ScanRequest(uri=uri, **more)) as media:
            return media.path.read_bytes(), media

    def reason(self, path: str) -> str:
        """Why a path is poison."""
        with pytest.raises(PoisonError) as caught:
            self.get(path)
        assert "5ec2e7" not in str(caught.value)
        return caught.value.reason


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return authority()


@pytest.fixture(scope="module")
def tls(ca: trustme.CA) -> ssl.SSLContext:
    return tls_of(ca, "media.test")


@pytest.fixture
def world(tmp_path: Path, ca: trustme.CA, tls: ssl.SSLContext) -> Iterator[World]:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = MediaSettings(
        folder=tmp_path / "media",
        ca_file=tmp_path / "ca.pem",
        allowed_networks=LOOPBACK,
        max_file=1 << 20,
        read_timeout_s=5,
        attempts=2,
    )
    with (
        web_server(tls=tls) as server,
        MediaStore(settings, resolver=lambda *_: ["127.0.0.1"]) as store,
    ):
        yield World(server, store, settings)


def test_a_presigned_video_comes_whole_with_what_the_server_says_of_it(world: World) -> None:
    world.server.routes["/clip.mp4"] = file_of(VIDEO, etag="abc")
    data, media = world.get("/clip.mp4", size_bytes=len(VIDEO))
    assert data == VIDEO
    assert (media.etag, media.content_type) == ("abc", "video/mp4")
    (seen,) = world.server.seen
    assert seen.path.endswith(SIGNED)
    assert seen.headers["host"] == f"media.test:{world.server.port}"


def test_a_connection_that_breaks_costs_only_what_is_missing(world: World) -> None:
    def breaks(exchange: Exchange) -> None:
        exchange.answer(200, VIDEO[:100_000], {"content-length": len(VIDEO), "etag": '"abc"'})
        exchange.vanish()

    world.server.routes["/clip.mp4"] = first(breaks, file_of(VIDEO, etag="abc"))
    assert world.get("/clip.mp4")[0] == VIDEO
    assert world.server.seen[1].headers["range"] == "bytes=100000-"


def test_a_video_that_changed_in_between_is_read_anew(world: World) -> None:
    def breaks(exchange: Exchange) -> None:
        exchange.answer(200, b"o" * 1000, {"content-length": len(VIDEO), "etag": '"old"'})
        exchange.vanish()

    world.server.routes["/clip.mp4"] = first(breaks, file_of(VIDEO, etag="new"))
    data, media = world.get("/clip.mp4")
    assert (data, media.etag) == (VIDEO, "new")


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "access_denied"), (404, "not_found"), (410, "not_found"), (400, "refused")]
)
def test_a_refusal_is_final(world: World, status: int, reason: str) -> None:
    world.server.routes["/clip.mp4"] = lambda exchange: exchange.answer(status, b"<Error/>")
    assert world.reason("/clip.mp4") == reason
    assert len(world.server.seen) == 1


def test_a_server_in_trouble_is_asked_again(world: World) -> None:
    def busy(exchange: Exchange) -> None:
        exchange.answer(503, headers={"retry-after": 0})

    world.server.routes["/clip.mp4"] = first(busy, file_of(VIDEO))
    assert world.get("/clip.mp4")[0] == VIDEO
    world.server.routes["/clip.mp4"] = lambda exchange: exchange.answer(429, headers={"retry-after": "0"})
    with pytest.raises(TransientError, match="answered 429") as caught:
        world.get("/clip.mp4")
    assert caught.value.retry_after_s == 0


def test_redirects_are_followed_where_each_hop_may_be_reached(world: World) -> None:
    world.server.routes |= {
        "/a": lambda exchange: exchange.answer(302, headers={"location": "/b?again=1"}),
        "/b": lambda exchange: exchange.answer(
            307, headers={"location": world.server.url("/c", host="media.test")}
        ),
        "/c": file_of(VIDEO),
    }
    assert world.get("/a")[0] == VIDEO


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://media.test/clip.mp4", "redirect_refused"),
        ("file:///etc/passwd", "redirect_refused"),
        ("https://me@media.test/clip.mp4", "redirect_refused"),
        ("/loop", "redirect_refused"),
        ("https://metadata.test/latest", "address_refused"),
    ],
)
def test_a_redirect_to_where_nobody_should_go_is_refused(world: World, location: str, reason: str) -> None:
    world.server.routes["/loop"] = lambda exchange: exchange.answer(302, headers={"location": location})
    hosts = {"media.test": "127.0.0.1", "metadata.test": "169.254.169.254"}
    with MediaStore(world.settings, resolver=lambda host, _: [hosts[host]]) as world.store:
        assert world.reason("/loop") == reason


def test_loopback_is_refused_unless_it_is_allowed(world: World) -> None:
    world.server.routes["/clip.mp4"] = file_of(VIDEO)
    settings = world.settings.model_copy(update={"allowed_networks": ()})
    with MediaStore(settings, resolver=lambda *_: ["127.0.0.1"]) as world.store:
        assert world.reason("/clip.mp4") == "address_refused"
    assert world.server.seen == []


def test_a_name_that_answers_otherwise_the_second_time_wins_nothing(
    world: World, tls: ssl.SSLContext
) -> None:
    asked: list[str] = []

    def rebinding(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1" if len(asked) == 1 else "127.0.0.2"]

    world.server.routes["/clip.mp4"] = file_of(VIDEO)
    with web_server(tls=tls, address="127.0.0.2", at_port=world.server.port) as secret:
        secret.routes["/clip.mp4"] = file_of(b"secret")
        with MediaStore(world.settings, resolver=rebinding) as world.store:
            assert world.get("/clip.mp4")[0] == VIDEO
            assert asked == ["media.test"]
            assert world.reason("/clip.mp4") == "address_refused"
        assert secret.seen == []


def test_the_next_address_is_tried_when_one_does_not_answer(world: World) -> None:
    world.server.routes["/clip.mp4"] = file_of(VIDEO)
    settings = world.settings.model_copy(update={"allowed_networks": (ip_network("127.0.0.0/8"),)})
    with MediaStore(settings, resolver=lambda *_: ["127.0.0.9", "127.0.0.1"]) as world.store:
        assert world.get("/clip.mp4")[0] == VIDEO


def test_a_certificate_of_another_name_is_not_trusted(world: World) -> None:
    world.server.routes["/clip.mp4"] = file_of(VIDEO)
    uri = world.server.url("/clip.mp4", host="other.test")
    with pytest.raises(PoisonError) as caught, world.store.fetch(ScanRequest(uri=uri)):
        pass
    assert caught.value.reason == "tls_failed"


def test_a_length_over_the_limit_is_refused_before_anything_is_read(world: World) -> None:
    def lies(exchange: Exchange) -> None:
        exchange.answer(200, b"x", {"content-length": 50 << 30})
        exchange.hang()

    world.server.routes["/clip.mp4"] = lies
    assert world.reason("/clip.mp4") == "too_large"


def test_a_body_without_a_length_is_cut_off_at_the_limit(world: World) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("connection", "close")
        exchange.end_headers()
        while True:
            exchange.wfile.write(b"x" * 65536)

    world.server.routes["/clip.mp4"] = endless
    assert world.reason("/clip.mp4") == "too_large"


def test_a_small_answer_that_would_unfold_into_a_large_one_is_refused(world: World) -> None:
    bomb = gzip.compress(bytes(10 << 20))
    world.server.routes["/clip.mp4"] = lambda exchange: exchange.answer(
        200, bomb, {"content-encoding": "gzip"}
    )
    assert world.reason("/clip.mp4") == "encoded"
    assert world.server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/json", "image/png"])
def test_a_page_that_says_it_is_no_video_is_not_scanned(world: World, content_type: str) -> None:
    world.server.routes["/clip.mp4"] = file_of(b"<html>", content_type=content_type)
    assert world.reason("/clip.mp4") == "not_a_video"


@pytest.mark.parametrize("content_type", ["", "binary/octet-stream", "application/mp4", "video/quicktime"])
def test_a_video_whose_type_is_vague_is_scanned(world: World, content_type: str) -> None:
    world.server.routes["/clip.mp4"] = file_of(VIDEO, content_type=content_type)
    assert world.get("/clip.mp4")[0] == VIDEO


def test_a_server_that_says_a_byte_now_and_then_does_not_hold_us(world: World) -> None:
    def slow(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("content-length", "100000")
        exchange.end_headers()
        exchange.trickle()

    world.server.routes |= {"/body": slow, "/head": lambda exchange: exchange.trickle()}
    settings = world.settings.model_copy(update={"timeout_s": 0.4})
    with MediaStore(settings, resolver=lambda *_: ["127.0.0.1"]) as world.store:
        for path in ("/body", "/head"):
            with pytest.raises(TransientError, match="not there after"):
                world.get(path)


@pytest.mark.parametrize("fault", ["hang", "vanish"])
def test_a_server_that_says_nothing_may_say_it_later(world: World, fault: str) -> None:
    world.server.routes["/clip.mp4"] = lambda exchange: getattr(exchange, fault)()
    settings = world.settings.model_copy(update={"read_timeout_s": 0.3, "attempts": 1})
    with (
        MediaStore(settings, resolver=lambda *_: ["127.0.0.1"]) as world.store,
        pytest.raises(TransientError, match=r"https://media\.test:\d+/clip\.mp4"),
    ):
        world.get("/clip.mp4")


def test_no_log_holds_a_signature(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.server.routes["/clip.mp4"] = file_of(VIDEO)
    world.get("/clip.mp4")
    assert world.reason("/absent.mp4") == "not_found"
    assert "5ec2e7" not in caplog.text


def test_one_server_cannot_mark_us_for_another(world: World) -> None:
    world.server.routes["/clip.mp4"] = lambda exchange: exchange.answer(200, VIDEO, {"set-cookie": "who=me"})
    world.get("/clip.mp4")
    world.get("/clip.mp4")
    assert "cookie" not in world.server.seen[1].headers


def test_certificates_that_cannot_be_read_are_a_wrong_deployment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        MediaStore(MediaSettings(folder=tmp_path, ca_file=tmp_path / "ca.pem"))
    assert not list(tmp_path.glob("dmcl-media-*"))
