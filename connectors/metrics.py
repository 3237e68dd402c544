"""What a daemon counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """Counters of one daemon, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "dmcl"}
        self.requests = Counter("requests", "Requests that were dealt with", ["outcome"], **own)
        self.verdicts = Counter("verdicts", "Verdicts that were delivered", ["status", "label"], **own)
        self.dead_letters = Counter("dead_letters", "Messages put among the dead letters", ["reason"], **own)
        self.ignored = Counter("ignored", "Messages and records that ask for no scan", **own)
        self.known = Counter("known", "Verdicts that were there already, so that nothing was scored", **own)
        self.waits = Counter("waits", "Waits for something that does not work now", ["what"], **own)
        self.in_flight = Gauge("in_flight", "Messages that were taken and are not settled", **own)
        self.lag = Gauge("consumer_lag", "Messages not yet settled", ["partition"], **own)
        self.outbox = Counter(
            "outbox", "Events that an earlier run had kept and not delivered, delivered now", **own
        )
        self.replaced = Gauge("processes_replaced", "Scoring processes that were replaced", **own)
        self.seconds = Histogram("stage_seconds", "What each stage takes", ["stage"], buckets=_SECONDS, **own)
        # from the start: what is not there is never zero, and its first value is no increase
        for outcome in ("delivered", "superseded", "dead_letter"):
            self.requests.labels(outcome)
        for what in ("source", "media", "ledger", "sink", "dead_letters"):
            self.waits.labels(what)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """A block whose seconds count, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds.labels(stage).observe(time.perf_counter() - began)
