"""Up to where a partition may be committed."""

from __future__ import annotations


class Offsets:
    """The messages of one partition that were taken and are not settled.

    Messages are settled in any order, and Kafka remembers one number: everything before it is done. That is the lowest
    offset not settled, however much above it is. Offsets may have gaps.
    """

    def __init__(self) -> None:
        self._unsettled: set[int] = set()
        self._end: int | None = None
        self._committed: int | None = None

    def begin(self, offset: int) -> None:
        """A message was taken."""
        self._unsettled.add(offset)
        self._end = offset + 1

    def settle(self, offset: int) -> None:
        """A message is done with; of one that was never taken, or settled before, nothing comes."""
        self._unsettled.discard(offset)

    def committed(self, position: int) -> None:
        """Kafka has the position."""
        self._committed = position

    @property
    def position(self) -> int | None:
        """The offset to go on from after a crash; None before the first message."""
        return min(self._unsettled, default=self._end)

    @property
    def due(self) -> int | None:
        """What is to be committed; None when Kafka has it already."""
        return None if self.position == self._committed else self.position

    @property
    def unsettled(self) -> int:
        """How many messages are under way."""
        return len(self._unsettled)
