"""JSON from outside: bounded, without the liberties that Python's reader takes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Never

from connectors.errors import PoisonError

MAX_BYTES = 1024 * 1024
"""What SQS carries at most, and Kafka by default."""
MAX_DEPTH = 32
"""Nested objects and lists; an S3 event has 5."""


def loads(body: bytes) -> object:
    """One JSON document.

    Raises:
        PoisonError: `empty`, `too_large`, `not_utf8`, `not_json`, `duplicate_key` or `too_deep`.
    """
    if not body.strip():
        raise PoisonError("empty", "the message has no body")
    if len(body) > MAX_BYTES:
        raise PoisonError("too_large", f"the message has {len(body)} bytes; at most {MAX_BYTES} are read")
    try:
        document: object = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
        # "\ud800" is JSON and yet no text: it would break whoever writes it later
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise PoisonError("not_utf8", f"the message is not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise PoisonError("not_utf8", "the message has half a surrogate pair in a string") from None
    except ValueError as error:
        raise PoisonError("not_json", f"the message is not JSON: {error}") from None
    if _deeper_than(document, MAX_DEPTH):
        raise _too_deep()
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise PoisonError("duplicate_key", f"the key {twice[:60]!r} is there twice: which one counts?")
    return document


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON number")


def _deeper_than(document: object, limit: int) -> bool:
    level = [document]
    for _ in range(limit + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _too_deep() -> PoisonError:
    return PoisonError("too_deep", f"the message is nested more than {MAX_DEPTH} deep")
