"""Published evaluation protocols: which sets, which part of each, and the table that papers print.

`ff++-cross` asks how far a model that learned from FaceForensics++ carries: video AUC on the official test part of
sets that it never saw, beside FaceForensics++'s own. Conventions, printed with every table:

* A video in which no face was judged, or that cannot be read, stays in, as undecided; the AUC without such videos
  stands beside it.
* Real videos are those of each set; FaceShifter and DeeperForensics have FaceForensics++'s, at c23.
* DeeperForensics: undisturbed swaps whose target is in FaceForensics++'s test part, as LipForensics and later papers
  do, because its own test part has targets that a model may have been trained on. DeepFakeDetection: all of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from dmcl_sdk import Detector
from dmcl_sdk.calibration import Platt
from training.data.manifest import Clip
from training.data.published import PUBLISHED, read_dataset
from training.data.published.deeperforensics import END_TO_END
from training.data.published.faceforensics import sequences
from training.metrics import Estimate, auc, bootstrap_interval, eer, fill_unjudged
from training.scores import Scored, Scorer

Floats = npt.NDArray[np.float64]
Roots = Mapping[str, Path]
_console = Console(stderr=True)
_UNDECIDED = 0.0  # a calibrated logit
_HOW_COUNTED = (
    "Intervals are bootstrapped over people and sources. "
    "A video without a judged face, or that cannot be read, counts as undecided."
)


@dataclass(frozen=True, slots=True)
class OfficialTest:
    """One row of a protocol.

    Attributes:
        title: what papers call it.
        clips: its test part, from the roots at hand and whether files may be missing; None when it is not at hand.
    """

    title: str
    clips: Callable[[Roots, bool], list[Clip] | None]


@dataclass(frozen=True, slots=True)
class SetResult:
    """What a model scored on one set; all shares in 0..1.

    Attributes:
        name, title: of the set.
        real, fake: how many videos.
        unjudged: in how many of them no face was judged.
        unreadable: how many more could not be read as videos.
        auc: with those as undecided.
        auc_judged: without them.
        eer: with them.
        generators: AUC of each generator's fakes against all real videos, where there are several.
    """

    name: str
    title: str
    real: int
    fake: int
    unjudged: int
    unreadable: int
    auc: Estimate
    auc_judged: float
    eer: float
    generators: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProtocolReport:
    """A protocol's table.

    Attributes:
        protocol: its name.
        model: name, version and sha256 of the model file.
        results: of the sets at hand, in the table's order.
        not_at_hand: titles of the others.
    """

    protocol: str
    model: dict[str, str]
    results: tuple[SetResult, ...]
    not_at_hand: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it; what is undefined is None."""
        rows = [_without_nan(asdict(result)) for result in self.results]
        return {
            "protocol": self.protocol,
            "model": self.model,
            "sets": rows,
            "not_at_hand": list(self.not_at_hand),
            "no_face_judged": "counted as undecided, as are unreadable videos; auc_judged leaves both out",
        }

    def as_markdown(self) -> str:
        """The report as tables for a model card or paper."""
        about = f"{self.model['name']} {self.model['version']} ({self.model['sha256'][:12]})"
        lines = [
            f"Protocol {self.protocol}, {about}: whole videos of the official test parts. {_HOW_COUNTED}",
            "",
            "| test set | AUC % (95 %) | EER % | real / fake | no face / unreadable | AUC % without those |",
            "|---|---|---|---|---|---|",
            *(_row(result) for result in self.results),
            *(f"| {title} | not at hand | | | | |" for title in self.not_at_hand),
        ]
        parts = [
            f"| {result.title} | {name} | {_percent(value)} |"
            for result in self.results
            for name, value in result.generators.items()
        ]
        if parts:
            lines += ["", "| test set | generator | video AUC % |", "|---|---|---|", *parts]
        return "\n".join(lines) + "\n"


def run_protocol(
    model: Path,
    name: str,
    roots: Roots,
    out: Path | None = None,
    *,
    allow_missing: bool = False,
    seed: int = 0,
) -> ProtocolReport:
    """Score the sets at hand, and make the table.

    With `out`, a folder, scores are kept in `out/scores` as they come, so that a run that was cut off goes on where it
    stopped; the table goes into `<name>.md` and `<name>.json`, each video's score into `<name>.jsonl`. All lists are
    read, and checked, before the first video is scored.

    Args:
        model: the model file.
        name: one of `PROTOCOLS`.
        roots: where the sets lie, by their names in `PROTOCOLS[name]`; FaceShifter and DeepFakeDetection are found in
            FaceForensics++'s tree.
        out: a folder.
        allow_missing: go on with the videos that are there.
        seed: of the bootstrap.

    Raises:
        ValueError: the protocol or a set is not known, or no set is at hand.
        FileNotFoundError: a set is not complete; the message says what is missing.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol is called {name}; there is {', '.join(PROTOCOLS)}")
    rows = PROTOCOLS[name]
    unknown = sorted(set(roots) - set(rows))
    if unknown:
        raise ValueError(f"{name} has no set called {', '.join(unknown)}; its sets are {', '.join(rows)}")
    found = {key: row.clips(roots, allow_missing) for key, row in rows.items()}
    at_hand = {key: clips for key, clips in found.items() if clips is not None}
    if not at_hand:
        raise ValueError(f"{name} needs at least one of its sets: {', '.join(rows)}")
    with Detector(model) as detector:
        scorer = Scorer(detector, None if out is None else out / "scores")
        scored = {key: _scored(scorer, clips, rows[key].title) for key, clips in at_hand.items()}
        about = detector.model
        calibration = detector.spec.calibration
    logits = {key: [_calibrated(one, calibration) for one in found] for key, found in scored.items()}
    results = tuple(
        _result(key, clips, scored[key], logits[key], title=rows[key].title, seed=seed)
        for key, clips in at_hand.items()
    )
    absent = tuple(row.title for key, row in rows.items() if key not in at_hand)
    described = {"name": about.name, "version": about.version, "sha256": about.sha256}
    report = ProtocolReport(name, described, results, absent)
    if out is not None:
        (out / f"{name}.md").write_text(report.as_markdown())
        (out / f"{name}.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
        lines = [line for key, clips in at_hand.items() for line in _lines(key, clips, logits[key])]
        (out / f"{name}.jsonl").write_text("".join(lines))
    return report


def _scored(scorer: Scorer, clips: list[Clip], title: str) -> list[Scored]:
    return [scorer.score(clip.path) for clip in track(clips, title, console=_console)]


def _calibrated(scored: Scored, calibration: Platt) -> float | None:
    """The logit of the probability that a verdict would state."""
    return None if scored.logit is None else calibration.slope * scored.logit + calibration.intercept


def _lines(name: str, clips: list[Clip], logits: list[float | None]) -> Iterator[str]:
    for clip, logit in zip(clips, logits, strict=True):
        row = {
            "set": name,
            "file": str(clip.path),
            "fake": clip.fake,
            "generator": clip.generator,
            "logit": logit,
        }
        yield json.dumps(row) + "\n"


def _published(name: str, *, compression: str | None = None) -> Callable[[Roots, bool], list[Clip] | None]:
    """The official test part of a set; inside FaceForensics++'s tree if it comes with that."""

    def clips(roots: Roots, allow_missing: bool) -> list[Clip] | None:  # noqa: FBT001 - as `OfficialTest` says
        root = roots.get(name)
        if (
            root is None
            and compression is not None
            and "ff++" in roots
            and PUBLISHED[name].fits(roots["ff++"])
        ):
            root = roots["ff++"]
        if root is None:
            return None
        return read_dataset(root, name, split="test", compression=compression, allow_missing=allow_missing)

    return clips


def _deeperforensics(roots: Roots, allow_missing: bool) -> list[Clip] | None:  # noqa: FBT001 - as `OfficialTest` says
    root = roots.get("deeperforensics")
    if root is None:
        return None
    originals = roots.get("ff++")
    swaps = read_dataset(
        root, "deeperforensics", originals=originals, allow_missing=allow_missing, people_apart=False
    )
    tested = sequences(originals or root, "test")
    return [
        clip for clip in swaps if clip.identity in tested and (not clip.fake or clip.generator == END_TO_END)
    ]


PROTOCOLS: dict[str, dict[str, OfficialTest]] = {
    "ff++-cross": {
        "ff++": OfficialTest("FF++ (c23)", _published("ff++", compression="c23")),
        "celeb-df-v2": OfficialTest("Celeb-DF v2", _published("celeb-df-v2")),
        "dfdc": OfficialTest("DFDC", _published("dfdc")),
        "dfdcp": OfficialTest("DFDCP", _published("dfdcp")),
        "faceshifter": OfficialTest("FaceShifter (c23)", _published("faceshifter", compression="c23")),
        "deeperforensics": OfficialTest("DeeperForensics-1.0", _deeperforensics),
        "dfd": OfficialTest("DeepFakeDetection (c23)", _published("dfd", compression="c23")),
        "wilddeepfake": OfficialTest("WildDeepfake", _published("wilddeepfake")),
    }
}
"""The sets of each protocol, by the names under which they are given."""


def _result(
    name: str, clips: list[Clip], scored: list[Scored], logits: list[float | None], *, title: str, seed: int
) -> SetResult:
    fake = np.array([clip.fake for clip in clips])
    judged = np.array([logit is not None for logit in logits])
    values = fill_unjudged(logits, as_score=_UNDECIDED)
    estimate = bootstrap_interval(
        lambda rows: auc(fake[rows], values[rows]),
        [clip.identity or (clip.pair or clip.path).name for clip in clips],
        np.random.default_rng(seed),
    )
    unreadable = sum(bool(one.problem) for one in scored)
    return SetResult(
        name=name,
        title=title,
        real=int((~fake).sum()),
        fake=int(fake.sum()),
        unjudged=int((~judged).sum()) - unreadable,
        unreadable=unreadable,
        auc=estimate,
        auc_judged=auc(fake[judged], values[judged]),
        eer=eer(fake, values),
        generators=_by_generator(clips, fake, values),
    )


def _by_generator(clips: list[Clip], fake: npt.NDArray[np.bool_], values: Floats) -> dict[str, float]:
    generators = sorted({clip.generator for clip in clips if clip.fake})
    if len(generators) < 2:
        return {}
    found = {}
    for generator in generators:
        rows = np.array([not clip.fake or clip.generator == generator for clip in clips])
        found[generator] = auc(fake[rows], values[rows])
    return found


def _row(result: SetResult) -> str:
    interval = f"{_percent(result.auc.value)} ({_percent(result.auc.low)}-{_percent(result.auc.high)})"
    return (
        f"| {result.title} | {interval} | {_percent(result.eer)} | {result.real} / {result.fake} "
        f"| {result.unjudged} / {result.unreadable} | {_percent(result.auc_judged)} |"
    )


def _percent(share: float) -> str:
    return "undefined" if math.isnan(share) else f"{100 * share:.1f}"


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
