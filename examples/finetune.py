"""Fine-tune on your own clips, from videos to a verdict of the new model.

    python examples/finetune.py                                           on clips that it makes, a few steps
    python examples/finetune.py --videos my_videos --steps 200            a folder with real/ and fake/

    real/, fake/ ─ dmcl train --finetune ─> weights ─ dmcl export ─> model file ─ dmcl calibrate ─> dmcl score

Needs `pip install 'dmcl-sdk[cpu,train]'`. What it makes of five copies of one clip shows that it works, and no more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from demo import example_video, forge, read, write

OUT = Path("demo/finetune").resolve()
DMCL = Path(sys.executable).with_name("dmcl")
PEOPLE = 5  # one of them is held out


def main() -> None:
    """Train, export, calibrate, score."""
    parser = argparse.ArgumentParser(description="Fine-tune on your own clips.")
    parser.add_argument("--videos", type=Path, help="a folder with real/ and fake/; clips are made without")
    parser.add_argument("--steps", type=int, default=2)
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    videos = (given.videos or made(OUT / "videos")).resolve()
    run, model = OUT / "run", OUT / "mine.onnx"
    changes = [f"steps={given.steps}"]
    if given.videos is None:
        changes += ["pairs=1", "frames=16", "judged=8", "workers=0", "tolerance=1.0"]
    dmcl(
        "train", "--finetune", videos, "--out", run, "--train", "heads",
        *(word for change in changes for word in ("--set", change)),
    )  # fmt: skip
    dmcl("export", run / "final.safetensors", model, "--name", "mine", "--rgb-discount", "0.15")
    dmcl("calibrate", model, videos, "--false-alarms", 0.5)
    dmcl("score", "--model", model, next((videos / "fake").iterdir()))


def made(folder: Path) -> Path:
    """So many names for one real clip and one forgery of it."""
    real = read(example_video())
    for label, frames in (("real", real.frames), ("fake", forge(real))):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(PEOPLE):
            write(folder / label / f"person{number}{'_forged' * (label == 'fake')}.mp4", frames, real.rate)
    return folder


def dmcl(*words: object) -> None:
    """One command, shown as it is typed."""
    print("$ dmcl", *words, flush=True)
    subprocess.run([DMCL, *map(str, words)], cwd=OUT, check=True)  # noqa: S603 - our own program


if __name__ == "__main__":
    main()
