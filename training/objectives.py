"""What one optimisation step computes: from a batch of pairs to the loss and its parts.

Batches come as the loader collates them, (pairs, 2, ...): the real one of a pair first, then the fake one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.data.clips import Pair, PicturePair
from training.distributed import together
from training.losses import LossWeights, dmcl_loss, picture_loss
from training.networks.msmr import Explanation
from training.networks.two_stream import Curves, Training, TwoStream

Parts = dict[str, Tensor]


class Objective(Protocol):
    """What a stage of training makes smaller."""

    def __call__(self, network: TwoStream, batch: tuple[object, ...]) -> tuple[Tensor, Parts]:
        """The loss over all processes' pairs, and its parts."""


@dataclass(frozen=True)
class PictureObjective:
    """Single pictures, by the RGB stream alone; a batch is `PicturePair` of tensors.

    Attributes:
        bf16: whether to compute in bfloat16 where that does no harm.
        anchor: where the logits of real pictures belong (see `evidence`).
    """

    bf16: bool
    anchor: float | None = None

    def __call__(self, network: TwoStream, batch: tuple[object, ...]) -> tuple[Tensor, Parts]:
        """The loss and its parts."""
        rgb, fake, masks = _folded(batch, PicturePair)
        with torch.autocast(rgb.device.type, torch.bfloat16, enabled=self.bf16):
            logits, places = network.look(rgb)
        logits, places, fake, masks = map(together, (logits, places, fake, masks))
        return picture_loss(logits, places, fake, masks, anchor=self.anchor)


@dataclass(frozen=True)
class ClipObjective:
    """Clips, by the whole network; a batch is `Pair` of tensors.

    Attributes:
        weights: shares of the loss's parts.
        bf16: whether to compute in bfloat16 where that does no harm.
        alone: whether this process's pairs are all there are, also when several train together.
    """

    weights: LossWeights
    bf16: bool
    alone: bool = False

    def __call__(self, network: TwoStream, batch: tuple[object, ...]) -> tuple[Tensor, Parts]:
        """The loss and its parts."""
        _, loss, parts = self.answered(network, batch)
        return loss, parts

    def answered(self, network: TwoStream, batch: tuple[object, ...]) -> tuple[Curves, Tensor, Parts]:
        """The curves of all processes' clips too, the real one and the fake one of each pair in turn."""
        rgb, motion, labels, fake, masks = _folded(batch, Pair)
        with torch.autocast(rgb.device.type, torch.bfloat16, enabled=self.bf16):
            curves, extra = network.learn(rgb, motion)
        if not self.alone:
            curves, extra = gathered(curves, extra)
            labels, fake, masks = together(labels), together(fake), together(masks)
        spans = network.config.spans
        loss, parts = dmcl_loss(curves, extra, labels, fake, masks, spans=spans, weights=self.weights)
        return curves, loss, parts


def gathered(curves: Curves, extra: Training) -> tuple[Curves, Training]:
    """What the network answered, of all processes' clips."""
    return Curves(*map(together, curves)), Training(
        [together(logits) for logits in extra.windows],
        [(together(appearance), together(motion)) for appearance, motion in extra.priorities],
        [Explanation(together(one.predicted), together(one.actual)) for one in extra.explanations],
        [together(logits) for logits in extra.places],
    )


def _folded(batch: tuple[object, ...], kind: type[Pair | PicturePair]) -> list[Tensor]:
    """(pairs, 2, ...) -> (2 * pairs, ...)."""
    if len(batch) != len(kind._fields):
        raise TypeError(f"a batch of {kind.__name__} has {len(kind._fields)} parts, got {len(batch)}")
    return [torch.as_tensor(part).flatten(0, 1) for part in batch]
