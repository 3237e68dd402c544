"""What the checks have in common."""

from __future__ import annotations

HARD_TEXT = 'naïve 影片 \U0001f3ac \\ " \n \t \x7f \u2028 \ufffe'
"""Characters that have been known to suffer on the way."""


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as `assert`, which may be switched off
    """Fail with a sentence, unless something holds."""
    if not holds:
        raise AssertionError(otherwise)
