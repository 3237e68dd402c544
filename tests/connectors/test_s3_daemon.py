"""`dmcl s3 run` as a process: S3 events through SQS, over AWS's own protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from connectors.sources.sqs import SqsSource, SqsSourceSettings
from tests.connectors.daemons import DaemonProcess, daemon
from tests.connectors.faults import ChaosProxy, chaos_proxy
from tests.connectors.servers import Aws
from tests.made import make_video


@dataclass
class Bucket:
    """A bucket whose uploads are told to a queue, and the queues behind it."""

    aws: Aws
    folder: Path
    name: str = field(default_factory=lambda: f"b{uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        self.queue, self.verdicts, self.dead = (self._queue(kind) for kind in ("events", "verdicts", "dead"))
        self.aws.s3.create_bucket(Bucket=self.name)
        arn = self.aws.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        self.aws.s3.put_bucket_notification_configuration(
            Bucket=self.name,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {"QueueArn": arn["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
                ]
            },
        )
        self.clip = make_video(6, width=128, height=128)

    def _queue(self, kind: str) -> str:
        return self.aws.sqs.create_queue(QueueName=f"{self.name}-{kind}")["QueueUrl"]

    def upload(self, key: str, data: bytes | None = None) -> str:
        self.aws.s3.put_object(
            Bucket=self.name, Key=key, Body=self.clip + key.encode() if data is None else data
        )
        return f"s3://{self.name}/{key}"

    def settings(self, endpoint: str | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        here = {"endpoint_url": endpoint or self.aws.endpoint_url, "region": self.aws.region}
        tables: dict[str, Any] = {
            "s3": here
            | {
                "queue_url": self.queue,
                "dead_letter_queue_url": self.dead,
                "visibility_s": 6,
                "wait_s": 1,
                "timeout_s": 10,
            },
            "sinks": {"moderation": here | {"type": "sqs", "queue_url": self.verdicts, "timeout_s": 10}},
            "media": {"s3": here},
        }
        return {name: tables.get(name, {}) | changes.get(name, {}) for name in {*tables, *changes}}

    def taken(self, queue: str) -> list[Any]:
        found: list[Any] = []
        while batch := self.aws.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=1
        ).get("Messages"):
            for message in batch:
                found.append(message)
                self.aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def effective(self) -> dict[str, Any]:
        events = {
            event["id"]: event for event in (json.loads(one["Body"]) for one in self.taken(self.verdicts))
        }
        by_uri = [event["data"]["asset"]["uri"] for event in events.values()]
        assert len(by_uri) == len(set(by_uri)), "two effective verdicts on one object"
        return dict(zip(by_uri, events.values(), strict=True))

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.aws.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)  # type: ignore[arg-type]
        found: dict[str, str] = answer["Attributes"]  # type: ignore[assignment] # typed by a list of names
        return sum(int(found[name]) for name in names)


@pytest.fixture
def bucket(aws: Aws, tmp_path: Path) -> Bucket:
    return Bucket(aws, tmp_path)


@pytest.fixture
def way(aws: Aws) -> Iterator[ChaosProxy]:
    with chaos_proxy(aws.port) as proxy:
        yield proxy


def delivered(*processes: DaemonProcess) -> int:
    return len({line["event_id"] for process in processes for line in process.events("delivered")})


def test_uploads_become_verdicts_and_messages_are_deleted(bucket: Bucket, tmp_path: Path) -> None:
    uploads = [bucket.upload(key) for key in ("a clip.mp4", "naïve/影片.mp4", "a+b%20.mp4")]
    with daemon(tmp_path, "s3 run", bucket.settings()) as process:
        process.wait_for(lambda: delivered(process) == 3, "3 delivered")
        assert process.get("/readyz") == (200, "ok\n")
        assert process.stop() == 0
    assert {*bucket.effective()} == {*uploads}
    assert bucket.left() == 0
    assert not bucket.taken(bucket.dead)


def test_a_video_that_takes_longer_than_its_message_is_hidden_is_scanned_once(
    bucket: Bucket, tmp_path: Path
) -> None:
    upload = bucket.upload("slow.mp4")
    scored = tmp_path / "scored"
    settings = bucket.settings(scoring={"options": {"delay_s": 15, "log": str(scored)}})
    with daemon(tmp_path, "s3 run", settings) as process:
        process.wait_for(lambda: process.metric("dmcl_in_flight") == 1, "under way")
        other = SqsSourceSettings.model_validate(settings["s3"])
        with closing(SqsSource(other)) as another:
            while process.metric("dmcl_in_flight") == 1:
                assert not another.receive(1), "another reader got the message of a video under way"
        process.wait_for(lambda: delivered(process) == 1, "delivered")
        assert process.stop() == 0
    assert {*bucket.effective()} == {upload}
    assert len(scored.read_text().splitlines()) == 1
    assert bucket.left() == 0


def test_a_daemon_that_is_killed_again_and_again_loses_and_doubles_nothing(
    bucket: Bucket, tmp_path: Path
) -> None:
    uploads = [bucket.upload(f"{number}.mp4") for number in range(30)]
    process = DaemonProcess(tmp_path, "s3 run", bucket.settings())
    for share in (5, 15):
        process.start()
        process.wait_for(lambda share=share: delivered(process) >= share, f"{share} delivered")  # type: ignore[misc]
        process.kill()
    process.start()
    process.wait_for(lambda: delivered(process) == 30, "30 delivered", 120)
    process.wait_for(lambda: bucket.left() == 0, "all deleted", 120)
    assert process.stop() == 0
    assert {*bucket.effective()} == {*uploads}
    assert not bucket.taken(bucket.dead)


def test_an_outage_of_everything_costs_nothing(bucket: Bucket, way: ChaosProxy, tmp_path: Path) -> None:
    uploads = [bucket.upload(f"{number}.mp4") for number in range(12)]
    with daemon(tmp_path, "s3 run", bucket.settings(way.url)) as process:
        process.wait_for(lambda: delivered(process) >= 3, "the first")
        with way.out_of_order("refuse"):
            process.wait_for(lambda: process.events("waiting"), "it waits")
            time.sleep(2)
            assert process.get("/livez")[0] == 200
        process.wait_for(lambda: delivered(process) == 12, "all", 180)
        process.wait_for(lambda: bucket.left() == 0, "all deleted", 120)
        assert process.stop() == 0
    assert {*bucket.effective()} == {*uploads}


def test_poison_goes_to_the_queue_of_dead_letters_with_its_reason(bucket: Bucket, tmp_path: Path) -> None:
    good = bucket.upload("good.mp4")
    gone = {"schema": "dmcl.scan/1", "uri": f"s3://{bucket.name}/absent.mp4"}
    bodies = {"{": "not_json", json.dumps(gone): "not_found", json.dumps({"hello": "world"}): "unrecognised"}
    for body in bodies:
        attributes = {"traceparent": {"DataType": "String", "StringValue": "00-1"}}
        bucket.aws.sqs.send_message(QueueUrl=bucket.queue, MessageBody=body, MessageAttributes=attributes)  # type: ignore[arg-type]
    bucket.upload("crash.mp4", b"#segfault")
    with daemon(tmp_path, "s3 run", bucket.settings()) as process:
        process.wait_for(lambda: len(process.events("dead letter")) == 4, "4 dead letters", 120)
        process.wait_for(lambda: delivered(process) == 1 and bucket.left() == 0, "all dealt with")
        assert process.stop() == 0
    dead = {one["Body"]: one["MessageAttributes"] for one in bucket.taken(bucket.dead)}
    assert {body: dead[body]["dmcl-reason"]["StringValue"] for body in bodies} == bodies
    assert dead["{"]["traceparent"]["StringValue"] == "00-1"
    (crash,) = (attributes for body, attributes in dead.items() if "crash.mp4" in body)
    assert crash["dmcl-reason"]["StringValue"] == "killed_worker"
    assert {*bucket.effective()} == {good}


@pytest.mark.slow
def test_an_object_that_was_replaced_before_it_was_scanned_has_the_verdict_of_the_new_one(
    bucket: Bucket, tmp_path: Path
) -> None:
    upload = bucket.upload("clip.mp4", bucket.clip + b"first")
    bucket.upload("clip.mp4", bucket.clip + b"second")
    with daemon(tmp_path, "s3 run", bucket.settings()) as process:
        process.wait_for(lambda: bucket.left() == 0, "both dealt with")
        assert process.stop() == 0
    effective = bucket.effective()
    assert {*effective} == {upload}
    assert effective[upload]["data"]["asset"]["size_bytes"] == len(bucket.clip) + len(b"second")


@pytest.mark.slow
def test_asked_to_end_it_hands_back_what_is_not_finished_at_once(bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload("slow.mp4")
    settings = bucket.settings(scoring={"options": {"delay_s": 600}}, work={"drain_s": 0.5})
    settings["s3"]["visibility_s"] = 3600
    with daemon(tmp_path, "s3 run", settings) as process:
        process.wait_for(lambda: process.metric("dmcl_in_flight") == 1, "under way")
        assert process.stop() == 0
    (message,) = bucket.aws.sqs.receive_message(QueueUrl=bucket.queue, WaitTimeSeconds=5)["Messages"]
    assert "slow.mp4" in message["Body"]


@pytest.mark.durability
def test_120_uploads_whose_messages_come_again_and_again_have_one_verdict_each(
    bucket: Bucket, tmp_path: Path
) -> None:
    """Two daemons are killed and stopped for longer than their messages are hidden, so that the other gets them."""
    uploads = [bucket.upload(f"{number}.mp4") for number in range(120)]
    settings = bucket.settings(
        s3={"visibility_s": 2}, scoring={"options": {"delay_s": 0.3}}, work={"in_flight": 6}
    )
    shared = {"path": str(tmp_path / "ledger.db")}
    first, second = (
        DaemonProcess(tmp_path, "s3 run", settings | {"ledger": shared}, name=name)
        for name in ("first", "second")
    )
    first.start()
    second.start()
    received: set[str] = set()
    for share in (15, 35, 55, 75, 95):
        first.wait_for(lambda share=share: delivered(first, second) >= share, f"{share} delivered", 300)  # type: ignore[misc]
        first.pause()  # its messages are visible again, and it does not know
        time.sleep(6)
        first.go_on()
        second.kill()
        time.sleep(3)
        second.start()
    first.wait_for(lambda: delivered(first, second) == len(uploads), "all delivered", 600)
    first.wait_for(lambda: bucket.left() == 0, "all deleted", 300)
    assert first.stop() == second.stop() == 0
    for process in (first, second):
        received |= {line["message_id"] for line in process.log() if line.get("received", 1) > 1}
    assert received, "no message came twice, so that nothing was put to the test"
    assert {*bucket.effective()} == {*uploads}
    assert not bucket.taken(bucket.dead)
