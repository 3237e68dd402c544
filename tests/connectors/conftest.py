"""The servers that the connectors' tests share."""

from __future__ import annotations

from tests.connectors.servers import aws, broker

__all__ = ["aws", "broker"]
