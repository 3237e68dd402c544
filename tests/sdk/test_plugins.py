from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from dmcl_sdk.cli import OF_EXTRAS
from dmcl_sdk.plugins import command_entry_points, open_default, origin

SOURCES = {
    "app.py": """
import typer
app = typer.Typer()
@app.command()
def run(topic: str, limit: int = 5): print("app", topic, limit)
@app.command()
def replay(): print("replayed")
def function(names: list[str]): print("function", *names)
def late():
    import package_that_is_absent
""",
    "broken.py": "import package_that_is_absent\n",
    "worse.py": "raise ImportError('no luck')\n",
}
METADATA = """Metadata-Version: 2.1
Name: example-commands
Version: 1.0
Provides-Extra: all
Provides-Extra: fast
Requires-Dist: package-that-is-absent>=2; extra == "all"
Requires-Dist: another-package; extra == "all"
Requires-Dist: package-that-is-absent>=2; extra == "fast"
"""
ENTRY_POINTS = """[dmcl.commands]
kafka = example.app:app
plain = example.app:function
late = example.app:late
broken = example.broken:app
worse = example.worse:app
unnamed = example.app:nothing
schema = example.broken:app
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package that offers commands, some of them broken."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "example").mkdir()
    (folder / "example" / "__init__.py").touch()
    for name, source in SOURCES.items():
        (folder / "example" / name).write_text(source)
    info = folder / "example_commands-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def dmcl(site: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from dmcl_sdk.cli import main; main()", *args],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{Path.cwd()}", "COLUMNS": "100"},
    )


def test_a_typer_app_hangs_in_with_its_own_options(site: Path) -> None:
    assert dmcl(site, "kafka", "run", "videos", "--limit", "7").stdout == "app videos 7\n"
    assert "--limit" in dmcl(site, "kafka", "run", "--help").stdout


def test_a_plain_function_is_a_command(site: Path) -> None:
    assert dmcl(site, "plain", "a", "--", "--b").stdout == "function a --b\n"


def test_commands_are_listed_without_being_loaded(site: Path) -> None:
    listed = dmcl(site, "--help")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in ("score", "kafka", "broken", "From example-commands."))


def test_each_command_of_an_extra_says_what_it_does_without_being_loaded() -> None:
    ours = {entry.name for entry in command_entry_points() if origin(entry) == "dmcl-sdk"}
    assert ours == set(OF_EXTRAS)


@pytest.mark.parametrize("command", ["broken", "late"])
def test_a_missing_package_is_answered_with_the_smallest_extra_that_installs_it(
    site: Path, command: str
) -> None:
    run = dmcl(site, command)
    assert run.returncode == 2
    assert run.stderr == (
        f"dmcl: `dmcl {command}` needs package_that_is_absent: pip install 'example-commands[fast]'\n"
    )


@pytest.mark.parametrize(
    ("command", "reason"), [("worse", "no luck"), ("unnamed", "has no attribute 'nothing'")]
)
def test_a_command_that_does_not_load_says_whose_it_is(site: Path, command: str, reason: str) -> None:
    run = dmcl(site, command)
    assert run.returncode == 2
    assert f"`dmcl {command}` of example-commands does not load" in run.stderr
    assert reason in run.stderr
    assert "Traceback" not in run.stderr


def test_no_package_can_take_the_place_of_an_own_command(site: Path) -> None:
    assert dmcl(site, "schema", "verdict").stdout.startswith("{")


def test_a_process_that_scores_wakes_no_more_than_two_of_opencvs_threads() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(16)
        open_default()
        assert cv2.getNumThreads() == 2
        cv2.setNumThreads(1)
        open_default()
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
