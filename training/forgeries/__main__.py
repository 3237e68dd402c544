"""`python -m training.forgeries sheet OUT.png [--clip VIDEO]`: look at every kind of forgery."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dmcl_sdk.errors import VideoError
from training.forgeries.drawn_face import drawn_clip
from training.forgeries.sheet import load_clip, write_sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.forgeries", description="Look at the forgeries."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheet", help="write a contact sheet of every kind")
    sheet.add_argument("out", type=Path, help="the PNG to write")
    sheet.add_argument("--clip", type=Path, help="a video of a face; a drawn face without it")
    sheet.add_argument("--seed", type=int, default=0, help="which draws")
    asked = parser.parse_args(arguments)
    try:
        clip = drawn_clip() if asked.clip is None else load_clip(asked.clip)
        write_sheet(asked.out, clip, seed=asked.seed)
    except (VideoError, ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
