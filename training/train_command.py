"""`dmcl train`: from nothing by a configuration, or from trained weights on somebody's own videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

FORGOT = 1

_What = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG|DATA",
        help="A TOML file such as configs/small.toml. With --finetune: a folder with real/ and fake/, a manifest CSV "
        "with the columns file, split, label and, where you have them, generator, pair, identity, spans, or a pack.",
    ),
]
_Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a value, as in TOML: --set clips.steps=500. Repeatable."
    ),
]
_Finetune = Annotated[
    bool, typer.Option("--finetune", help="Start from trained weights, on your own videos (DATA).")
]
_From = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="WEIGHTS", help="Fine-tuning starts from these; by default from those that ship."
    ),
]
_Train = Annotated[
    list[str] | None,
    typer.Option(
        "--train", metavar="PART", help="What learns: msmr, msca, heads or all. Repeatable; default all."
    ),
]
_Guard = Annotated[
    Path | None,
    typer.Option("--guard", metavar="DATA", help="Further videos on which it must not get worse."),
]
_Out = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where everything is written.")]


def command(  # noqa: PLR0917 - typer reads a flag from each
    what: _What,
    changes: _Changes = None,
    finetune: _Finetune = False,  # noqa: FBT002 - typer reads a flag from it
    start: _From = None,
    train: _Train = None,
    guard: _Guard = None,
    out: _Out = None,
) -> None:
    """Train a network, or fine-tune one on your own videos.

    TRAIN FROM NOTHING

      dmcl train configs/small.toml
      dmcl train configs/small.toml --set clips.steps=500 --set network.cross_attention=false

    The RGB stream learns from single pictures, then the whole network from
    clips: real videos, forgeries made of them, and genuine fakes. To `out` it
    writes config.json, run.json, log.jsonl, tensorboard/, final.safetensors.
    Killed at any moment, the same command goes on from the last checkpoint, to
    the same result. Every key is explained in training/config.py.

    Several GPUs or machines take the very steps that one would (`out` and `cache`
    on a shared disk; pairs a step must divide among the processes):

      torchrun --no-python --nproc-per-node 4 dmcl train configs/base.toml

    FINE-TUNE

      dmcl train --finetune my_videos --out runs/mine
      dmcl train --finetune my_videos.csv --train heads --guard other_videos

    A part of your videos is held out, people and sources never on both sides; if
    you give no split, one is made. The report compares before and after: on that
    part, and on a guard (forgeries made of your real videos, and --guard). If a
    guard's AUC falls by more than .02, the weights are not called final, and the
    exit status is 1. A few hundred videos take two cores less than an hour.

    WHERE THE VIDEOS ARE NOT

      dmcl train configs/small.toml --set data=set.zip --set photographs=set.zip
      dmcl train --finetune set.zip

    dmcl pack writes the face crops of videos to such a file, where they are.

    NEXT: dmcl export, then dmcl calibrate.
    """
    try:
        if finetune:
            _finetune(what, changes or [], start=start, train=train, guard=guard, out=out)
        else:
            _refuse({"--from": start, "--train": train, "--guard": guard})
            _from_nothing(what, changes or [], out)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _refuse(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise ValueError(f"{', '.join(given)} only with --finetune")


def _from_nothing(path: Path, changes: list[str], out: Path | None) -> None:
    from training.config import read_config
    from training.data.packs import is_pack
    from training.train import train

    if path.is_dir() or is_pack(path):
        raise ValueError(
            f"{path} is {'a folder' if path.is_dir() else 'a pack'}: give a configuration such as configs/small.toml, "
            f"or --finetune {path}"
        )
    if not path.exists():
        raise ValueError(f"{path} is not there")
    typer.echo(train(read_config(path, [*changes, *([f"out={json.dumps(str(out))}"] if out else [])])))


def _finetune(
    data: Path,
    changes: list[str],
    *,
    start: Path | None,
    train: list[str] | None,
    guard: Path | None,
    out: Path | None,
) -> None:
    from training.before_after import as_dict, as_markdown
    from training.config import checked
    from training.finetune import FinetuneConfig, finetune

    given = {
        "data": data,
        "start": start,
        "train": train,
        "guard": guard,
        "out": out or Path("runs/finetuned"),
    }
    values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    config = checked(FinetuneConfig, values, changes)
    outcome = finetune(config)
    report = as_markdown(outcome, data)
    (config.out / "report.md").write_text(report)
    (config.out / "report.json").write_text(json.dumps(as_dict(outcome), indent=2))
    typer.echo(report)
    if not outcome.accepted:
        typer.echo(f"REJECTED: it forgot what it knew; see {config.out / 'report.md'}", err=True)
        raise typer.Exit(FORGOT)
