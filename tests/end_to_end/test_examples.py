"""The examples of the connectors, run as a newcomer runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.connectors.servers import _ministack_program

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(script: str, *args: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DMCL_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *args],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_request_in_a_topic_becomes_a_verdict_in_another(tmp_path: Path) -> None:
    said = run("kafka_daemon.py", cwd=tmp_path)
    assert "uploads   <- " in said
    assert "face 0" in said.partition("verdicts  ->")[2]


def test_an_upload_becomes_a_verdict_in_a_queue(tmp_path: Path) -> None:
    # named from the folder that the example is run in, as `make demo-s3` does
    said = run("s3_events.py", os.path.relpath(_ministack_program(), tmp_path), cwd=tmp_path)
    assert "on s3://uploads/clip.mp4" in said
    assert "face 0" in said
