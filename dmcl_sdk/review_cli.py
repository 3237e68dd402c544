"""`dmcl report`, `dmcl verify`, `dmcl evidence`: what a person needs who looks at a verdict, or contests one."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, runtime_checkable

import typer
from pydantic import ValidationError

from dmcl_sdk.errors import VideoError
from dmcl_sdk.plugins import read_policy
from dmcl_sdk.tables import printable
from dmcl_sdk.terminal import OnProgress, note, progress_bar, write
from dmcl_sdk.verdict import Verdict
from dmcl_sdk.verification import Check, check_decision, check_findings, check_setup, check_video

if TYPE_CHECKING:
    from dmcl_sdk.detector import Detector
    from dmcl_sdk.explanation import Explanation
    from dmcl_sdk.report.folder import ReportFolder
    from dmcl_sdk.report.page import Film

REFUTED, UNCHECKED = 1, 2
_MOST_VERDICT_BYTES = 64 * 2**20

VerdictFile = Annotated[
    Path,
    typer.Argument(metavar="VERDICT.json", help="A verdict, as `dmcl score --json` writes it.", exists=True),
]
VideoFile = Annotated[Path, typer.Argument(metavar="VIDEO", help="The video that it is about.")]
Model = Annotated[
    Path | None,
    typer.Option(help="Model file; of those that ship, the one that the verdict names if not given."),
]
Device = Annotated[Literal["auto", "cpu", "cuda", "openvino"], typer.Option(help="Where the network runs.")]
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


@runtime_checkable
class Explainer(Protocol):
    """What a page needs of a detector."""

    def explain(self, video: str, *, on_progress: OnProgress | None = None) -> Explanation:
        """A verdict on one file and the evidence behind it; raises VideoError."""
        ...


class Reporting:
    """A detector whose every verdict leaves a page in a folder."""

    def __init__(self, detector: Explainer, folder: ReportFolder) -> None:
        self._detector, self._folder = detector, folder

    def score(self, video: str, *, on_progress: OnProgress | None = None) -> Verdict:
        """A verdict on one file; raises VideoError."""
        from dmcl_sdk.detector import failed_verdict

        try:
            explanation = self._detector.explain(video, on_progress=on_progress)
        except VideoError as error:
            self._folder.add(failed_verdict(error), None, Path(video))
            raise
        self._folder.add(explanation.verdict, explanation, Path(video))
        return explanation.verdict


@dataclass(frozen=True, slots=True)
class Examined:
    """What became of a verdict under examination.

    Attributes:
        checks: in order; the first that does not hold may end them.
        explanation: None where the video was not scored again.
    """

    checks: tuple[Check, ...]
    explanation: Explanation | None = None

    @property
    def status(self) -> int:
        """Exit status: 0 all of it holds, 1 something differs, 2 something cannot be told."""
        outcomes = {check.outcome for check in self.checks}
        return REFUTED if "differs" in outcomes else UNCHECKED if "unchecked" in outcomes else 0


def verify(
    verdict: VerdictFile,
    video: VideoFile,
    *,
    policy: Policy = None,
    model: Model = None,
    device: Device = "auto",
    face_model: FaceModel = None,
    max_seconds: MaxSeconds = None,
    json: Annotated[bool, typer.Option("--json", help="The checks as JSON on standard output.")] = False,
) -> None:
    """Prove or refute a verdict: check its digests, score the video again, and say precisely what differs.

    Exit status:
    0 all of it holds;
    1 something differs;
    2 something cannot be told with what is here, and the line says what is missing.
    """
    claimed = _read(verdict)[1]
    detector = _detector(claimed, model, device, face_model, max_seconds)
    found = _examine(claimed, detector, video, policy)
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
    model: Model = None,
    device: Device = "auto",
    face_model: FaceModel = None,
    max_seconds: MaxSeconds = None,
) -> None:
    """Write one HTML page on a verdict: faces over the video, curves, spans, pictures and reasons; it needs no network.

    The video is scored again for its curves, and the page is written only if that says the same.

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
    if embed and not redact:
        check_embed(video)
    explanation = _same(
        claimed, _detector(claimed, model, device, face_model, max_seconds), video
    ).explanation
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
    model: Model = None,
    device: Device = "auto",
    face_model: FaceModel = None,
    max_seconds: MaxSeconds = None,
) -> None:
    """Pack a verdict, its page, the pictures and digests of all into one zip for an appeal.

    The same verdict and video give the same bytes. Nothing is packed that scoring the video again does not confirm.

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
    if embed and not redact:
        check_embed(video)
    found = _same(claimed, _detector(claimed, model, device, face_model, max_seconds), video, policy)
    film = _film(claimed, found.explanation, video, None, embed=True, redact=redact) if embed else Film(None)
    html = page(claimed, found.explanation, name=video.name, film=film, redact=redact)
    write_bytes(out, bundle(content, claimed, found.explanation, found.checks, html, redact=redact))
    write(f"{out}\n")


def _same(claimed: Verdict, detector: Detector, video: Path, policy: str | None = None) -> Examined:
    """The examination of a verdict that holds; anything else ends the command."""
    found = _examine(claimed, detector, video, policy, explain=True)
    broken = [check for check in found.checks if check.outcome != "holds" and check.what != "decision"]
    for check in broken:
        note(f"{check.what}: {check.message}")
    if broken:
        note("nothing was written: a page shows one verdict, and this one is not confirmed")
        raise typer.Exit(Examined(tuple(broken)).status)
    return found


def _examine(
    claimed: Verdict, detector: Detector, video: Path, policy: str | None, *, explain: bool = False
) -> Examined:
    try:
        checks, explanation = _scored_again(claimed, detector, video, explain=explain)
    except VideoError as error:
        if claimed.status == "failed":
            return Examined((_check_failure(claimed, error),))
        return Examined((Check("video", "unchecked", error.message),))
    if claimed.decision is not None and checks[-1].what == "verdict":
        checks.append(_check_policy(claimed, policy))
    return Examined(tuple(checks), explanation)


def _scored_again(
    claimed: Verdict, detector: Detector, video: Path, *, explain: bool
) -> tuple[list[Check], Explanation | None]:
    """The checks up to the first that does not hold."""
    from dmcl_sdk.source import open_source

    if claimed.status != "failed":
        with open_source(video, max_bytes=detector.limits.max_bytes) as opened:
            checks = [check_video(claimed, opened.sha256)]
        if checks[0].outcome != "holds":
            return checks, None
        checks += check_setup(claimed, detector.model, detector.runtime)
        if any(check.outcome != "holds" for check in checks):
            return checks, None
    else:
        checks = []
    with progress_bar(str(video), "scoring again") as on_progress:
        if not explain:
            return [*checks, check_findings(claimed, detector.score(video, on_progress=on_progress))], None
        explanation = detector.explain(video, on_progress=on_progress)
        return [*checks, check_findings(claimed, explanation.verdict)], explanation


def _check_failure(claimed: Verdict, error: VideoError) -> Check:
    from dmcl_sdk.detector import failed_verdict

    again = failed_verdict(error)
    if [reason.code for reason in claimed.reasons] == [reason.code for reason in again.reasons]:
        return Check("verdict", "holds", f"this file cannot be scored: {error.message}")
    return Check("verdict", "differs", f"this file cannot be scored for another reason: {error.message}")


def _check_policy(claimed: Verdict, policy: str | None) -> Check:
    assert claimed.decision is not None  # noqa: S101 - asked by the caller
    if policy is None:
        decided = f"{claimed.decision.policy_id} {claimed.decision.version}"
        return Check(
            "decision", "unchecked", f"it was made by the policy {decided}: name its file with --policy"
        )
    decide = read_policy(policy)
    return check_decision(claimed.decision, decide(claimed.model_copy(update={"decision": None})))


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

    if claimed.status == "failed" or explanation is None:
        return Film(None)
    if not redact:
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
        return content, Verdict.model_validate_json(content)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="VERDICT.json") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        problem = f"{path}: not one verdict of dmcl.verdict/1: {where} {first['msg']}"
        raise typer.BadParameter(problem, param_hint="VERDICT.json") from error


def _detector(
    claimed: Verdict, model: Path | None, device: str, face_model: Path | None, max_seconds: float | None
) -> Detector:
    from dmcl_sdk.detector import Detector
    from dmcl_sdk.video import VideoLimits

    limits = VideoLimits() if max_seconds is None else VideoLimits(max_duration_s=max_seconds)
    providers = None if device == "auto" else [device]
    return Detector(model or _shipped(claimed), providers=providers, face_model=face_model, limits=limits)


def _shipped(claimed: Verdict) -> Path | None:
    """The model that ships and that a verdict names, if it names one."""
    import hashlib

    from dmcl_sdk.network import default_model

    for path in sorted(default_model().parent.glob("*.onnx")):
        if claimed.model and hashlib.sha256(path.read_bytes()).hexdigest() == claimed.model.sha256:
            return path
    return None
