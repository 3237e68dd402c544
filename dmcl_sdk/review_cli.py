"""`dmcl report`, `dmcl verify`, `dmcl evidence`: what a person needs who looks at a verdict, or contests one."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from dmcl_sdk.errors import VideoError
from dmcl_sdk.plugins import Scorer, open_default, open_detector, read_policy
from dmcl_sdk.tables import printable
from dmcl_sdk.terminal import OnProgress, note, progress_bar, write
from dmcl_sdk.verdict import Verdict

if TYPE_CHECKING:
    from dmcl_sdk.examination import Examined
    from dmcl_sdk.explanation import Explanation
    from dmcl_sdk.report.folder import ReportFolder
    from dmcl_sdk.report.page import Film

UNCHECKED = 2
_MOST_VERDICT_BYTES = 64 * 2**20

VerdictFile = Annotated[
    Path,
    typer.Argument(metavar="VERDICT.json", help="A verdict, as `dmcl score --json` writes it.", exists=True),
]
VideoFile = Annotated[Path, typer.Argument(metavar="VIDEO", help="The video that it is about.")]
Named = Annotated[
    str,
    typer.Option(
        "--detector",
        metavar="NAME",
        help="The detector that made it, if a package has added that, or package.module:callable.",
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(help="Model file; of those that ship, the one that the verdict names if not given."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "openvino"],
    typer.Option(help="Where the network runs; auto is never cuda."),
]
FaceModel = Annotated[Path | None, typer.Option(help="YuNet file, if the verdict was made with one.")]
MaxSeconds = Annotated[
    float | None, typer.Option(min=0.1, help="The same as when it was scored, if it was given then.")
]
Policy = Annotated[
    str | None, typer.Option(help="The policy that decided: a TOML file, or package.module:object.")
]
Embed = Annotated[bool, typer.Option("--embed", help="Put the video inside the page (up to 64 MiB).")]
Redact = Annotated[
    bool, typer.Option("--redact", help="Make faces without a finding unrecognisable in all that is shown.")
]


def given(
    model: Path | None, device: str, face_model: Path | None, max_seconds: float | None
) -> dict[str, Any]:
    """Those options of a detector that were given, as it takes them."""
    options = {
        "model": model and str(model),
        "providers": None if device == "auto" else [device],
        "face_model": face_model and str(face_model),
        "max_seconds": max_seconds,
    }
    return {name: value for name, value in options.items() if value is not None}


def named_detector(name: str, options: dict[str, Any]) -> Scorer:
    """A detector by its name."""
    return open_default(**options) if name == "default" else open_detector(name, options)


class Telling:
    """A detector that tells of its progress if it can, and leaves a page of each verdict if there is a folder."""

    def __init__(self, detector: Scorer, folder: ReportFolder | None = None) -> None:
        self._detector, self._folder = detector, folder

    def score(self, video: str, *, on_progress: OnProgress | None = None) -> Verdict:
        """A verdict on one file; raises VideoError."""
        from dmcl_sdk.detector import Detector, failed_verdict

        path = Path(video)
        if self._folder is None:
            if isinstance(self._detector, Detector):
                return self._detector.score(path, on_progress=on_progress)
            return self._detector.score(path)
        explanation = None
        try:
            if isinstance(self._detector, Detector):
                explanation = self._detector.explain(path, on_progress=on_progress)
                verdict = explanation.verdict
            else:
                verdict = self._detector.score(path)
        except VideoError as error:
            self._folder.add(failed_verdict(error), None, path)
            raise
        self._folder.add(verdict, explanation, path)
        return verdict


def verify(
    verdict: VerdictFile,
    video: VideoFile,
    *,
    policy: Policy = None,
    detector: Named = "default",
    model: Model = None,
    device: Device = "auto",
    face_model: FaceModel = None,
    max_seconds: MaxSeconds = None,
    json: Annotated[bool, typer.Option("--json", help="The checks as JSON on standard output.")] = False,
) -> None:
    """Prove or refute a verdict: check its digests, score the video again, and say precisely what differs.

    \b
        dmcl score --json clip.mp4 > verdict.json
        dmcl verify verdict.json clip.mp4
        dmcl verify verdict.json clip.mp4 --policy policy.toml     its decision too

    \b
    Exit status:
    0 all of it holds;
    1 something differs;
    2 something cannot be told with what is here, and the line says what is missing.
    """
    claimed = _read(verdict)[1]
    opened = _detector(claimed, detector, given(model, device, face_model, max_seconds))
    found = _examine(claimed, opened, video, policy)
    if json:
        write(
            json_format.dumps([asdict(check) for check in found.checks], ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
    else:
        for check in found.checks:
            write(f"{check.what:<14}{check.outcome:<11}{printable(check.message)}\n")
    raise typer.Exit(found.status)


def report(
    verdict: VerdictFile,
    video: VideoFile,
    *,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The page to write; VIDEO.html beside the verdict if not given."),
    ] = None,
    embed: Embed = False,
    redact: Redact = False,
    detector: Named = "default",
    model: Model = None,
    device: Device = "auto",
    face_model: FaceModel = None,
    max_seconds: MaxSeconds = None,
) -> None:
    """Write one HTML page on a verdict: faces over the video, curves, spans, pictures and reasons; it needs no network.

    The video is scored again for its curves, and the page is written only if that says the same. It links to the video
    where that lies now; with --embed it carries it along.

    \b
        dmcl report verdict.json clip.mp4
        dmcl report verdict.json clip.mp4 -o page.html --embed --redact

    \b
    Exit status:
    0 it is written;
    1 the video, or what scoring it again says, is not the verdict's;
    2 the model, or another thing that it takes, is not here.
    """
    from dmcl_sdk.report.folder import write as write_file
    from dmcl_sdk.report.page import page, require

    require()
    claimed = _read(verdict)[1]
    path = out or verdict.with_name(f"{video.name}.html")
    _check_pages(path, verdict, video, embed=embed and not redact)
    options = given(model, device, face_model, max_seconds)
    opened = _detector(claimed, detector, options, redact=redact)
    explanation = _same(claimed, opened, video).explanation
    film = _film(claimed, explanation, video, path, embed=embed, redact=redact)
    write_file(path, page(claimed, explanation, name=video.name, film=film, redact=redact))
    write(f"{path}\n")


def evidence(
    verdict: VerdictFile,
    video: VideoFile,
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="The zip file to write.")],
    embed: Embed = False,
    redact: Redact = False,
    policy: Policy = None,
    detector: Named = "default",
    model: Model = None,
    device: Device = "auto",
    face_model: FaceModel = None,
    max_seconds: MaxSeconds = None,
) -> None:
    """Pack a verdict, its page, the pictures and digests of all into one zip for an appeal.

    The same verdict and video give the same bytes. Nothing is packed that scoring the video again does not confirm.

    \b
        dmcl evidence verdict.json clip.mp4 -o bundle.zip
        dmcl evidence verdict.json clip.mp4 -o bundle.zip --policy policy.toml --redact

    \b
    Exit status:
    0 it is written;
    1 the video, or what scoring it again says, is not the verdict's;
    2 the model, or another thing that it takes, is not here.
    """
    from dmcl_sdk.report.evidence import bundle
    from dmcl_sdk.report.folder import write_bytes
    from dmcl_sdk.report.page import Film, page, require

    require()
    content, claimed = _read(verdict)
    _check_pages(out, verdict, video, embed=embed and not redact)
    options = given(model, device, face_model, max_seconds)
    opened = _detector(claimed, detector, options, redact=redact)
    found = _same(claimed, opened, video, policy)
    film = _film(claimed, found.explanation, video, None, embed=True, redact=redact) if embed else Film(None)
    html = page(claimed, found.explanation, name=video.name, film=film, redact=redact)
    write_bytes(out, bundle(content, claimed, found.explanation, found.checks, html, redact=redact))
    write(f"{out}\n")


def _same(claimed: Verdict, detector: Scorer, video: Path, policy: str | None = None) -> Examined:
    """The examination of a verdict that is confirmed; any other ends the command."""
    found = _examine(claimed, detector, video, policy, explain=True)
    if not found.is_confirmed:
        for check in found.checks:
            if check.outcome != "holds":
                note(f"{check.what}: {check.message}")
        note("nothing was written: a page shows one verdict, and this one is not confirmed")
        raise typer.Exit(found.status)
    return found


def _examine(
    claimed: Verdict, detector: Scorer, video: Path, policy: str | None, *, explain: bool = False
) -> Examined:
    from dmcl_sdk.examination import decided, examine

    decide = None if policy is None else read_policy(policy)  # before the work, which is long
    with progress_bar(str(video), "scoring again") as on_progress:
        found = examine(claimed, detector, video, explain=explain, on_progress=on_progress)
    return decided(found, claimed, decide)


def _film(
    claimed: Verdict,
    explanation: Explanation | None,
    video: Path,
    page: Path | None,
    *,
    embed: bool,
    redact: bool,
) -> Film:
    """The video as the page has it: linked or inside, as it is or redacted."""
    from dmcl_sdk.report.folder import embedded, film_of, write_bytes
    from dmcl_sdk.report.page import Film

    if claimed.status == "failed":
        return Film(None)
    if not redact or explanation is None:
        return film_of(video, Path() if page is None else page.parent, embed=embed)
    from dmcl_sdk.report.redaction import redacted_copy

    content = redacted_copy(video, claimed, explanation)
    if embed or page is None:
        return Film(embedded(content, "redacted.mp4"), "redacted")
    copy = page.with_name(f"{page.stem}.redacted.mp4")
    write_bytes(copy, content)
    return Film(film_of(copy, page.parent, embed=False).url, "redacted")


def check_embed(video: Path) -> None:
    """End the command before any work is done if a video is too large to lie in a page."""
    from dmcl_sdk.report.folder import check_embeddable

    try:
        check_embeddable(video)
    except VideoError as error:
        raise typer.BadParameter(str(error), param_hint="--embed") from error


def _read(path: Path) -> tuple[bytes, Verdict]:
    """A verdict file, as it is and read."""
    try:
        if path.stat().st_size > _MOST_VERDICT_BYTES:
            raise typer.BadParameter(f"{path}: too large for one verdict", param_hint="VERDICT.json")
        content = path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="VERDICT.json") from error
    try:
        return content, Verdict.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        said = " ".join([*map(str, first["loc"]), first["msg"]])
        if (
            first["type"] == "json_invalid"
            and len(content.splitlines()) > 1
            and content.startswith(b'{"schema"')
        ):
            said = "it has several lines, a verdict each: put the one that is meant into a file of its own"
        problem = f"{path}: not one verdict of dmcl.verdict/1: {said}"
        raise typer.BadParameter(problem, param_hint="VERDICT.json") from error


def _check_pages(path: Path, verdict: Path, video: Path, *, embed: bool) -> None:
    """End the command before any work is done if what it is to write would lie on what it reads, or be too large."""
    if path.resolve() in {verdict.resolve(), video.resolve()}:
        raise typer.BadParameter(f"{path} would be written over", param_hint="--out")
    if embed:
        check_embed(video)


def _detector(claimed: Verdict, name: str, options: dict[str, Any], *, redact: bool = False) -> Scorer:
    from dmcl_sdk.detector import Detector

    if name == "default" and "model" not in options and (shipped := _shipped(claimed)):
        options = options | {"model": str(shipped)}
    opened = named_detector(name, options)
    if redact and not isinstance(opened, Detector):
        problem = f"the detector {name} does not say where every face is in every frame"
        raise typer.BadParameter(problem, param_hint="--redact")
    return opened


def _shipped(claimed: Verdict) -> Path | None:
    """The model that ships and that a verdict names, if it names one."""
    import hashlib

    from dmcl_sdk.network import default_model

    for path in sorted(default_model().parent.glob("*.onnx")):
        if claimed.model and hashlib.sha256(path.read_bytes()).hexdigest() == claimed.model.sha256:
            return path
    return None
