"""`dmcl kafka run` as a process, with a real broker."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.connectors.daemons import daemon
from tests.connectors.topics import Topics

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def topics(broker: str, tmp_path: Path) -> Topics:
    return Topics(broker, f"t{uuid4().hex[:8]}", tmp_path)


def test_requests_become_verdicts_and_offsets_are_committed(topics: Topics, tmp_path: Path) -> None:
    requests = [topics.upload(f"{number}.mp4") for number in range(6)]
    topics.send(*requests)
    with daemon(tmp_path, "kafka run", topics.settings()) as process:
        process.wait_for(lambda: len(process.events("delivered")) == 6, "6 delivered")
        assert process.get("/livez") == (200, "ok\n")
        assert process.get("/readyz") == (200, "ok\n")
        assert process.metric("dmcl_requests_total", outcome="delivered") == 6
        assert process.stop() == 0
    assert {*topics.effective()} == {request["uri"] for request in requests}
    assert topics.committed() == {0: 3, 1: 3}
    assert not topics.records(topics.dead, quiet=1)
