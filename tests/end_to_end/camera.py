"""A camera on loopback: `python -m tests.end_to_end.camera PORT SECONDS` films for whoever connects, once.

A process of its own, because FFmpeg waits for its viewer with Python's lock held.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av

from tests.sdk.footage import carphone_images

RATE = 25


def main(port: int, seconds: int) -> None:
    """MPEG-TS over TCP, a key frame a second, as fast as a camera films."""
    images = [image[: image.shape[0] // 2 * 2, :176] for image in carphone_images()]  # H.264 wants even sides
    with av.open(f"tcp://127.0.0.1:{port}?listen=1", "w", format="mpegts") as out:
        options = {"g": str(RATE), "tune": "zerolatency"}
        stream = out.add_stream("libx264", rate=Fraction(RATE), options=options)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        for number in range(RATE * seconds):
            time.sleep(1 / RATE)
            image = images[number % len(images)]
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
