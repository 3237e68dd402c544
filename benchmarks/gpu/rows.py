"""Figures as they come: printed, kept in a file, and none lost because the next one fails."""

from __future__ import annotations

import json
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmcl_sdk.network import OnnxNetwork
from dmcl_sdk.sessions import CUDA_OPTIONS

TWO_FRAMES_MS = 67


@dataclass
class Bench:
    """Where things are, what was measured, and when to stop.

    Attributes:
        out: the JSON file, written anew after every figure.
        provider: what is measured: `cuda`, or `cpu` to try this out.
        quick: whether the least of everything is enough.
        ends: by `time.monotonic`.
        forms: the model's files by name.
        clip: a video with a face, as it was given.
        videos: that clip at other sizes, by rows.
        figures: rows of every part.
    """

    out: Path
    provider: str
    quick: bool
    ends: float
    forms: dict[str, Path] = field(default_factory=dict)
    clip: Path = Path()
    videos: dict[int, Path] = field(default_factory=dict)
    figures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def late(self) -> bool:
        """Whether time is up."""
        return time.monotonic() > self.ends

    def note(self, part: str, **row: Any) -> None:  # noqa: ANN401 - whatever JSON holds
        """Print a row, and keep it."""
        self.figures.setdefault(part, []).append(row)
        shown = "  ".join(f"{key} {_shown(value)}" for key, value in row.items())
        print(f"[{part}] {shown}", flush=True)
        self.out.write_text(json.dumps(self.figures, indent=1) + "\n")

    def attempt(self, part: str, what: str, work: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401
        """Do one thing; what goes wrong is a row."""
        if self.late:
            self.note(part, what=what, left_out="time is up")
            return
        try:
            work(self, *arguments)
        except Exception as error:  # noqa: BLE001 - the next figure may succeed
            traceback.print_exc()
            self.note(part, what=what, failed=f"{type(error).__name__}: {str(error)[:300]}")

    def session(self, form: str, options: dict[str, str] | None = None) -> Any:  # noqa: ANN401
        """A session as `dmcl_sdk.sessions` opens it, but for some options of the provider."""
        import onnxruntime  # noqa: PLC0415 - which one is a matter of the machine

        execution = OnnxNetwork(self.forms[form], [self.provider]).providers[0]  # loads CUDA's libraries too
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level, settings.enable_mem_pattern = 4, False
        own = CUDA_OPTIONS | (options or {}) if self.provider == "cuda" else {}
        session = onnxruntime.InferenceSession(self.forms[form], settings, providers=[(execution, own)])
        if session.get_providers()[0] != execution:
            raise RuntimeError(f"{execution} does not start with {own}")
        return session


def wall_s(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def median_s(run: Callable[[], object], *, enough_s: float = 0.25) -> float:
    """The median of as many runs as fit, three at least, after two that do not count."""
    first = wall_s(run)
    if first < enough_s:
        run()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < enough_s and len(times) < 30):
        times.append(wall_s(run))
    return statistics.median(times)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
