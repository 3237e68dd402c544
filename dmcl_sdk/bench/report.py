"""A benchmark's figures: under which conditions, as a table for people and as JSON for plots."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dmcl_sdk.bench.cold import ColdStart
from dmcl_sdk.bench.turns import Cost, Ratio

_PACKAGES = "dmcl-sdk", "numpy", "opencv-python-headless", "av", "onnxruntime"
_ISA = "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimd", "sve"


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """What one video cost.

    Attributes:
        name: of the version, or of the file.
        width: of the picture.
        height: of the picture.
        frame_rate: frames a second.
        kbps: what it was encoded at, or the file's own size over its duration.
        duration_s: of the video.
        faces: found in it.
        score: the whole path.
        decode: a bare decode of the same file.
        matrix: a GFLOP of matrix product for each "second of video".
        stages_ms: CPU milliseconds a frame of each stage.
        cold: a fresh process that scores it.
    """

    name: str
    width: int
    height: int
    frame_rate: float
    kbps: float
    duration_s: float
    faces: int
    score: Cost
    decode: Cost
    matrix: Cost
    stages_ms: dict[str, float]
    cold: ColdStart

    @property
    def real_time(self) -> float:
        """Seconds of video that one busy core scores in a second."""
        return 1 / self.score.per_video_s

    @property
    def gflop_a_frame(self) -> Ratio:
        """What else the time of one frame would do: GFLOP of fp32 matrix product."""
        ratio = Ratio.of(self.score, self.matrix)
        rate = self.frame_rate or 1.0
        return Ratio(ratio.median / rate, ratio.least / rate, ratio.most / rate)


@dataclass(frozen=True, slots=True)
class BenchReport:
    """One run of `dmcl bench`.

    Attributes:
        conditions: machine, versions, model, and how it was run.
        gflops: fp32 matrix product, GFLOP a CPU second, one value a round of each clip.
        clips: what was scored.
        peers: other systems' networks, CPU seconds for a second of the first clip, and our whole path beside them.
    """

    conditions: dict[str, Any]
    gflops: list[float]
    clips: list[ClipFigures]
    peers: list[tuple[str, str, float, Ratio]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything, with the ratios that carry over to other machines."""
        clips = [
            asdict(clip)
            | {
                "real_time_per_core": clip.real_time,
                "matrix_product_gflop_a_frame": asdict(clip.gflop_a_frame),
                "over_bare_decode": asdict(Ratio.of(clip.score, clip.decode)),
            }
            for clip in self.clips
        ]
        peers = [
            {"name": name, "note": note, "cpu_s_per_video_s": cost, "over_ours": asdict(ratio)}
            for name, note, cost, ratio in self.peers
        ]
        return {
            "format": "dmcl.bench/1",
            "conditions": self.conditions,
            "gflops": self.gflops,
            "clips": clips,
            "peers": peers,
        }

    def to_text(self) -> str:
        """A table for people."""
        told = self.conditions
        lines = [
            f"{told['processor']}, {told['cores']} cores, {told['isa'] or 'instruction set unknown'}",
            f"{told['model']}, {told['provider']}, {told['rounds']} rounds in turns; CPU time, children included",
            f"matrix product, fp32: {_spread(self.gflops)} GFLOP a CPU second",
            "",
            *_table(
                [
                    "clip",
                    "size",
                    "kb/s",
                    "x real time, a core",
                    "CPU ms a frame",
                    "x bare decode",
                    "as GFLOP a frame",
                ],
                [
                    [
                        clip.name,
                        f"{clip.width}x{clip.height}@{clip.frame_rate:.0f}",
                        f"{clip.kbps:.0f}",
                        f"{clip.real_time:.2f}",
                        f"{1000 * clip.score.per_video_s / clip.frame_rate:.1f}",
                        _range(Ratio.of(clip.score, clip.decode)),
                        _range(clip.gflop_a_frame),
                    ]
                    for clip in self.clips
                ],
            ),
            "",
            *_table(
                ["CPU ms a frame", *(self.clips[0].stages_ms if self.clips else [])],
                [[clip.name, *(f"{ms:.2f}" for ms in clip.stages_ms.values())] for clip in self.clips],
            ),
            "",
            *_table(
                ["cold start", "import s", "ready s", "first verdict s", "CPU s", "peak MiB"],
                [[clip.name, *_cold(clip.cold)] for clip in self.clips],
            ),
        ]
        if self.peers:
            lines += [
                "",
                *_table(["peer's network", "CPU s a video second", "x ours, whole path"], self._peers()),
            ]
            lines += [f"  {name}: {note}" for name, note, _, _ in self.peers]
        return "\n".join(lines) + "\n"

    def _peers(self) -> list[list[str]]:
        return [[name, f"{cost:.2f}", _range(ratio)] for name, _, cost, ratio in self.peers]


def conditions(**run: str | float | None) -> dict[str, Any]:
    """The machine and the versions, and what the caller says of the run."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "isa": " ".join(flag for flag in _ISA if flag in _flags()),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        **run,
    }


def _processor() -> str:
    names = _cpuinfo("model name")
    return names or platform.processor() or platform.machine()


def _flags() -> list[str]:
    return (_cpuinfo("flags") or _cpuinfo("Features")).split()


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None


def _cold(cold: ColdStart) -> list[str]:
    peak = "-" if cold.peak_mib is None else f"{cold.peak_mib:.0f}"
    return [*(f"{s:.2f}" for s in (cold.import_s, cold.ready_s, cold.verdict_s, cold.cpu_s)), peak]


def _range(ratio: Ratio) -> str:
    return f"{ratio.median:.3g} ({ratio.least:.3g} to {ratio.most:.3g})"


def _spread(values: Sequence[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.0f} ({min(values):.0f} to {max(values):.0f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need, the first flush left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{w}}" if n == 0 else f"{cell:>{w}}"
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def flat(report: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures of a report that are worth a line in a history."""
    return {
        "at": report["conditions"]["at"],
        "sdk": report["conditions"]["versions"]["dmcl-sdk"],
        "model": report["conditions"]["model"],
        "provider": report["conditions"]["provider"],
        "gflops": sorted(report["gflops"])[len(report["gflops"]) // 2],
        **{f"{clip['name']}_real_time_per_core": clip["real_time_per_core"] for clip in report["clips"]},
        **{
            f"{clip['name']}_over_bare_decode": clip["over_bare_decode"]["median"] for clip in report["clips"]
        },
    }
