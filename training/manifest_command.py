"""`dmcl manifest`: a data set as a table of videos, labels and splits, to look at, to change and to train on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from training.data.manifest import read_manifest, write_manifest
from training.data.published import PUBLISHED, read_dataset


def command(
    data: Annotated[
        Path,
        typer.Argument(help="A folder with real/ and fake/, or a data set as it was published.", exists=True),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.csv", help="The manifest to write.")],
    *,
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"Which published set it is: {', '.join(PUBLISHED)}; found by its shape without.",
        ),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(help="Of FaceForensics++ and what comes with it: raw, c23 or c40; c23 without."),
    ] = None,
    originals: Annotated[
        Path | None,
        typer.Option(help="Where FaceForensics++ lies, for DeeperForensics-1.0.", exists=True),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on with the files that are there.")
    ] = False,
) -> None:
    """Write down a data set: a row a video, with its label, split, pair and people.

    Whatever takes a data set takes the table too, with the splits that it says:
    dmcl train --finetune my_videos.csv, dmcl evaluate model.onnx ff-c40.csv.

        dmcl manifest my_videos my_videos.csv

        dmcl manifest FaceForensics++ ff-c40.csv --compression c40

        dmcl manifest DeeperForensics deeper.csv --originals FaceForensics++
    """
    try:
        if dataset or compression or originals:
            clips = read_dataset(
                data, dataset, compression=compression, originals=originals, allow_missing=allow_missing
            )
        else:
            clips = read_manifest(data, allow_missing=allow_missing)
        write_manifest(clips, out)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    counts = Counter((clip.split, "fake" if clip.fake else "real") for clip in clips)
    told = ", ".join(f"{count} {label} in {split}" for (split, label), count in sorted(counts.items()))
    typer.echo(f"{out}: {told}")
