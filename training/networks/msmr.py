"""MSMR, Multi-Scale Motion Regularization: spatial cues and subtle temporal motion get equal priority.

The module and its purpose are the paper's (DMCL, ICMR 2023, doi 10.1145/3591106.3592284): "to equally prioritize
both the significant spatial cues and the subtle temporal facial motion cues". Its equations were not at hand; the
three pieces below are our reconstruction:

(i)   motion-preserving downsampling, y = blur(u) + W max |(V u)''|, so that a small motion is not averaged away;
(ii)  motion explanation: RGB features must predict the flow's residual and its second difference (training only);
(iii) equal priority: an appearance and a motion logit at every scale, and the one that learns faster is damped.

Legend: B clips, T frames, C channels, H x W places; frames folded into the batch unless said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code uses


def second_difference(x: Tensor) -> Tensor:
    """Second difference, u'' = u[t+1] - 2 u[t] + u[t-1] along axis 1 of (B, T, ...); zero at both ends."""
    if x.shape[1] < 3:
        return torch.zeros_like(x)
    inner = x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]
    edge = torch.zeros_like(x[:, :1])
    return torch.cat([edge, inner, edge], 1)


class MotionPath(nn.Module):
    """What moves at a finer scale, carried past the pooling: W max |(V u)''|.

    V takes a quarter of the channels' number, which is where most of the cost was. W starts at zero, so that a
    network begins as if there were no such path.
    """

    def __init__(self, channels_in: int, channels: int, *, pool: int = 2, groups: int = 1) -> None:
        super().__init__()
        self.pool = pool
        moving = channels_in // 4
        self.pick = nn.Conv2d(channels_in, moving, 1, groups=groups, bias=False)  # V
        self.weight = nn.Conv2d(moving, channels, 1, groups=groups, bias=False)  # W
        nn.init.zeros_(self.weight.weight)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C_in, H, W) -> (B*T, C, H/pool, W/pool)."""
        motion = second_difference(self.pick(x).unflatten(0, (-1, frames))).abs().flatten(0, 1)
        return cast("Tensor", self.weight(F.max_pool2d(motion, self.pool)))


class MotionPreservingDown(nn.Module):
    """Halves H and W: blur(u) + W max |(V u)''|."""

    def __init__(self, channels: int, *, groups: int = 1, keep_motion: bool = True) -> None:
        super().__init__()
        self.path = MotionPath(channels, channels, groups=groups) if keep_motion else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C, H, W) -> (B*T, C, H/2, W/2)."""
        blurred = F.avg_pool2d(x, 2)
        return blurred if self.path is None else blurred + self.path(x, frames)


@dataclass(frozen=True)
class Explanation:
    """What the RGB features of one scale say of the motion, and what the motion was.

    Both (B * pictures, 4, H, W), of the frames that the RGB stream looks at.
    """

    predicted: Tensor
    actual: Tensor

    def loss(self, clips: int) -> Tensor:
        """Huber loss in units of each of the B clips' 90th percentile: small motion weighs as much as large."""
        actual = self.actual.float()
        size = actual.abs().unflatten(0, (clips, -1))  # (B, pictures, 4, H, W)
        scale = size.flatten(1).quantile(0.9, dim=1).clamp_min(0.05)
        scale = scale.repeat_interleave(size.shape[1])[:, None, None, None]
        return F.huber_loss(self.predicted.float() / scale, actual / scale)


def motion_targets(flow: Tensor, frames: int, side: int) -> Tensor:
    """Signed-max-pooled (g(R_1), its second difference).

    Args:
        flow: the shortest baseline's stabilised, compressed flow, (B*T, 2, M, M).
        frames: T.
        side: of the features that are to explain it; M is a multiple.

    Returns:
        (B*T, 4, side, side).
    """
    pool = flow.shape[-1] // side
    second = second_difference(flow.unflatten(0, (-1, frames))).flatten(0, 1)
    both = torch.cat([flow, second], 1)
    high, low = F.max_pool2d(both, pool), -F.max_pool2d(-both, pool)
    return torch.where(high > -low, high, low)


class EqualPriority(nn.Module):
    """An appearance logit (from the time mean) and a motion logit (from max |temporal difference|) a clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.appearance = nn.Linear(channels, 1)
        self.motion = nn.Linear(channels, 1)

    def forward(self, x: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """(B*T, C, H, W) -> appearance (B,), motion (B,)."""
        clip = x.unflatten(0, (-1, frames))  # (B, T, C, H, W)
        still = clip.mean((1, 3, 4))  # (B, C)
        moved = (clip[:, 1:] - clip[:, :-1]).abs().amax((1, 3, 4))  # (B, C)
        return self.appearance(still).squeeze(-1), self.motion(moved).squeeze(-1)


def balanced_loss(appearance: Tensor, motion: Tensor, target: Tensor, *, damping: float = 1.0) -> Tensor:
    """Both logits' cross-entropy (B,) each; the one that is ahead has its gradient damped by 1 - tanh(lead).

    A lead counts as 2 at most: the one ahead is never silenced.
    """
    losses = torch.stack(
        [F.binary_cross_entropy_with_logits(logit.float(), target) for logit in (appearance, motion)]
    )
    with torch.no_grad():
        confidence = torch.exp(-losses)
        lead = confidence / confidence.flip(0) - 1
        weight = 1 - torch.tanh(damping * lead.clamp(0, 2))
    return (losses * weight).sum()
