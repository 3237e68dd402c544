"""A verdict under examination: the video, the model and the settings are looked at, and the video is scored again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dmcl_sdk.detector import Detector, OnProgress, failed_verdict
from dmcl_sdk.errors import VideoError
from dmcl_sdk.explanation import Explanation
from dmcl_sdk.plugins import Scorer
from dmcl_sdk.source import open_source
from dmcl_sdk.verdict import Decision, Verdict
from dmcl_sdk.verification import Check, check_decision, check_findings, check_setup, check_video
from dmcl_sdk.video import VideoLimits

REFUTED, UNCHECKED = 1, 2


@dataclass(frozen=True, slots=True)
class Examined:
    """What became of a verdict under examination.

    Attributes:
        checks: in order; the first that does not hold may end them.
        explanation: None where the video was not scored again, or by a detector that gives no evidence.
    """

    checks: tuple[Check, ...]
    explanation: Explanation | None = None

    @property
    def status(self) -> int:
        """Exit status: 0 all of it holds, 1 something differs, 2 something cannot be told."""
        outcomes = {check.outcome for check in self.checks}
        return REFUTED if "differs" in outcomes else UNCHECKED if "unchecked" in outcomes else 0

    @property
    def is_confirmed(self) -> bool:
        """Whether scoring the video again says the same; what was decided of it is another matter."""
        outcomes = {check.what: check.outcome for check in self.checks}
        return outcomes.get("verdict") == "holds" and outcomes.get("video", "holds") == "holds"


def examine(
    claimed: Verdict,
    detector: Scorer,
    video: Path,
    *,
    explain: bool = False,
    on_progress: OnProgress | None = None,
) -> Examined:
    """Hold a verdict against its video.

    Args:
        claimed: the verdict.
        detector: what made it, as far as is known.
        video: the file that it is about.
        explain: whether to gather the evidence too, from a detector that has any.
        on_progress: as for `Detector.score`.
    """
    try:
        return _scored_again(claimed, detector, video, explain=explain, on_progress=on_progress)
    except VideoError as error:
        if claimed.status == "failed":
            return Examined((_check_failure(claimed, error),))
        return Examined((Check("video", "unchecked", str(error)),))


def decided(found: Examined, claimed: Verdict, decide: Callable[[Verdict], Decision] | None) -> Examined:
    """The examination and that of the verdict's decision, where it has one and was scored again.

    Args:
        found: the examination so far.
        claimed: the verdict.
        decide: the policy that is said to have decided; None if it is not here.
    """
    if claimed.decision is None or found.checks[-1].what != "verdict":
        return found
    if decide is None:
        policy = f"{claimed.decision.policy_id} {claimed.decision.version}"
        message = f"it was made by the policy {policy}: name its file with --policy"
        check = Check("decision", "unchecked", message)
    else:
        check = check_decision(claimed.decision, decide(claimed.model_copy(update={"decision": None})))
    return Examined((*found.checks, check), found.explanation)


def _scored_again(
    claimed: Verdict, detector: Scorer, video: Path, *, explain: bool, on_progress: OnProgress | None
) -> Examined:
    """The checks up to the first that does not hold."""
    checks = [] if claimed.status == "failed" else _before_scoring(claimed, detector, video)
    if any(check.outcome != "holds" for check in checks):
        return Examined(tuple(checks))
    explanation = None
    if not isinstance(detector, Detector):
        again = detector.score(video)
        setup = check_setup(claimed, again.model, again.runtime)  # it says so only now
        checks += setup
        if claimed.model is not None and any(check.outcome != "holds" for check in setup):
            return Examined(tuple(checks))
    elif explain:
        explanation = detector.explain(video, on_progress=on_progress)
        again = explanation.verdict
    else:
        again = detector.score(video, on_progress=on_progress)
    return Examined((*checks, check_findings(claimed, again)), explanation)


def _before_scoring(claimed: Verdict, detector: Scorer, video: Path) -> list[Check]:
    limits = detector.limits if isinstance(detector, Detector) else VideoLimits()
    with open_source(video, max_bytes=limits.max_bytes) as opened:
        checks = [check_video(claimed, opened.sha256)]
    if isinstance(detector, Detector) and checks[0].outcome == "holds":
        checks += check_setup(claimed, detector.model, detector.runtime)
    return checks


def _check_failure(claimed: Verdict, error: VideoError) -> Check:
    again = failed_verdict(error)
    if [reason.code for reason in claimed.reasons] == [reason.code for reason in again.reasons]:
        return Check("verdict", "holds", f"this file cannot be scored: {error.message}")
    return Check("verdict", "differs", f"this file cannot be scored for another reason: {error.message}")
