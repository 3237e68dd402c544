from __future__ import annotations

import socket
from ipaddress import ip_network

import httpx
import pytest

from connectors.errors import PoisonError, TransientError
from connectors.media.guard import reachable, redacted

URL = httpx.URL("https://media.example/clip.mp4")

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - listened on by nobody
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_of_our_own_is_reached(address: str) -> None:
    with pytest.raises(PoisonError, match=r"media\.example") as caught:
        reachable(URL, (), lambda *_: [address])
    assert caught.value.reason == "address_refused"


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::808:808"]
)
def test_public_addresses_are_reached(address: str) -> None:
    assert [str(found) for found in reachable(URL, (), lambda *_: [address])] == [address]


def test_of_several_addresses_only_public_ones_are_tried() -> None:
    assert list(map(str, reachable(URL, (), lambda *_: ["10.0.0.1", "8.8.8.8", "::1"]))) == ["8.8.8.8"]


def test_a_network_that_is_allowed_is_reached_also_when_mapped() -> None:
    allowed = (ip_network("10.20.0.0/16"),)
    assert reachable(URL, allowed, lambda *_: ["10.20.3.4"])
    assert reachable(URL, allowed, lambda *_: ["::ffff:10.20.3.4"])
    with pytest.raises(PoisonError):
        reachable(URL, allowed, lambda *_: ["10.21.0.1"])


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "017700000001", "[::1]", "localhost"])
def test_no_spelling_of_loopback_gets_through(host: str) -> None:
    with pytest.raises(PoisonError):
        reachable(httpx.URL(f"https://{host}/"), ())


def test_a_name_that_has_no_address_is_told_from_a_resolver_that_is_down() -> None:
    def failing(number: int) -> object:
        def resolver(*_: object) -> list[str]:
            raise socket.gaierror(number, "no")

        return resolver

    with pytest.raises(PoisonError, match="has no address"):
        reachable(URL, (), failing(socket.EAI_NONAME))  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        reachable(URL, (), failing(socket.EAI_AGAIN))  # type: ignore[arg-type]


def test_messages_hold_no_signature_and_no_password() -> None:
    assert (
        redacted("https://me:word@host:8443/a/b.mp4?X-Amz-Signature=abc#t=1") == "https://host:8443/a/b.mp4"
    )
