"""`dmcl ...`: a thin face on the SDK.

Exit statuses: 0 every file has a verdict (also abstained and not applicable); 1 `--fail-on` matched, or a
check failed; 2 bad usage or a wrong installation; 3 some file was not a video; 70 a bug; 130 stopped by
Ctrl-C; 141 the reader of the output went away.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer
from typer.core import TyperGroup

from dmcl_sdk.bench.cli import bench
from dmcl_sdk.errors import DeploymentError, VideoError
from dmcl_sdk.plugins import command_entry_points, origin, run_command
from dmcl_sdk.review_cli import Telling, check_embed, evidence, given, named_detector, report, verify
from dmcl_sdk.terminal import OnProgress, note, progress_bar, show, write

if TYPE_CHECKING:
    from dmcl_sdk.verdict import Verdict

MATCHED, DEPLOYMENT, NOT_A_VIDEO, BUG, STOPPED = 1, 2, 3, 70, 130

Device = Literal["auto", "cpu", "cuda", "openvino"]
FailOn = Literal["manipulated", "uncertain"]
OWN = "score", "report", "verify", "evidence", "doctor", "models", "schema", "bench"
"""Commands of this package, in the order in which a reader meets them."""

OF_EXTRAS = {
    "kafka": ("Connectors", "Scan what topics of Kafka ask for."),
    "s3": ("Connectors", "Scan what is uploaded to object storage, or lies there already."),
    "source": ("Connectors", "Scan what any installed source asks for."),
    "policy": ("Connectors", "Policies as code: what is done about a verdict."),
    "config": ("Connectors", "Check the settings of the connectors."),
    "train": ("Training", "Train a network, or fine-tune one on your own videos."),
    "manifest": ("Training", "Write down a data set: videos, labels, splits, people."),
    "pack": ("Training", "Pack the face crops that training needs, for a machine without the videos."),
    "export": ("Training", "Write a model file from trained weights."),
    "calibrate": ("Training", "Fit probabilities and thresholds to labelled videos."),
    "evaluate": ("Training", "Measure a model on labelled videos."),
    "quantize": ("Training", "Write a model file that computes in 8 bits."),
    "audit": ("Training", "Ask whether a model reads forgeries or files."),
    "places": ("Training", "Ask whether a model's heat maps are true."),
    "ablate": ("Training", "Experiments that switch parts of the method off."),
}
"""Commands that come with `dmcl-sdk[connectors]` and `dmcl-sdk[train]`, said without loading them."""


class _Sections(TyperGroup):
    """Commands in their order, under what they belong to, each with its whole first sentence."""

    def list_commands(self, _context: Any) -> list[str]:  # noqa: ANN401 - click's, or typer's own copy of it
        """As a reader meets them."""
        order = {name: place for place, name in enumerate((*OWN, *OF_EXTRAS))}
        return sorted(self.commands, key=lambda name: (order.get(name, len(order)), name))

    def format_commands(self, context: Any, formatter: Any) -> None:  # noqa: ANN401 - the same
        """A list for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(context):
            command = self.commands[name]
            section = getattr(command, "rich_help_panel", None)
            title = section if isinstance(section, str) else "Commands"
            sections.setdefault(title, []).append((name, command.get_short_help_str(limit=200)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


app = typer.Typer(
    name="dmcl",
    cls=_Sections,
    help="""Finds manipulated faces in video: who, from when to when, how sure, and why.

    \b
        dmcl score clip.mp4                          a table for people
        dmcl score --json *.mp4 > verdicts.jsonl     one verdict a line, for programs
        dmcl score --report reports clip.mp4         a page for moderators
        dmcl doctor                                  whether all that it takes is here

    Exit status: 0 all is well; 2 bad usage, or a wrong installation; 70 a bug, with a traceback; 130 stopped by Ctrl-C.
    What else a command may end with stands in its own --help.""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # as the commands of other packages print theirs; examples keep their lines
    pretty_exceptions_enable=False,  # main() has a status and a plain traceback for a bug
)
models_app = typer.Typer(help="The model files that ship.", no_args_is_help=True)
schema_app = typer.Typer(help="The formats that are written.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(schema_app, name="schema")
for _command in (report, verify, evidence, bench):
    app.command()(_command)


class Scorer(Protocol):
    """What `dmcl score` needs of a detector."""

    def score(self, video: str, *, on_progress: OnProgress | None = None) -> Verdict:
        """A verdict on one file; raises VideoError."""
        ...


def main() -> None:
    """Entry point of the `dmcl` command."""
    for entry in command_entry_points():
        if entry.name not in OWN:
            _hang_in(entry)
    try:
        app()
    except DeploymentError as error:
        note(str(error))
        sys.exit(DEPLOYMENT)
    except Exception:  # noqa: BLE001 - Python's own status for a bug is 1, which means a finding here
        traceback.print_exc()
        sys.exit(BUG)


def _hang_in(entry: EntryPoint) -> None:
    # everything behind the name goes to the command as it stands, `--help` included
    settings = {
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }

    section, sentence = "Of other packages", f"From {origin(entry)}."
    if origin(entry) == "dmcl-sdk":
        section, sentence = OF_EXTRAS.get(entry.name, (section, sentence))

    @app.command(entry.name, help=sentence, rich_help_panel=section, context_settings=settings)
    def forward(context: typer.Context) -> None:
        run_command(entry, context.args, program="dmcl")


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"dmcl {version('dmcl-sdk')}\n")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def score(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Videos, scored in this order.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="One verdict a line on standard output.")] = False,
    reports: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="DIR", help="Write an HTML page for each video, and an index, into DIR."
        ),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="Put each video inside its page (up to 64 MiB).")
    ] = False,
    detector: Annotated[
        str,
        typer.Option(metavar="NAME", help="A detector that a package has added, or package.module:callable."),
    ] = "default",
    model: Annotated[Path | None, typer.Option(help="Model file; the one that ships if not given.")] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs; auto is never cuda.")] = "auto",
    face_model: Annotated[Path | None, typer.Option(help="YuNet file; MTCNN if not given.")] = None,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Exit with 1 if a video is this or worse: uncertain < manipulated.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Read only so many seconds of each video.")
    ] = None,
) -> None:
    """Score videos: who was manipulated, from when to when, how sure, and why.

    Verdicts go to standard output as they are reached, progress and messages to standard error. A file that is not a
    video has a verdict that says so, and the others are scored all the same.

    \b
        dmcl score clip.mp4
        dmcl score --json uploads/*.mp4 > verdicts.jsonl
        dmcl score --report reports --embed clip.mp4
        dmcl score --fail-on manipulated clip.mp4 || echo "look at it"
        dmcl score --detector my_package.detector:open clip.mp4

    \b
    Exit status:
    0 every file has a verdict;
    1 --fail-on matched;
    2 bad usage, or a wrong installation;
    3 some file was not a video, and --fail-on did not match.
    """
    for name in files if reports and embed else ():
        check_embed(Path(name))
    opened = named_detector(detector, given(model, device, face_model, max_seconds))
    if reports is None:
        raise typer.Exit(score_files(Telling(opened), files, json=json, fail_on=fail_on))
    from dmcl_sdk.report.folder import ReportFolder

    folder = ReportFolder(reports, embed=embed)
    status = score_files(Telling(opened, folder), files, json=json, fail_on=fail_on)
    note(f"reports: {reports / 'index.html'}")
    raise typer.Exit(status)


def score_files(detector: Scorer, files: Sequence[str], *, json: bool, fail_on: FailOn | None) -> int:
    """Show a verdict on each file, in order, and return the exit status."""
    from dmcl_sdk.tables import verdict_table

    labels, statuses, done = set(), set(), 0
    try:
        for name in files:
            verdict = _verdict_on(detector, name, f"{done + 1}/{len(files)}")
            if json:
                write(verdict.to_json() + "\n", encoding="utf-8")
            else:
                show(verdict_table(verdict, name))
            labels.add(verdict.summary.label)
            statuses.add(verdict.status)
            done += 1
    except KeyboardInterrupt:
        note(f"stopped; {done} of {len(files)} scored")
        return STOPPED
    if fail_on and labels & {fail_on, "manipulated"}:
        return MATCHED
    return NOT_A_VIDEO if "failed" in statuses else 0


def _verdict_on(detector: Scorer, name: str, position: str) -> Verdict:
    from dmcl_sdk.detector import failed_verdict

    try:
        with progress_bar(name, position) as on_progress:
            return detector.score(name, on_progress=on_progress)
    except VideoError as error:
        return failed_verdict(error)


@app.command()
def doctor() -> None:
    """Say what is installed and which provider really runs, and time each stage on a made clip.

    \b
    Exit status:
    0 videos can be scored;
    1 something is wrong, and a line that says FAILED says what.
    """
    from rich.text import Text

    from dmcl_sdk.doctor import examine

    marks = {"ok": ("ok      ", "green"), "failed": ("FAILED  ", "bold red"), "absent": ("absent  ", "dim")}
    healthy = True
    for check in examine():
        took = "" if check.seconds is None else f"  {check.seconds:.3f} s"
        show(Text.assemble(marks[check.state], f"{check.name:<18}", check.found, (took, "cyan")))
        healthy = healthy and check.state != "failed"
    raise typer.Exit(0 if healthy else 1)


@models_app.command("list")
def list_models() -> None:
    """Name, version, precision, size, digest and path of each model that ships, and which is the default."""
    from dmcl_sdk.network import OnnxNetwork, default_model

    for path in sorted(default_model().parent.glob("*.onnx")):
        network = OnnxNetwork(path, ["cpu"])
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        default = "default" if path == default_model() else ""
        spec = network.spec
        facts = spec.name, spec.version, spec.precision, size, network.sha256, str(path), default
        write("  ".join(facts).rstrip() + "\n")


@models_app.command("verify")
def verify_model(
    model: Annotated[Path | None, typer.Argument(help="Model file; the one that ships if not given.")] = None,
) -> None:
    """Load a model, and compare its digest with the card that lies beside it.

    \b
        dmcl models verify
        dmcl models verify runs/mine/mine.onnx

    \b
    Exit status:
    0 it loads, and its card names it;
    1 its card does not name it;
    2 it does not load.
    """
    from dmcl_sdk.network import OnnxNetwork, default_model

    path = default_model() if model is None else model
    digest = OnnxNetwork(path, ["cpu"]).sha256
    card = path.with_name("MODEL_CARD.md")
    if card.exists() and digest in card.read_text(encoding="utf-8"):
        write(f"{path}: ok, {digest}\n")
        return
    note(f"{path}: {digest} is not named by {card}")
    raise typer.Exit(1)


@models_app.command("card")
def model_card() -> None:
    """What the model that ships was trained on, what it was measured to do, and where it fails."""
    from dmcl_sdk.network import default_model

    write(default_model().with_name("MODEL_CARD.md").read_text(encoding="utf-8"))


@schema_app.command("verdict")
def verdict_schema() -> None:
    """JSON Schema 2020-12 of a verdict, `dmcl.verdict/1`.

    \b
        dmcl schema verdict > verdict-1.json
    """
    from dmcl_sdk.verdict import json_schema_text

    write(json_schema_text(), encoding="utf-8")
