"""Which addresses may be reached, and what of a URL may be said.

A request may come from anybody who can put a message on a queue. Without a guard, such a one could have this machine
ask the cloud's metadata service, or a neighbour behind the firewall, and read the answer off the verdict.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from connectors.errors import PoisonError, TransientError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""Host and port to addresses; raises `socket.gaierror`."""

_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host, in the order in which to try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def reachable(url: httpx.URL, allowed: Sequence[Network], resolver: Resolver = resolve) -> list[Address]:
    """Addresses behind a URL that may be connected to: public ones, and those in networks that are allowed.

    Connect to one of these and not to the name: asked again, the name may answer otherwise.

    Raises:
        PoisonError: `address_refused`, or `host_not_found`.
        TransientError: names cannot be resolved now.
    """
    try:
        addresses = [ip_address(text) for text in resolver(url.host, url.port or 443)]
    except (socket.gaierror, UnicodeError) as error:
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            raise TransientError(f"{url.host}: its address cannot be found now") from error
        raise PoisonError("host_not_found", f"{url.host}: has no address") from error
    may = [address for address in addresses if _may_be_reached(address, allowed)]
    if not may:
        raise PoisonError(
            "address_refused", f"{url.host}: only public addresses are read, and networks allowed"
        )
    return may


def redacted(url: str | httpx.URL) -> str:
    """A URL without user, password, query and fragment: what may stand in a message."""
    parts = httpx.URL(url)
    return str(parts.copy_with(userinfo=b"", query=None, fragment=None))


def _may_be_reached(address: Address, allowed: Sequence[Network]) -> bool:
    inner = _carried(address)
    if inner is not None:
        return _may_be_reached(inner, allowed)
    if any(address in network for network in allowed):
        return True
    local = isinstance(address, IPv6Address) and (address.is_site_local or address in _NAT64_LOCAL)
    return address.is_global and not (address.is_multicast or address.is_reserved or local)


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address to which packets for an IPv6 address of transition go in the end."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    in_low_bits = address in _NAT64 or (address in _COMPATIBLE and int(address) > 1)
    return IPv4Address(int(address) & 0xFFFF_FFFF) if in_low_bits else None
