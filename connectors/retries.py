"""Trying again, with the waits that spare a server in trouble."""

from __future__ import annotations

import random
import time

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from connectors.errors import TransientError

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0
"""Between two attempts, whatever a server asks for; who has to wait longer hands the request back."""


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


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    if isinstance(error, TransientError) and error.retry_after_s is not None:
        return min(LONGEST_WAIT_S, error.retry_after_s)
    longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (state.attempt_number - 1))
    return random.uniform(0, longest_s)  # noqa: S311 - no secret
