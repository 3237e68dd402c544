"""Packets in, pictures out: which are damaged, which are missing, and where the file ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dmcl_sdk.container import guarded_pixels, refuse_encrypted
from dmcl_sdk.errors import VideoError
from dmcl_sdk.source import Input

# Their headers state a duration; of other formats it is read off the end of the very file that may be cut.
_STATE_DURATION = {"asf", "avi", "flv", "matroska", "mov", "mxf"}
_TS_PACKET_BYTES = (188, 192, 204)
_MISSING_END_S = 0.25

# Threads cost a small picture more than they give. Their number is fixed, because what a damaged file decodes
# to depends on it, and a verdict must not depend on the machine.
_THREADS, _THREADED_PIXELS = 4, 600_000

_DISTRUST_S = 10
_REORDERED_S = 1


@dataclass(slots=True, eq=False)
class Decoded:
    """A picture as the decoder returned it.

    Attributes:
        raw: the picture.
        timestamp: when it is shown, in units of the stream's time base; None where the file does not say.
        first_timestamp: when the stream begins, in the same units.
        sound: False where it is damaged, or builds on a damaged one.
        after_loss: whether pictures before it could not be decoded at all.
    """

    raw: VideoFrame
    timestamp: int | None
    first_timestamp: int | None
    sound: bool
    after_loss: bool


class Decoder:
    """Decodes one stream, once.

    Attributes:
        stated_s: how long the container says that the stream lasts; None where it does not say.
        lost: whether pictures could not be decoded since the last one that could; at the end, the last ones.
        cut_off: whether the file ends before the video does, known at the end.
        spent_s: wall seconds spent on reading and decoding so far.
    """

    def __init__(
        self, opened: Input, container: InputContainer, stream: VideoStream, *, max_pixels: int
    ) -> None:
        self._opened, self._container, self._stream = opened, container, stream
        self._time_base = stream.time_base or Fraction(1, 90_000)
        # AVI knows no presentation times: what FFmpeg then makes up is out of order.
        self._has_no_pts = container.format.name == "avi"
        self._damaged = False
        self._damaged_at: int | None = None
        self._order = _Order()
        self._lowest: int | None = None
        self._first: int | None = None
        self._ends: dict[int, int] = {}
        self.stated_s = _stated_s(container, stream)
        self.lost = False
        self.cut_off = False
        self.spent_s = 0.0
        context = stream.codec_context
        self._max_pixels = max_pixels
        context.options = {"max_pixels": str(guarded_pixels(max_pixels))}
        context.thread_type = "AUTO"
        context.thread_count = _THREADS if context.width * context.height >= _THREADED_PIXELS else 1

    def __iter__(self) -> Iterator[Decoded]:
        packets = self._packets()
        while True:
            began_s = time.monotonic()
            packet = next(packets, None)
            if packet is not None and self._first is None and not packet.is_discard:
                self._lowest = _lower(self._lowest, packet.pts)
            self._order.sent(packet.pts if packet is not None else None)
            frames = self._decode(packet)
            self.spent_s += time.monotonic() - began_s
            for raw in frames:
                yield from self._order.returned(self._judged(raw))
            if packet is None:
                yield from self._order.rest()
                return

    def _judged(self, raw: VideoFrame) -> Decoded:
        timestamp = raw.dts if raw.pts is None or self._has_no_pts else raw.pts
        if self._first is None:
            # The video begins with its first picture, even where that one cannot be decoded.
            self._first = timestamp if self._has_no_pts else _lower(self._lowest, timestamp)
        if raw.is_corrupt or raw.width * raw.height > self._max_pixels:
            self._harm(timestamp)
        elif self._damaged and self._is_fresh(raw, timestamp):
            self._damaged, self._damaged_at = False, None
        after_loss, self.lost = self.lost, False
        return Decoded(raw, timestamp, self._first, not self._damaged, after_loss)

    @property
    def read_to(self) -> int | None:
        """The timestamp up to which the stream has been read, decodable or not."""
        return self._ends.get(self._stream.index)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """The packets of the stream; those of others are only asked how far the file goes."""
        index = self._stream.index
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    end = packet.pts + (packet.duration or 0)
                    self._ends[packet.stream_index] = max(end, self._ends.get(packet.stream_index, end))
                # An empty packet repeats a picture, but would tell the decoder that the video is over.
                if packet.stream_index == index and packet.size:
                    yield cast("Packet[VideoStream]", packet)
            self.cut_off = self._ends_early()
        except av.FFmpegError:
            self.cut_off = True
        except OSError as error:
            raise VideoError(self._opened.name, "unreadable", f"the file cannot be read: {error}") from error

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """What the decoder has ready after a packet, or at the end."""
        if packet is not None and packet.has_sidedata("encryption_info"):
            refuse_encrypted(self._opened)
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.FFmpegError:
            frames = None
        if frames is None or (packet is not None and packet.is_corrupt):
            self.lost = True
            self._harm(packet.pts if packet is not None else None)
        return frames or []

    def _harm(self, timestamp: int | None) -> None:
        self._damaged = True
        if timestamp is not None:
            self._damaged_at = timestamp if self._damaged_at is None else max(timestamp, self._damaged_at)

    def _is_fresh(self, raw: VideoFrame, timestamp: int | None) -> bool:
        """Whether a picture after damage owes nothing to it, though no flag ever says that one does."""
        if timestamp is None or self._damaged_at is None:
            return raw.key_frame
        past_s = (timestamp - self._damaged_at) * self._time_base
        # A key frame from shortly before the damage may still be on its way out; one from long before begins
        # another recording, joined on with a clock of its own.
        if raw.key_frame and not -_REORDERED_S <= past_s <= 0:
            return True
        # Some streams refresh bit by bit and have no more key frames.
        return past_s > _DISTRUST_S

    def _ends_early(self) -> bool:
        container = self._container
        names = set(container.format.name.split(","))
        if "mpegts" in names:
            return all(self._opened.size_bytes % size for size in _TS_PACKET_BYTES)
        if "avi" in names and _riff_bytes(self._opened) > self._opened.size_bytes:
            return True
        if not names & _STATE_DURATION or container.duration is None:
            return False
        entries = self._stream.index_entries
        if "mov" in names and len(entries) and entries[-1].pos + entries[-1].size > self._opened.size_bytes:
            return True
        stated_s = ((container.start_time or 0) + container.duration) / av.time_base
        # Sound may outlast the picture, and counts.
        read_to_s = max(
            (end * (container.streams[i].time_base or 0) for i, end in self._ends.items()), default=0
        )
        return read_to_s < stated_s - _MISSING_END_S


class _Order:
    """Holds a picture back until those that were decoded before it, and are shown after it, are known as well.

    A picture between two others builds on the later one. When that one turns out to be damaged, so is it.
    """

    def __init__(self) -> None:
        self._packets = 0
        self._inside: dict[int, int] = {}
        self._held: deque[tuple[int, Decoded]] = deque()

    def sent(self, pts: int | None) -> None:
        """Takes note of a packet that goes into the decoder."""
        self._packets += 1
        if pts is not None:
            self._inside[pts] = self._packets

    def returned(self, decoded: Decoded) -> Iterator[Decoded]:
        """Takes what came out, and gives what nothing can harm any more."""
        pts = decoded.raw.pts
        number = self._inside.pop(pts, None) if pts is not None else None
        if pts is None or number is None:
            yield from self.rest()
            yield decoded
            return
        # What should have been shown by now is lost.
        self._inside = {other: packet for other, packet in self._inside.items() if other > pts}
        if decoded.raw.is_corrupt:
            for later, held in self._held:
                held.sound = held.sound and later < number
        self._held.append((number, decoded))
        while self._held and not any(packet < self._held[0][0] for packet in self._inside.values()):
            yield self._held.popleft()[1]

    def rest(self) -> Iterator[Decoded]:
        """Gives what is still held, in order."""
        while self._held:
            yield self._held.popleft()[1]


def _stated_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def _riff_bytes(opened: Input) -> int:
    """How long an AVI file says that it is."""
    opened.file.seek(4)
    return 8 + int.from_bytes(opened.file.read(4), "little")


def _lower(a: int | None, b: int | None) -> int | None:
    return min((value for value in (a, b) if value is not None), default=None)
