"""The factorised space-then-time blocks both streams are made of.

Legend: B clips, T frames, C channels, H x W places. Between layers frames are folded into the batch, (B*T, C, H, W),
so that a spatial convolution is an ordinary 2-D one; a temporal one is 2-D too, over (T, H*W). In the
channels-last memory format neither view copies anything. Temporal stride is 1 throughout: every frame is answered.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def over_time(x: Tensor, frames: int) -> Tensor:
    """(B*T, C, H, W) -> (B, C, T, H*W)."""
    channels, height, width = x.shape[1:]
    last = _in_order(x.permute(0, 2, 3, 1)).reshape(-1, frames, height * width, channels)
    return last.permute(0, 3, 1, 2)


def over_space(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, T, H*W) -> (B*T, C, H, W)."""
    last = _in_order(x.permute(0, 2, 3, 1)).reshape(-1, height, width, x.shape[1])
    return last.permute(0, 3, 1, 2)


def _in_order(x: Tensor) -> Tensor:
    # how a convolution lays out its answer depends on the number of threads: no export may rely on it
    return x.clone(memory_format=torch.contiguous_format) if torch.compiler.is_exporting() else x


class TimeBlock(nn.Module):
    """What three frames in a row say, to be added to each; zero at the start, as for a network of single frames."""

    def __init__(self, channels: int, *, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C, H, W) -> the same shape."""
        return over_space(self.norm(self.conv(over_time(x, frames))), x.shape[2], x.shape[3])


class FactorisedBlock(nn.Module):
    """Space 3x3, then time 3 with a residual; `groups` keeps baselines apart."""

    def __init__(self, channels_in: int, channels: int, *, groups: int = 1) -> None:
        super().__init__()
        self.space = nn.Conv2d(channels_in, channels, 3, padding=1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.time = TimeBlock(channels, groups=groups)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C_in, H, W) -> (B*T, C, H, W)."""
        x = torch.relu(self.norm(self.space(x)))
        if frames == 1:
            return x  # a single picture has no time
        return torch.relu(x + self.time(x, frames))
