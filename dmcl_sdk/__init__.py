"""Finds manipulated faces in video: who, from when to when, how sure, and why.

from dmcl_sdk import Detector

verdict = Detector().score("clip.mp4")
print(verdict.summary.label, [(span.start_ms, span.end_ms) for span in verdict.spans])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmcl_sdk.assembly import JudgementRule
    from dmcl_sdk.detector import Detector
    from dmcl_sdk.errors import DeploymentError, DeviceError, DmclError, ModelError, VideoError
    from dmcl_sdk.localization import SpanRule
    from dmcl_sdk.tracking import TrackingRule
    from dmcl_sdk.verdict import Span, Verdict
    from dmcl_sdk.video import VideoLimits

_HOMES = {
    "DeploymentError": "errors",
    "Detector": "detector",
    "DeviceError": "errors",
    "DmclError": "errors",
    "JudgementRule": "assembly",
    "ModelError": "errors",
    "Span": "verdict",
    "SpanRule": "localization",
    "TrackingRule": "tracking",
    "Verdict": "verdict",
    "VideoError": "errors",
    "VideoLimits": "video",
}

__all__ = [
    "DeploymentError",
    "Detector",
    "DeviceError",
    "DmclError",
    "JudgementRule",
    "ModelError",
    "Span",
    "SpanRule",
    "TrackingRule",
    "Verdict",
    "VideoError",
    "VideoLimits",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name where it is first used: `import dmcl_sdk` alone stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
