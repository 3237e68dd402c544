"""Trying again, with the waits that spare a server in trouble."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, stop_after_attempt

from connectors.errors import StoppedError, TransientError

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0
"""Between two attempts, whatever a server asks for; who has to wait longer hands the request back."""

_Result = TypeVar("_Result")
OnWait = Callable[[TransientError, float], None]
"""Called before each wait with the reason for it and its seconds."""


def retrying(attempts: int, *, until: float = float("inf")) -> Retrying:
    """Calls again after a `TransientError`, and lets the last one through.

    The wait is drawn between nothing and a bound that doubles; a server that names a wait has it, within reason.

    Args:
        attempts: calls in all.
        until: moment of the monotonic clock after which no wait begins.
    """

    def wait_s(state: RetryCallState) -> float:
        return max(0.0, min(_wait_s(state), until - time.monotonic()))

    def over(state: RetryCallState) -> bool:
        return stop_after_attempt(attempts)(state) or time.monotonic() >= until

    return Retrying(stop=over, wait=wait_s, retry=retry_if_exception_type(TransientError), reraise=True)


def patiently(
    call: Callable[[], _Result],
    *,
    stopping: Event,
    give_up_s: float = float("inf"),
    on_wait: OnWait | None = None,
) -> _Result:
    """Call again after every `TransientError`, for as long as it takes.

    Args:
        call: what is to be done; it may be done again.
        stopping: ends the wait.
        give_up_s: when no further wait begins and the last error goes through; never without.
        on_wait: for logs.

    Raises:
        StoppedError: we were asked to end while it did not work.
    """
    began = time.monotonic()
    try:
        return call()  # nearly always it works, and the machinery below costs more than many a call
    except TransientError as error:
        failed = [error]

    def attempt() -> _Result:
        if failed:  # the first one was that
            raise failed.pop()
        return call()

    def wait_s(state: RetryCallState) -> float:
        seconds = _wait_s(state)
        error = state.outcome and state.outcome.exception()
        if on_wait is not None and isinstance(error, TransientError):
            on_wait(error, seconds)
        return seconds

    def over(_: RetryCallState) -> bool:
        return stopping.is_set() or time.monotonic() - began >= give_up_s

    again = Retrying(
        stop=over,
        wait=wait_s,
        retry=retry_if_exception_type(TransientError),
        sleep=sleep_using_event(stopping),
        reraise=True,
    )
    try:
        return again(attempt)
    except TransientError as error:
        if stopping.is_set():
            raise StoppedError(f"stopped while it did not work: {error}") from error
        raise


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    if isinstance(error, TransientError) and error.retry_after_s is not None:
        return min(LONGEST_WAIT_S, error.retry_after_s)
    longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (state.attempt_number - 1))
    return random.uniform(0, longest_s)  # noqa: S311 - no secret
