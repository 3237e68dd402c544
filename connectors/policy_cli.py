"""`dmcl policy ...`: look at policies before they decide anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from connectors.errors import SettingsError
from connectors.policy import Decider, Policy, PolicyDiff, Then, diff, read_policy
from dmcl_sdk.verdict import Decision, Verdict

POLICY = "A TOML file, or package.module:object."

app = typer.Typer(
    name="policy",
    help="Policies as code: what is done about a verdict.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("check")
def check(policy: Annotated[str, typer.Argument(help=POLICY)]) -> None:
    """Read a policy and show its rules in the order in which they are tried.

    Exits with 2 when it is wrong, and says which rule and key.
    """
    found = _read(policy)
    if not isinstance(found, Policy):
        typer.echo(f"{policy} is Python: {found!r}")
        return
    table = Table(
        "rule", "when", "then", title=f"{found.id} {found.version}, {found.mode}", title_justify="left"
    )
    for rule in found.rules:
        conditions = rule.when.model_dump(mode="json", exclude_defaults=True)
        table.add_row(rule.name, "\n".join(map(_condition, conditions.items())), _said(rule.then))
    table.add_row("default", "", _said(found.default))
    console = _plain_console()
    console.print(table)
    console.print(f"sha256 {found.sha256}", soft_wrap=True)


@app.command("diff")
def show_diff(
    old: Annotated[str, typer.Argument(help=POLICY)],
    new: Annotated[str, typer.Argument(help=POLICY)],
    on: Annotated[
        typer.FileText,
        typer.Option(help="Verdicts as JSON Lines, as `dmcl score --json` writes them; - is standard input."),
    ],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line for every verdict that changes.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many of the changed verdicts the table lists.")] = 20,
) -> None:
    """Show what another policy would make of verdicts that are there already.

    The video is not scored again. Modes are not compared: a policy in shadow mode is compared by what it would do.

        dmcl score --json clips/*.mp4 > verdicts.jsonl
        dmcl policy diff policy.toml stricter.toml --on verdicts.jsonl
    """
    found = diff(_read(old), _read(new), _verdicts(on))
    if as_json:
        for change in found.changes:
            before, after = _outcome(change.before), _outcome(change.after)
            typer.echo(json.dumps({"uri": change.uri, "before": before, "after": after}))
        return
    console = _plain_console()
    console.print(_moves(found))
    if found.changes and limit:
        console.print(_changes(found, limit))
    console.print(f"{len(found.changes)} of {found.verdicts} verdicts change")


def _plain_console() -> Console:
    return Console(markup=False, emoji=False, highlight=False)  # names may have brackets and colons


def _printable(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else "?" for letter in text
    )  # a key may hold an escape sequence


def _read(reference: str) -> Decider:
    try:
        return read_policy(reference)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error


def _verdicts(lines: typer.FileText) -> Iterator[Verdict]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield Verdict.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            place = f"{lines.name}, line {number}"
            raise typer.BadParameter(f"{place}: not a verdict: {where}: {first['msg']}") from error


def _moves(found: PolicyDiff) -> Table:
    table = Table("old", "new", "verdicts", "share")
    table.columns[2].justify = table.columns[3].justify = "right"
    for before, after, count in found.moves:
        share = f"{100 * count / found.verdicts:.1f} %"
        table.add_row(_said(before), _said(after), str(count), share, style="" if before == after else "bold")
    return table


def _changes(found: PolicyDiff, limit: int) -> Table:
    left_out = len(found.changes) - limit
    table = Table("video", "old", "new", caption=f"and {left_out} more" if left_out > 0 else None)
    for change in found.changes[:limit]:
        table.add_row(_printable(change.uri), _ruled(change.before), _ruled(change.after))
    return table


def _condition(named: tuple[str, object]) -> str:
    name, value = named
    return f"{name} = {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _outcome(decision: Decision) -> dict[str, str | None]:
    return {"action": decision.action, "queue": decision.queue, "rule": decision.rule}


def _ruled(decision: Decision) -> str:
    return f"{_said(Then(action=decision.action, queue=decision.queue))} ({decision.rule})"


def _said(then: Then) -> str:
    return then.action if then.queue is None else f"{then.action} -> {then.queue}"
