"""`dmcl ablate claims`: run the experiments seed by seed, decide, and write tables and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cv2
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from training.ablations.claims import (
    FIRST_SEED,
    NETWORKS,
    SIZES,
    Figures,
    OnStep,
    head_motion,
    spans,
    spatial_cues,
)
from training.ablations.learning import Sizes
from training.ablations.plots import save_plot
from training.ablations.tables import as_markdown
from training.ablations.verdicts import LEAST_SEEDS, TITLES, Verdict, judge

EXPERIMENTS = {1: spatial_cues, 2: head_motion, 3: spans}
_NETWORKS_OF = {1: 2, 2: 2, 3: len(NETWORKS)}
_console = Console(stderr=True)

app = typer.Typer(add_completion=False, help="Experiments that switch parts of the method off.")


@app.callback()
def _ablate() -> None:
    """Experiments that switch parts of the method off."""


@app.command("claims")
def command(
    out: Annotated[
        Path, typer.Option(help="Where results go; an interrupted run goes on from what is there.")
    ],
    seeds: Annotated[
        int, typer.Option(min=1, help=f"How many seeds; with fewer than {LEAST_SEEDS} nothing is decided.")
    ] = LEAST_SEEDS,
    claim: Annotated[int | None, typer.Option(min=1, max=3, help="Only this claim: 1, 2 or 3.")] = None,
) -> None:
    """Put the paper's three claims to the test, each on made clips whose truth is known.

    1: a faint trembling is learned beside a loud tint that is right in nine of ten clips. 2: head motion does not
    drown a trembling region. 3: short jumps and slow drifts are both found. Each is decided by code, and can fail.

    Writes results.jsonl (a line a seed), results.json, claims.md and a plot a claim. Five seeds of all three take about
    twenty minutes of one core. Example: dmcl ablate claims --out runs/claims
    """
    chosen = [claim] if claim is not None else sorted(EXPERIMENTS)
    try:
        found = run_claims(chosen, seeds, out)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error
    verdicts = [judge(number, found[number]) for number in chosen]
    write_results(verdicts, found, out)
    typer.echo(as_markdown(verdicts, found))


def run_claims(
    chosen: Sequence[int], seeds: int, out: Path, *, sizes: dict[int, Sizes] = SIZES
) -> dict[int, list[Figures]]:
    """The figures of every seed of every claim; finished ones are read from `out/results.jsonl`.

    Raises:
        ValueError: a line there was made with other sizes, or is no result.
    """
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    done = read_results(file, sizes)
    wanted = {claim: range(FIRST_SEED[claim], FIRST_SEED[claim] + seeds) for claim in chosen}
    left = [(claim, seed) for claim in chosen for seed in wanted[claim] if (claim, seed) not in done]
    with _progress() as progress:
        task = progress.add_task("claims", total=sum(_NETWORKS_OF[c] * sizes[c].steps for c, _ in left))
        for claim, seed in left:
            progress.update(task, description=f"claim {claim}, seed {seed}")
            figures = EXPERIMENTS[claim](seed, sizes[claim], _step(progress, task))
            done[claim, seed] = figures
            line = {"claim": claim, "seed": seed, "sizes": asdict(sizes[claim]), "figures": figures}
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
    return {claim: [done[claim, seed] for seed in wanted[claim]] for claim in chosen}


def read_results(file: Path, sizes: dict[int, Sizes]) -> dict[tuple[int, int], Figures]:
    """Figures by claim and seed, from lines of JSON; a last line that was cut off is left out."""
    found: dict[tuple[int, int], Figures] = {}
    if not file.exists():
        return found
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            one = json.loads(line)
            key, same = (
                (int(one["claim"]), int(one["seed"])),
                one["sizes"] == asdict(sizes[int(one["claim"])]),
            )
            found[key] = one["figures"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"line {number} of {file} is no result: {error}; remove it, or take another folder"
            ) from error
        if not same:
            raise ValueError(f"line {number} of {file} was made with other sizes: take another folder")
    return found


def write_results(verdicts: Sequence[Verdict], found: dict[int, list[Figures]], out: Path) -> None:
    """results.json, claims.md and claim-N.svg."""
    (out / "results.json").write_text(
        json.dumps([_as_json(verdict, found[verdict.claim]) for verdict in verdicts], indent=2) + "\n",
        encoding="utf-8",
    )
    (out / "claims.md").write_text(as_markdown(verdicts, found), encoding="utf-8")
    for verdict in verdicts:
        save_plot(verdict.claim, found[verdict.claim], out / f"claims-{verdict.claim}.svg")


def _as_json(verdict: Verdict, rows: list[Figures]) -> dict[str, Any]:
    return {
        "claim": verdict.claim,
        "title": TITLES[verdict.claim],
        "answer": verdict.answer,
        "sizes": asdict(SIZES[verdict.claim]),
        "torch": torch.__version__,
        "conditions": [asdict(one) | {"met": one.met} for one in verdict.conditions],
        "seeds": rows,
    }


def _step(progress: Progress, task: Any) -> OnStep:  # noqa: ANN401 - rich's TaskID is an int by another name
    return lambda: progress.advance(task)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=_console,
    )
