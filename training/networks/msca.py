"""MSCA, Multi-Span Cross-Attention: RGB and flow ask each other, in windows of several lengths.

The module and its purpose are the paper's (DMCL, ICMR 2023, doi 10.1145/3591106.3592284): "to integrate the
information from both RGB and optical flow modalities and improve the detection accuracy with multi-span predictions".
Its equations were not at hand; windows, queries, keys and the way a window's answer returns to its frames are our
reconstruction. A span's windows are paired with the flow of the baseline that matches its length, because adding
up the flow of consecutive frames does not recover a slow drift.

Legend: B clips, T frames, P places (4 x 4), D token width, N windows, w frames a window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code uses


def windows(x: Tensor, span: int) -> Tensor:
    """Windows of `span` frames at half its stride; the ends are continued by repeating half a window.

    (B, T, ...) -> (B, T / half + 1, span, ...) where half = span / 2, or (B, T, 1, ...) for a span of one.
    T is a multiple of half, so every frame lies in exactly two windows.
    """
    if span == 1:
        return x.unsqueeze(2)
    half = span // 2
    blocks = x.unflatten(1, (-1, half))  # (B, T / half, half, ...)
    padded = torch.cat([blocks[:, :1], blocks, blocks[:, -1:]], 1)
    return torch.cat([padded[:, :-1], padded[:, 1:]], 2)


def frames_of(values: Tensor, span: int) -> Tensor:
    """Every frame's mean over the two windows that hold it: (B, N) -> (B, T)."""
    if span == 1:
        return values
    both = (values[:, :-1] + values[:, 1:]) / 2
    return both.repeat_interleave(span // 2, dim=1)


class CrossAttention(nn.Module):
    """Multi-head attention of window means over all tokens of the other stream's window."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, asking: Tensor, answering: Tensor) -> Tensor:
        """(M, P, D) asks (M, w*P, D) -> (M, P, D)."""
        query = self.query(asking).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (M, heads, P, d)
        key, value = self.key_value(answering).chunk(2, -1)
        key = key.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # (M, heads, d, w*P)
        value = value.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (M, heads, w*P, d)
        weight = torch.softmax(query @ key * query.shape[-1] ** -0.5, -1)
        return self.out((weight @ value).transpose(1, 2).flatten(2))


class SpanAttention(nn.Module):
    """One span at one scale: both directions of attention, then one feature a window."""

    def __init__(
        self, rgb: int, flow: int, span: int, *, width: int = 64, heads: int = 4, places: int = 16
    ) -> None:
        super().__init__()
        self.span = span
        self.rgb_in, self.flow_in = nn.Linear(rgb, width), nn.Linear(flow, width)
        self.rgb_norm, self.flow_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.place = nn.Parameter(torch.randn(places, width) * 0.02)
        self.moment = nn.Parameter(torch.randn(span, 1, width) * 0.02)
        self.rgb_asks_flow = CrossAttention(width, heads)
        self.flow_asks_rgb = CrossAttention(width, heads)
        self.mix = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.GELU())
        self.logit = nn.Linear(2 * width, 1)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """(B, T, P, C_rgb), (B, T, P, C_flow) -> window logits (B, N)."""
        batch = rgb.shape[0]
        rgb = windows(self.rgb_norm(self.rgb_in(rgb)), self.span) + self.place  # (B, N, w, P, D)
        flow = windows(self.flow_norm(self.flow_in(flow)), self.span) + self.place
        rgb_mean, flow_mean = rgb.mean(2).flatten(0, 1), flow.mean(2).flatten(0, 1)  # (B*N, P, D)
        rgb_all = (rgb + self.moment).flatten(0, 1).flatten(1, 2)  # (B*N, w*P, D): every frame, un-pooled
        flow_all = (flow + self.moment).flatten(0, 1).flatten(1, 2)
        appearance = rgb_mean + self.rgb_asks_flow(rgb_mean, flow_all)
        movement = flow_mean + self.flow_asks_rgb(flow_mean, rgb_all)
        mixed = self.mix(torch.cat([appearance, movement], -1))  # (B*N, P, D)
        feature = torch.cat([mixed.mean(1), mixed.amax(1)], -1)  # (B*N, 2D)
        return self.logit(feature).reshape(batch, -1)


def tokens(x: Tensor, frames: int, side: int) -> Tensor:
    """(B*T, C, H, W) -> (B, T, side * side, C) by mean pooling."""
    pooled = F.avg_pool2d(x, x.shape[-1] // side)
    return pooled.flatten(2).transpose(1, 2).unflatten(0, (-1, frames))
