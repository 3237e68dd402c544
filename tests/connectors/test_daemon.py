"""The loop by itself, around a source that fails."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event

import pytest

from connectors.daemon import Daemon, WorkSettings
from connectors.dead_letters import DeadLetterLimit, DeadLetterSettings
from connectors.errors import SettingsError
from connectors.metrics import Metrics
from connectors.requests import ScanRequest
from connectors.service import Health
from connectors.sources import DeadLetter, Message


@dataclass
class Revoked:
    """A source with one message, which nobody may read from after that."""

    settled: list[Message] = field(default_factory=list)
    handed_back: list[Message] = field(default_factory=list)
    asked: int = 0
    name: str = "revoked"

    def receive(self, room: int) -> Sequence[Message]:
        assert room >= 0
        self.asked += 1
        if self.asked > 1:
            raise SettingsError("our password is refused")
        return [Message("m1", b'{"uri": "s3://b/clip.mp4"}')]

    def settle(self, message: Message) -> None:
        self.settled.append(message)

    def bury(self, message: Message, why: DeadLetter) -> None:
        raise AssertionError(f"{message}: {why}")

    def hand_back(self, message: Message) -> None:
        self.handed_back.append(message)

    def check(self) -> None:
        pass

    def lag(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        pass


class Slow:
    """Takes longer than the source holds."""

    def process(self, request: ScanRequest, message: str) -> object:
        time.sleep(0.7)
        return request, message


def test_what_is_under_way_is_finished_when_the_source_fails_for_good() -> None:
    source = Revoked()
    daemon = Daemon(
        source=source,
        worker=Slow(),
        limit=DeadLetterLimit(DeadLetterSettings()),
        health=Health(30),
        metrics=Metrics(),
        stopping=Event(),
        settings=WorkSettings(),
        in_flight=2,
        tidy=lambda: None,
        abandon=lambda: None,
    )
    with pytest.raises(SettingsError, match="our password is refused"):
        daemon.run()
    assert [message.id for message in source.settled] == ["m1"]
    assert not source.handed_back
