"""What the network is taught with: the video, its windows, each stream alone, and MSMR.

L = BCE(video) + .3 mean BCE(windows and frames) + .3 mean BCE(streams) + .5 BCE(masks) + .5 ranking of pairs
+ .3 contrast + .5 L_motion + .2 L_balance.
L_motion and L_balance are MSMR's, in our reconstruction. Streams, masks, ranking and contrast are ours: the first give
each stream a curve of its own, the second tell place by place what a forgery looks like, the third cancels out
whatever a forgery and its real have in common, the fourth asks that a span stands out from its own clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code uses

from training.networks.msca import windows
from training.networks.msmr import balanced_loss
from training.networks.two_stream import Curves, Training, pool_logits


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Shares of the parts; the video's is 1.

    Attributes:
        pooling_sharpness: of the LogSumExp that makes a video's logit of its frames'.
        anchor: where the logits of all that is real belong (see `evidence`); None for cross-entropy.
    """

    windows: float = 0.3
    frames: float = 0.3
    streams: float = 0.3
    masks: float = 0.5
    pairs: float = 0.5
    contrast: float = 0.3
    motion: float = 0.5
    balance: float = 0.2
    pooling_sharpness: float = 2.0
    anchor: float | None = None


def dmcl_loss(
    curves: Curves,
    extra: Training,
    labels: Tensor,
    fake: Tensor,
    masks: Tensor,
    *,
    spans: tuple[int, ...],
    weights: LossWeights,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and its parts, for logging.

    Args:
        curves: logits of every frame.
        extra: windows, priorities, explanations.
        labels: (B, T), 1 where a frame is manipulated.
        fake: (B,), 1 where any frame is.
        masks: (B, T, 16, 16), where a frame is manipulated; NaN where that is not known.
        spans: lengths of the windows.
        weights: shares.
    """

    def judged(logits: Tensor, truth: Tensor) -> Tensor:
        return evidence(logits, truth, weights.anchor)

    windowed = [
        judged(logits.float(), _window_labels(labels, span))
        for logits, span in zip(extra.windows, spans, strict=True)
    ]
    parts = {
        "video": judged(pool_logits(curves.fused, weights.pooling_sharpness), fake),
        "frames": weights.frames * judged(curves.fused, labels),
        "windows": weights.windows * torch.stack(windowed).mean(),
        "streams": weights.streams * (judged(curves.rgb, labels) + judged(curves.flow, labels)) / 2,
    }
    three = (curves.fused, curves.rgb, curves.flow)
    ranked = [
        (ranking(pool_logits(curve, weights.pooling_sharpness), fake) + frame_ranking(curve, labels)) / 2
        for curve in three
    ]
    parts["pairs"] = weights.pairs * torch.stack(ranked).mean()
    parts["contrast"] = weights.contrast * torch.stack([contrast(curve, labels) for curve in three]).mean()
    if not masks.isnan().all():
        parts["masks"] = (
            weights.masks * torch.stack([known_bce(found, masks) for found in extra.places]).mean()
        )
    if extra.explanations:
        losses = [explanation.loss(len(curves.fused)) for explanation in extra.explanations]
        parts["motion"] = weights.motion * torch.stack(losses).mean()
    if extra.priorities:
        balances = [balanced_loss(appearance, motion, fake) for appearance, motion in extra.priorities]
        parts["balance"] = weights.balance * torch.stack(balances).mean()
    return torch.stack(list(parts.values())).sum(), parts


def evidence(logits: Tensor, labels: Tensor, anchor: float | None) -> Tensor:
    """The loss of logits of one shape against labels in 0..1.

    With an anchor, a real one's logit is drawn there from both sides, and a fake one's is pushed up from there. Where
    nothing shows, both stay at the anchor, be the picture sharp or soft. Cross-entropy (None) would be sure that a
    sharp real is real and unsure of a soft one; sharp fakes of an unknown kind then score below soft reals.
    """
    if anchor is None:
        return F.binary_cross_entropy_with_logits(logits, labels)
    above = logits - anchor
    real = 2 * F.huber_loss(above, torch.zeros_like(above), reduction="none")
    return (labels * F.softplus(-above) + (1 - labels) * real).mean()


def ranking(logits: Tensor, fake: Tensor) -> Tensor:
    """A fake should score above the real clip beside it, (B,) with real and fake in turn: content cancels out."""
    manipulated = fake[1::2]
    return (F.softplus(logits[0::2] - logits[1::2]) * manipulated).sum() / manipulated.sum().clamp_min(1)


def frame_ranking(logits: Tensor, labels: Tensor) -> Tensor:
    """The same frame by frame, where the fake is manipulated: (B, T) each."""
    manipulated = labels[1::2]
    return (F.softplus(logits[0::2] - logits[1::2]) * manipulated).sum() / manipulated.sum().clamp_min(1)


def contrast(logits: Tensor, labels: Tensor) -> Tensor:
    """A clip's manipulated frames should score above its own others, (B, T) each; zero where no clip has both."""
    inside, outside = labels.sum(1), (1 - labels).sum(1)
    both = (inside > 0) & (outside > 0)
    gap = (logits * (1 - labels)).sum(1) / outside.clamp_min(1) - (logits * labels).sum(1) / inside.clamp_min(
        1
    )
    return (F.softplus(gap) * both).sum() / both.sum().clamp_min(1)


def known_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy over the places whose truth is known; masks (..., 16, 16) are brought to the logits' size."""
    masks = F.adaptive_avg_pool2d(masks.flatten(0, -3), (logits.shape[-2], logits.shape[-1])).reshape(
        logits.shape
    )
    known = ~masks.isnan()
    return F.binary_cross_entropy_with_logits(logits[known], masks[known])


def picture_loss(
    logits: Tensor, places: Tensor, fake: Tensor, masks: Tensor, *, anchor: float | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of single pictures: (B,) logits, (B, 16, 16) places and masks; and its parts."""
    parts = {"picture": evidence(logits, fake, anchor), "pairs": ranking(logits, fake)}
    if not masks.isnan().all():
        parts["masks"] = known_bce(places, masks)
    return torch.stack(list(parts.values())).sum(), parts


def _window_labels(labels: Tensor, span: int) -> Tensor:
    """(B, T) -> (B, N): the share of a window's frames that are manipulated, doubled and capped: half is enough."""
    return (2 * windows(labels, span).mean(-1)).clamp(max=1)
