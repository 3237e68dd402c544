"""Networks of other systems as ONNX files, for `dmcl bench --peers DIR`.

Architectures as published, written anew, with random weights: they cost the same, and what they answer means nothing.
Each file says how often its network runs there. Needs torch (`dmcl-sdk[train]`).
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

PEER_KEY = "dmcl.peer"


class Bottleneck3d(nn.Module):
    """ResNet's bottleneck, inflated: a temporal kernel in its first convolution (Carreira and Zisserman, 2017)."""

    def __init__(self, channels_in: int, width: int, *, stride: int, temporal: int) -> None:
        super().__init__()
        channels = 4 * width
        self.layers = nn.Sequential(
            nn.Conv3d(channels_in, width, (temporal, 1, 1), padding=(temporal // 2, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, width, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, channels, 1, bias=False),
            nn.BatchNorm3d(channels),
        )
        same = stride == 1 and channels_in == channels
        self.short: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv3d(channels_in, channels, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(channels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, 4 width, T, H / stride, W / stride)."""
        return torch.relu(self.layers(x) + self.short(x))


def i3d_r50() -> nn.Module:
    """I3D ResNet-50: time is halved once, after the first stage, and every second block looks across frames."""
    layers: list[nn.Module] = [
        nn.Conv3d(3, 64, (5, 7, 7), (1, 2, 2), padding=(2, 3, 3), bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
    ]
    channels = 64
    stages = (
        (64, 1, (3, 3, 3)),
        (128, 2, (3, 1, 3, 1)),
        (256, 2, (3, 1, 3, 1, 3, 1)),
        (512, 2, (1, 3, 1)),
    )
    for stage, (width, stride, kernels) in enumerate(stages):
        for block, temporal in enumerate(kernels):
            layers.append(
                Bottleneck3d(channels, width, stride=stride if block == 0 else 1, temporal=temporal)
            )
            channels = 4 * width
        if stage == 0:
            layers.append(nn.MaxPool3d((2, 1, 1), (2, 1, 1)))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels, 1))


class MBConv(nn.Module):
    """EfficientNet's block: expand, filter each channel, squeeze and excite, project (Tan and Le, 2019)."""

    def __init__(self, channels_in: int, channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide, squeezed = channels_in * expansion, max(1, channels_in // 4)
        expand = [nn.Conv2d(channels_in, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU()]
        self.filter = nn.Sequential(
            *(expand if expansion > 1 else []),
            nn.Conv2d(wide, wide, kernel, stride, padding=kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.SiLU(),
        )
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(wide, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, wide, 1),
            nn.Sigmoid(),
        )
        self.project = nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H / stride, W / stride)."""
        wide = self.filter(x)
        y: Tensor = self.project(wide * self.excite(wide))
        return x + y if self.residual else y


def efficientnet_b4() -> nn.Module:
    """EfficientNet-B4: widths times 1.4, depths times 1.8."""
    stages = (
        # expansion, channels, blocks, stride, kernel
        (1, 24, 2, 1, 3),
        (6, 32, 4, 2, 3),
        (6, 56, 4, 2, 5),
        (6, 112, 6, 2, 3),
        (6, 160, 6, 1, 5),
        (6, 272, 8, 2, 5),
        (6, 448, 2, 1, 3),
    )
    layers: list[nn.Module] = [nn.Conv2d(3, 48, 3, 2, padding=1, bias=False), nn.BatchNorm2d(48), nn.SiLU()]
    channels = 48
    for expansion, width, blocks, stride, kernel in stages:
        for block in range(blocks):
            layers.append(
                MBConv(
                    channels, width, kernel=kernel, stride=stride if block == 0 else 1, expansion=expansion
                )
            )
            channels = width
    head = [nn.Conv2d(channels, 1792, 1, bias=False), nn.BatchNorm2d(1792), nn.SiLU()]
    return nn.Sequential(*layers, *head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1792, 2))


class VisionTransformer(nn.Module):
    """ViT-L/14 at 224 px (Dosovitskiy et al., 2021; the picture encoder of CLIP)."""

    def __init__(self, width: int = 1024, depth: int = 24, heads: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 14, 14)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.zeros(1, 257, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """(1, 3, 224, 224) -> (1, 1)."""
        tokens = self.patches(picture).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token, tokens], 1) + self.place
        answer: Tensor = self.head(self.layers(tokens)[:, 0])
        return answer


@dataclass(frozen=True)
class Peer:
    """A network and how it is used; `per_second` or `per_video` runs."""

    file: str
    name: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    note: str
    per_second: float | None = None
    per_video: float | None = None


PEERS = (
    Peer(
        "i3d-r50",
        "3-D ResNet-50",
        i3d_r50,
        (1, 3, 32, 224, 224),
        "one window of 32 frames at 224 px, times 30 a second: AltFreezing and FTCN slide it by a frame",
        per_second=30,
    ),
    Peer(
        "efficientnet-b4",
        "EfficientNet-B4",
        efficientnet_b4,
        (1, 3, 380, 380),
        "one frame at 380 px, times 32 a video: SBI, whatever the video's length",
        per_video=32,
    ),
    Peer(
        "vit-l14",
        "ViT-L/14",
        VisionTransformer,
        (1, 3, 224, 224),
        "one frame at 224 px, times 32 a video: detectors on CLIP, such as Effort and GenD",
        per_video=32,
    ),
)


def main() -> None:
    """Write the files into the folder named; further names choose among them."""
    folder, wanted = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    for peer in PEERS:
        if wanted and peer.file not in wanted:
            continue
        path = folder / f"{peer.file}.onnx"
        torch.manual_seed(0)
        network = peer.network().eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of its own internals
            torch.onnx.export(
                network, (torch.zeros(peer.shape),), path, input_names=["picture"], dynamo=False
            )
        model = onnx.load(path)
        about = {
            "name": peer.name,
            "per_second": peer.per_second,
            "per_video": peer.per_video,
            "note": peer.note,
        }
        onnx.helper.set_model_props(model, {PEER_KEY: json.dumps(about)})
        onnx.save(model, path)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        print(f"{path}: {peer.name}, {parameters / 1e6:.0f} million parameters")


if __name__ == "__main__":
    main()
