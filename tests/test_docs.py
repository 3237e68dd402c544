"""The documentation: what it says to type is run, or at least exists; what it links to is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser
from typer import Typer
from typer.main import get_command

from dmcl_sdk.cli import app
from dmcl_sdk.plugins import command_entry_points, load_command
from tests.sdk.footage import carphone

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if "```" in page.read_text(encoding="utf-8") and "_build" not in page.parts
)
QUICK = {
    "explanation/probability.md",
    "reference/cli.md",
    "reference/configuration.md",
    "reference/policy.md",
}
"""Pages that score nothing."""
LANGUAGES = {"python", "sh", "text", "toml"}
PROGRAM = Path(sys.executable).with_name("dmcl")


def named(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a page in one language; a link to a page of code is none."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def typed(page: Path) -> Iterator[list[str]]:
    """Each line of shell, as words; lines that are continued are one."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


COMMANDS = [
    pytest.param(words[words.index("dmcl") :], id=f"{named(page)}: {' '.join(words)}")
    for page in PAGES
    for words in typed(page)
    if "dmcl" in words[:2]
]


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_and_option_exists(words: list[str]) -> None:
    commands: dict[str, Any] = {
        entry.name: get_command(loaded) if isinstance(loaded := load_command(entry), Typer) else loaded
        for entry in command_entry_points()
        if entry.name == words[1]
    }
    command, rest = commands.get(words[1], get_command(app)), words[1:]
    if words[1] in commands:
        rest = rest[1:]
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, f"there is no {' '.join(words)}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    until = rest.index(">") if ">" in rest else len(rest)
    given = {word.partition("=")[0] for word in rest[:until] if word.startswith("-") and word != "-"}
    assert given <= {*known, "--help"}


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 20


def test_each_block_is_in_a_language_that_these_tests_know() -> None:
    fences = {
        (named(page), language)
        for page in PAGES
        for language in re.findall(r"^```(\w+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert {language for _, language in fences} <= LANGUAGES


def test_what_is_not_run_says_why() -> None:
    skipped = [line for page in PAGES for line in page.read_text().splitlines() if line.startswith("% skip")]
    assert skipped
    assert [line for line in skipped if not re.fullmatch(r'% skip: next "\w.{10,}"', line)] == []


def shell(example: Example) -> None:
    """As typed by a reader, up to the first command that fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DMCL_")}
    environment["PATH"] = f"{PROGRAM.parent}{os.pathsep}{environment['PATH']}"
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", str(example.parsed)],  # noqa: S607 - whichever the reader has
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert run.returncode == 0, f"{example.parsed}\n{run.stdout[-2000:]}{run.stderr[-2000:]}"


def file(example: Example) -> None:
    """A block whose first line is `# name.toml` is that file from there on; any other is an excerpt."""
    if name := re.match(r"# ([\w-]+\.\w+)\n", str(example.parsed)):
        Path(name[1]).write_text(str(example.parsed), encoding="utf-8")


class Code(PythonEvaluator):
    """Python, which may be a file too; the blocks of a page share their names."""

    def __call__(self, example: Example) -> None:
        file(example)
        super().__call__(example)


class Reader(Sybil):
    """Reads a page, and does what it says."""

    def __init__(self) -> None:
        super().__init__(
            parsers=[
                SkipParser(),
                CodeBlockParser(language="python", evaluator=Code()),
                CodeBlockParser(language="sh", evaluator=shell),
                CodeBlockParser(language="toml", evaluator=file),
            ],
            path=str(DOCS),
            pattern="**/*.md",
        )


def follow(document: Document) -> None:
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest:
            continue


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader sits: in a folder with a clip, and with the repository's examples."""
    shutil.copy(carphone(), tmp_path / "clip.mp4")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=named(page), marks=[] if named(page) in QUICK else pytest.mark.slow)
        for page in PAGES
        if any(blocks(page, language) for language in ("python", "sh", "toml"))
    ],
)
def test_a_page_can_be_followed_from_top_to_bottom(page: Path) -> None:
    follow(Reader().parse(page))
