"""How good the running mean of weights is on fixed pairs of the validation split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from training.batches import moved, numbered
from training.data.clips import Pair
from training.metrics import auc
from training.networks.two_stream import TwoStream, pool_logits
from training.objectives import ClipObjective
from training.samples import sample_sheet


@dataclass(frozen=True, slots=True, eq=False)
class Validated:
    """What came out.

    Attributes:
        auc: of the clips' logits.
        loss: mean over pairs, as in training.
        sheets: pictures of the first fake clips.
    """

    auc: float
    loss: float
    sheets: tuple[npt.NDArray[np.uint8], ...] = ()

    def rank(self, by: Literal["auc", "loss"]) -> tuple[float, ...]:
        """What is compared, higher is better; of equal AUCs the lower loss wins."""
        return (-self.loss,) if by == "loss" else (self.auc, -self.loss)


@dataclass(frozen=True)
class Validation:
    """A judge of networks that is the same every time.

    Attributes:
        pair: gives pair number n.
        count: how many pairs.
        batch: pairs at once.
        workers: processes that make pairs.
        objective: the loss, of this process alone.
        samples: clips to picture.
    """

    pair: Callable[[int], Pair]
    count: int
    batch: int
    workers: int
    objective: ClipObjective
    samples: int = 0

    def judge(self, network: TwoStream, device: torch.device) -> Validated:
        """AUC and loss of a network, in evaluation mode."""
        logits, fakes, losses = [], [], []
        sheets: list[npt.NDArray[np.uint8]] = []
        network.eval()
        for batch in numbered(self.pair, range(self.count), batch=self.batch, workers=self.workers):
            with torch.no_grad():
                curves, loss, _ = self.objective.answered(network, moved(batch, device))
            sharpness = self.objective.weights.pooling_sharpness
            logits.append(pool_logits(curves.fused, sharpness).cpu().numpy())
            fakes.append(batch.fake.flatten().numpy())
            losses.append((float(loss), len(batch.fake)))
            chance = torch.sigmoid(curves.fused[1::2]).cpu().numpy()
            sheets += [
                sample_sheet(batch.rgb[row, 1].numpy(), batch.labels[row, 1].numpy(), chance[row])
                for row in range(min(len(chance), self.samples - len(sheets)))
            ]
        mean = sum(loss * rows for loss, rows in losses) / self.count
        return Validated(auc(np.concatenate(fakes) > 0, np.concatenate(logits)), mean, tuple(sheets))
