"""Logs of the daemons: one JSON object a line on standard error, for machines; lines for people on a terminal.

Events have fields. What a thread has bound (`structlog.contextvars`), such as the request and its trace, is on every
line that it writes. URIs appear by their `key` alone, because they may be signed.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog

# without the values of variables, among which secrets may be
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _once_in_a_while(every_s: float = 30.0) -> Callable[[logging.LogRecord], bool]:
    """A library that cannot connect says so many times a second; once in a while will do, for each of its parts."""
    last_s: dict[tuple[str, int], float] = {}

    def lets_through(record: logging.LogRecord) -> bool:
        part, now_s = (record.name, record.levelno), time.monotonic()
        if now_s - last_s.get(part, -every_s) < every_s:
            return False
        last_s[part] = now_s
        return True

    return lets_through


def configure(level: str = "info") -> None:
    """Set up logging for this process: ours, and that of the libraries from warnings up."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    on_terminal = sys.stderr.isatty()
    end: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if on_terminal
        else [_tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[*shared, *end],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line and its end in one write
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    # else it tells of every tenth of a second
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    handler.addFilter(_once_in_a_while())
