"""Which videos are not independent of each other: bounds and intervals count groups of them, not videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.data.manifest import Clip


def independent_groups(clips: Sequence[Clip]) -> list[int]:
    """A number for each clip, the same for clips that share a person or a source, directly or through others.

    A fake belongs to the real video it was made from. A clip of whom nothing is known stands for itself.
    """
    parent = list(range(len(clips)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[object, int] = {}
    for row, clip in enumerate(clips):
        for tie in clip.ties:
            parent[root(row)] = root(first.setdefault(tie, row))
    return [root(row) for row in range(len(clips))]


def shares_of_groups(groups: Sequence[object], fake: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Weights under which every group counts as one video of its class, however many of hers there are; (N,)."""
    members = Counter(zip(groups, fake.tolist(), strict=True))
    return np.array([1 / members[of] for of in zip(groups, fake.tolist(), strict=True)], np.float64)


def shares_of_classes(groups: Sequence[object], fake: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The same, and both classes weigh one in all: the videos that calibrated probabilities are meant for; (N,)."""
    weights = shares_of_groups(groups, fake)
    for kind in (fake, ~fake):
        weights[kind] /= max(float(weights[kind].sum()), 1e-300)
    return weights
