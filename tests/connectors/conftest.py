"""The servers that the connectors' tests share."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from tests.connectors.faults import ChaosProxy, chaos_proxy
from tests.connectors.servers import aws, broker, tansu

__all__ = ["aws", "broker"]


@pytest.fixture(scope="module")
def broken_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosProxy]:
    """The only way to a broker of this module's own."""
    with (
        chaos_proxy() as proxy,
        tansu(tmp_path_factory.mktemp("tansu"), advertised=proxy.port) as process,
    ):
        proxy.upstream_port = process.port
        yield proxy


@pytest.fixture
def sockets_are_collected() -> Iterator[None]:
    """kafka-python leaves the socket of a connection that failed to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
