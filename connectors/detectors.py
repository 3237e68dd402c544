"""Which detector scores: the one of this package, or another by entry point or by name.

A detector is anything with `score(path) -> Verdict`. Another package publishes a callable that makes one under the
entry point group `dmcl.detectors`; its keyword arguments are the table `scoring.options`. One that is not published is
named by `package.module:callable`.

    [project.entry-points."dmcl.detectors"]
    vendor = "example.vendor:open_detector"
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from connectors.errors import SettingsError
from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.verdict import Verdict

GROUP = "dmcl.detectors"


@runtime_checkable
class Scorer(Protocol):
    """What is asked of a detector."""

    def score(self, video: Path) -> Verdict:
        """A verdict on one file.

        Raises:
            VideoError: the file is not a video.
        """
        ...


def open_detector(name: str, options: Mapping[str, Any]) -> Scorer:
    """The detector that settings name, ready to score.

    Raises:
        SettingsError: there is none, or it does not start with these options.
    """
    factory = _factory(name)
    try:
        detector = factory(**options)
    except (DeploymentError, TypeError, ValueError) as error:
        raise SettingsError(f"the detector {name} does not start: {error}") from error
    if not isinstance(detector, Scorer):
        raise SettingsError(f"the detector {name} is a {type(detector).__name__} and has no score(video)")
    return detector


def fingerprint(name: str, options: Mapping[str, Any], detector: Scorer) -> str:
    """SHA-256 of all that a verdict depends on beside the video: who has this one has no need to score again.

    Of a detector that says which model and configuration run (`model` and `runtime`, as this package's does), it is
    made of their digests; of another, of its name, its options and the version of this package.
    """
    model, runtime = getattr(detector, "model", None), getattr(detector, "runtime", None)
    if model is not None and runtime is not None:
        parts = [model.sha256, runtime.preprocess_sha256, runtime.config_sha256, runtime.precision]
    else:
        parts = [name, dict(options), version("dmcl-sdk")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def open_default(
    *,
    model: str | None = None,
    providers: list[str] | None = None,
    face_model: str | None = None,
    max_seconds: float | None = None,
) -> Scorer:
    """This package's detector, by what a table of settings can say.

    Args:
        model: a model file; the one that ships without.
        providers: execution providers in order of preference; the best that starts without.
        face_model: a YuNet file; MTCNN without.
        max_seconds: how much of each video is read.
    """
    from dmcl_sdk.detector import Detector  # noqa: PLC0415 - heavy: only a scoring process needs it
    from dmcl_sdk.video import VideoLimits  # noqa: PLC0415 - the same

    limits = None if max_seconds is None else VideoLimits(max_duration_s=max_seconds)
    return Detector(model, providers=providers, face_model=face_model, limits=limits)


def _factory(name: str) -> Any:  # noqa: ANN401 - whatever stands there
    published = {entry.name: entry for entry in reversed(entry_points(group=GROUP))}
    try:
        if name in published:
            return published[name].load()
        module, colon, attribute = name.partition(":")
        if not (colon and module and attribute):
            there_are = ", ".join(sorted(published))
            raise SettingsError(
                f"no detector {name!r}: there are {there_are}, or name package.module:callable"
            )
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"the detector {name} does not load: {error}") from error
