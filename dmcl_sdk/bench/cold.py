"""From nothing to the first verdict, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
import json, sys, time
began = time.perf_counter()
import dmcl_sdk
imported = time.perf_counter()
from dmcl_sdk import Detector
detector = Detector(json.loads(sys.argv[2]), providers=json.loads(sys.argv[3]))
opened, opened_cpu = time.perf_counter(), time.process_time()
detector.score(sys.argv[1])
scored = time.perf_counter()
try:  # Linux keeps the largest size of the process that started this one in ru_maxrss
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) / 2**10 for line in status if line.startswith("VmHWM"))
except OSError:
    try:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    except ImportError:
        peak = None
print(json.dumps([imported - began, opened - began, scored - began, opened_cpu, time.process_time(), peak]))
"""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """A fresh process that scores one video.

    Attributes:
        import_s: wall seconds of `import dmcl_sdk`.
        ready_s: until a `Detector` is there.
        verdict_s: until it has given its verdict.
        ready_cpu_s: processor time until the `Detector` is there, the interpreter's own start included.
        cpu_s: processor time of all of it.
        peak_mib: most memory that was resident; None where the system does not tell.
    """

    import_s: float
    ready_s: float
    verdict_s: float
    ready_cpu_s: float
    cpu_s: float
    peak_mib: float | None


def cold_start(video: Path, model: Path | None, providers: list[str] | None) -> ColdStart:
    """Score a video in a new process, with the model and the providers of a `Detector`.

    Raises:
        subprocess.CalledProcessError: it fails there.
    """
    settings = json.dumps(model and str(model.absolute())), json.dumps(providers)
    command = [sys.executable, "-c", _SCRIPT, str(video), *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
    return ColdStart(*json.loads(done.stdout))
