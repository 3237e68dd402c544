"""Reading a video: frames by presentation time, whatever the file is like.

A file that is not a video raises; a video that is damaged, cut off or odd is read as far as it goes, and its
reasons say what was found. Only the given bytes are read: no playlist, reference or URL inside is followed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.stream import VideoStream

from dmcl_sdk.container import open_container, video_stream
from dmcl_sdk.decoder import Decoded, Decoder
from dmcl_sdk.errors import VideoError
from dmcl_sdk.frame import Frame, Picture, Rotation
from dmcl_sdk.picture import PictureReader
from dmcl_sdk.source import Input, VideoSource, open_source, video_name
from dmcl_sdk.timeline import Place, Timeline
from dmcl_sdk.verdict import Reason, ReasonCode

_DAMAGED = "pictures are damaged or missing here"
_MOST_REASONS = 50


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a video may cost. Too many bytes or pixels are refused; the rest ends the reading.

    Attributes:
        max_bytes: of the file.
        max_pixels: coded width x height. A picture that outgrows it later on is not decoded.
        max_duration_s: of presentation time.
        max_frames: decoded.
        max_work_s: wall time since the video was opened; None for no limit.
    """

    max_bytes: int = 4 * 2**30
    max_pixels: int = 40_000_000
    max_duration_s: float = 4 * 3600.0
    max_frames: int = 1_000_000
    max_work_s: float | None = None

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels, self.max_duration_s, self.max_frames) <= 0:
            raise ValueError(f"a limit is over 0, got {self}")


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the file says of itself, and its first picture.

    Attributes:
        name: the path, or `<bytes>` / `<file>`.
        uri: `file://...`, or `urn:sha256:...` for what has no path.
        size_bytes: of the whole file.
        sha256: of the whole file, in hexadecimal.
        codec: as FFmpeg calls it: h264, hevc, vp9, av1, ...
        width: displayed, after rotation and pixel aspect.
        height: displayed.
        rotation: degrees clockwise by which the coded picture is turned for display.
        frame_rate: frames a second on average, as the container states it.
        pixel_format: as coded: yuv420p, yuv420p10le, ...
    """

    name: str
    uri: str
    size_bytes: int
    sha256: str
    codec: str
    width: int
    height: int
    rotation: Rotation
    frame_rate: Fraction | None
    pixel_format: str


@contextmanager
def open_video(
    source: VideoSource, limits: VideoLimits | None = None, *, max_fps: float = 32.0
) -> Iterator[Video]:
    """Opens a video and decodes its first frame.

    Args:
        source: a path, a whole file in memory, or a binary file object, which is read from its start.
        limits: what the video may cost.
        max_fps: frames that come faster are thinned out by time: of 60 a second, every second one is kept.

    Raises:
        VideoError: the file cannot be read, is no video, or is over a limit; also while iterating, where
            reading fails.
    """
    if not max_fps > 0:
        raise ValueError(f"max_fps is over 0, got {max_fps}")
    began_s = time.monotonic()
    limits = limits or VideoLimits()
    with (
        open_source(source, max_bytes=limits.max_bytes) as opened,
        open_container(opened, max_pixels=limits.max_pixels) as container,
    ):
        stream = video_stream(container, opened, max_pixels=limits.max_pixels)
        decoder = Decoder(opened, container, stream, max_pixels=limits.max_pixels)
        yield Video(opened, decoder, stream, limits, max_fps=max_fps, began_s=began_s)


@dataclass(slots=True, eq=False)
class _Kept:
    """A frame that waits for the next one, which says when it ends.

    Attributes:
        until: when its own time is over, and that of the frames thinned out after it.
    """

    picture: Picture
    index: int
    start: int
    until: int
    continuous: bool


class Video:
    """A video being read: iterate over it, once.

    Attributes:
        info: what the file says of itself.
        reasons: what was found on the way, in order of discovery; complete after iteration.
    """

    def __init__(
        self,
        opened: Input,
        decoder: Decoder,
        stream: VideoStream,
        limits: VideoLimits,
        *,
        max_fps: float,
        began_s: float,
    ) -> None:
        self._began_s = began_s
        self._name, self._decoder, self._limits = opened.name, decoder, limits
        time_base = stream.time_base or Fraction(1, 90_000)
        rate = stream.guessed_rate or stream.average_rate or Fraction(25)
        self._timeline = Timeline(time_base, max(1, round(1 / (rate * time_base))))
        self._least_step = float(1 / (Fraction(max_fps) * time_base))
        self._pictures = PictureReader(stream)
        self._end = 0
        self.reasons: list[Reason] = []
        self._frames = self._read()
        self._first = next(self._frames, None)
        if self._first is None and not self._has("limit_reached"):
            raise VideoError(opened.name, "no_frames", "no picture in the file can be decoded")
        self.info = _describe(opened, stream, self._first)

    def __iter__(self) -> Iterator[Frame]:
        first, self._first = self._first, None
        if first is not None:
            yield first
        yield from self._frames

    @property
    def duration_s(self) -> float:
        """End of the last frame decoded so far, in seconds from the first presentation timestamp."""
        return self._timeline.seconds(self._end)

    @property
    def vfr(self) -> bool:
        """Whether frames came at a variable rate so far."""
        return self._timeline.variable

    @property
    def container_duration_s(self) -> float | None:
        """How long the container says that the video lasts; None where it does not say."""
        return self._decoder.stated_s

    @property
    def decode_s(self) -> float:
        """Wall seconds spent on reading and decoding so far."""
        return self._decoder.spent_s

    def _read(self) -> Iterator[Frame]:
        """The frames that are kept, each one as soon as the next one says when it ends."""
        kept: _Kept | None = None
        harmed = False
        for index, (decoded, place) in enumerate(self._placed()):
            harmed = harmed or decoded.after_loss or not decoded.sound
            if place is None:
                continue
            self._end = max(self._end, place.end)
            if not decoded.sound:
                continue
            broken = self._note_break(kept.until if kept else 0, place, harmed=harmed)
            harmed = False
            # A quarter of a frame is forgiven, because the clocks of phones jitter.
            least_step = self._least_step - self._timeline.usual / 4
            if kept and not broken and place.start - kept.start < least_step:
                kept.until = place.end
                continue
            if kept:
                yield self._frame(kept, min(kept.until, place.start) if broken else place.start)
            kept = _Kept(
                self._picture(decoded, place), index, place.start, place.end, continuous=not (kept and broken)
            )
        last = kept.until if kept else 0
        self._note_end(last, harmed=harmed or self._decoder.lost)
        if kept:
            yield self._frame(kept, last)

    def _placed(self) -> Iterator[tuple[Decoded, Place | None]]:
        """What is decoded, with its place in time, until the end or a limit."""
        limits = self._limits
        for index, decoded in enumerate(self._decoder):
            self._timeline.start_at(decoded.first_timestamp)
            place = self._timeline.place(decoded.timestamp, decoded.raw.duration)
            if index >= limits.max_frames:
                return self._stop(f"only the first {limits.max_frames} frames were looked at")
            if place and self._timeline.seconds(place.start) >= limits.max_duration_s:
                return self._stop(f"only the first {limits.max_duration_s:g} s were looked at")
            if limits.max_work_s is not None and time.monotonic() - self._began_s > limits.max_work_s:
                return self._stop(f"the work was stopped after {limits.max_work_s:g} s")
            yield decoded, place

    def _picture(self, decoded: Decoded, place: Place) -> Picture:
        try:
            picture = self._pictures.read(decoded.raw)
        except av.FFmpegError as error:
            message = f"pictures of the format {decoded.raw.format.name} cannot be read"
            raise VideoError(self._name, "not_a_video", message) from error
        if picture.geometry.first_field and not self._has("interlaced"):
            self._note(
                "interlaced", "every second row shows another instant and is left out", place.start, None
            )
        return picture

    def _frame(self, kept: _Kept, end: int) -> Frame:
        width, height = kept.picture.geometry.displayed
        seconds = self._timeline.seconds
        return Frame(
            kept.index, seconds(kept.start), seconds(end), width, height, kept.continuous, kept.picture
        )

    def _note_break(self, after: int, place: Place, *, harmed: bool) -> bool:
        """Whether pictures are missing between `after` and a place; says so where they are."""
        if harmed:
            self._note("decode_error", _DAMAGED, after, place.start)
            return True
        if place.after_hole:
            self._note("gap", "there is no picture for this time", after, place.start)
        return place.after_hole

    def _note_end(self, last: int, *, harmed: bool) -> None:
        if harmed:
            lost = self._timeline.at(self._decoder.read_to or 0)
            self._note("decode_error", _DAMAGED, last, max(last, self._end, lost))
        if self._decoder.cut_off:
            self._note("truncated", "the file ends before the video does", self._end, None)

    def _stop(self, message: str) -> None:
        self._note("limit_reached", message, self._end, None)

    def _has(self, code: ReasonCode) -> bool:
        return any(reason.code == code for reason in self.reasons)

    def _note(self, code: ReasonCode, message: str, start: int, end: int | None) -> None:
        start_ms, end_ms = (
            None if at is None else round(1000 * self._timeline.seconds(at)) for at in (start, end)
        )
        same = [number for number, reason in enumerate(self.reasons) if reason.code == code]
        if len(same) < _MOST_REASONS:
            self.reasons.append(Reason(code=code, message=message, start_ms=start_ms, end_ms=end_ms))
        else:
            # A file that is damaged all over would otherwise have a verdict as long as itself.
            self.reasons[same[-1]] = self.reasons[same[-1]].model_copy(update={"end_ms": end_ms})


def _describe(opened: Input, stream: VideoStream, first: Frame | None) -> VideoInfo:
    context = stream.codec_context
    return VideoInfo(
        name=opened.name,
        uri=opened.uri,
        size_bytes=opened.size_bytes,
        sha256=opened.sha256,
        codec=context.codec.canonical_name,
        width=first.width if first else context.width,
        height=first.height if first else context.height,
        rotation=first.picture.geometry.rotation if first else 0,
        frame_rate=stream.average_rate or stream.guessed_rate or None,
        pixel_format=context.pix_fmt or "unknown",
    )


__all__ = ["Frame", "Video", "VideoInfo", "VideoLimits", "VideoSource", "open_video", "video_name"]
