"""A bucket that is full already, scanned once, and looked at as a table.

    python examples/s3_backfill.py demo/ministack/bin/ministack

Needs `pip install 'dmcl-sdk[cpu,connectors,parquet]'`. It starts a server that speaks S3 on this machine, which `make
demo-s3` installs. Against AWS, all that is needed is `dmcl s3 backfill s3://BUCKET/PREFIX --results verdicts.parquet`.
Settings and results are in demo/s3.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import boto3
import pyarrow.parquet as pq
from local_servers import DMCL, example_video
from s3_events import OUT, REGION, ministack

VIDEOS = 3
SETTINGS = """\
[media.s3]
endpoint_url = "{endpoint}"
region = "us-east-1"

[ledger]
path = "{out}/ledger.db"
"""


def main() -> None:
    """Fill a bucket, and scan it."""
    parser = argparse.ArgumentParser(description="A scan of what lies in S3 already.")
    parser.add_argument("ministack", type=Path, help="the program; `make demo-s3` installs it")
    program = parser.parse_args().ministack
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with ministack(program) as endpoint:
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name=REGION)
        s3.create_bucket(Bucket="archive")
        for number in range(VIDEOS):
            s3.upload_file(str(example_video()), "archive", f"2026/clip-{number}.mp4")
        s3.put_object(Bucket="archive", Key="2026/notes.txt.mp4", Body=b"not a video")
        settings = OUT / "dmcl.toml"
        settings.write_text(SETTINGS.format(endpoint=endpoint, out=OUT))
        backfill("s3://archive/2026/", "-c", str(settings), "--dry-run")
        backfill("s3://archive/2026/", "-c", str(settings), "--results", str(OUT / "verdicts.parquet"))
    table = pq.read_table(OUT / "verdicts.parquet")
    for row in table.to_pylist():
        print(row["uri"], row["status"], row["label"], row["start_ms"], row["end_ms"])


def backfill(*args: str) -> None:
    """`dmcl s3 backfill`, which says what it does by itself."""
    subprocess.run([DMCL, "s3", "backfill", *args], cwd=OUT, check=True)  # noqa: S603 - our own program


if __name__ == "__main__":
    main()
