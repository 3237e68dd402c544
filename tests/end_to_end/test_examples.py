"""The examples, run as a newcomer runs them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from kafka import KafkaProducer

from connectors.events import delivery
from connectors.requests import ScanRequest
from dmcl_sdk import Verdict
from tests.connectors.conftest import broker
from tests.connectors.faults import Exchange, web_server
from tests.connectors.servers import _ministack_program, free_port
from tests.connectors.topics import Topics
from tests.sdk.footage import carphone

__all__ = ["broker"]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]


def surroundings() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DMCL_")}
    return environment | {"PYTHONPATH": str(ROOT)}


def run(script: str, *args: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *args],
        cwd=cwd,
        env=surroundings() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_file_is_scored(tmp_path: Path) -> None:
    assert "0." in run("score_file.py", str(carphone()), cwd=tmp_path)


def test_a_folder_that_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(carphone(), tmp_path / "videos" / name)
    (tmp_path / "videos" / "c.mp4").write_text("not a video")
    assert "3 videos, 0 had a verdict" in run("score_folder.py", "videos", "out.jsonl", cwd=tmp_path)
    whole = (tmp_path / "out.jsonl").read_text()
    first, second, third = whole.splitlines()
    assert json.loads(third)["status"] == "failed"
    (tmp_path / "out.jsonl").write_text(f"{first}\n{second[:99]}")  # as a crash leaves it
    assert "3 videos, 1 had a verdict" in run("score_folder.py", "videos", "out.jsonl", cwd=tmp_path)
    again = [Verdict.model_validate_json(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    before = [Verdict.model_validate_json(line) for line in whole.splitlines()]
    assert [one.without_timings() for one in again] == [one.without_timings() for one in before]


@contextmanager
def camera(seconds: int) -> Iterator[str]:
    """A stream that is filmed while it is watched."""
    port = free_port()
    command = [sys.executable, "-m", "tests.end_to_end.camera", str(port), str(seconds)]
    filming = subprocess.Popen(command, cwd=ROOT)
    try:
        while filming.poll() is None and not listens(port):
            time.sleep(0.05)
        yield f"tcp://127.0.0.1:{port}"
    finally:
        filming.terminate()
        filming.wait()


def listens(port: int) -> bool:
    """Without a connection, which would be taken for the viewer's."""
    return f":{port:04X} " in Path("/proc/net/tcp").read_text()


def test_a_live_stream_has_a_verdict_for_each_stretch_and_an_end(tmp_path: Path) -> None:
    with camera(seconds=12) as address:
        said = run("live_stream.py", address, "--seconds", "3", cwd=tmp_path)
    *stretches, end = said.splitlines()
    scored = [line for line in stretches if " s after it was in; worst of the last minute: " in line]
    assert scored == stretches
    assert "stretches were passed over" in end
    assert len(scored) + int(end.split()[4]) == 4


def test_of_a_file_no_stretch_is_passed_over(tmp_path: Path) -> None:
    said = run("live_stream.py", str(carphone()), "--seconds", "1", cwd=tmp_path)
    assert "0 stretches were passed over" in said
    assert len(said.splitlines()) >= 2


@contextmanager
def web_service(folder: Path) -> Iterator[httpx.Client]:
    """The endpoint on a free port of loopback."""
    port = free_port()
    options = ["--app-dir", str(ROOT / "examples"), "--port", str(port), "web_service:app"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *options],
            cwd=folder,
            env=surroundings() | {"MOST_BYTES": "1_000_000"},
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + PATIENCE_S
        while running.poll() is None and time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            yield client
    finally:
        running.terminate()
        running.wait()


def test_an_upload_is_answered_with_a_verdict_and_bounded(tmp_path: Path) -> None:
    with web_service(tmp_path) as client:
        answer = client.post("/verdicts", files={"video": carphone().read_bytes()})
        assert answer.status_code == 200
        assert len(Verdict.model_validate_json(answer.content).tracks) == 1
        failed = client.post("/verdicts", files={"video": b"not a video"})
        assert Verdict.model_validate_json(failed.content).status == "failed"
        assert client.post("/verdicts", files={"video": b"0" * 2_000_000}).status_code == 413
        assert client.post("/verdicts", content=iter([b"endless"])).status_code == 411


def test_verdicts_that_a_person_should_see_go_from_kafka_to_coop_once_it_answers(
    broker: str, tmp_path: Path
) -> None:
    topics = Topics(broker, f"t{uuid4().hex[:8]}", tmp_path)
    found = Verdict.model_validate_json((ROOT / "tests" / "golden" / "verdict.json").read_text())
    clean = found.model_copy(
        update={"summary": found.summary.model_copy(update={"label": "not_manipulated"}), "spans": ()}
    )
    with KafkaProducer(bootstrap_servers=broker) as producer:
        for name, verdict in (("a.mp4", found), ("b.mp4", clean)):
            request = ScanRequest(uri=f"s3://uploads/{name}")
            event = delivery(request, verdict, source="urn:test", now=datetime.now(UTC))
            headers, value = event.binary()
            producer.send(topics.verdicts, value, headers=list(headers.items())).get(60)
    answers = iter([503, 202])

    def take(exchange: Exchange) -> None:
        exchange.answer(next(answers))

    with web_server(routes={"/api/v1/items/async/": take}) as coop:
        options = ["--bootstrap-servers", broker, "--topic", topics.verdicts, "--group", topics.name]
        said = run(
            "kafka_to_coop.py", *options, "--coop", coop.url(""), "--type-id", "t1", "--most", "2",
            cwd=tmp_path, COOP_API_KEY="secret",
        )  # fmt: skip
        asked = coop.seen
    assert said == "s3://uploads/a.mp4: manipulated\n"
    assert [one.headers["x-api-key"] for one in asked] == ["secret", "secret"]
    (item,) = json.loads(asked[-1].body)["items"]
    assert (item["id"], item["typeId"]) == ("s3://uploads/a.mp4", "t1")


def test_a_request_in_a_topic_becomes_a_verdict_in_another(tmp_path: Path) -> None:
    said = run("kafka_daemon.py", cwd=tmp_path)
    assert "uploads   <- " in said
    assert "face 0" in said.partition("verdicts  ->")[2]


def test_an_upload_becomes_a_verdict_in_a_queue(tmp_path: Path) -> None:
    # named from the folder that the example is run in, as `make demo-s3` does
    said = run("s3_events.py", os.path.relpath(_ministack_program(), tmp_path), cwd=tmp_path)
    assert "on s3://uploads/clip.mp4" in said
    assert "face 0" in said


def test_a_bucket_that_is_full_is_scanned_once_and_is_a_table(tmp_path: Path) -> None:
    said = run("s3_backfill.py", os.path.relpath(_ministack_program(), tmp_path), cwd=tmp_path)
    rows = [line.split() for line in said.splitlines() if line.startswith("s3://archive/2026/")]
    assert {row[0] for row in rows} == {
        *(f"s3://archive/2026/clip-{number}.mp4" for number in range(3)),
        "s3://archive/2026/notes.txt.mp4",
    }
    assert [row[1] for row in rows if "notes" in row[0]] == ["failed"]


def test_a_network_is_fine_tuned_exported_calibrated_and_scores(tmp_path: Path) -> None:
    said = run("finetune.py", cwd=tmp_path)
    assert "$ dmcl score --model" in said
    assert "face 0" in said
