"""What can go wrong on the way of a request, told apart by what to do about it."""

from __future__ import annotations


class ConnectorError(Exception):
    """Base of all errors of the connectors."""


class TransientError(ConnectorError):
    """It may work later: back off and try again.

    Attributes:
        retry_after_s: how long the other side asked to wait, when it did.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NoRoomError(TransientError):
    """There is no room on this machine, which is no fault of the request: it waits for as long as that takes."""


class PoisonError(ConnectorError):
    """It will never work: the request goes to the dead letters, with this reason.

    Attributes:
        reason: a code in snake case, stable across versions.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SettingsError(ConnectorError):
    """The deployment is wrong: nothing will work until somebody changes it."""


class StoppedError(ConnectorError):
    """We are asked to end: what is under way goes back to where it came from, and nothing is lost."""
