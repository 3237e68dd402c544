"""From one request to one delivered verdict.

    request ─ media ─> file ─ ledger, scoring ─> verdict ─ policy ─> decision ─ ledger ─> event ─ sink ─> delivered

It knows neither Kafka nor S3: sources hand it requests, and settle a message once `process` has returned. Whatever
stands between here and the reader may fail and be tried again; the ledger keeps what was reached.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated, Literal, Protocol, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, Field

from connectors import tracing
from connectors.errors import NoRoomError, PoisonError, TransientError
from connectors.events import Delivery, delivery
from connectors.ledger import Ledger
from connectors.media import LocalMedia, MediaStore
from connectors.metrics import Metrics
from connectors.policy import Decider
from connectors.requests import ScanRequest, newer
from connectors.retries import patiently
from connectors.sinks import Sink
from dmcl_sdk.detector import failed_verdict
from dmcl_sdk.errors import VideoError
from dmcl_sdk.verdict import Asset, Verdict

Outcome = Literal["delivered", "superseded"]
"""`superseded`: a later event of the same object was seen, and the object this one spoke of is no more."""

_Result = TypeVar("_Result")


class WorkerSettings(BaseModel):
    """How verdicts are signed, and how long a video is waited for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[str, Field(min_length=1)] = "urn:dmcl"
    """Who says so: a URI reference that names this deployment, the `source` of its CloudEvents."""
    give_up_s: Annotated[float, Field(gt=0)] = 900.0
    """How long a video that cannot be fetched now is tried; then its message is a dead letter, `unavailable`."""


class Scorer(Protocol):
    """What scores: a `ScoringPool`."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that a verdict depends on beside the video."""

    def score(self, video: Path) -> Verdict:
        """A verdict; raises VideoError, PoisonError, SettingsError, StoppedError."""


class Worker:
    """Processes requests, for any number of threads.

    Args:
        media: fetches videos.
        ledger: remembers what was done.
        scorer: scores them.
        policy: says what is to be done; None leaves that to the reader.
        sink: takes verdicts to the reader.
        metrics: counts.
        stopping: ends every wait for something that does not work, with a `StoppedError`.
        settings: the rest.
    """

    def __init__(
        self,
        *,
        media: MediaStore,
        ledger: Ledger,
        scorer: Scorer,
        policy: Decider | None,
        sink: Sink,
        metrics: Metrics,
        stopping: Event,
        settings: WorkerSettings,
    ) -> None:
        self._media = media
        self._ledger = ledger
        self._scorer = scorer
        self._policy = policy
        self._sink = sink
        self._metrics = metrics
        self._stopping = stopping
        self._settings = settings
        self._log = structlog.get_logger()

    def process(self, request: ScanRequest, message: str) -> Outcome:
        """Return when the verdict was delivered, or there is to be none.

        What fails for now is tried again, for as long as it takes: only a video that cannot be fetched is given up.

        Args:
            request: what is to be scanned.
            message: who asks: the same when the same request comes again, and never of another. A message that was
                here before gets the verdict that it had.

        Raises:
            PoisonError: there will never be a verdict, or nobody takes it. The reason is one of `MediaStore.fetch`, of
                `ScoringPool.score` or of the sink, or `unavailable`.
            SettingsError: the deployment is wrong.
            StoppedError: we are asked to end, and this is not finished.
        """
        with tracing.span("dmcl.scan", request.attributes.get("traceparent"), {"dmcl.request": request.key}):
            if self._superseded(request):
                return self._done("superseded")
            event = self._known(request, message) or self._new(request, message)
            if event is None:
                return self._done("superseded")
            self.deliver(event)
        return self._done("delivered")

    def answered(self, message: str) -> Delivery | None:
        """The event that was delivered for a message, if model, configuration and policy would say the same now."""
        event = self._patiently("ledger", lambda: self._ledger.answer(self._asked(message)))
        if event is None:
            return None
        verdict = Verdict.model_validate_json(event.body)
        decided = verdict.decision and verdict.decision.sha256
        if self._policy is None:
            return event if decided is None else None
        undecided = verdict.model_copy(update={"decision": None})
        return event if self._policy.decide(undecided).sha256 == decided else None

    def deliver(self, event: Delivery) -> None:
        """Take an event that the ledger keeps to the sink, for as long as it takes."""
        with self._metrics.timed("deliver"), tracing.span("dmcl.deliver"):
            try:
                self._patiently("sink", lambda: self._sink.deliver(event))
            except PoisonError:
                self._patiently("ledger", lambda: self._ledger.refused(event.id))
                raise
        self._patiently("ledger", lambda: self._ledger.delivered(event.id, _now()))
        attributes = event.attributes
        self._metrics.verdicts.labels(attributes.get("status", ""), attributes.get("label", "none")).inc()
        self._log.info("delivered", event_id=event.id, sink=self._sink.name, **_routing(event))

    def deliver_waiting(self, before: datetime) -> int:
        """Deliver what was kept before a moment and never confirmed, because we or the sink went away; how many."""
        count = 0
        while waiting := self._patiently("ledger", lambda: self._ledger.waiting(before)):
            for event in waiting:
                count += 1
                try:
                    self.deliver(event)
                except PoisonError as error:
                    self._log.error("refused", event_id=event.id, reason=error.reason, error=str(error))
        return count

    def _known(self, request: ScanRequest, message: str) -> Delivery | None:
        content = self._patiently("ledger", lambda: self._ledger.content_of(self._asked(message)))
        verdict = content and self._patiently("ledger", lambda: self._ledger.verdict(content))
        if not content or not verdict:
            return None
        self._metrics.known.inc()
        return self._recorded(request, message, content, verdict, None)

    def _new(self, request: ScanRequest, message: str) -> Delivery | None:
        with ExitStack() as opened:
            media = self._fetched(request, opened)
            if media is None:
                return None
            content = f"{media.sha256}:{self._scorer.fingerprint}"
            self._patiently("ledger", lambda: opened.enter_context(self._ledger.alone(content)))
            verdict = self._patiently("ledger", lambda: self._ledger.verdict(content))
            if verdict is None:
                verdict = self._scored(media)
            else:
                self._metrics.known.inc()
            return self._recorded(request, message, content, verdict, media)

    def _fetched(self, request: ScanRequest, opened: ExitStack) -> LocalMedia | None:
        """The video, or None when a later one took its place in the meantime."""
        try:
            with self._metrics.timed("fetch"), tracing.span("dmcl.fetch"):
                while True:
                    with suppress(NoRoomError):  # after any wait: the video is not to blame
                        return self._patiently(
                            "media",
                            lambda: opened.enter_context(self._media.fetch(request)),
                            give_up_s=self._settings.give_up_s,
                        )
        except TransientError as error:
            tried = f"for {self._settings.give_up_s:g} s in vain"
            raise PoisonError("unavailable", f"{request.key}: tried {tried}: {error}") from error
        except PoisonError as error:
            if error.reason in {"object_changed", "not_found"} and self._superseded(request):
                return None
            raise

    def _scored(self, media: LocalMedia) -> Verdict:
        with self._metrics.timed("score"), tracing.span("dmcl.score"):
            try:
                verdict = self._scorer.score(media.path)
            except VideoError as error:
                verdict = failed_verdict(error)
        asset = {"uri": f"urn:sha256:{media.sha256}", "sha256": media.sha256, "size_bytes": media.size_bytes}
        return verdict.model_copy(update={"asset": verdict.asset.model_copy(update=asset)})

    def _recorded(
        self,
        request: ScanRequest,
        message: str,
        content: str,
        verdict: Verdict,
        media: LocalMedia | None,
    ) -> Delivery:
        """The event to send, kept in the ledger with all that it tells of."""
        addressed = verdict.model_copy(update={"asset": _asset(verdict.asset, request, media)})
        if self._policy is not None:
            addressed = addressed.model_copy(update={"decision": self._policy.decide(addressed)})
        now = _now()
        event = delivery(request, addressed, source=self._settings.source, now=now)
        return self._patiently(
            "ledger", lambda: self._ledger.record(self._asked(message), content, verdict, event, now)
        )

    def _asked(self, message: str) -> str:
        """Another model may be asked the same again, and has an answer of its own."""
        return f"{message}:{self._scorer.fingerprint}"

    def _superseded(self, request: ScanRequest) -> bool:
        """Whether a later event of the object was seen; a version stays what it was."""
        sequencer = request.sequencer
        if sequencer is None or request.version_id is not None:
            return False
        newest = self._patiently("ledger", lambda: self._ledger.newest(request.key, sequencer, _now()))
        return newer(newest, sequencer)

    def _done(self, outcome: Outcome) -> Outcome:
        self._metrics.requests.labels(outcome).inc()
        return outcome

    def _patiently(
        self, what: str, call: Callable[[], _Result], *, give_up_s: float = float("inf")
    ) -> _Result:
        def on_wait(error: TransientError, seconds: float) -> None:
            self._metrics.waits.labels(what).inc()
            self._log.warning("waiting", what=what, error=str(error), wait_s=round(seconds, 2))

        return patiently(call, stopping=self._stopping, give_up_s=give_up_s, on_wait=on_wait)


def _asset(asset: Asset, request: ScanRequest, media: LocalMedia | None) -> Asset:
    """The content as this request names it, without its secrets."""
    found = {} if media is None else {"version_id": media.version_id, "etag": media.etag}
    asked = {"uri": request.key, "item": request.item, "version_id": request.version_id, "etag": request.etag}
    return asset.model_copy(
        update=found | {name: value for name, value in asked.items() if value is not None}
    )


def _routing(event: Delivery) -> dict[str, str]:
    return {
        name: event.attributes[name] for name in ("status", "label", "action") if name in event.attributes
    }


def _now() -> datetime:
    return datetime.now(UTC)
