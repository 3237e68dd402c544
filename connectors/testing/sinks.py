"""What every sink must do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from uuid import uuid4

from connectors.errors import PoisonError, TransientError
from connectors.events import Delivery
from connectors.sinks import Sink
from connectors.testing.expectations import HARD_TEXT, expect


@dataclass(frozen=True, slots=True)
class SinkBench:
    """A sink and the other side of it.

    Attributes:
        open: a new sink, each time; all lead to the same receiver.
        received: every event that the receiver has got so far, with repetitions.
        outage: a block during which the receiver or the way to it is out of order, and will be well again; None for a
            sink that has no such thing.
        refused: a block in which the receiver takes no event, ever; None likewise.
        too_large: bytes of a verdict that is too large for the receiver; None if none is.
    """

    open: Callable[[], Sink]
    received: Callable[[], Sequence[Delivery]]
    outage: Callable[[], AbstractContextManager[object]] | None = None
    refused: Callable[[], AbstractContextManager[object]] | None = None
    too_large: int | None = None


def made_delivery(text: str = "", *, subject: str | None = None) -> Delivery:
    """An event of its own id, with a verdict-like body that holds the text."""
    number = str(uuid4())
    body = json.dumps({"schema": "dmcl.verdict/1", "note": text}, ensure_ascii=False, separators=(",", ":"))
    return Delivery(
        id=number,
        type="dev.dmcl.verdict.v1",
        source="urn:dmcl:testing",
        subject=subject or f"s3://uploads/{number}/a clip.mp4",
        time="2026-01-02T03:04:05.678900Z",
        body=body.encode(),
        attributes={"status": "scored", "label": "manipulated", "tenant": "näher"},
    )


def events_arrive_whole_and_unchanged(bench: SinkBench) -> None:
    """Every byte of the verdict, and every attribute."""
    sent = [made_delivery(HARD_TEXT), made_delivery("x" * 100_000), made_delivery()]
    with closing(bench.open()) as sink:
        for delivery in sent:
            sink.deliver(delivery)
            expect(delivery in _of(bench, [delivery]), "deliver returned before the receiver had the event")
    expect(_of(bench, sent) == sent, "not each event once, unchanged and in order")


def repetitions_are_known_by_their_id(bench: SinkBench) -> None:
    """What is delivered twice, also by two processes, is one event to whoever drops ids that it knows."""
    delivery = made_delivery("again")
    for _ in range(2):
        with closing(bench.open()) as sink:
            sink.deliver(delivery)
            sink.deliver(delivery)
    got = _of(bench, [delivery])
    expect(bool(got), "nothing arrived")
    expect(all(one == delivery for one in got), "repetitions differ from each other")


def several_threads_deliver_at_once(bench: SinkBench) -> None:
    """None lost, none mixed up."""
    sent = [made_delivery(str(number)) for number in range(16)]
    with closing(bench.open()) as sink, ThreadPoolExecutor(4) as pool:
        list(pool.map(sink.deliver, sent))
    got = {delivery.id: delivery for delivery in _of(bench, sent)}
    expect(got == {delivery.id: delivery for delivery in sent}, "events were lost or mixed up")


def a_closed_sink_takes_nothing(bench: SinkBench) -> None:
    """It says so, and closing it again is harmless."""
    delivery = made_delivery()
    sink = bench.open()
    sink.close()
    sink.close()
    try:
        sink.deliver(delivery)
    except RuntimeError:
        pass
    else:
        raise AssertionError("a closed sink took an event")
    expect(not _of(bench, [delivery]), "a closed sink sent an event")


def an_outage_is_transient_and_passes(bench: SinkBench) -> None:
    """The same sink delivers the same event when all is well again."""
    if bench.outage is None:
        return
    before, during = made_delivery("before"), made_delivery("during")
    with closing(bench.open()) as sink:
        sink.deliver(before)
        with bench.outage():
            _raises(TransientError, sink, during)
        sink.deliver(during)
    expect(_of(bench, [before]) == [before], "not the event from before the outage, once")
    expect(during in _of(bench, [during]), "the event from the outage did not arrive after it")


def a_sink_opened_in_an_outage_delivers_after_it(bench: SinkBench) -> None:
    """A daemon may start before its broker does."""
    if bench.outage is None:
        return
    delivery = made_delivery("early")
    with bench.outage():
        sink = bench.open()
    with closing(sink):
        sink.deliver(delivery)
    expect(delivery in _of(bench, [delivery]), "it did not arrive after the outage")


def a_refusal_is_final(bench: SinkBench) -> None:
    """It is poison, with a reason, and harms no later event."""
    delivery, after = made_delivery("refused"), made_delivery("after")
    with closing(bench.open()) as sink:
        if bench.refused is not None:
            with bench.refused():
                _raises(PoisonError, sink, delivery)
        if bench.too_large is not None:
            _raises(PoisonError, sink, made_delivery("x" * bench.too_large))
        sink.deliver(after)
    expect(after in _of(bench, [after]), "an event after the refused one did not arrive")


def its_name_says_which_it_is(bench: SinkBench) -> None:
    """In one printable line."""
    with closing(bench.open()) as sink:
        expect(bool(sink.name) and sink.name.isprintable(), f"no name for a message: {sink.name!r}")
        expect(isinstance(sink, Sink), f"{type(sink).__name__} lacks something that a Sink has")


SINK_CHECKS: tuple[Callable[[SinkBench], None], ...] = (
    events_arrive_whole_and_unchanged,
    repetitions_are_known_by_their_id,
    several_threads_deliver_at_once,
    a_closed_sink_takes_nothing,
    an_outage_is_transient_and_passes,
    a_sink_opened_in_an_outage_delivers_after_it,
    a_refusal_is_final,
    its_name_says_which_it_is,
)


def _of(bench: SinkBench, sent: Sequence[Delivery]) -> list[Delivery]:
    """What has been received of these; the receiver may have events of others."""
    ids = {delivery.id for delivery in sent}
    return [replace(one, attributes=dict(one.attributes)) for one in bench.received() if one.id in ids]


def _raises(kind: type[TransientError | PoisonError], sink: Sink, delivery: Delivery) -> None:
    try:
        sink.deliver(delivery)
    except kind as error:
        raised: TransientError | PoisonError = error
    else:
        raise AssertionError(f"{sink.name} delivered what should raise {kind.__name__}")
    expect(bool(str(raised)), "an error that says nothing")
    if isinstance(raised, PoisonError):
        code = raised.reason
        expect(code.islower() and code.isidentifier(), f"a reason is a code in snake case, not {code!r}")
