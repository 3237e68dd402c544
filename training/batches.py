"""Batches of pairs by their numbers, made in other processes: a resumed run goes on with the very next ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.distributed import Place


class _Numbered(Dataset[Any]):
    def __init__(self, pair: Callable[[int], Any], numbers: Sequence[int]) -> None:
        self.pair, self.numbers = pair, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - pairs of clips or pictures
        return self.pair(self.numbers[index])


def numbered(
    pair: Callable[[int], Any], numbers: Sequence[int], *, batch: int, workers: int, pinned: bool = False
) -> DataLoader[Any]:
    """The pairs of these numbers, in order, `batch` at once."""
    return DataLoader(
        _Numbered(pair, numbers),
        batch_size=batch,
        num_workers=workers,
        worker_init_fn=_one_thread,
        multiprocessing_context="fork" if workers else None,
        pin_memory=pinned,
        generator=torch.Generator(),  # a loader would otherwise draw from torch's own, and a run not replay
    )


def share(first: int, end: int, pairs: int, place: Place) -> list[int]:
    """The numbers that a process takes of steps `first` up to `end`, whole pairs in order.

    Raises:
        ValueError: a step's pairs do not divide among the processes.
    """
    if pairs % place.world:
        raise ValueError(f"{pairs} pairs a step do not divide among {place.world} processes")
    own = pairs // place.world
    return [step * pairs + place.rank * own + n for step in range(first, end) for n in range(own)]


def moved(batch: Any, device: torch.device) -> Any:  # noqa: ANN401 - a tensor, or tuples of them
    """The same tensors on another device, in the same tuples."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    parts = [moved(part, device) for part in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
