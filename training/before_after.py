"""What fine-tuning changed: AUCs before and after on videos held out, and on a guard that must not get worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dmcl_sdk.motion import MotionEstimator
from training.batches import numbered
from training.data.clips import ClipPairs, Source
from training.data.runs import Run, without_margin
from training.metrics import Estimate, auc, bootstrap_interval
from training.networks.two_stream import TwoStream, pool_logits

Floats = npt.NDArray[np.float64]
_CHUNK, _CHUNKS = 48, 3


@dataclass(frozen=True, slots=True)
class Compared:
    """One set's AUC before and after, and the change, with bootstrap 95 % intervals over sources."""

    name: str
    real: int
    fake: int
    before: Estimate
    after: Estimate
    change: Estimate

    def fell(self, tolerance: float) -> bool:
        """Whether it is worse by more than is tolerated."""
        return self.change.value < -tolerance


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of fine-tuning.

    Attributes:
        weights: the file that was written: `final.safetensors`, or `rejected.safetensors` if a guard fell too far.
        held_out: the user's videos that were not trained on.
        guards: what must not get worse.
        tolerance: how far an AUC of a guard may fall.
        accepted: whether none fell further.
        train: the parts of the network that learned.
        steps: optimisation steps.
        real, fake: videos that were trained on.
        rgb_discount: of the model that ships, if its weights were the start: an export wants it again.
    """

    weights: Path
    held_out: Compared
    guards: tuple[Compared, ...]
    tolerance: float
    accepted: bool
    train: tuple[str, ...]
    steps: int
    real: int
    fake: int
    rgb_discount: float = 0.0


@dataclass(frozen=True, slots=True)
class Logits:
    """What a network says of a set.

    Attributes:
        name: of the set.
        logits: (N,).
        fake: (N,).
        groups: (N,) what each row is made from; rows of one group are not independent.
    """

    name: str
    logits: Floats
    fake: npt.NDArray[np.bool_]
    groups: tuple[str, ...]


def compare(before: Logits, after: Logits) -> Compared:
    """Both networks on the same set."""
    fake, rng = before.fake, np.random.default_rng
    figures = [
        lambda rows: auc(fake[rows], before.logits[rows]),
        lambda rows: auc(fake[rows], after.logits[rows]),
        lambda rows: auc(fake[rows], after.logits[rows]) - auc(fake[rows], before.logits[rows]),
    ]
    estimates = [bootstrap_interval(figure, before.groups, rng(0)) for figure in figures]
    return Compared(before.name, int((~fake).sum()), int(fake.sum()), *estimates)


@torch.inference_mode()
def judge_videos(
    name: str,
    network: TwoStream,
    sources: Sequence[Source],
    groups: Mapping[Path, str],
    sharpness: float,
    *,
    judged: Callable[[], None] = lambda: None,
) -> Logits:
    """A logit a video: of its longest run, in up to three chunks of 48 frames, pooled as in a verdict.

    Where some fakes are manipulated in spans only, all videos are judged whole: three chunks could miss a span.

    Args:
        name: of the set.
        network: put into evaluation mode.
        sources: videos with crops.
        groups: what each is made from.
        sharpness: of the pooling.
        judged: told of each video.
    """
    network.eval()
    motion = MotionEstimator(network.config.motion)
    chunks = None if any(source.clip.spans for source in sources) else _CHUNKS
    logits = []
    for source in sources:
        run = max(source.runs, key=lambda one: one.frames)
        curve = torch.cat([network(*chunk).fused[0] for chunk in _chunks(run, chunks, motion, network)])
        logits.append(float(pool_logits(curve[None], sharpness)))
        judged()
    fake = np.array([source.clip.fake for source in sources])
    return Logits(name, np.array(logits), fake, tuple(groups[source.clip.path] for source in sources))


@torch.inference_mode()
def judge_pairs(
    name: str,
    network: TwoStream,
    pairs: ClipPairs,
    count: int,
    sharpness: float,
    *,
    workers: int,
    judged: Callable[[], None] = lambda: None,
) -> Logits:
    """A logit for each clip of so many pairs, the same pairs every time; each is a group, and `judged` is told."""
    network.eval()
    device = next(network.parameters()).device
    logits, fake = [], []
    for batch in numbered(pairs.pair, range(count), batch=2, workers=workers):
        rgb, motion = batch.rgb.flatten(0, 1).to(device), batch.motion.flatten(0, 1).to(device)
        logits.append(pool_logits(network(rgb, motion).fused, sharpness).cpu().numpy())
        fake.append(batch.fake.flatten().numpy() > 0)
        for _ in batch.fake:
            judged()
    groups = tuple(str(row // 2) for row in range(2 * count))
    return Logits(name, np.concatenate(logits).astype(np.float64), np.concatenate(fake), groups)


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """For JSON; a figure that is not defined is None."""
    values = {**asdict(outcome), "weights": outcome.weights.name}
    return {key: _without_nan(value) for key, value in values.items()}


def as_markdown(outcome: Outcome, data: Path) -> str:
    """The report: what changed, whether it can be used, and what comes next."""
    rows = [
        f"| {one.name} | {one.real} + {one.fake} | {_shown(one.before)} | {_shown(one.after)} | "
        f"{_shown(one.change, '+')} |"
        for one in (outcome.held_out, *outcome.guards)
    ]
    fallen = [one.name for one in outcome.guards if one.fell(outcome.tolerance)]
    model = outcome.weights.with_name("model.onnx")
    as_shipped = f" --rgb-discount {outcome.rgb_discount:g}" if outcome.rgb_discount else ""
    verdict = (
        f"No guard fell by more than {outcome.tolerance}. Next:\n\n"
        f"    dmcl export {outcome.weights} {model}{as_shipped}\n"
        f"    dmcl calibrate {model} {data}\n\n"
        "Calibration needs videos that were not trained on: its figures are of the split `val`."
        if outcome.accepted
        else f"**Rejected: it forgot.** AUC fell by more than {outcome.tolerance} on: {', '.join(fallen)}. "
        f"The weights are kept as `{outcome.weights.name}`, for inspection. Try fewer parts (`--train heads`), a lower "
        "rate (`--set rate=3e-5`), or more drift and distillation (`--set distillation=3`)."
    )
    return f"""# Fine-tuning

{outcome.steps} steps on {outcome.real} real and {outcome.fake} fake videos; what learned: {", ".join(outcome.train)}.

| set | real + fake | AUC before | AUC after | change |
|---|---|---|---|---|
{chr(10).join(rows)}

In brackets, bootstrap 95 % intervals over sources. Held-out videos are scored in up to three chunks of {_CHUNK} frames
unless some are manipulated in spans only; `dmcl evaluate` scores them whole. Guard sets are short clips.

{verdict}
"""


def _shown(figure: Estimate, sign: str = "") -> str:
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _chunks(
    run: Run, most: int | None, motion: MotionEstimator, network: TwoStream
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Chunks of a run, spread over it, at most so many or else all, each with the motion of its own past."""
    device = next(network.parameters()).device
    frames = min(_CHUNK, run.frames // 8 * 8)
    count = math.ceil(run.frames / frames)
    count = count if most is None else min(most, run.frames // frames)
    history = motion.spec.history
    crops = run.crops()
    for start in np.linspace(0, run.frames - frames, count).round().astype(int):
        past = min(int(start), history)
        clip = without_margin(crops[start - past : start + frames])
        fields = motion.of(clip, skip=past)
        rgb = torch.from_numpy(clip[past:])[None]
        yield rgb.to(device), torch.from_numpy(fields)[None].to(device)
