"""A daemon as `deploy/` has it run: no root, no rights, and a file system that cannot be written but for one folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from tests.connectors.daemons import ROOT, daemon
from tests.connectors.topics import Topics

USER = 10001
CONTAINED = """
set -e
mount --make-rprivate /
# Python may be where others may not look
if [ -n "$HIDDEN" ]; then
    mount --bind "$PYTHON" "$WRITABLE"
    mount -t tmpfs -o mode=755 tmpfs "$HIDDEN"
    mkdir -p "$PYTHON"
    mount --move "$WRITABLE" "$PYTHON"
fi
mount --bind "$WRITABLE" "$WRITABLE"
mount -o remount,bind,ro /
cd "$WRITABLE"
exec setpriv --reuid $USER_ID --regid $USER_ID --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own, which are for one user alone."""
    with TemporaryDirectory(prefix="dmcl-container-") as name:
        path = Path(name)
        os.chown(path, USER, USER)
        yield path


@pytest.fixture
def contained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """What goes before a command that is to run so; skips where that cannot be done."""
    python = Path(sys.base_prefix).resolve()
    hidden = next((one for one in reversed(python.parents) if not one.stat().st_mode & 0o001), "")
    monkeypatch.setenv("PYTHON", str(python))
    monkeypatch.setenv("HIDDEN", str(hidden))
    monkeypatch.setenv("WRITABLE", str(folder))
    monkeypatch.setenv("USER_ID", str(USER))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("HOME", "/nonexistent")
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("setpriv") is None or os.getuid() != 0:
        pytest.skip("a mount namespace needs root, unshare and setpriv")
    before = (unshare, "--mount", "sh", "-c", CONTAINED, "contained")
    tried = subprocess.run([*before, "touch", str(folder / "x")], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mount namespace: {tried.stderr}")
    return before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_daemon_needs_no_root_and_one_folder_to_write(
    broker: str, folder: Path, contained: tuple[str, ...]
) -> None:
    refused = subprocess.run(
        [*contained, "touch", str(ROOT / "x")], capture_output=True, text=True, check=False
    )
    assert "Read-only file system" in refused.stderr
    topics = Topics(broker, f"t{uuid4().hex[:8]}", folder)
    request = topics.upload("clip.mp4")
    topics.send(request, b"{")
    settings = topics.settings(scoring={"detector": "default", "options": {"providers": ["cpu"]}})
    with daemon(folder, "kafka run", settings, inside=contained) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
        assert "CapEff:\t0000000000000000" in status
        process.wait_for(
            lambda: process.events("delivered") and process.events("dead letter"), "both dealt with", 300
        )
        assert process.get("/readyz")[0] == 200
        assert process.stop() == 0
    (event,) = topics.effective().values()
    assert json.loads(event.value)["model"]["name"] != "scripted"
    assert not [*folder.glob("in flight/dmcl-media-*")]
