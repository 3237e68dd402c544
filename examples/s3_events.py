"""A video uploaded to S3, told to a queue, scanned by the daemon, its verdict read from another queue.

    upload ─ S3 ─ event ─> SQS ─> dmcl s3 run ─> SQS ─> consumer

`make demo-s3` installs what it needs: ministack, which speaks AWS's own protocol on this machine. Against AWS itself,
make the bucket and the queues with your own tools; `dmcl.toml` is the same without `endpoint_url`. Settings and log are
in demo/s3.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from local_servers import DMCL, example_video, free_port, running, wait_until_it_listens
from rich.console import Console

from dmcl_sdk.tables import verdict_table
from dmcl_sdk.verdict import Verdict

OUT = Path("demo/s3").resolve()
PATIENCE_S = 600.0
REGION = "us-east-1"
SETTINGS = """\
[s3]
queue_url = "{events}"
dead_letter_queue_url = "{dead}"
endpoint_url = "{endpoint}"
region = "us-east-1"

[sinks.moderation]
type = "sqs"
queue_url = "{verdicts}"
endpoint_url = "{endpoint}"
region = "us-east-1"

[media.s3]
endpoint_url = "{endpoint}"
region = "us-east-1"

[ledger]
path = "{out}/ledger.db"

[service]
port = 0
"""


def main() -> None:
    """Upload a video and show the verdict that comes."""
    parser = argparse.ArgumentParser(description="A scan by way of S3 and SQS.")
    parser.add_argument("ministack", type=Path, help="the program; `make demo-s3` knows where it is")
    program = parser.parse_args().ministack
    console = Console(markup=False, highlight=False)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with ministack(program) as endpoint:
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name=REGION)
        sqs = boto3.client("sqs", endpoint_url=endpoint, region_name=REGION)
        queues = {
            name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("events", "verdicts", "dead")
        }
        make_bucket(s3, sqs, queues["events"])
        settings = OUT / "dmcl.toml"
        settings.write_text(SETTINGS.format(endpoint=endpoint, out=OUT, **queues))
        with running([DMCL, "s3", "run", "-c", settings], OUT / "daemon.log") as daemon:
            s3.upload_file(str(example_video()), "uploads", "clip.mp4")
            console.print("uploaded  s3://uploads/clip.mp4")
            event = next_event(sqs, queues["verdicts"], daemon)
    console.print(f"event     {event['id']} on {event['subject']}")
    console.print(verdict_table(Verdict.model_validate_json(json.dumps(event["data"]))))


def make_bucket(s3: Any, sqs: Any, queue: str) -> None:  # noqa: ANN401 - boto3's clients
    """A bucket that tells a queue of what is uploaded."""
    s3.create_bucket(Bucket="uploads")
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket="uploads", NotificationConfiguration=told)


def next_event(sqs: Any, queue: str, daemon: subprocess.Popen[bytes]) -> Any:  # noqa: ANN401 - any JSON
    """Wait for a verdict's event, as long as the daemon runs; take it from the queue."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and daemon.poll() is None:
        for message in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2).get("Messages", []):
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            return json.loads(message["Body"])
    raise SystemExit(f"no verdict came; {OUT}/daemon.log says why")


@contextmanager
def ministack(program: Path) -> Iterator[str]:
    """S3 and SQS on a free port of loopback until the end of the block; credentials for it are in the environment."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    port, log = free_port(), OUT / "ministack.log"
    environment = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    with running([program.resolve()], log, env=os.environ | environment, cwd=OUT) as process:
        wait_until_it_listens(port, process, log)
        yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    main()
