"""What other packages add, by entry points: commands, detectors, policies.

`dmcl.commands`: a Typer app, a command object or a plain function. It is loaded when it is called and not before, so
one that is broken costs nobody else anything.

`dmcl.detectors`: a callable that makes a detector, which is anything with `score(path) -> Verdict`. Options are its
keyword arguments.

    [project.entry-points."dmcl.detectors"]
    vendor = "example.vendor:open_detector"
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import typer

from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.verdict import Decision, Verdict

if TYPE_CHECKING:
    from dmcl_sdk.detector import Detector

GROUP = "dmcl.commands"
DETECTOR_GROUP = "dmcl.detectors"
POLICY_GROUP = "dmcl.policies"
_CV2_THREADS = 2
_OPTIONAL = re.compile(r"""^(?P<name>[\w.-]+).*;.*\bextra\s*==\s*["'](?P<extra>[\w.-]+)["']""")


@runtime_checkable
class Scorer(Protocol):
    """What is asked of a detector."""

    def score(self, video: Path) -> Verdict:
        """A verdict on one file; the same for the same bytes, timings aside, and from any thread.

        Raises:
            VideoError: the file is not a video.
        """
        ...


def command_entry_points() -> list[EntryPoint]:
    """What other packages offer, by name; the first of two equal names wins."""
    by_name: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        by_name.setdefault(entry.name, entry)
    return [by_name[name] for name in sorted(by_name)]


def origin(entry: EntryPoint) -> str:
    """The distribution that offers the command."""
    return entry.module if entry.dist is None else entry.dist.name


def load_command(entry: EntryPoint) -> Callable[..., object]:
    """The command itself, as a Typer app or a command object; raises whatever its package does."""
    target: Callable[..., object] = entry.load()
    if isinstance(target, typer.Typer) or hasattr(target, "main"):
        return target
    app = typer.Typer(add_completion=False)
    app.command()(target)
    return app


def run_command(entry: EntryPoint, args: list[str], program: str) -> None:
    """Load the command and run it with these arguments; it exits as it sees fit.

    Raises:
        DeploymentError: it does not load, or a package that it needs is not installed.
    """
    try:
        command = load_command(entry)
    except (ImportError, AttributeError) as error:
        raise DeploymentError(_why_not(entry, error, program)) from error
    try:
        command(args=args, prog_name=f"{program} {entry.name}")
    except ModuleNotFoundError as error:  # what is imported where it is used
        raise DeploymentError(_why_not(entry, error, program)) from error


def open_detector(name: str, options: Mapping[str, Any]) -> Scorer:
    """A detector, ready to score.

    Args:
        name: an entry point of `dmcl.detectors`, or `package.module:callable`.
        options: its keyword arguments.

    Raises:
        DeploymentError: there is none, or it does not start with these options.
    """
    factory = _detector_factory(name)
    try:
        detector = factory(**options)
    except (DeploymentError, TypeError, ValueError) as error:
        raise DeploymentError(f"the detector {name} does not start: {error}") from error
    if not isinstance(detector, Scorer):
        raise DeploymentError(f"the detector {name} is a {type(detector).__name__} and has no score(video)")
    return detector


def open_default(
    *,
    model: str | None = None,
    providers: list[str] | None = None,
    face_model: str | None = None,
    max_seconds: float | None = None,
) -> Detector:
    """This package's detector, by what a command line or a table of settings can say.

    Args:
        model: a model file; the one that ships without.
        providers: execution providers in order of preference; without, OpenVINO where it is installed, else the CPU.
        face_model: a YuNet file; MTCNN without.
        max_seconds: how much of each video is read.

    A process that opens it is here to score, and has OpenCV use at most two threads from then on: woken for pictures of
    64 px, sixteen cost half as much again as the work itself.
    """
    import cv2  # noqa: PLC0415 - heavy: only who scores needs it

    from dmcl_sdk.detector import Detector  # noqa: PLC0415 - the same
    from dmcl_sdk.video import VideoLimits  # noqa: PLC0415 - the same

    cv2.setNumThreads(min(cv2.getNumThreads(), _CV2_THREADS))
    limits = None if max_seconds is None else VideoLimits(max_duration_s=max_seconds)
    return Detector(model, providers=providers, face_model=face_model, limits=limits)


def read_policy(reference: str) -> Callable[[Verdict], Decision]:
    """What a policy decides of a verdict, by the first reader of the entry point group `dmcl.policies`.

    Args:
        reference: what the reader takes: a TOML file, or `package.module:object`.

    Raises:
        DeploymentError: no package reads policies, or this one cannot be read.
    """
    readers = sorted(entry_points(group=POLICY_GROUP), key=lambda entry: entry.name)
    if not readers:
        raise DeploymentError("no package here reads policies: pip install 'dmcl-sdk[connectors]'")
    try:
        policy = readers[0].load()(reference)
    except Exception as error:  # a reader is somebody else's code, and has errors of its own
        raise DeploymentError(f"the policy {reference} cannot be read: {error}") from error
    decide: Callable[[Verdict], Decision] = policy.decide
    return decide


def _detector_factory(name: str) -> Any:  # noqa: ANN401 - whatever stands there
    published = {entry.name: entry for entry in reversed(entry_points(group=DETECTOR_GROUP))}
    try:
        if name in published:
            return published[name].load()
        module, colon, attribute = name.partition(":")
        if not (colon and module and attribute):
            there_are = ", ".join(sorted(published))
            raise DeploymentError(
                f"no detector {name!r}: there are {there_are}, or name package.module:callable"
            )
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DeploymentError(f"the detector {name} does not load: {error}") from error


def _why_not(entry: EntryPoint, error: Exception, program: str) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    extra = None if missing is None else _extra_with(entry, missing.partition(".")[0])
    if extra is None:
        return f"`{program} {entry.name}` of {origin(entry)} does not load: {error}"
    return f"`{program} {entry.name}` needs {missing}: pip install '{origin(entry)}[{extra}]'"


def _extra_with(entry: EntryPoint, module: str) -> str | None:
    """The smallest extra of the command's distribution that installs a module, where both go by one name."""
    requirements = (entry.dist and entry.dist.requires) or ()
    optional = [found for text in requirements if (found := _OPTIONAL.match(text))]
    sizes = Counter(found["extra"] for found in optional)
    offers = [found["extra"] for found in optional if _as_module(found["name"]) == module.lower()]
    return min(offers, key=lambda extra: sizes[extra], default=None)


def _as_module(distribution: str) -> str:
    return distribution.lower().replace("-", "_")
