"""Where a face was in each frame and how well it could be seen: what is kept once its picture has been judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

COLUMNS = (
    "frame_index", "start_s", "end_s", "left", "top", "width", "height",
    "face_px", "sharpness", "brightness", "noise", "yaw", "visible",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sighting:
    """One frame of a face; the fields are `FaceCrop`'s."""

    frame_index: int
    start_s: float
    end_s: float
    box: tuple[float, float, float, float]
    face_px: float
    sharpness: float
    brightness: float
    noise: float
    yaw: float
    visible: float


@dataclass(frozen=True, slots=True, eq=False)
class Sightings(Sequence[Sighting]):
    """A face's sightings in order of time, as a table: hours of objects would hold five times as much.

    Attributes:
        rows: (N, 13), a `Sighting`'s fields in order, the box as left, top, width, height.
    """

    rows: Floats

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape[1] != len(COLUMNS) or self.rows.dtype != np.float64:
            raise ValueError(
                f"sightings are float64 rows of {len(COLUMNS)}, got {self.rows.dtype} {self.rows.shape}"
            )

    @classmethod
    def of(cls, sightings: Iterable[Sighting]) -> Sightings:
        """The table of single ones."""
        flat = (number for one in sightings for number in _flat(one))
        return cls(np.fromiter(flat, np.float64).reshape(-1, len(COLUMNS)))

    @classmethod
    def joined(cls, parts: Sequence[Sightings]) -> Sightings:
        """One after the other; at least one."""
        return parts[0] if len(parts) == 1 else cls(np.concatenate([part.rows for part in parts]))

    @property
    def times(self) -> Floats:
        """Start and end of every frame in seconds, (N, 2), a view."""
        return self.rows[:, 1:3]

    def column(self, name: str) -> Floats:
        """One number of every sighting, (N,), a view: a field's name, or an edge's of the box."""
        return self.rows[:, COLUMNS.index(name)]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Sighting: ...
    @overload
    def __getitem__(self, at: slice) -> Sightings: ...
    def __getitem__(self, at: int | slice) -> Sighting | Sightings:
        if isinstance(at, slice):
            return Sightings(self.rows[at])
        index, start_s, end_s, left, top, width, height, *measures = self.rows[at].tolist()
        return Sighting(int(index), start_s, end_s, (left, top, width, height), *measures)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sightings) and np.array_equal(self.rows, other.rows)

    __hash__ = None  # type: ignore[assignment] # as of arrays


def _flat(one: Sighting) -> list[float]:
    return [
        one.frame_index, one.start_s, one.end_s, *one.box,
        one.face_px, one.sharpness, one.brightness, one.noise, one.yaw, one.visible,
    ]  # fmt: skip
