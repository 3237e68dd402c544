"""Processor time of several pieces of work that are done in turns.

Wall time lies on a shared machine, and so does processor time a little: neighbours share caches and cores. Work that is
done in turns is slowed alike, so ratios within a round are what carries over.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Work:
    """Something whose cost is measured.

    Attributes:
        name: what tables call it.
        run: does it once.
        video_s: seconds of video that one run stands for.
        warm: whether it is done once before it counts.
    """

    name: str
    run: Run
    video_s: float
    warm: bool = True


@dataclass(slots=True)
class Cost:
    """What a piece of work took, one value a round.

    Attributes:
        name: the work's.
        video_s: the work's.
        cpu_s: user and system seconds, all threads and finished child processes together.
        wall_s: seconds that passed.
    """

    name: str
    video_s: float
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    @property
    def per_video_s(self) -> float:
        """CPU seconds for a second of video, the median of all rounds."""
        return statistics.median(self.cpu_s) / self.video_s


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much one thing costs as another, for the same video: median and range over rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, cost: Cost, other: Cost) -> Ratio:
        """Of two works that were done in turns."""
        scale = other.video_s / cost.video_s
        each = [a / b * scale for a, b in zip(cost.cpu_s, other.cpu_s, strict=True)]
        return cls(statistics.median(each), min(each), max(each))


def cpu_s() -> float:
    """User and system seconds of this process, its threads and its finished children."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return time.process_time()
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def in_turns(works: Sequence[Work], rounds: int) -> Iterator[list[Cost]]:
    """Do every work once a round; gives the costs so far after each."""
    costs = [Cost(work.name, work.video_s) for work in works]
    for work in works:
        if work.warm:
            work.run()
        yield costs
    for _ in range(rounds):
        for work, cost in zip(works, costs, strict=True):
            began = cpu_s(), time.perf_counter()
            work.run()
            cost.cpu_s.append(cpu_s() - began[0])
            cost.wall_s.append(time.perf_counter() - began[1])
            yield costs
