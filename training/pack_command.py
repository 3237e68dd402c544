"""`dmcl pack`: the face crops that a training needs, in one file, for a machine that the videos cannot go to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.config import TrainConfig


def command(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|DATA",
            help="A TOML file such as configs/small.toml; or the videos alone: a folder with real/ and fake/, a "
            "manifest CSV, or a published data set.",
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="The pack to write.")],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the configuration, as in TOML: --set workers=8. Repeatable.",
        ),
    ] = None,
) -> None:
    """Pack the face crops that training needs into one file, for a machine without the videos.

    WHERE THE VIDEOS ARE

      dmcl pack configs/small.toml set.zip
      dmcl pack my_videos set.zip

    Faces are found and cut as for dmcl train, into the same cache, and coded
    finely in H.264: 3 to 4 kB a crop instead of 77. Of the configuration, data,
    photographs, rights, without, cache, workers and network.size_px count.
    Killed, the same command goes on.

    WHERE THE GPU IS

      dmcl train configs/small.toml --set data=set.zip --set photographs=set.zip
      dmcl train --finetune set.zip

    Crops are unpacked into the cache once; then the very pairs are drawn that
    would be drawn from the videos. A pack holds faces, names of files, labels and
    rights: it is as personal as the videos. It holds no sound and no background,
    so dmcl calibrate, evaluate and audit still need videos.
    """
    from training.pack import pack

    try:
        config = _config(what, changes or [])
        if file.suffix.lower() != ".zip":
            raise typer.BadParameter(f"a pack has a name like set.zip, got {file}", param_hint="FILE.zip")
        typer.echo(f"{file}: {pack(config, file)}")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _config(what: Path, changes: list[str]) -> TrainConfig:
    from training.config import TrainConfig, checked, read_config

    if not what.exists():
        raise ValueError(f"{what} is not there")
    if what.suffix.lower() == ".toml":
        return read_config(what, changes)
    return checked(TrainConfig, {"data": what}, changes)
