"""The two-stream DMCL network: RGB and optical flow learned together, one answer a frame.

The idea of two co-learned streams, MSMR and MSCA is the paper's (ICMR 2023, doi 10.1145/3591106.3592284); widths,
depths, heads and the fusion of spans are ours, because no code or equations were at hand.

Legend: B clips, T frames (a multiple of 8), S the crop's side, M a motion field's, K baselines (one a span),
C channels, P places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code uses

from dmcl_sdk.motion import CHANNELS_PER_BASELINE, QUANTUM, MotionSpec
from training.networks.lite0 import load_imagenet
from training.networks.msca import SpanAttention, frames_of, tokens, windows
from training.networks.msmr import EqualPriority, Explanation, motion_targets, second_difference
from training.networks.streams import LitePictures, PlainPictures, Stream

PLACES_SIDE = 4
_SMALL = 1e-2


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes, and the switches that ablations turn.

    Attributes:
        size_px: side of the crop: 64, 128, 192, 224, 256 and so on, that all maps fall into 4 x 4 places; a multiple of
            128 with lite0, whose deepest scale is S/32.
        motion_shrink: S / M: how many times smaller than the crop the pictures are that flow is taken of.
        baselines: flow baselines in frames.
        spans: window lengths in frames, one a baseline; 1 or even.
        backbone: of the RGB stream: `plain`, or `lite0`, a small picture network that ImageNet weights exist for.
        rgb_stride: the RGB stream looks at one of so many frames, the middle one, and answers for all of them;
            flow sees every frame. What a picture shows changes slowly, and looking is most of the cost.
        rgb_widths: channels at S/2, S/4, S/8, S/16 of the plain one.
        flow_widths: channels for EACH baseline at M/2, M/4, M/8.
        rgb_depths, flow_depths: blocks at each scale; RGB's of the plain backbone.
        token_width: width of the attention's tokens.
        motion_preserving: MSMR (i).
        motion_explanation: MSMR (ii).
        equal_priority: MSMR (iii).
        cross_attention: MSCA; without it a window sees the two streams' means only.
    """

    size_px: int = 128
    motion_shrink: int = 2
    baselines: tuple[int, ...] = (1, 4, 15)
    spans: tuple[int, ...] = (1, 4, 16)
    backbone: Literal["plain", "lite0"] = "plain"
    rgb_stride: int = 1
    rgb_widths: tuple[int, ...] = (24, 48, 96, 128)
    flow_widths: tuple[int, ...] = (16, 32, 48)
    rgb_depths: tuple[int, ...] = (1, 1, 2, 1)
    flow_depths: tuple[int, ...] = (1, 1, 1)
    token_width: int = 64
    motion_preserving: bool = True
    motion_explanation: bool = True
    equal_priority: bool = True
    cross_attention: bool = True

    def __post_init__(self) -> None:
        if len(self.spans) != len(self.baselines):
            raise ValueError(f"every span has a baseline of its own, got {self.spans} and {self.baselines}")
        if any(span != 1 and span % 2 for span in self.spans):
            raise ValueError(f"a span is 1 or even, got {self.spans}")
        if (len(self.rgb_widths), len(self.rgb_depths), len(self.flow_widths), len(self.flow_depths)) != (
            4,
            4,
            3,
            3,
        ):
            raise ValueError("RGB has four scales and flow three, each with a width and a depth")
        if self.rgb_stride not in {1, 2, 4, 8}:
            raise ValueError(f"rgb_stride divides the 8 frames that clips come in, got {self.rgb_stride}")
        if self.size_px % 32:
            raise ValueError(f"size_px is a multiple of 32, got {self.size_px}")
        if self.motion_shrink not in {1, 2, 4}:
            raise ValueError(f"motion_shrink is 1, 2 or 4, got {self.motion_shrink}")
        if self.backbone == "lite0" and self.size_px % 128:
            raise ValueError(f"with the lite0 backbone size_px is a multiple of 128, got {self.size_px}")
        deepest, moved = 32 if self.backbone == "lite0" else 16, self.size_px // self.motion_shrink
        sides = [self.size_px // deepest * 2, self.size_px // deepest, moved // 4, moved // 8]
        if any(side // max(1, side // PLACES_SIDE) != PLACES_SIDE for side in sides):
            raise ValueError(
                f"maps of {sides} a side do not all fall into {PLACES_SIDE} x {PLACES_SIDE} places: size_px is best a "
                f"multiple of 64, and at least {32 * self.motion_shrink}, got {self.size_px}"
            )

    @property
    def motion(self) -> MotionSpec:
        """What is compared, for `dmcl_sdk.motion`."""
        return MotionSpec(self.baselines, self.motion_shrink)

    @classmethod
    def named(cls, name: str) -> NetworkConfig:
        """`small` ships and runs on CPUs; `base` is for those who have GPUs and the full datasets."""
        sizes = {
            "small": cls(),
            "base": cls(
                size_px=224,
                rgb_widths=(64, 128, 256, 512),
                flow_widths=(32, 64, 128),
                rgb_depths=(2, 3, 4, 2),
                flow_depths=(2, 3, 2),
                token_width=256,
            ),
        }
        if name not in sizes:
            raise ValueError(f"network size is one of {sorted(sizes)}, got {name!r}")
        return sizes[name]


class Curves(NamedTuple):
    """Logits a frame: what is exported and served."""

    fused: Tensor  # (B, T)
    spans: Tensor  # (B, T, K), one a span
    rgb: Tensor  # (B, T), the RGB stream alone
    flow: Tensor  # (B, T), the flow stream alone


@dataclass
class Training:
    """What the losses need besides the curves."""

    windows: list[Tensor]  # a span: (B, N) logits
    priorities: list[tuple[Tensor, Tensor]]  # a scale: appearance (B,), motion (B,)
    explanations: list[Explanation]  # a scale
    places: list[Tensor]  # RGB, flow: logits of manipulated places at the second deepest scale, (B, T, P, P)


class FlowStem(nn.Module):
    """Motion at full resolution is never pooled before its second differences are taken (MSMR (i) on the input)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.count = len(config.baselines)
        self.keep_motion = config.motion_preserving
        per_baseline = CHANNELS_PER_BASELINE * 2 - 1 if self.keep_motion else CHANNELS_PER_BASELINE
        width = config.flow_widths[0] * self.count
        self.conv = nn.Conv2d(per_baseline * self.count, width, 3, padding=1, groups=self.count, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, motion: Tensor, frames: int) -> Tensor:
        """(B*T, 4K, M, M) -> (B*T, K * width, M/2, M/2)."""
        channels = [F.avg_pool2d(motion, 2).unflatten(1, (self.count, -1))]
        if self.keep_motion:
            moving = motion.unflatten(1, (self.count, -1)).unflatten(0, (-1, frames))  # (B, T, K, 4, M, M)
            known = moving[:, :, :, 3:] > 0
            known = known & torch.roll(known, 1, 1) & torch.roll(known, -1, 1)  # the zero ends hide the wrap
            second = (second_difference(moving[:, :, :, :3]) * known).abs().flatten(0, 1).flatten(1, 2)
            channels.append(F.max_pool2d(second, 2).unflatten(1, (self.count, -1)))
        return torch.relu(self.norm(self.conv(torch.cat(channels, 2).flatten(1, 2))))


class StreamHead(nn.Module):
    """One stream's own logit a frame, from the mean and the maximum over places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logit = nn.Linear(2 * channels, 1)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C, H, W) -> (B, T)."""
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], -1)
        return self.logit(pooled).reshape(-1, frames)


class WindowMeans(nn.Module):
    """Stands in for `SpanAttention` where the cross-attention is ablated: the same inputs, means only."""

    def __init__(self, rgb: int, flow: int, span: int, *, width: int) -> None:
        super().__init__()
        self.span = span
        self.mix = nn.Sequential(nn.Linear(rgb + flow, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """(B, T, P, C_rgb), (B, T, P, C_flow) -> window logits (B, N)."""
        both = windows(torch.cat([rgb, flow], -1), self.span)  # (B, N, w, P, C)
        return self.mix(both.mean((2, 3))).squeeze(-1)


class TwoStream(nn.Module):
    """DMCL: `forward` answers every frame; `learn` answers with all that the losses need."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        baselines, keep = len(config.baselines), config.motion_preserving
        self.rgb: LitePictures | PlainPictures = (
            LitePictures(keep_motion=keep)
            if config.backbone == "lite0"
            else PlainPictures(config.rgb_widths, config.rgb_depths, keep_motion=keep)
        )
        rgb_widths = self.rgb.widths
        self.flow_stem = FlowStem(config)
        self.flow = Stream(config.flow_widths, config.flow_depths, groups=baselines, keep_motion=keep)
        kind = SpanAttention if config.cross_attention else WindowMeans
        self.attention = nn.ModuleList(
            nn.ModuleList(
                kind(rgb_widths[scale], config.flow_widths[scale], span, width=config.token_width)
                for span in config.spans
            )
            for scale in (-2, -1)
        )
        self.rgb_head = StreamHead(rgb_widths[-1])
        self.flow_head = StreamHead(config.flow_widths[-1] * baselines)
        self.span_weight = nn.Parameter(torch.zeros(len(config.spans)))
        self.stream_weight = nn.Parameter(torch.full((2, len(config.spans)), 0.5))
        self.priorities = nn.ModuleList(EqualPriority(width) for width in rgb_widths)
        self.rgb_places = nn.Conv2d(rgb_widths[-2], 1, 1)
        self.flow_places = nn.Conv2d(config.flow_widths[-2] * baselines, 1, 1)
        self.explain = nn.ModuleList(nn.Conv2d(width, 4, 1) for width in rgb_widths[1:])

    @property
    def held(self) -> int:
        """How many of the RGB stream's finest scales stay as they are."""
        return self.rgb.held if isinstance(self.rgb, LitePictures) else 0

    def hold(self, scales: int, *, statistics: bool) -> None:
        """Keep the RGB backbone's finest scales as they are while everything else is trained.

        Args:
            scales: how many of them.
            statistics: whether the norms of its other scales keep their running statistics too.

        Raises:
            TypeError: a plain backbone, which nothing is known to be worth holding of.
        """
        if not isinstance(self.rgb, LitePictures):
            raise TypeError("only the lite0 backbone can be held: the plain one starts from nothing")
        self.rgb.held, self.rgb.holds_statistics = scales, statistics
        for scale, blocks in enumerate(self.rgb.backbone.scales):
            blocks.requires_grad_(scale >= scales)
        self.rgb.train(self.training)

    def weigh(self, *, rgb: float | None = None, flow: float | None = None) -> None:
        """Have a stream's own logit count so much in every span's; None leaves it as it is.

        Both start at .5, and training hardly moves them. With an anchored loss logits are evidence, which adds up at 1
        where each stream knows how sure it may be.
        """
        with torch.no_grad():
            for stream, weight in enumerate((rgb, flow)):
                if weight is not None:
                    self.stream_weight[stream] = weight

    def take_flow(self, other: TwoStream) -> None:
        """Take over the flow stream and its heads from a network whose RGB stream may be another.

        Raises:
            RuntimeError: its flow stream has another shape.
        """
        for name in ("flow_stem", "flow", "flow_head", "flow_places"):
            getattr(self, name).load_state_dict(getattr(other, name).state_dict())

    def load_imagenet(self) -> None:
        """Start the RGB backbone from its ImageNet weights; nothing to do for a plain one."""
        if isinstance(self.rgb, LitePictures):
            load_imagenet(self.rgb.backbone)

    def forward(self, rgb: Tensor, motion: Tensor) -> Curves:
        """Logits of every frame.

        Args:
            rgb: crops, uint8 (B, T, S, S, 3).
            motion: stored motion fields, int8 (B, T, 4K, M, M).
        """
        frames = motion.shape[1]
        rgb_features, flow_features, _ = self._features(self._looked_at(rgb), motion)
        return self._curves(
            rgb_features, flow_features, self._windows(rgb_features, flow_features, frames), frames
        )

    def learn(self, rgb: Tensor, motion: Tensor) -> tuple[Curves, Training]:
        """The curves of `forward`, and what MSMR and the window losses need."""
        return self.answer(self._looked_at(rgb), motion)

    def answer(self, rgb: Tensor, motion: Tensor) -> tuple[Curves, Training]:
        """The same, given only the crops that the RGB stream looks at, (B, T / rgb_stride, S, S, 3)."""
        frames, pictures = motion.shape[1], rgb.shape[1]
        rgb_features, flow_features, values = self._features(rgb, motion)
        windowed = self._windows(rgb_features, flow_features, frames)
        curves = self._curves(rgb_features, flow_features, windowed, frames)
        priorities, explanations = [], []
        taught = range(self.held, len(rgb_features))  # what is held cannot learn
        if self.config.equal_priority:
            priorities = [self.priorities[scale](rgb_features[scale], pictures) for scale in taught]
        if self.config.motion_explanation:
            for scale in range(max(self.held, 1), len(rgb_features)):
                said = self.explain[scale - 1](rgb_features[scale])
                actual = motion_targets(values[:, :2], frames, said.shape[-1])[self._looks]
                explanations.append(Explanation(said, actual))
        looked = self.rgb_places(rgb_features[-2]).float().unflatten(0, (-1, pictures)).squeeze(2)
        moved = self.flow_places(flow_features[-2]).float().unflatten(0, (-1, frames)).squeeze(2)
        places = [self._for_every_frame(looked), moved]
        return curves, Training(windowed, priorities, explanations, places)

    def look(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """The RGB stream alone on single pictures, for a start before there is motion.

        Args:
            rgb: uint8 (B, S, S, 3).

        Returns:
            Logits of the pictures, (B,), and of their places, (B, P, P) as in `Training`.
        """
        features = self.rgb(rgb, 1)
        logits = self.rgb_head(features[-1], 1).squeeze(-1).float()
        return logits, self.rgb_places(features[-2]).squeeze(1).float()

    def _features(self, rgb: Tensor, motion: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        frames = motion.shape[1]
        values = motion.flatten(0, 1).float() * QUANTUM
        return (
            self.rgb(rgb.flatten(0, 1), rgb.shape[1]),
            self.flow(self.flow_stem(values, frames), frames),
            values,
        )

    @property
    def _looks(self) -> slice:
        """Which frames the RGB stream looks at: the middle one of each few that it answers for."""
        stride = self.config.rgb_stride
        return slice(stride // 2, None, stride)

    def _looked_at(self, rgb: Tensor) -> Tensor:
        return rgb[:, self._looks]

    def _for_every_frame(self, pictures: Tensor) -> Tensor:
        """What the RGB stream says of the frames it looks at, (B, T / stride, ...), for those between them too."""
        stride = self.config.rgb_stride
        return pictures if stride == 1 else pictures.repeat_interleave(stride, dim=1)

    def _windows(self, rgb: list[Tensor], flow: list[Tensor], frames: int) -> list[Tensor]:
        """The logits of every span's windows, (B, N) each: the mean of the two deepest scales."""
        baselines = len(self.config.baselines)
        answers: list[list[Tensor]] = [[] for _ in self.config.spans]
        for scale, attentions in zip((-2, -1), self.attention, strict=True):
            appearance = self._for_every_frame(
                tokens(rgb[scale], frames // self.config.rgb_stride, PLACES_SIDE)
            )
            movement = tokens(flow[scale], frames, PLACES_SIDE).chunk(baselines, -1)
            for span, attention in enumerate(cast("nn.ModuleList", attentions)):
                answers[span].append(attention(appearance, movement[span]))
        return [torch.stack(logits).mean(0) for logits in answers]

    def _curves(self, rgb: list[Tensor], flow: list[Tensor], windows: list[Tensor], frames: int) -> Curves:
        per_span = [
            frames_of(logits.float(), span) for logits, span in zip(windows, self.config.spans, strict=True)
        ]
        looked = self.rgb_head(rgb[-1], frames // self.config.rgb_stride)
        alone = [self._for_every_frame(looked).float(), self.flow_head(flow[-1], frames).float()]
        # the attention has only to add what neither stream says alone
        spans = torch.stack(per_span, -1) + torch.stack(alone, -1) @ self.stream_weight  # (B, T, K)
        return Curves(noisy_or(spans, torch.softmax(self.span_weight, 0)), spans, *alone)


def noisy_or(logits: Tensor, weight: Tensor) -> Tensor:
    """The logit of p = 1 - prod (1 - p_s) ** weight_s over the last axis: (B, T, K) -> (B, T)."""
    hazard = (F.softplus(logits) * weight).sum(-1).clamp(1e-12, 30.0)  # -log(1 - p)
    # ONNX knows no expm1, and 1 - exp(-hazard) would keep no digits of a small one
    small = hazard.clamp(max=_SMALL)
    series = torch.log(small * (1 - small / 2 + small * small / 6))
    return hazard + torch.where(hazard < _SMALL, series, torch.log1p(-torch.exp(-hazard.clamp(min=_SMALL))))


def pool_logits(logits: Tensor, sharpness: float) -> Tensor:
    """A clip's logit from its frames' by LogSumExp: (B, T) -> (B,). The mean at 0, the maximum at infinity."""
    return (torch.logsumexp(logits * sharpness, -1) - math.log(logits.shape[-1])) / sharpness
