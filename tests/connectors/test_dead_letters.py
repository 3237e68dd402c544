from __future__ import annotations

import pytest

from connectors.dead_letters import DeadLetterLimit, DeadLetterSettings
from connectors.errors import SettingsError


def limit(**changes: object) -> DeadLetterLimit:
    return DeadLetterLimit(
        DeadLetterSettings.model_validate({"max_run": 3, "max_share": 1, "window": 10} | changes)
    )


def test_a_run_of_dead_letters_that_is_too_long_stops_before_the_one_too_many() -> None:
    counted = limit()
    for _ in range(3):
        counted.admit("not_json")
    with pytest.raises(SettingsError, match=r"4 messages in a row are dead letters: not_json \(4\)"):
        counted.admit("not_json")


def test_one_that_ends_well_ends_the_run() -> None:
    counted = limit()
    for _ in range(20):
        for _ in range(3):
            counted.admit("not_json")
        counted.scanned()


def test_a_share_that_is_too_large_stops() -> None:
    counted = limit(max_run=100, max_share=0.5)
    for _ in range(5):
        counted.scanned()
        counted.admit("not_found")
    counted.scanned()
    counted.admit("not_found")
    with pytest.raises(
        SettingsError, match=r"6 of the last 10 messages are dead letters: not_found \(5\), empty"
    ):
        counted.admit("empty")


def test_a_share_counts_only_once_there_are_enough_messages() -> None:
    counted = limit(max_run=100, max_share=0.5)
    for _ in range(9):
        counted.admit("empty")
    with pytest.raises(SettingsError):
        counted.admit("empty")


def test_the_message_says_what_to_do() -> None:
    counted = limit(max_run=1)
    counted.admit("empty")
    with pytest.raises(SettingsError, match=r"nothing is lost.*Mend the cause.*dead_letters\.max_run"):
        counted.admit("empty")


def test_one_that_was_not_admitted_is_not_counted() -> None:
    counted = limit(max_run=1)
    counted.admit("empty")
    for _ in range(3):
        with pytest.raises(SettingsError, match="2 messages in a row"):
            counted.admit("empty")
