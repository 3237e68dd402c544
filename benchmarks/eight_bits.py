"""A model file and a smaller sibling through the whole path: `python benchmarks/eight_bits.py DATA [EVERY [SIBLING]]`.

DATA is a manifest CSV or a folder, as for `dmcl train`; of its val split every EVERY-th video is scored with both
models that ship, or with the first and SIBLING, such as `dmcl quantize --to fp16` writes. On the CPU, whatever
SIBLING is made for. Prints the AUC of both, and how far labels, probabilities and spans lie apart.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dmcl_sdk import Detector, Verdict
from dmcl_sdk.network import default_model
from training.data.manifest import read_manifest
from training.metrics import auc


def main() -> None:
    """Score, and print one line for each video that differs, then the figures."""
    clips = read_manifest(Path(sys.argv[1]), split="val")[:: int(sys.argv[2]) if len(sys.argv) > 2 else 1]
    first = default_model()
    sibling = Path(sys.argv[3]) if len(sys.argv) > 3 else first.with_name(f"{first.stem}-int8.onnx")
    detectors = [Detector(path, providers=["cpu"]) for path in (first, sibling)]
    precision = detectors[1].spec.precision
    fake, pairs = [], []
    for clip in clips:
        both = [detector.score(clip.path) for detector in detectors]
        if any(verdict.summary.probability is None for verdict in both):
            print(f"{clip.path.name}: {both[0].status}, {precision}: {both[1].status}", flush=True)
            continue
        fake.append(clip.fake)
        pairs.append(both)
        if not _agree(*both):
            print(f"{clip.path.name}: {_told(both[0])}; {precision}: {_told(both[1])}", flush=True)
    scores = np.array([[verdict.summary.probability or 0.0 for verdict in both] for both in pairs])
    apart, truth = np.abs(scores[:, 0] - scores[:, 1]), np.array(fake)
    print(
        f"{len(pairs)} videos, {sum(fake)} of them fake, with {detectors[0].model.name} {detectors[0].model.version}"
    )
    print(f"AUC {auc(truth, scores[:, 0]):.4f}, {precision}: {auc(truth, scores[:, 1]):.4f}")
    print(f"probabilities apart by {np.median(apart):.4f} (median), {apart.max():.4f} (largest)")
    print(
        f"label, number of spans and their edges within 2 frames: {sum(_agree(*both) for both in pairs)} videos"
    )


def _agree(a: Verdict, b: Verdict) -> bool:
    """Whether both say the same, and of the same frames to within two."""
    if a.summary.label != b.summary.label or len(a.spans) != len(b.spans):
        return False
    return all(
        abs(s.start_frame - t.start_frame) <= 2 and abs(s.end_frame - t.end_frame) <= 2
        for s, t in zip(a.spans, b.spans, strict=True)
    )


def _told(verdict: Verdict) -> str:
    spans = [(span.start_frame, span.end_frame) for span in verdict.spans]
    return f"{verdict.summary.label} {verdict.summary.probability:.3f} {spans}"


if __name__ == "__main__":
    main()
