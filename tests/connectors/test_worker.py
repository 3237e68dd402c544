"""One request to one delivered verdict: real files, a real ledger, a real pool with a scripted network, real sinks."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import PoisonError, SettingsError, StoppedError, TransientError
from connectors.events import Delivery, from_structured
from connectors.ledger import Ledger, LedgerSettings, open_ledger
from connectors.media import MediaSettings, MediaStore
from connectors.metrics import Metrics
from connectors.policy import Decider, Policy
from connectors.pool import ScoringPool, ScoringSettings
from connectors.requests import ScanRequest
from connectors.sinks import Sink
from connectors.sinks.stdout import StdoutSink
from connectors.worker import Worker, WorkerSettings
from dmcl_sdk.verdict import Item
from tests.connectors.scripted import __name__ as scripted
from tests.made import make_video

POLICY = Policy.model_validate(
    {
        "id": "uploads",
        "version": "1",
        "mode": "enforce",
        "rules": [
            {"name": "broken", "when": {"status": "failed"}, "then": {"action": "review", "queue": "broken"}}
        ],
        "default": {"action": "allow"},
    }
)
STRICTER = POLICY.model_copy(update={"version": "2", "default": POLICY.rules[0].then})


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line for every video that the pool has scored."""
    return tmp_path_factory.mktemp("scored") / "log"


@pytest.fixture(scope="module")
def pool(scored: Path) -> Iterator[ScoringPool]:
    options = {"log": str(scored)}
    settings = ScoringSettings(detector=f"{scripted}:detector", options=options, time_limit_s=60, processes=2)
    with ScoringPool(settings) as opened:
        yield opened


@dataclass
class Recorder:
    """A sink that can be out of order."""

    errors: list[Exception] = field(default_factory=list)
    got: list[Delivery] = field(default_factory=list)
    name: str = "recorder"

    def deliver(self, delivery: Delivery) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.got.append(delivery)

    def close(self) -> None:
        pass


@dataclass
class Bench:
    """A worker with all that it needs, in a folder."""

    folder: Path
    pool: ScoringPool
    log: Path
    stopping: threading.Event = field(default_factory=threading.Event)
    sink: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.began = len(self._lines())
        self.uploads = self.folder / "uploads"
        self.uploads.mkdir()
        self.media = self.opened_media()
        self.ledger = self.opened_ledger()
        self.metrics = Metrics()

    def opened_media(self, **limits: int) -> MediaStore:
        table = {"folder": self.folder / "in flight", "file_roots": (self.uploads,), "keep_free": 0}
        return MediaStore(MediaSettings.model_validate(table | limits))

    def opened_ledger(self) -> Ledger:
        ledger = open_ledger(LedgerSettings(path=self.folder / "ledger.db"))
        assert isinstance(ledger, Ledger)
        return ledger

    def worker(
        self,
        *,
        policy: Decider | None = None,
        sink: Sink | None = None,
        give_up_s: float = 900,
        media: MediaStore | None = None,
    ) -> Worker:
        return Worker(
            media=media or self.media,
            ledger=self.ledger,
            scorer=self.pool,
            policy=policy,
            sink=sink or self.sink,
            metrics=self.metrics,
            stopping=self.stopping,
            settings=WorkerSettings(source="urn:dmcl:tests", give_up_s=give_up_s),
        )

    def upload(self, name: str = "clip.mp4", data: bytes | None = None) -> ScanRequest:
        (self.uploads / name).write_bytes(make_video(6, width=128, height=128) if data is None else data)
        return ScanRequest(uri=(self.uploads / name).as_uri())

    def times_scored(self) -> int:
        return len(self._lines()) - self.began

    def verdicts(self) -> list[dict[str, Any]]:
        return [json.loads(event.body) for event in self.sink.got]

    def _lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def bench(tmp_path: Path, pool: ScoringPool, scored: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, pool, scored)
    with made.media:
        yield made
        made.ledger.close()


def test_a_request_becomes_a_delivered_verdict_that_names_it_and_the_policy(bench: Bench) -> None:
    request = bench.upload().model_copy(
        update={"item": Item(id="post-1", type="post"), "attributes": {"tenant": "n"}}
    )
    assert bench.worker(policy=POLICY).process(request, "m1") == "delivered"
    (verdict,) = bench.verdicts()
    assert verdict["asset"]["uri"] == request.uri
    assert verdict["asset"]["item"] == {"id": "post-1", "type": "post"}
    assert len(verdict["asset"]["sha256"]) == 64
    assert verdict["model"]["name"] == "scripted"
    assert verdict["decision"]["policy_id"] == "uploads"
    (event,) = bench.sink.got
    assert event.source == "urn:dmcl:tests"
    assert event.attributes["tenant"] == "n"
    assert event.attributes["action"] == "allow"


def test_a_verdict_reaches_a_real_sink_whole(bench: Bench) -> None:
    file = io.BytesIO()
    bench.worker(sink=StdoutSink(file)).process(bench.upload(), "m1")
    assert json.loads(from_structured(file.getvalue()).body)["model"]["name"] == "scripted"


def test_no_file_is_left_behind(bench: Bench) -> None:
    bench.worker().process(bench.upload(), "m1")
    files = [
        path
        for path in (bench.folder / "in flight").rglob("*")
        if path.is_file() and path.name not in {"lock", ".lock"}
    ]
    assert files == []


def test_the_same_message_again_has_the_same_verdict_without_its_video(bench: Bench) -> None:
    request = bench.upload()
    bench.worker().process(request, "m1")
    (bench.uploads / "clip.mp4").unlink()
    bench.worker().process(request, "m1")
    first, again = bench.sink.got
    assert first == again
    assert bench.times_scored() == 1


def test_the_same_video_under_another_name_is_scored_once_and_delivered_under_both(bench: Bench) -> None:
    data = make_video(7, width=128, height=128)
    bench.worker().process(bench.upload("a.mp4", data), "m1")
    bench.worker().process(bench.upload("b.mp4", data), "m2")
    assert bench.times_scored() == 1
    one, other = bench.verdicts()
    assert one["asset"]["uri"].endswith("a.mp4")
    assert other["asset"]["uri"].endswith("b.mp4")
    assert one["asset"]["sha256"] == other["asset"]["sha256"]
    assert bench.sink.got[0].id != bench.sink.got[1].id


def test_the_same_video_in_many_threads_is_scored_once(bench: Bench) -> None:
    request, worker = bench.upload(), bench.worker()
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda number: worker.process(request, f"m{number}"), range(6)))
    assert bench.times_scored() == 1
    assert len({event.id for event in bench.sink.got}) == 1
    assert len({event.body for event in bench.sink.got}) == 1


def test_another_policy_decides_anew_and_scores_nothing_again(bench: Bench) -> None:
    request = bench.upload()
    bench.worker(policy=POLICY).process(request, "m1")
    bench.worker(policy=STRICTER).process(request, "m1")
    assert bench.times_scored() == 1
    assert [verdict["decision"]["action"] for verdict in bench.verdicts()] == ["allow", "review"]
    assert len({event.id for event in bench.sink.got}) == 2


def test_a_file_that_is_no_video_has_a_verdict_that_says_so(bench: Bench) -> None:
    bench.worker(policy=POLICY).process(bench.upload(data=b"plain text"), "m1")
    (verdict,) = bench.verdicts()
    assert verdict["status"] == "failed"
    assert verdict["reasons"][0]["code"] == "not_a_video"
    assert verdict["decision"]["queue"] == "broken"
    assert len(verdict["asset"]["sha256"]) == 64
    assert "in flight" not in json.dumps(verdict)


@pytest.mark.parametrize(
    ("script", "reason"),
    [(b"#segfault", "killed_worker"), (b"#bug", "detector_failed")],
    ids=["segfault", "bug"],
)
def test_a_video_that_cannot_be_scored_is_poison(bench: Bench, script: bytes, reason: str) -> None:
    with pytest.raises(PoisonError) as caught:
        bench.worker().process(bench.upload(data=script), "m1")
    assert caught.value.reason == reason
    bench.worker().process(bench.upload("good.mp4"), "m2")
    assert len(bench.sink.got) == 1


def test_a_video_that_is_not_there_is_poison(bench: Bench) -> None:
    with pytest.raises(PoisonError) as caught:
        bench.worker().process(ScanRequest(uri=(bench.uploads / "absent").as_uri()), "m1")
    assert caught.value.reason == "not_found"


def test_a_video_that_cannot_be_had_for_long_is_given_up(bench: Bench) -> None:
    request = ScanRequest(uri="https://127.0.0.1:9/clip.mp4")
    media = MediaStore(
        MediaSettings.model_validate(
            {"folder": bench.folder / "more", "allowed_networks": ["127.0.0.0/8"], "attempts": 1}
        )
    )
    with media:
        bench.media = media
        with pytest.raises(PoisonError, match=r"tried for 0\.3 s in vain") as caught:
            bench.worker(give_up_s=0.3).process(request, "m1")
    assert caught.value.reason == "unavailable"


def test_a_sink_that_fails_for_now_is_tried_until_it_takes_the_verdict(bench: Bench) -> None:
    bench.sink.errors = [TransientError("busy", retry_after_s=0.01) for _ in range(5)]
    bench.worker().process(bench.upload(), "m1")
    assert len(bench.sink.got) == 1
    assert bench.times_scored() == 1
    assert not bench.ledger.waiting(later())


def test_a_video_that_there_is_no_room_for_waits_and_is_not_given_up(bench: Bench) -> None:
    with bench.opened_media(max_file=60_000, max_total=60_000) as media:
        large = bench.upload("large.mp4", bytes(60_000))
        with ThreadPoolExecutor(1) as threads:
            with media.fetch(large):
                done = threads.submit(bench.worker(give_up_s=0.1, media=media).process, bench.upload(), "m1")
                with pytest.raises(TimeoutError):
                    done.result(1.0)
            assert done.result(60) == "delivered"


def test_a_sink_that_refuses_for_good_is_poison_and_a_replay_tries_it_again(bench: Bench) -> None:
    request = bench.upload()
    bench.sink.errors = [PoisonError("event_too_large", "too large")]
    with pytest.raises(PoisonError, match="too large"):
        bench.worker().process(request, "m1")
    assert not bench.ledger.waiting(later())
    bench.worker().process(request, "m1")
    assert len(bench.sink.got) == 1
    assert bench.times_scored() == 1


def test_a_wrong_deployment_ends_the_work_and_keeps_the_verdict(bench: Bench) -> None:
    bench.sink.errors = [SettingsError("no such topic")]
    with pytest.raises(SettingsError):
        bench.worker().process(bench.upload(), "m1")
    assert len(bench.ledger.waiting(later())) == 1


def test_being_asked_to_stop_ends_the_wait_and_keeps_the_verdict_for_the_next_start(bench: Bench) -> None:
    bench.sink.errors = [TransientError("away", retry_after_s=60) for _ in range(100)]
    request, caught = bench.upload(), []

    def process() -> None:
        try:
            bench.worker().process(request, "m1")
        except StoppedError as error:
            caught.append(error)

    thread = threading.Thread(target=process)
    thread.start()
    until = time.monotonic() + 60
    while not bench.ledger.waiting(later()) and time.monotonic() < until:
        time.sleep(0.02)
    bench.stopping.set()
    thread.join(30)
    assert caught
    bench.sink.errors.clear()
    bench.stopping.clear()
    assert bench.worker().deliver_waiting(later()) == 1
    assert bench.verdicts()[0]["asset"]["uri"] == request.uri
    assert bench.worker().deliver_waiting(later()) == 0


def test_events_that_wait_survive_a_new_start(bench: Bench) -> None:
    bench.sink.errors = [SettingsError("wrong")]
    with pytest.raises(SettingsError):
        bench.worker().process(bench.upload(), "m1")
    bench.ledger.close()
    bench.ledger = bench.opened_ledger()
    assert bench.worker().deliver_waiting(later()) == 1
    assert len(bench.sink.got) == 1


def test_an_older_event_of_an_object_changes_nothing_after_a_newer_one(bench: Bench) -> None:
    request = bench.upload()
    newer, older = (request.model_copy(update={"sequencer": one}) for one in ("0A2", "00000A1"))
    assert bench.worker().process(newer, "m2") == "delivered"
    assert bench.worker().process(older, "m1") == "superseded"
    assert bench.worker().process(newer, "m2") == "delivered"
    assert len({event.id for event in bench.sink.got}) == 1


def test_versions_of_an_object_are_each_scored_whatever_their_order(bench: Bench) -> None:
    request = bench.upload()
    for sequencer in ("0A2", "0A1"):
        versioned = request.model_copy(update={"sequencer": sequencer, "version_id": f"v{sequencer}"})
        assert bench.worker().process(versioned, sequencer) == "delivered"
    assert len({event.id for event in bench.sink.got}) == 2


def test_what_happened_is_counted(bench: Bench) -> None:
    request = bench.upload()
    bench.worker().process(request, "m1")
    bench.worker().process(request, "m1")
    value = bench.metrics.registry.get_sample_value
    assert value("dmcl_requests_total", {"outcome": "delivered"}) == 2
    assert value("dmcl_known_total") == 1
    assert value("dmcl_stage_seconds_count", {"stage": "score"}) == 1


def later() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)
