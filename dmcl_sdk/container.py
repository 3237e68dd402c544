"""Opening a file as a video: only formats that keep everything inside, only streams that can be decoded."""

from __future__ import annotations

from typing import NoReturn

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from dmcl_sdk.errors import VideoError
from dmcl_sdk.source import Input

_VIDEO_FORMATS = (
    "3gp,apng,asf,av1,avi,dv,flv,gif,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,"
    "rm,vc1,vvc,wtv,yuv4mpegpipe"
)
# A sound file is better answered with "no picture" than with "unknown format".
_AUDIO_FORMATS = "aac,ac3,aiff,amr,flac,mp3,w64,wav"
_PLAYLIST_MARKS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"<SmoothStreaming", b"v=0", b"[playlist]")
_PICTURE_MARKS = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"8BPS")
_PICTURE_BRANDS = (b"WEBP", b"heic", b"heix", b"mif1")
_READ_BYTES = 2**16
_PEEK_BYTES = 2**20


class _Nameless:
    """A file without its name: the format is told by content, alike for a path and for bytes."""

    def __init__(self, opened: Input) -> None:
        self.read, self.seek, self.tell = opened.file.read, opened.file.seek, opened.file.tell


def open_container(opened: Input, *, max_pixels: int) -> InputContainer:
    """Opens the bytes as a container.

    Raises:
        VideoError: not_a_video, or unreadable where reading the bytes fails.
    """
    try:
        return av.open(
            _Nameless(opened),
            "r",
            options={"max_pixels": str(guarded_pixels(max_pixels))},
            container_options={"format_whitelist": f"{_VIDEO_FORMATS},{_AUDIO_FORMATS}"},
            metadata_errors="replace",
            buffer_size=_READ_BYTES,
            io_open=_refuse,
        )
    except av.FFmpegError as error:
        raise VideoError(opened.name, "not_a_video", _why_not(opened)) from error
    except OSError as error:
        raise VideoError(opened.name, "unreadable", f"the file cannot be read: {error}") from error


def guarded_pixels(max_pixels: int) -> int:
    """The limit for decoders, which count their padding too: a size is only a number in a header, memory is not."""
    return 2 * max_pixels + 2**16


def video_stream(container: InputContainer, opened: Input, *, max_pixels: int) -> VideoStream:
    """The stream that a player would show.

    Raises:
        VideoError: no_video_stream, encrypted, not_a_video (no decoder) or over_limit (pixels).
    """
    # The cover of a song is a video stream as well.
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & still]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError(
            opened.name, "no_video_stream", f"there is no video stream, only: {', '.join(kinds) or 'nothing'}"
        )
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in streams else streams[0]
    _check_decodable(stream, opened)
    pixels = stream.codec_context.width * stream.codec_context.height
    if pixels > max_pixels:
        raise VideoError(
            opened.name, "over_limit", f"the picture has {pixels} pixels, more than {max_pixels}"
        )
    return stream


def _check_decodable(stream: VideoStream, opened: Input) -> None:
    if "enc_key_id" in stream.metadata:
        refuse_encrypted(opened)
    # PyAV has no codec context where FFmpeg knows no decoder, though its types say otherwise.
    if stream.codec_context is None:
        if _encrypted_sample_entry(opened):  # type: ignore[unreachable]
            refuse_encrypted(opened)
        raise VideoError(
            opened.name, "not_a_video", "the picture is coded in a way that nobody here can decode"
        )


def refuse_encrypted(opened: Input) -> NoReturn:
    """Raises the error for a file that needs a key."""
    raise VideoError(opened.name, "encrypted", "the picture is encrypted, and there is no key")


def _encrypted_sample_entry(opened: Input) -> bool:
    """Whether `encv` (ISO/IEC 14496-12, 8.12) stands near the start or the end, where MP4 has its index."""
    position = opened.file.tell()
    opened.file.seek(0)
    head = opened.file.read(_PEEK_BYTES)
    opened.file.seek(max(0, opened.size_bytes - _PEEK_BYTES))
    tail = opened.file.read(_PEEK_BYTES)
    opened.file.seek(position)
    return b"encv" in head or b"encv" in tail


def _why_not(opened: Input) -> str:
    opened.file.seek(0)
    head = opened.file.read(512).lstrip(b"\xef\xbb\xbf \r\n\t")
    if any(mark in head for mark in _PLAYLIST_MARKS if mark.startswith(b"<")) or head.startswith(
        _PLAYLIST_MARKS
    ):
        return "this is a list of other files, and those are not followed"
    bitmap = head.startswith(b"BM") and not any(head[6:10])
    if bitmap or head.startswith(_PICTURE_MARKS) or head[8:12] in _PICTURE_BRANDS:
        return "this is a picture, and only videos are scored: a face is judged over time"
    if head[4:8] == b"ftyp":
        return "this is an MP4 or MOV whose index is missing or damaged: it was probably cut off"
    return "this is not a video in a format known here"


def _refuse(url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"a video may not open {url}")
