"""`dmcl s3 backfill` as a process, on a bucket over S3's own protocol."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pyarrow.parquet
import pytest

from connectors.backfill import Backfill
from connectors.backfill.files import DeadLetters, Results
from connectors.backfill.progress import Progress
from connectors.backfill.source import Listed
from connectors.errors import SettingsError
from connectors.listings import S3Object
from dmcl_sdk.detector import failed_verdict
from dmcl_sdk.errors import VideoError
from tests.connectors.collector import collector
from tests.connectors.daemons import DaemonProcess
from tests.connectors.servers import Aws
from tests.made import make_video

LONG_S = 300.0
"""Longest wait for a run, on a busy machine."""


@dataclass
class Stock:
    """A bucket with videos in it, and the command that scans them."""

    aws: Aws
    folder: Path
    name: str = field(default_factory=lambda: f"b{uuid4().hex[:12]}")
    runs: int = 0

    def __post_init__(self) -> None:
        self.aws.s3.create_bucket(Bucket=self.name)
        self.clip = make_video(6, width=128, height=128)
        self.results = self.folder / "verdicts.jsonl"
        self.dead = self.folder / "dead.jsonl"

    def put(self, key: str, data: bytes | None = None) -> str:
        body = self.clip + key.encode() if data is None else data
        self.aws.s3.put_object(Bucket=self.name, Key=key, Body=body)
        return f"s3://{self.name}/{key}"

    def start(self, *options: str, **changes: Any) -> DaemonProcess:  # noqa: ANN401
        self.runs += 1
        tables: dict[str, Any] = {
            "media": {"s3": {"endpoint_url": self.aws.endpoint_url, "region": self.aws.region}},
            "scoring": {"options": {"delay_s": 0.0, "log": str(self.folder / "scored")}},
            "work": {"in_flight": 4},
            "worker": {"give_up_s": 5},
        }
        where = () if any(one in {"--csv", "--inventory"} for one in options) else (f"s3://{self.name}/",)
        options = (*where, *options, "--dead-letters", str(self.dead))
        if "--no-results" not in options:
            options = (*options, "--results", str(self.results))
        command = " ".join(["s3 backfill", *(one for one in options if one != "--no-results")])
        settings = {one: tables.get(one, {}) | changes.get(one, {}) for one in {*tables, *changes}}
        process = DaemonProcess(self.folder, command, settings, name=f"run-{self.runs}")
        process.start(wait=False)
        return process

    def run(self, *options: str, **changes: Any) -> tuple[int, str]:  # noqa: ANN401
        """Exit status, and what was written."""
        process = self.start(*options, **changes)
        return process.wait(LONG_S), process.text()

    def verdicts(self) -> dict[str, Any]:
        lines = [json.loads(line) for line in self.results.read_text().splitlines()]
        by_uri = {one["asset"]["uri"]: one for one in lines}
        assert len(by_uri) == len(lines), "two verdicts on one object"
        return by_uri

    def scored(self) -> int:
        path = self.folder / "scored"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def kill_after(self, process: DaemonProcess, count: int) -> None:
        lines = self.results
        process.wait_for(
            lambda: lines.exists() and lines.read_bytes().count(b"\n") >= count, f"{count} verdicts", LONG_S
        )
        process.kill()


@pytest.fixture
def stock(aws: Aws, tmp_path: Path) -> Stock:
    return Stock(aws, tmp_path)


def test_each_video_under_a_prefix_has_a_verdict_and_a_second_run_does_nothing(stock: Stock) -> None:
    videos = {stock.put(key) for key in ("a clip.mp4", "naïve/影片.mp4", "a+b%20.mp4", "0f3c")}
    videos.add(stock.put("text.mp4", b"no video at all"))
    stock.put("picture.jpg", b"x")
    stock.put("folder/", b"")
    status, said = stock.run()
    assert status == 0, said
    assert "5 delivered, 0 delivered before, 0 dead letters, 1 left out" in said
    assert {*stock.verdicts()} == videos
    assert stock.verdicts()[f"s3://{stock.name}/text.mp4"]["status"] == "failed"
    first = stock.results.read_bytes(), stock.scored()
    status, said = stock.run()
    assert (status, stock.results.read_bytes(), stock.scored()) == (0, *first)
    assert "0 delivered, 5 delivered before" in said


def test_killed_in_the_middle_the_same_command_goes_on_and_each_is_delivered_once(stock: Stock) -> None:
    queue = stock.aws.sqs.create_queue(QueueName=f"{stock.name}-verdicts")["QueueUrl"]
    here = {"endpoint_url": stock.aws.endpoint_url, "region": stock.aws.region}
    sinks = {"moderation": here | {"type": "sqs", "queue_url": queue}}
    videos = {stock.put(f"{number}.mp4") for number in range(36)}
    for share in (8, 20):
        stock.kill_after(stock.start(sinks=sinks), share)
    status, said = stock.run(sinks=sinks)
    assert status == 0, said
    assert {*stock.verdicts()} == videos
    assert stock.scored() <= len(videos) + 2 * 4, "what was delivered was scored again"
    ids: set[str] = set()
    while got := stock.aws.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for one in got:
            ids.add(json.loads(one["Body"])["id"])
            stock.aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
    assert len(ids) == len(videos)


@pytest.mark.slow
def test_interrupted_by_ctrl_c_it_finishes_what_is_under_way_and_goes_on_later(stock: Stock) -> None:
    videos = {stock.put(f"{number}.mp4") for number in range(12)}
    process = stock.start("--rate", "2")
    process.wait_for(lambda: stock.results.exists() and stock.results.stat().st_size, "the first", LONG_S)
    process._signal(signal.SIGINT)
    assert process.wait() == 130
    assert "the same command goes on" in process.text()
    assert 0 < len(stock.verdicts()) < len(videos)
    assert stock.scored() == len(stock.verdicts())
    assert stock.run()[0] == 0
    assert {*stock.verdicts()} == videos
    assert stock.scored() == len(videos)


@pytest.mark.slow
def test_dead_letters_have_a_reason_and_are_tried_again_once_their_file_is_moved_away(stock: Stock) -> None:
    good, late = stock.put("good.mp4"), f"s3://{stock.name}/late.mp4"
    stock.put("crash.mp4", b"#segfault")
    listed = stock.folder / "list.csv"
    listed.write_text(
        "".join(f"{stock.name},{key}\n" for key in ("good.mp4", "crash.mp4", "late.mp4", "good.mp4"))
    )
    status, said = stock.run("--csv", str(listed))
    assert status == 3, said
    letters = {one["uri"]: one for one in map(json.loads, stock.dead.read_text().splitlines())}
    assert {uri.rpartition("/")[2]: one["reason"] for uri, one in letters.items()} == {
        "crash.mp4": "killed_worker",
        "late.mp4": "not_found",
    }
    assert {*stock.verdicts()} == {good}
    scored, before = stock.scored(), stock.dead.read_bytes()
    stock.put("late.mp4")
    assert stock.run("--csv", str(listed))[0] == 3
    assert (stock.scored(), stock.dead.read_bytes()) == (scored, before)
    stock.dead.unlink()
    assert stock.run("--csv", str(listed))[0] == 3
    assert {*stock.verdicts()} == {good, late}


@pytest.mark.slow
def test_a_file_of_results_that_was_lost_is_written_again_without_scoring(stock: Stock) -> None:
    stock.put("a.mp4")
    assert stock.run()[0] == 0
    first = stock.results.read_bytes()
    stock.results.unlink()
    assert stock.run()[0] == 0
    assert stock.results.read_bytes() == first
    assert stock.scored() == 1


@pytest.mark.slow
def test_results_in_parquet_are_a_table_of_each_video_once_also_after_a_kill(stock: Stock) -> None:
    videos = {stock.put(f"{number}.mp4") for number in range(8)}
    table, stock.results = stock.folder / "verdicts.parquet", stock.folder / "verdicts.parquet.jsonl"
    stock.kill_after(stock.start("--results", str(table), "--no-results"), 3)
    assert not table.exists(), "a table that is not whole"
    for _ in range(2):
        status, said = stock.run("--results", str(table), "--no-results")
        assert status == 0, said
        rows = pyarrow.parquet.read_table(table).to_pylist()
        assert {row["uri"] for row in rows} == videos
        assert len({(row["uri"], row["span_id"]) for row in rows}) == len(rows)
    assert {path.name for path in stock.folder.glob("*.parquet*")} == {table.name, stock.results.name}


@pytest.mark.slow
def test_another_policy_decides_anew_and_scores_nothing_again(stock: Stock, tmp_path: Path) -> None:
    stock.put("a.mp4")
    assert stock.run()[0] == 0
    policy, config = tmp_path / "policy.toml", tmp_path / "dmcl.toml"
    policy.write_text(
        'id = "p"\nversion = "1"\nmode = "enforce"\n[default]\naction = "review"\nqueue = "all"\n'
    )
    config.write_text(f'policy = "{policy}"\n')
    status, said = stock.run("--config", str(config))
    assert status == 0, said
    lines = [json.loads(line) for line in stock.results.read_text().splitlines()]
    assert [one["decision"] and one["decision"]["queue"] for one in lines] == [None, "all"]
    assert "1 delivered before" in stock.run("--config", str(config))[1]
    assert stock.scored() == 1


@pytest.mark.slow
def test_a_dry_run_counts_and_does_nothing(stock: Stock) -> None:
    stock.put("a.mp4")
    assert stock.run()[0] == 0
    stock.put("b.mp4", b"12345678")
    stock.put("c.json", b"{}")
    before = stock.results.read_bytes()
    status, said = stock.run("--dry-run", "--no-results")
    assert status == 0, said
    rows = dict(line.rsplit(maxsplit=3)[:2] for line in said.splitlines() if line.endswith(" GB"))
    assert rows == {"to do": "1", "delivered before": "1", "dead letters": "0", "left out by their name": "1"}
    assert (stock.results.read_bytes(), stock.scored()) == (before, 1)


@pytest.mark.slow
def test_too_many_dead_letters_stop_it_with_a_message(stock: Stock) -> None:
    listed = stock.folder / "list.csv"
    listed.write_text("".join(f"{stock.name},{number}.mp4\n" for number in range(20)))
    status, said = stock.run("--csv", str(listed), dead_letters={"max_run": 5})
    assert status == 2
    assert "6 messages in a row are dead letters: not_found (6)" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--csv", "absent.csv"), "absent.csv: No such file"),
        (("--csv", "absent.csv", "--inventory", "manifest.json"), "name one of"),
        (("--inventory", "absent.json"), "absent.json: not found"),
        (("--no-results",), "verdicts go nowhere: give --results"),
    ],
)
def test_what_cannot_be_done_is_said(stock: Stock, options: tuple[str, ...], said: str) -> None:
    status, text = stock.run(*options)
    assert status == 2
    assert said in text


def test_no_more_are_begun_in_a_second_than_the_rate_allows(tmp_path: Path) -> None:
    def listed() -> Iterator[S3Object]:
        yield from (S3Object("uploads", f"{number}.mp4") for number in range(8))

    plan = Backfill(listing=lambda _: listed(), dead_letters=tmp_path / "dead.jsonl", rate=5)
    stopping, progress = Event(), Progress()
    with closing(DeadLetters(plan.dead_letters)) as dead:
        source = Listed(
            listed(),
            plan,
            answered=lambda _: None,
            results=None,
            dead=dead,
            progress=progress,
            stopping=stopping,
        )
        began = time.monotonic()
        while not stopping.is_set():
            for message in source.receive(100):
                source.settle(message)
    assert progress.delivered == 8
    assert time.monotonic() - began >= (8 - 5 - 1) / 5  # after a second's worth at once


def test_a_table_is_made_of_all_lines_there_are_and_an_old_one_stands_until_it_is_whole(
    tmp_path: Path,
) -> None:
    table = tmp_path / "verdicts.parquet"
    (tmp_path / ".verdicts.parquet.part").write_bytes(b"of a run that was killed")
    with closing(Results(table)) as results:
        for name in ("a", "b", "a"):
            results.add(failed(f"s3://b/{name}"))
        results.complete()
    with closing(Results(table)) as results:
        results.add(failed("s3://b/c"))
        assert pyarrow.parquet.read_table(table)["uri"].to_pylist() == ["s3://b/a", "s3://b/b"]
        results.complete()
    assert pyarrow.parquet.read_table(table)["uri"].to_pylist() == ["s3://b/a", "s3://b/b", "s3://b/c"]
    assert {path.name for path in tmp_path.iterdir()} == {table.name, f"{table.name}.jsonl"}


def test_a_table_that_is_not_made_of_these_lines_is_not_written_over(tmp_path: Path) -> None:
    table = tmp_path / "verdicts.parquet"
    table.write_bytes(b"of somebody else")
    with pytest.raises(SettingsError, match="move it away"):
        Results(table)
    assert table.read_bytes() == b"of somebody else"


def failed(uri: str) -> bytes:
    verdict = failed_verdict(VideoError("clip.mp4", "not_a_video", "no video"))
    return (
        verdict.model_copy(update={"asset": verdict.asset.model_copy(update={"uri": uri})}).to_json().encode()
    )


@pytest.mark.slow
def test_spans_of_a_backfill_reach_a_collector(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = {stock.put(f"{number}.mp4") for number in range(3)}
    with collector() as collected:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        status, said = stock.run(service={"tracing": True})
        assert status == 0, said
    scans = {
        span.attributes[0].value.string_value: span for span in collected.spans if span.name == "dmcl.scan"
    }
    assert {*scans} == videos
    assert len({span.trace_id for span in scans.values()}) == len(videos)
    for scan in scans.values():
        inside = [span.name for span in collected.spans if span.parent_span_id == scan.span_id]
        assert sorted(inside) == ["dmcl.deliver", "dmcl.fetch", "dmcl.score"]


@pytest.mark.durability
def test_1000_objects_interrupted_twice_have_one_verdict_each(stock: Stock) -> None:
    videos = {stock.put(f"{number:04}.mp4") for number in range(1000)}
    for number in range(30):
        stock.put(f"{number:04}.json", b"{}")  # more than one page of a listing
    for share in (300, 650):
        stock.kill_after(stock.start(), share)
    status, said = stock.run()
    assert status == 0, said
    assert {*stock.verdicts()} == videos
    assert not stock.dead.read_bytes()
    assert stock.scored() <= 1000 + 2 * 4
