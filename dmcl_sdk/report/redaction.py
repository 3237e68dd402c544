"""A copy of a video in which faces without a finding are unrecognisable: blurred for good, and without sound."""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.explanation import Explanation
from dmcl_sdk.report.pictures import redacted
from dmcl_sdk.sighting import Sightings
from dmcl_sdk.verdict import Box, Verdict
from dmcl_sdk.video import VideoLimits, open_video

LONGER_SIDE_PX = 854
_TIME_BASE = Fraction(1, 90_000)


def redacted_copy(
    video: Path, verdict: Verdict, explanation: Explanation, limits: VideoLimits | None = None
) -> bytes:
    """The copy, H.264 in MP4, its longer side at most `LONGER_SIDE_PX`; frames keep their times.

    Faces that were not followed are not covered: too small to be found, or more at once than are followed.

    Raises:
        VideoError: the video cannot be read.
        DeploymentError: this build of FFmpeg has no H.264 encoder.
    """
    found = {span.track_id for span in verdict.spans}
    hidden = [curve.sightings for curve in explanation.curves if curve.track_id not in found]
    kept = [curve.sightings for curve in explanation.curves if curve.track_id in found]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redacted.mp4"
        with (
            open_video(video, limits, max_fps=explanation.spec.max_fps) as frames,
            av.open(str(path), "w", options={"movflags": "faststart"}) as output,
        ):
            stream = None
            for frame in frames:
                image = frame.image(LONGER_SIDE_PX)
                image = redacted(image, _places(hidden, frame.index), _places(kept, frame.index))
                even = np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
                if stream is None:
                    stream = _stream(output, even.shape[1], even.shape[0])
                picture = av.VideoFrame.from_ndarray(even, format="rgb24")
                picture.pts, picture.time_base = round(frame.start_s / _TIME_BASE), _TIME_BASE
                output.mux(stream.encode(picture))
            if stream is not None:
                output.mux(stream.encode(None))
        return path.read_bytes()


def _stream(output: av.container.OutputContainer, width: int, height: int) -> av.VideoStream:
    # one thread and no code of the processor's own: the same copy everywhere
    options = {"preset": "veryfast", "crf": "23", "x264-params": "threads=1:cpu-independent=1"}
    try:
        stream = output.add_stream("libx264", rate=30, options=options)
    except av.FFmpegError as error:
        raise DeploymentError(
            "this build of FFmpeg cannot write H.264, which a redacted copy needs"
        ) from error
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = _TIME_BASE
    return stream


def _places(faces: Sequence[Sightings], frame_index: int) -> list[Box]:
    """Where those of the faces are that a frame shows."""
    found = []
    for sightings in faces:
        indices = sightings.column("frame_index")
        at = bisect_left(indices, frame_index)
        if at < len(indices) and indices[at] == frame_index:
            left, top, width, height = sightings[at].box
            found.append(Box(left=left, top=top, width=max(width, 1e-5), height=max(height, 1e-5)))
    return found
