from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.sdk.footage import carphone

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
LINES = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's reader sits: a folder with the videos that it names."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("clip.mp4", "other.mp4"):
        shutil.copy(carphone(), folder / name)
    return folder


def python(code: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_block_is_one_that_these_tests_run() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python"}
    assert {shlex.split(line, comments=True)[0] for line in LINES} == {"make", "pip", "dmcl"}


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_each_python_block_runs(block: str, folder: Path) -> None:
    run = python(block, cwd=folder)
    assert run.returncode == 0, run.stderr
    assert run.stdout


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("dmcl ")])
def test_each_command_runs(line: str, folder: Path) -> None:
    args = shlex.split(line, comments=True)[1:]
    run = python("from dmcl_sdk.cli import main; main()", *args, cwd=folder)
    found = "--fail-on" in args and run.returncode == 1
    assert run.returncode == 0 or found, run.stderr
    assert run.stdout


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_each_make_target_exists(line: str) -> None:
    args = shlex.split(line, comments=True)
    run = subprocess.run([*args, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("pip ")])
def test_each_extra_exists(line: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"\[(\w+)\]", line)
    assert named
    assert set(named) <= set(project["optional-dependencies"])


def test_each_link_inside_the_repository_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_each_figure_is_one_of_the_models_card() -> None:
    card = (ROOT / "dmcl_sdk" / "models" / "MODEL_CARD.md").read_text(encoding="utf-8")
    said = re.findall(r"\b[01]\.\d{3}\b", README)
    assert said
    assert [figure for figure in said if figure not in card] == []
