"""What every source must do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from uuid import uuid4

from connectors.errors import TransientError
from connectors.sources import DeadLetter, Message, Source
from connectors.testing.expectations import HARD_TEXT, expect

_PATIENCE_S = 60.0
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True)
class SourceBench:
    """A source and the other side of it.

    Attributes:
        open: a new reader, each time; all share one stream of messages, as replicas do.
        send: puts a message with a body and headers into it.
        dead: bodies and reasons of all dead letters so far.
        held_s: seconds after which a message that is not settled would come again if the source did nothing about it.
        outage: a block during which the stream or the way to it is out of order; None where there is no such thing.
    """

    open: Callable[[], Source]
    send: Callable[[bytes, Mapping[str, str]], None]
    dead: Callable[[], Sequence[tuple[bytes, str]]]
    held_s: float
    outage: Callable[[], AbstractContextManager[object]] | None = None


def messages_arrive_whole(bench: SourceBench) -> None:
    """Every byte of the body, and the trace."""
    body = _body(HARD_TEXT.replace("\ufffe", ""))
    bench.send(body, {"traceparent": TRACE})
    with _opened(bench) as source:
        message = _await(source, body)
        trace = message.headers.get("traceparent")
        expect(trace in {TRACE, TRACE.encode()}, f"a header did not arrive: {dict(message.headers)}")
        expect(bool(message.id) and message.id.isprintable(), f"no id: {message.id!r}")
        source.settle(message)


def what_is_settled_does_not_come_again(bench: SourceBench) -> None:
    """Also not to the next reader."""
    bodies = [_body() for _ in range(3)]
    for body in bodies:
        bench.send(body, {})
    with _opened(bench) as source:
        for message in _await_all(source, bodies):
            source.settle(message)
    last = _body("last")
    bench.send(last, {})
    with _opened(bench) as source:
        came = _until(source, last)
        expect(not {message.body for message in came} & {*bodies}, "a settled message came again")
        source.settle(came[-1])


def what_is_not_settled_comes_again_as_the_same(bench: SourceBench) -> None:
    """To the next reader, when this one has gone."""
    body = _body()
    bench.send(body, {})
    with _opened(bench) as source:
        first = _await(source, body)
        source.hand_back(first)
    with _opened(bench) as source:
        again = _await(source, body)
        expect(again.id == first.id, f"it came as {first.id} and then as {again.id}")
        source.settle(again)


def one_that_is_settled_late_is_not_lost_behind_others(bench: SourceBench) -> None:
    """Messages end in any order."""
    bodies = [_body() for _ in range(4)]
    for body in bodies:
        bench.send(body, {})
    with _opened(bench) as source:
        late, *others = _await_all(source, bodies)
        for message in others:
            source.settle(message)
        source.receive(0)
        source.hand_back(late)
    with _opened(bench) as source:
        source.settle(_await(source, late.body or b""))


def no_more_come_than_there_is_room_for(bench: SourceBench) -> None:
    """None at all when there is none."""
    bodies = [_body() for _ in range(5)]
    for body in bodies:
        bench.send(body, {})
    with _opened(bench) as source:
        left = {*bodies}
        until = time.monotonic() + _PATIENCE_S
        while left and time.monotonic() < until:
            expect(not source.receive(0), "a message came for which there was no room")
            got = source.receive(2)
            expect(len(got) <= 2, f"{len(got)} messages came where there was room for 2")
            for message in got:
                left.discard(message.body or b"")
                source.settle(message)
        expect(not left, f"{len(left)} messages did not come")


def a_message_under_way_is_not_given_to_others(bench: SourceBench) -> None:
    """For as long as it takes, while its reader goes on receiving."""
    body = _body()
    bench.send(body, {})
    with _opened(bench) as source:
        message = _await(source, body)
        until = time.monotonic() + 2 * bench.held_s
        while time.monotonic() < until:
            came = [one.body for one in source.receive(1)]
            expect(body not in came, "a message came again while it was under way")
            time.sleep(0.05)
        source.settle(message)
    last = _body("last")
    bench.send(last, {})
    with _opened(bench) as source:
        came = [one.body for one in _until(source, last, settle=True)]
        expect(body not in came, "it was settled late, and came again")


def dead_letters_hold_what_came_and_why(bench: SourceBench) -> None:
    """Byte for byte."""
    body = _body("poison \\ \u2028 " + "x" * 1000)
    bench.send(body, {"traceparent": TRACE})
    with _opened(bench) as source:
        message = _await(source, body)
        source.bury(message, DeadLetter("not_json", "a sentence \x00 with what no wire carries"))
        source.settle(message)
    expect((body, "not_json") in bench.dead(), "the dead letter is not there, or not as it came")


def an_outage_is_transient(bench: SourceBench) -> None:
    """The same reader goes on when all is well again."""
    if bench.outage is None:
        return
    before, after = _body("before"), _body("after")
    bench.send(before, {})
    with _opened(bench) as source:
        source.settle(_await(source, before))
        with bench.outage():
            for _ in range(3):
                try:
                    source.receive(1)
                except TransientError as error:
                    expect(bool(str(error)), "an error that says nothing")
        bench.send(after, {})
        source.settle(_await(source, after))


def a_closed_source_gives_nothing(bench: SourceBench) -> None:
    """It says so, and closing it again is harmless."""
    source = bench.open()
    source.close()
    source.close()
    try:
        source.receive(1)
    except RuntimeError:
        return
    raise AssertionError("a closed source was asked for messages and said nothing")


def its_name_says_which_source_it_is(bench: SourceBench) -> None:
    """In one printable line."""
    with closing(bench.open()) as source:
        expect(bool(source.name) and source.name.isprintable(), f"no name for a message: {source.name!r}")
        expect(isinstance(source, Source), f"{type(source).__name__} lacks something that a Source has")
        source.check()


SOURCE_CHECKS: tuple[Callable[[SourceBench], None], ...] = (
    messages_arrive_whole,
    what_is_settled_does_not_come_again,
    what_is_not_settled_comes_again_as_the_same,
    one_that_is_settled_late_is_not_lost_behind_others,
    no_more_come_than_there_is_room_for,
    a_message_under_way_is_not_given_to_others,
    dead_letters_hold_what_came_and_why,
    an_outage_is_transient,
    a_closed_source_gives_nothing,
    its_name_says_which_source_it_is,
)


@contextmanager
def _opened(bench: SourceBench) -> Iterator[Source]:
    with closing(bench.open()) as source:
        yield source


def _body(text: str = "") -> bytes:
    return f'{{"number": "{uuid4()}", "text": "{text}"}}'.encode()


def _await(source: Source, body: bytes) -> Message:
    return _await_all(source, [body])[0]


def _await_all(source: Source, bodies: Sequence[bytes]) -> list[Message]:
    """The messages with these bodies, in this order; others are not waited for."""
    found: dict[bytes, Message] = {}
    until = time.monotonic() + _PATIENCE_S
    while len(found) < len(bodies):
        expect(time.monotonic() < until, f"{len(bodies) - len(found)} messages did not come")
        for message in _received(source, len(bodies)):
            if message.body in bodies:
                found[message.body or b""] = message
    return [found[body] for body in bodies]


def _until(source: Source, last: bytes, *, settle: bool = False) -> list[Message]:
    """All that comes until a certain message, and in the moment after it."""
    came: list[Message] = []
    until, extra = time.monotonic() + _PATIENCE_S, 2
    while extra:
        expect(time.monotonic() < until, "a message did not come")
        got = _received(source, 4)
        came += got
        for message in got if settle else ():
            source.settle(message)
        extra -= any(message.body == last for message in came)
    return sorted(came, key=lambda message: message.body == last)


def _received(source: Source, room: int) -> Sequence[Message]:
    try:
        return source.receive(room)
    except TransientError:
        time.sleep(0.1)
        return []
