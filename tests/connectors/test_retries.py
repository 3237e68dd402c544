from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from connectors.errors import PoisonError, TransientError
from connectors.exchange import retry_after_s
from connectors.retries import FIRST_WAIT_S, LONGEST_WAIT_S, retrying


def waits(error: Exception, attempts: int, until: float = float("inf")) -> list[float]:
    """The waits between calls that all fail with this error."""
    slept: list[float] = []

    def fails() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        retrying(attempts, until=until).copy(sleep=slept.append)(fails)
    assert caught.value is error
    return slept


def test_waits_are_drawn_below_a_bound_that_doubles() -> None:
    drawn = [waits(TransientError("down"), 9) for _ in range(50)]
    for number, column in enumerate(zip(*drawn, strict=True)):
        bound = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**number)
        assert min(column) >= 0
        assert 0.7 * bound < max(column) <= bound
        assert len(set(column)) == 50


def test_a_server_that_names_a_wait_has_it_within_reason() -> None:
    assert waits(TransientError("busy", retry_after_s=2.5), 3) == [2.5, 2.5]
    assert waits(TransientError("busy", retry_after_s=3600), 2) == [LONGEST_WAIT_S]


def test_what_will_never_work_is_not_tried_again() -> None:
    assert waits(PoisonError("not_found", "absent"), 5) == []


def test_no_wait_begins_after_the_time_is_up() -> None:
    assert waits(TransientError("down"), 5, until=time.monotonic() - 1) == []


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("-1", None)]
)
def test_a_wait_is_read_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_s(httpx.Headers({"retry-after": value})) == seconds


def test_a_wait_is_read_from_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after_s(httpx.Headers({"retry-after": later})) == pytest.approx(3600, abs=60)
    assert retry_after_s(httpx.Headers({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0
