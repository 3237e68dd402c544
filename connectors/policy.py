"""Policies as code: what is done about a verdict.

A policy is a TOML file. Rules are tried in order, and the first whose conditions all hold decides; without one the
default does:

    id = "uploads"
    version = "3"
    mode = "shadow"                       # enforce, or shadow: decide and record, and let nobody act on it

    [[rules]]
    name = "certain"
    when = { label = "manipulated", min_lower_bound = 0.9, min_flagged_ms = 1000, min_coverage = 0.5 }
    then = { action = "remove", queue = "removed" }

    [[rules]]
    name = "likely"
    when = { label = ["manipulated", "uncertain"], min_probability = 0.5 }
    then = { action = "review", queue = "faces" }

    [[rules]]
    name = "unjudged"
    when = { status = ["abstained", "failed"] }
    then = { action = "review", queue = "unjudged" }

    [default]
    action = "allow"

Rules that no table can hold are Python: any object with `decide(verdict) -> Decision` in a module that can be imported,
named `package.module:object`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from connectors.errors import SettingsError
from dmcl_sdk.verdict import Decision, Label, ReasonCode, Status, Verdict

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
_Any = TypeVar("_Any")
OneOrMore = Annotated[
    tuple[_Any, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]


@runtime_checkable
class Decider(Protocol):
    """What the worker asks: a `Policy`, or an object of your own."""

    def decide(self, verdict: Verdict) -> Decision:
        """What is to be done; pure, for the decision's `sha256` stands for all that it depends on."""
        ...


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class When(_Table):
    """Conditions, all of which must hold; one that is left out always does."""

    label: OneOrMore[Label] = ()
    """The video's label is one of these."""
    status: OneOrMore[Status] = ()
    """The verdict's status is one of these."""
    reasons: OneOrMore[ReasonCode] = ()
    """The verdict gives at least one of these reasons."""
    min_probability: Share | None = None
    """Of the worst face."""
    min_lower_bound: Share | None = None
    """Of the probability's 90 % interval: high only when the model is sure that it is sure."""
    min_flagged_ms: Annotated[int, Field(ge=0)] | None = None
    """Time inside manipulated spans."""
    min_flagged_share: Share | None = None
    """The same, as a share of the time in which a face was judged."""
    min_coverage: Share | None = None
    """Share of the video in which a face was judged."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> When:
        if self == When.model_construct():
            raise ValueError(
                "a rule needs a condition; what is done with all the rest stands under [default]"
            )
        return self

    def thresholds(self) -> dict[str, float]:
        """The numbers a verdict is held against, by name."""
        return {
            name: value
            for name in type(self).model_fields
            if name.startswith("min_") and (value := getattr(self, name)) is not None
        }

    def holds(self, verdict: Verdict) -> bool:
        """Whether a verdict meets every condition; a number that it does not have meets none."""
        measured = _measured(verdict)
        return (
            (not self.label or verdict.summary.label in self.label)
            and (not self.status or verdict.status in self.status)
            and (not self.reasons or any(reason.code in self.reasons for reason in verdict.reasons))
            and all(
                (value := measured[name]) is not None and value >= least
                for name, least in self.thresholds().items()
            )
        )


class Then(_Table):
    """What is done."""

    action: Name
    queue: Name | None = None


class Rule(_Table):
    """Conditions and what follows from them."""

    name: Name
    when: When
    then: Then


class Policy(_Table):
    """Ordered rules and a default."""

    id: Name
    version: Name
    mode: Literal["enforce", "shadow"]
    rules: tuple[Rule, ...] = ()
    default: Then

    @model_validator(mode="after")
    def _tells_its_rules_apart(self) -> Policy:
        names = Counter(rule.name for rule in self.rules)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two rules are called {twice[0]!r}")
        if "default" in names:
            raise ValueError("no rule may be called 'default': decisions give that name to [default]")
        return self

    @cached_property
    def sha256(self) -> str:
        """Digest of the canonical form: comments, order of keys and defaults spelt out do not change it."""
        canonical = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()

    def decide(self, verdict: Verdict) -> Decision:
        """What is to be done about a verdict; in shadow mode, what would have been."""
        rule = next((rule for rule in self.rules if rule.when.holds(verdict)), None)
        then = self.default if rule is None else rule.then
        return Decision(
            policy_id=self.id,
            version=self.version,
            sha256=self.sha256,
            mode=self.mode,
            action=then.action,
            queue=then.queue,
            rule="default" if rule is None else rule.name,
            thresholds={} if rule is None else rule.when.thresholds(),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One verdict of which another policy makes something else."""

    uri: str
    before: Decision
    after: Decision


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """What another policy makes of the same verdicts; modes are not compared."""

    verdicts: int
    changes: tuple[Change, ...]
    moves: tuple[tuple[Then, Then, int], ...]
    """What was and would be done, and how often: every pair that occurs, also the equal ones, the commonest first."""


def diff(old: Decider, new: Decider, verdicts: Iterable[Verdict]) -> PolicyDiff:
    """What would change if a policy took the place of another."""
    moves: Counter[tuple[Then, Then]] = Counter()
    changes: list[Change] = []
    for verdict in verdicts:
        change = Change(verdict.asset.uri, old.decide(verdict), new.decide(verdict))
        before, after = _then(change.before), _then(change.after)
        moves[before, after] += 1
        if before != after:
            changes.append(change)
    ordered = sorted(moves.items(), key=lambda item: (-item[1], str(item[0])))
    return PolicyDiff(moves.total(), tuple(changes), tuple((*pair, count) for pair, count in ordered))


def read_policy(reference: str | Path) -> Decider:
    """The policy in a TOML file, or the Python object that `package.module:object` names.

    Raises:
        SettingsError: there is none, or it is wrong; the message names the rule and the key.
    """
    path = Path(reference)
    if path.suffix == ".toml" or path.is_file():
        return _from_toml(path)
    module, colon, name = str(reference).partition(":")
    if not (colon and module and name):
        raise SettingsError(f"{reference}: neither a TOML file nor package.module:object")
    return _from_python(module, name)


def _from_toml(path: Path) -> Policy:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # of TOML or of UTF-8
        raise SettingsError(f"{path}: not TOML: {error}") from error
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(_problem(detail, document) for detail in error.errors())
        raise SettingsError(f"{path}: {problems}") from error


def _from_python(module: str, name: str) -> Decider:
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{module}:{name}: {error}") from error
    if isinstance(found, type) or not isinstance(found, Decider):
        raise SettingsError(
            f"{module}:{name} is a {type(found).__name__}; an object with decide(verdict) is needed"
        )
    return found


def _measured(verdict: Verdict) -> dict[str, float | None]:
    summary = verdict.summary
    return {
        "min_probability": summary.probability,
        "min_lower_bound": None if summary.interval is None else summary.interval[0],
        "min_flagged_ms": summary.flagged_ms,
        "min_flagged_share": summary.flagged_ms / summary.scanned_ms if summary.scanned_ms else 0.0,
        "min_coverage": summary.coverage,
    }


def _then(decision: Decision) -> Then:
    return Then(action=decision.action, queue=decision.queue)


def _problem(detail: ErrorDetails, document: dict[str, Any]) -> str:
    where = _place(detail["loc"], document)
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        near = difflib.get_close_matches(key, _keys_beside(detail["loc"]), n=1)
        return f"{where}: there is no such key" + (f"; did you mean {near[0]}?" if near else "")
    message = detail["msg"].removeprefix("Value error, ")
    given = detail["input"]
    said = f", not {given!r}" if isinstance(given, (str, int, float)) else ""
    return f"{where}: {message}{said}" if where else message


def _place(loc: tuple[int | str, ...], document: dict[str, Any]) -> str:
    if len(loc) < 2 or loc[0] != "rules":
        return ".".join(str(part) for part in loc)
    rule = document["rules"][loc[1]]
    name = rule.get("name") if isinstance(rule, dict) else None
    which = f"rule {name!r}" if isinstance(name, str) else f"rule {int(loc[1]) + 1}"
    return ", ".join([which, *([".".join(str(part) for part in loc[2:])] if loc[2:] else [])])


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {"when": When, "then": Then, "default": Then}
    parent = str(loc[-2]) if len(loc) > 1 else ""
    table = tables.get(parent, Rule if loc[0] == "rules" else Policy)
    return list(table.model_fields)
