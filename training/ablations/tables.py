"""The claims' verdicts and figures as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from training.ablations.claims import HEAD_PX, Figures
from training.ablations.verdicts import LEAST_SEEDS, TITLES, Condition, Verdict, mean, needed


def as_markdown(verdicts: Sequence[Verdict], found: dict[int, list[Figures]]) -> str:
    """What was decided and why, then for each claim the figures of every network, means over seeds."""
    conditions = [
        (
            str(verdict.claim),
            one.text,
            _interval(one),
            f"{'≥' if one.at_least else '≤'} {one.bound:g}",
            "yes" if one.met else "no",
        )
        for verdict in verdicts
        for one in verdict.conditions
    ]
    parts = [_table(("claim", "figure", "value (95 % interval)", "bound", "met"), conditions), ""]
    parts += [f"* Claim {v.claim} **{_answer(v)}**: {TITLES[v.claim]}." for v in verdicts]
    parts += [part for v in verdicts for part in ("", _means(v.claim, found[v.claim]))]
    return "\n".join(parts) + "\n"


def _means(claim: int, rows: Sequence[Figures]) -> str:
    if claim == 2:
        header = [
            "jitter needed for AUC .75, in px, when the head moves by",
            *(f"{head:g} px" for head in HEAD_PX),
        ]
        return _table(header, [(name, *(f"{px:.2f}" for px in needed(rows, name))) for name in rows[0]])
    figures = list(next(iter(rows[0].values())))
    header = [("AUC" if claim == 1 else "recall at 5 % false positives"), *figures]
    return _table(header, [(name, *(f"{mean(rows, name, one):.3f}" for one in figures)) for name in rows[0]])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _answer(verdict: Verdict) -> str:
    if verdict.answer == "not decided":
        return f"is not decided (seeds: {verdict.seeds}, needed: {LEAST_SEEDS})"
    return f"{verdict.answer} ({verdict.seeds} seeds)"


def _interval(condition: Condition) -> str:
    figure = condition.estimate
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
