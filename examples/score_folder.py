"""Score a folder, with a progress bar; stopped at any moment, the same command goes on where it was.

    python examples/score_folder.py videos verdicts.jsonl

Writes one verdict a line, in the order of names. A line that was cut off by a crash is written anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dmcl_sdk import Detector, Verdict

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}


def main() -> None:
    """Score what has no verdict yet."""
    parser = argparse.ArgumentParser(description="Score a folder of videos.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, help="JSON Lines; verdicts that are there already are kept")
    given = parser.parse_args()
    videos = sorted(path for path in given.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    done = kept(given.out)
    to_do = [path for path in videos if path.absolute().as_uri() not in done]
    with Detector() as detector, given.out.open("a", encoding="utf-8") as out:
        for verdict in detector.score_many(to_do, progress=True):
            out.write(verdict.to_json() + "\n")
            out.flush()
    print(f"{len(videos)} videos, {len(done)} had a verdict; all are in {given.out}")


def kept(out: Path) -> set[str]:
    """Which videos have a verdict; a line that is not whole is cut off."""
    if not out.exists():
        return set()
    whole, _, _ = out.read_text(encoding="utf-8").rpartition("\n")
    lines = whole.splitlines()
    out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {Verdict.model_validate_json(line).asset.uri for line in lines}


if __name__ == "__main__":
    main()
