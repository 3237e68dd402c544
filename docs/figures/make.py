"""Makes the pictures of the documentation: `python docs/figures/make.py`, from the root of the repository.

The example video, forged from 1.5 s to 2.7 s as `examples/demo.py` does it, is scored by the model that ships. What the
pictures show is what comes out.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from dmcl_sdk import Detector
from dmcl_sdk.explanation import Explanation
from dmcl_sdk.report.folder import ReportFolder

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import demo  # noqa: E402 - an example is no package

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of where it draws

BLUE, RED, GREY = "#3465a4", "#c4412f", "#888888"


def main() -> None:
    """Score once, draw twice."""
    with tempfile.TemporaryDirectory() as scratch, Detector(providers=["cpu"]) as detector:
        video = Path(scratch) / "forged.mp4"
        real = demo.read(demo.example_video())
        demo.write(video, demo.forge(real), real.rate)
        explanation = detector.explain(video, most_peaks=3)
        draw_curves(explanation, FOLDER / "how-it-works.png")
        photograph_report(explanation, video, FOLDER / "report.png")


def draw_curves(explanation: Explanation, path: Path) -> None:
    """What each stream says of every frame, the spans that come of it, and the truth."""
    spec, curve = explanation.spec, max(explanation.curves, key=lambda one: len(one.times))
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8, 4.2), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    said = {
        "both streams together": (spec.frame_calibration.probability(curve.logits[:, 0]), BLUE, 2.0),
        "RGB alone": (spec.rgb_calibration.probability(curve.logits[:, 1]), GREY, 0.9),
        "optical flow alone": (spec.flow_calibration.probability(curve.logits[:, 2]), RED, 0.9),
    }
    for name, (probability, colour, width) in said.items():
        values, edges_s = curve.over_time(np.asarray(probability))
        above.stairs(values, edges_s, baseline=None, label=name, color=colour, linewidth=width)
    above.set(ylim=(0, 1), ylabel="P(manipulated) of a frame")
    above.legend(loc="lower center", ncols=3, frameon=False, fontsize=8)
    rows = ["truth", "spans"]
    below.barh(0, demo.FORGED_S[1] - demo.FORGED_S[0], left=demo.FORGED_S[0], color=RED, height=0.6)
    for span in explanation.verdict.spans:
        below.barh(1, (span.end_ms - span.start_ms) / 1000, left=span.start_ms / 1000, color=BLUE, height=0.6)
        middle = (span.start_ms + span.end_ms) / 2000
        below.text(middle, 1, f"{span.probability:.2f}", ha="center", va="center", color="white", fontsize=8)
    below.set(yticks=range(len(rows)), yticklabels=rows, xlabel="seconds", xlim=(0, curve.times[-1, 1]))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def photograph_report(explanation: Explanation, video: Path, path: Path) -> None:
    """The report as a moderator sees it who has pressed `r`."""
    page_path = ReportFolder(video.with_name("reports")).add(explanation.verdict, explanation, video)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 860}, color_scheme="light")
        page.set_default_timeout(300_000)
        page.goto(page_path.as_uri())
        page.keyboard.press("r")
        page.evaluate("document.querySelector('video').currentTime = 2")
        page.wait_for_timeout(4000)
        page.screenshot(path=path)
        browser.close()
    Image.open(path).quantize(160).save(path, optimize=True)


if __name__ == "__main__":
    main()
