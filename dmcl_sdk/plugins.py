"""Commands of other packages, by the entry point group `dmcl.commands`.

An entry point names a Typer app, a command object or a plain function. It is loaded when it is called and not
before, so one that is broken costs nobody else anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.verdict import Decision, Verdict

GROUP = "dmcl.commands"
POLICY_GROUP = "dmcl.policies"
_OPTIONAL = re.compile(r"""^(?P<name>[\w.-]+).*;.*\bextra\s*==\s*["'](?P<extra>[\w.-]+)["']""")


def command_entry_points() -> list[EntryPoint]:
    """What other packages offer, by name; the first of two equal names wins."""
    by_name: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        by_name.setdefault(entry.name, entry)
    return [by_name[name] for name in sorted(by_name)]


def origin(entry: EntryPoint) -> str:
    """The distribution that offers the command."""
    return entry.module if entry.dist is None else entry.dist.name


def run_command(entry: EntryPoint, args: list[str], program: str) -> None:
    """Load the command and run it with these arguments; it exits as it sees fit.

    Raises:
        DeploymentError: it does not load, or a package that it needs is not installed.
    """
    try:
        command = _runnable(entry.load())
    except (ImportError, AttributeError) as error:
        raise DeploymentError(_why_not(entry, error, program)) from error
    try:
        command(args=args, prog_name=f"{program} {entry.name}")
    except ModuleNotFoundError as error:  # what is imported where it is used
        raise DeploymentError(_why_not(entry, error, program)) from error


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


def _runnable(target: Callable[..., object]) -> Callable[..., object]:
    if isinstance(target, typer.Typer) or hasattr(target, "main"):
        return target
    app = typer.Typer(add_completion=False)
    app.command()(target)
    return app


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
