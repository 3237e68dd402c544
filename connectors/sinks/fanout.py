"""Several sinks as one, for verdicts that more than one side must have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Lock

from connectors.errors import ConnectorError, PoisonError, TransientError
from connectors.events import Delivery
from connectors.sinks.sink import Sink

MAX_OPEN = 10_000
"""Deliveries begun and not ended that are remembered."""


class FanoutSink:
    """Delivers to each of several sinks; all must confirm.

    One that fails does not keep the others from theirs. Whoever has confirmed is not asked again when the delivery is
    tried again, as long as this process lives: after that, readers drop what has an id that they know.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._lock = Lock()
        self._confirmed: OrderedDict[str, set[int]] = OrderedDict()
        self._closed = False
        self.name = " + ".join(sink.name for sink in self._sinks)

    def deliver(self, delivery: Delivery) -> None:
        """Return when all have confirmed.

        Raises:
            TransientError: one or more may confirm later; it asks for the longest wait of them.
            PoisonError: one or more never will, and all others have.
            SettingsError: as soon as one finds its deployment wrong.
            RuntimeError: the sink is closed.
        """
        if self._closed:
            raise RuntimeError("the sink is closed")
        confirmed = self._begun(delivery.id)
        failed: list[ConnectorError] = []
        for number, sink in enumerate(self._sinks):
            if number in confirmed:
                continue
            try:
                sink.deliver(delivery)
                confirmed.add(number)
            except (TransientError, PoisonError) as error:
                failed.append(error)
        if passing := [error for error in failed if isinstance(error, TransientError)]:
            waits = [error.retry_after_s for error in passing if error.retry_after_s is not None]
            raise TransientError(_said(passing), retry_after_s=max(waits, default=None)) from passing[0]
        with self._lock:
            self._confirmed.pop(delivery.id, None)
        if poison := [error for error in failed if isinstance(error, PoisonError)]:
            raise PoisonError(poison[0].reason, _said(poison)) from poison[0]

    def close(self) -> None:
        """Close all of them, whatever becomes of one."""
        self._closed = True
        with ExitStack() as closing:
            for sink in self._sinks:
                closing.callback(sink.close)

    def _begun(self, number: str) -> set[int]:
        with self._lock:
            confirmed = self._confirmed.setdefault(number, set())
            self._confirmed.move_to_end(number)
            if len(self._confirmed) > MAX_OPEN:
                self._confirmed.popitem(last=False)
            return confirmed


def _said(errors: Sequence[ConnectorError]) -> str:
    return "; ".join(map(str, errors))
