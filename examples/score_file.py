"""Score one video and print what was found: `python examples/score_file.py clip.mp4`."""

from __future__ import annotations

import sys

from dmcl_sdk import Detector, VideoError


def main() -> None:
    """Say who, from when to when, how sure, and why."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: score_file.py VIDEO")
    with Detector() as detector:
        try:
            verdict = detector.score(sys.argv[1])
        except VideoError as error:
            raise SystemExit(str(error)) from error
    print(verdict.status, verdict.summary.label, verdict.summary.probability)
    for span in verdict.spans:
        print(
            f"face {span.track_id}: {span.start_ms} to {span.end_ms} ms, probability {span.probability:.2f}"
        )
    for reason in verdict.reasons:
        print(reason.code, reason.message)


if __name__ == "__main__":
    main()
