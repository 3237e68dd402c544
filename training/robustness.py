"""What is left of the AUC, and whom it accuses, after the seven perturbations of DeeperForensics-1.0 at five levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from training.data.manifest import Clip
from training.figures import Bootstrap, Labelled, Report
from training.metrics import auc
from training.perturbations import KINDS, LEVELS, Kind, perturb_video
from training.scores import Scored, Scorer

Floats = npt.NDArray[np.float64]
Jobs = Iterator[tuple[Clip, Kind, int]]
ALL_LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Perturbed:
    """A set of videos as they are, and after every perturbation.

    Attributes:
        clean: the set as it is.
        perturbed: the same set by kind and level.
    """

    clean: Labelled
    perturbed: dict[tuple[Kind, int], Labelled]


def chosen(clips: Sequence[Clip], limit: int | None, *, seed: int = 0) -> list[Clip]:
    """At most `limit` real videos and `limit` fakes; all without a limit.

    Fakes take turns by generator; the real videos that they were made from come first.
    """
    if limit is None:
        return list(clips)
    order = np.random.default_rng(seed).permutation(len(clips))
    shuffled = [clips[n] for n in order]
    turns: dict[str, int] = {}
    ranked = []
    for clip in (one for one in shuffled if one.fake):
        turns[clip.generator] = turns.get(clip.generator, 0) + 1
        ranked.append((turns[clip.generator], clip))
    fakes = [clip for _, clip in sorted(ranked, key=lambda pair: pair[0])][:limit]
    sources = {clip.pair for clip in fakes}
    reals = sorted((one for one in shuffled if not one.fake), key=lambda clip: clip.path not in sources)
    return reals[:limit] + fakes


def perturb_and_score(
    scorer: Scorer,
    clips: list[Clip],
    levels: Sequence[int] = ALL_LEVELS,
    *,
    watched: Callable[[Jobs, int], Jobs] = lambda jobs, _: jobs,
) -> Perturbed:
    """Score the clips as they are and after every perturbation; what was scored before is remembered.

    Args:
        scorer: with the model.
        clips: N; with all levels 36 N videos are scored.
        levels: of 1..5, the mildest first.
        watched: wraps the jobs, of which it is told the number, in a progress bar.
    """
    spec = scorer.detector.spec
    scored: dict[tuple[Kind, int], list[Scored]] = {}
    jobs = ((clip, kind, level) for kind in KINDS for level in levels for clip in clips)
    for clip, kind, level in watched(jobs, len(clips) * len(KINDS) * len(levels)):
        make = partial(perturb_video, kind=kind, level=level)
        one = scorer.derived(f"{kind} {LEVELS[kind][level - 1]:g}", clip.path, make)
        scored.setdefault((kind, level), []).append(one)
    clean = Labelled.of(clips, [scorer.score(clip.path) for clip in clips], spec)
    return Perturbed(clean, {key: Labelled.of(clips, some, spec) for key, some in scored.items()})


def robustness_figures(data: Perturbed, threshold: float, *, seed: int = 0, resamples: int = 1000) -> Report:
    """By kind and level: AUC, its loss against the clean videos, false positives, and how many videos are not judged.

    A video that is not judged counts as undecided; the AUC of the others stands beside, NaN where a class is gone.
    The loss is taken on the same videos in every resample, so that its interval is narrower than the AUC's. The false
    positive rate is the share of real videos whose probability reaches the threshold: a perturbation that moves all
    scores alike costs no AUC, and may accuse everybody.
    """
    fake, before = data.clean.fake, data.clean.log_odds
    interval = Bootstrap(data.clean.groups, seed, resamples)
    levels = sorted({level for _, level in data.perturbed})

    def area(scores: Floats, rows: npt.NDArray[np.intp]) -> float:
        return auc(fake[rows], scores[rows])

    def accused(data: Labelled, rows: npt.NDArray[np.intp]) -> float:
        return float(np.mean(data.probability[rows] >= threshold))

    reals = np.flatnonzero(~fake)
    report: Report = {
        "threshold": threshold,
        "videos": {"real": int((~fake).sum()), "fake": int(fake.sum())},
        "clean": interval(partial(area, before)),
        "false_positive_rate": interval(partial(accused, data.clean), reals),
        "kinds": {},
    }
    for kind in KINDS:
        report["kinds"][kind] = [
            {
                "level": level,
                "strength": LEVELS[kind][level - 1],
                "auc": interval(partial(area, after)),
                "loss": interval(lambda rows, after=after: area(before, rows) - area(after, rows)),  # type: ignore[misc]
                "false_positive_rate": interval(partial(accused, data.perturbed[kind, level]), reals),
                "not_judged": int((~judged).sum()),
                "auc_judged_only": interval(partial(area, after), np.flatnonzero(judged)),
            }
            for level in levels
            for after, judged in [(data.perturbed[kind, level].log_odds, data.perturbed[kind, level].judged)]
        ]
    everything = np.stack([one.log_odds for one in data.perturbed.values()])
    report["mean_auc"] = interval(lambda rows: float(np.mean([area(scores, rows) for scores in everything])))
    return report
