from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import SettingsError
from connectors.json_lines import JsonLines

by_id: Callable[[Any], str] = lambda document: str(document["id"])  # noqa: E731 - a name for tests


def test_a_line_is_written_once_however_often_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    for _ in range(2):
        with closing(JsonLines(path, by_id)) as lines:
            lines.append(b'{"id": 1, "text": "first"}')
            assert not lines.append(b'{"id": 1, "text": "again"}')
            lines.append(b'{"id": 2}')
            assert lines.has("2")
            assert not lines.has("3")
    assert path.read_bytes() == b'{"id": 1, "text": "first"}\n{"id": 2}\n'


def test_a_line_that_was_not_finished_is_taken_away_and_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2, "te')
    with closing(JsonLines(path, by_id)) as lines:
        assert lines.append(b'{"id": 2}')
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("text", [b"not JSON\n", b"[]\n", b'{"other": 1}\n', b"\xff\xfe\n"])
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b'{"id": 1}\n' + text + b"no end")
    with pytest.raises(SettingsError, match=r"notes\.txt:2: no line that belongs there"):
        JsonLines(path, by_id)
    assert path.read_bytes() == b'{"id": 1}\n' + text + b"no end"


def test_a_file_that_is_being_written_is_left_to_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with closing(JsonLines(path, by_id)), pytest.raises(SettingsError, match="another process"):
        JsonLines(path, by_id)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent/lines\.jsonl"):
        JsonLines(tmp_path / "absent" / "lines.jsonl", by_id)
