"""The two streams' towers: scales of space-then-time blocks, or a pretrained picture network that is given time.

MSMR's motion-preserving downsampling (see `msmr`) sits between the scales of each.

Legend: B clips, T frames, C channels, H x W places, S the crop's side; frames folded into the batch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from training.networks.backbone import FactorisedBlock, TimeBlock
from training.networks.lite0 import WIDTHS, Lite0
from training.networks.msmr import MotionPath, MotionPreservingDown


class Stream(nn.Module):
    """Scales of factorised blocks, each half the size of the one before."""

    def __init__(
        self, widths: tuple[int, ...], depths: tuple[int, ...], *, groups: int = 1, keep_motion: bool = True
    ) -> None:
        super().__init__()
        full = [width * groups for width in widths]
        self.downs = nn.ModuleList(
            MotionPreservingDown(width, groups=groups, keep_motion=keep_motion) for width in full[:-1]
        )
        self.scales = nn.ModuleList(
            nn.ModuleList(
                FactorisedBlock(
                    full[max(scale - 1, 0)] if block == 0 else full[scale], full[scale], groups=groups
                )
                for block in range(depth)
            )
            for scale, depth in enumerate(depths)
        )

    def forward(self, x: Tensor, frames: int) -> list[Tensor]:
        """(B*T, C, H, W) -> features at H, H/2, H/4, ..."""
        features: list[Tensor] = []
        for scale, blocks in enumerate(self.scales):
            if scale:
                x = self.downs[scale - 1](x, frames)
            for block in cast("nn.ModuleList", blocks):
                x = block(x, frames)
            features.append(x)
        return features


class PlainPictures(nn.Module):
    """An RGB stream that starts from nothing."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...], *, keep_motion: bool) -> None:
        super().__init__()
        self.widths = widths
        self.stem = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.scales = Stream(widths, depths, keep_motion=keep_motion)

    def forward(self, rgb: Tensor, frames: int) -> list[Tensor]:
        """uint8 (B*T, S, S, 3) -> features at S/2, S/4, S/8, S/16."""
        picture = rgb.permute(0, 3, 1, 2).float() * (4 / 255) - 2  # about -2..2
        return cast("list[Tensor]", self.scales(torch.relu(self.norm(self.stem(picture))), frames))


class LitePictures(nn.Module):
    """An RGB stream over EfficientNet-lite0: blocks over time after its deeper scales, motion led past its strides.

    Motion reaches each of the two deepest scales from the two scales before it, so that nothing has to change in the
    fine scales, which are the costly ones to train.

    Attributes:
        held: how many of the finest scales stay as they are; none by default.
        holds_statistics: whether the backbone's batch norms keep their running statistics: frames of a few clips are
            too much alike to renew them from.
    """

    widths = WIDTHS
    TIMED = 2
    """The first scale with a block over time."""

    def __init__(self, *, keep_motion: bool) -> None:
        super().__init__()
        self.held, self.holds_statistics = 0, False
        self.backbone = Lite0()
        self.times = nn.ModuleList(TimeBlock(width) for width in WIDTHS[self.TIMED :])
        self.paths = nn.ModuleList(
            nn.ModuleList(MotionPath(WIDTHS[scale - back], WIDTHS[scale], pool=2**back) for back in (1, 2))
            for scale in (3, 4)
            if keep_motion
        )

    def train(self, mode: bool = True) -> LitePictures:  # noqa: FBT001, FBT002 - torch's own signature
        """As in every module, but statistics that are held stay."""
        super().train(mode)
        for scale, blocks in enumerate(self.backbone.scales):
            blocks.train(mode and not self.holds_statistics and scale >= self.held)
        return self

    def forward(self, rgb: Tensor, frames: int) -> list[Tensor]:
        """uint8 (B*T, S, S, 3) -> features at S/2, S/4, S/8, S/16, S/32."""
        x = (rgb.permute(0, 3, 1, 2).float() - 127) / 128
        features: list[Tensor] = []
        for scale, blocks in enumerate(self.backbone.scales):
            # nothing before the first block over time learns; after it a gradient passes through what is held
            learning = scale >= min(self.held, self.TIMED + 1)
            with torch.set_grad_enabled(torch.is_grad_enabled() and learning):
                x = blocks(x)
            if frames > 1:
                if self.paths and scale >= 3:
                    near, far = cast("nn.ModuleList", self.paths[scale - 3])
                    x = x + near(features[-1], frames) + far(features[-2], frames)
                if scale >= self.TIMED:
                    x = x + self.times[scale - self.TIMED](x, frames)
            features.append(x)
        return features
