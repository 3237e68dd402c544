"""A daemon whose receiver misbehaves in every way we know: delivered or a dead letter, never lost, never doubled."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from connectors.events import from_structured
from tests.connectors.daemons import daemon
from tests.connectors.faults import Exchange, web_server
from tests.connectors.topics import Topics

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the standard's own examples

Behaviour = Callable[[Exchange], None]


def answers(status: int, **headers: object) -> Behaviour:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.answer(status, b'{"error": "no"}', named)


def says(start: bytes) -> Behaviour:
    """Something, and then nothing more."""

    def behave(exchange: Exchange) -> None:
        exchange.wfile.write(start)
        exchange.vanish()

    return behave


def confirms_endlessly(exchange: Exchange) -> None:
    exchange.answer(200, headers={"content-length": 1 << 40})
    exchange.trickle()


FINE = answers(204, content_length=0)
MISBEHAVIOURS: dict[str, tuple[list[Behaviour], int]] = {
    # what it does in turn, the last again and again, and how many posts that takes
    "500 at first": ([answers(500), answers(503), FINE], 3),
    "429 with Retry-After": ([answers(429, retry_after=1), FINE], 2),
    "408 and 425": ([answers(408), answers(425), FINE], 3),
    "hangs": ([Exchange.hang, FINE], 2),
    "closes without an answer": ([Exchange.vanish, FINE], 2),
    "closes in mid-answer": ([says(b"HTTP/1.1 2"), says(b"HTTP/1.1 200 OK\r\ncontent-le"), FINE], 3),
    "speaks another protocol": ([says(b"220 mail.example ESMTP\r\n"), FINE], 2),
    "drips": ([Exchange.trickle, FINE], 2),
    # 2xx confirms, whatever else is said
    "200 with an error in its body": ([answers(200)], 1),
    "200 that is shorter than it says": ([answers(200, content_length=5000)], 1),
    "200 without end": ([confirms_endlessly], 1),
}
REFUSALS: dict[str, tuple[Behaviour, str]] = {
    "redirects": (answers(307, location="/elsewhere"), "webhook_redirected"),
    "has moved for good": (answers(301, location="/elsewhere"), "webhook_redirected"),
    "does not want it": (answers(422), "webhook_refused"),
    "is gone": (answers(410), "webhook_refused"),
}


def test_a_receiver_that_misbehaves_costs_no_verdict_and_doubles_none(broker: str, tmp_path: Path) -> None:
    topics = Topics(broker, f"t{uuid4().hex[:8]}", tmp_path)
    posts: dict[str, list[float]] = defaultdict(list)

    def receive(exchange: Exchange) -> None:
        """Misbehaves as the video is called."""
        name = Path(unquote(from_structured(exchange.asked.body).subject)).stem
        posts[name].append(time.monotonic())
        in_turn = MISBEHAVIOURS[name][0] if name in MISBEHAVIOURS else [REFUSALS[name][0]]
        in_turn[min(len(posts[name]), len(in_turn)) - 1](exchange)

    requests = {name: topics.upload(f"{name}.mp4") for name in [*MISBEHAVIOURS, *REFUSALS]}
    topics.send(*requests.values())
    with web_server(routes={"/hook": receive, "/elsewhere": FINE}) as server:
        hook = {"type": "webhook", "url": server.url("/hook"), "secrets": [SECRET], "timeout_s": 2}
        settings = topics.settings(work={"in_flight": 8}) | {"sinks": {"moderation": hook}}
        with daemon(tmp_path, "kafka run", settings) as process:
            process.wait_for(
                lambda: len(process.events("delivered")) == len(MISBEHAVIOURS), "all delivered", 300
            )
            process.wait_for(lambda: len(process.events("dead letter")) == len(REFUSALS), "all refused", 300)
            assert process.stop() == 0
        seen = list(server.seen)

    for one in seen:
        Webhook(SECRET).verify(one.body, dict(one.headers))
    assert {one.path for one in seen} == {"/hook"}, "a signed event went elsewhere"
    ids = {(from_structured(one.body).subject, one.headers["webhook-id"]) for one in seen}
    assert len(ids) == len(requests), "two effective verdicts on one video"
    assert {name: len(posts[name]) for name in posts} == {
        **{name: count for name, (_, count) in MISBEHAVIOURS.items()},
        **dict.fromkeys(REFUSALS, 1),
    }
    first, second = posts["429 with Retry-After"]
    assert second - first >= 1
    dead = topics.records(topics.dead)
    reasons = {json.loads(one.value)["uri"]: dict(one.headers)["dmcl-reason"].decode() for one in dead}
    assert reasons == {requests[name]["uri"]: reason for name, (_, reason) in REFUSALS.items()}
    sent = Counter(record.partition for record in topics.records(topics.requests))
    assert topics.committed() == dict(sent)
