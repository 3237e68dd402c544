"""What a run says while it goes: a progress bar, `log.jsonl`, and TensorBoard's curves and sample clips."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.config import RunConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from training.validation import Validated

console = Console(stderr=True)


def progress_bar(*, quiet: bool = False) -> Progress:
    """A bar with what is done, what is left in time, and a note; nothing at all when quiet."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=quiet,
    )


class Journal:
    """The running account of one run; only the leading process keeps one.

    Args:
        config: of the run.
        start: steps done already: what an interrupted run wrote after its last checkpoint is taken back.
        total: steps in all.
        quiet: whether another process keeps it.
    """

    def __init__(self, config: RunConfig, *, start: int, total: int, quiet: bool) -> None:
        self.path, self.every = config.out / "log.jsonl", config.tensorboard.every
        self.start, self.total, self.quiet = start, total, quiet
        self.board: SummaryWriter | None = None
        self.progress = progress_bar(quiet=quiet)

    def __enter__(self) -> Self:
        self.progress.start()
        self.task = self.progress.add_task("training", total=self.total, completed=self.start, note="")
        if not self.quiet:
            _take_back(self.path, self.start)
            self.log = self.path.open("a")
            self.board = self._board()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        if not self.quiet:
            self.log.close()
        if self.board is not None:
            self.board.close()

    def step(self, step: int, stage: str, parts: dict[str, float], rates: dict[str, float]) -> None:
        """One optimisation step: the loss's parts, and the learning rate of each part of the network."""
        loss = sum(parts.values())
        self.progress.update(self.task, advance=1, description=stage, note=f"loss {loss:.3f}")
        self._write({"step": step, "stage": stage, "loss": loss, **parts})
        if self.board is not None and step % self.every == 0:
            for name, value in ({"loss": loss} | parts).items():
                self.board.add_scalar(f"{stage}/{name}", value, step)
            for name, value in rates.items():
                self.board.add_scalar(f"rate/{name}", value, step)

    def validated(self, step: int, found: Validated) -> None:
        """A validation, and pictures of its first clips."""
        self._write({"step": step, "validation_auc": found.auc, "validation_loss": found.loss})
        if not self.quiet:
            console.print(f"step {step + 1}: validation AUC {found.auc:.3f}, loss {found.loss:.3f}")
        if self.board is not None:
            self.board.add_scalar("validation/auc", found.auc, step)
            self.board.add_scalar("validation/loss", found.loss, step)
            for number, sheet in enumerate(found.sheets):
                self.board.add_image(f"clip/{number}", sheet, step, dataformats="HWC")

    def _board(self) -> SummaryWriter | None:
        if not self.every:
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=self.start)

    def _write(self, row: dict[str, Any]) -> None:
        if not self.quiet:
            self.log.write(json.dumps(row) + "\n")
            self.log.flush()


def _take_back(path: Path, start: int) -> None:
    """Drop the rows of steps that will be taken again; a last row that was cut off goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n") or json.loads(line)["step"] >= start:
            break
        kept.append(line)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept))
    partial.replace(path)
