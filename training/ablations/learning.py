"""A small network of the product's own modules, taught on made clips; all of a seed see the same clips in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dmcl_sdk.motion import MotionEstimator
from training.ablations.worlds import Clip
from training.losses import LossWeights, dmcl_loss
from training.networks.two_stream import NetworkConfig, TwoStream, pool_logits

RATE = 3e-3
MASK_SIDE = 16
_LOSS = LossWeights()


def small(baselines: tuple[int, ...], spans: tuple[int, ...]) -> NetworkConfig:
    """A network for crops of 64 px, with MSMR and MSCA as the product has them and few channels."""
    return NetworkConfig(
        size_px=64,
        backbone="plain",
        baselines=baselines,
        spans=spans,
        rgb_widths=(8, 8, 16, 16),
        flow_widths=(8, 8, 8),
        rgb_depths=(1, 1, 1, 1),
        flow_depths=(1, 1, 1),
        token_width=16,
    )


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large an experiment is: optimisation steps, pairs a step, pairs to learn from, scenes of every test."""

    steps: int
    batch_pairs: int
    train_pairs: int
    test_scenes: int


class Clips(NamedTuple):
    """Clips in the form that a network takes; N of them, T frames, K baselines."""

    rgb: Tensor  # uint8 (N, T, S, S, 3)
    motion: Tensor  # int8 (N, T, 4K, M, M)
    labels: Tensor  # (N, T), 1 where a frame is manipulated
    masks: Tensor  # (N, T, 16, 16), 1 where a place of it is

    @property
    def fake(self) -> Tensor:
        """Whether any frame is manipulated, (N,)."""
        return self.labels.amax(1)


def labelled(
    clips: Sequence[Clip],
    labels: Sequence[npt.NDArray[np.float32]],
    masks: Sequence[npt.NDArray[np.float32]],
    estimator: MotionEstimator,
    *,
    history: int,
) -> Clips:
    """Clips (history + T, S, S, 3) with labels (history + T,) and masks (16, 16); `history` frames are past only."""
    motion = [estimator.of(clip, skip=history) for clip in clips]
    frames = np.stack(labels)[:, history:]
    return Clips(
        torch.from_numpy(np.stack([clip[history:] for clip in clips])),
        torch.from_numpy(np.stack(motion)),
        torch.from_numpy(frames),
        torch.from_numpy(frames[:, :, None, None] * np.stack(masks)[:, None]),
    )


def fit(
    config: NetworkConfig,
    clips: Clips,
    *,
    sizes: Sizes,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> TwoStream:
    """Train on clips in which real and forged take turns; the order of pairs depends on the seed alone."""
    torch.manual_seed(seed)
    network = TwoStream(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=sizes.steps, pct_start=0.1)
    for rows in _batches(len(clips.rgb) // 2, sizes, seed):
        batch = Clips(*(part[rows] for part in clips))
        curves, extra = network.learn(batch.rgb, batch.motion)
        loss, _ = dmcl_loss(
            curves, extra, batch.labels, batch.fake, batch.masks, spans=config.spans, weights=_LOSS
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        plan.step()
        on_step()
    return network.eval()


def _batches(pairs: int, sizes: Sizes, seed: int) -> Iterable[Tensor]:
    """Rows of the pairs of each step, every pair once before any comes again."""
    order = torch.Generator().manual_seed(seed)
    epochs = math.ceil(sizes.steps * sizes.batch_pairs / pairs)
    drawn = torch.cat([torch.randperm(pairs, generator=order) for _ in range(epochs)])
    for step in drawn[: sizes.steps * sizes.batch_pairs].split(sizes.batch_pairs):
        first = 2 * step
        yield torch.stack([first, first + 1], 1).flatten()


@torch.inference_mode()
def scores(network: TwoStream, clips: Clips) -> npt.NDArray[np.float64]:
    """Logits a clip, (N, 3): fused, RGB stream, flow stream; pooled over its frames as in training and serving."""
    pooled = []
    for rgb, motion in zip(clips.rgb.split(16), clips.motion.split(16), strict=True):
        curves = network(rgb, motion)
        alone = [
            pool_logits(curve, _LOSS.pooling_sharpness) for curve in (curves.fused, curves.rgb, curves.flow)
        ]
        pooled.append(torch.stack(alone, -1))
    return np.asarray(torch.cat(pooled).numpy(), np.float64)
