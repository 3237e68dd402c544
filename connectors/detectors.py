"""Which detector scores: the one of this package, or another by entry point or by name (`dmcl_sdk.plugins`).

The keyword arguments of the callable that makes it are the table `scoring.options`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

from connectors.errors import SettingsError
from dmcl_sdk import plugins
from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.plugins import Scorer, open_default

__all__ = ["Scorer", "fingerprint", "open_default", "open_detector"]


def open_detector(name: str, options: Mapping[str, Any]) -> Scorer:
    """The detector that settings name, ready to score.

    Raises:
        SettingsError: there is none, or it does not start with these options.
    """
    try:
        return plugins.open_detector(name, options)
    except DeploymentError as error:
        raise SettingsError(str(error)) from error


def fingerprint(name: str, options: Mapping[str, Any], detector: Scorer) -> str:
    """SHA-256 of all that a verdict depends on beside the video: who has this one has no need to score again.

    Of a detector that says which model and configuration run (`model` and `runtime`, as this package's does), it is
    made of their digests; of another, of its name, its options, its own version and that of this package.
    """
    model, runtime = getattr(detector, "model", None), getattr(detector, "runtime", None)
    if model is not None and runtime is not None:
        parts = [model.sha256, runtime.preprocess_sha256, runtime.config_sha256, runtime.precision]
    else:
        parts = [name, dict(options), _release(name), version("dmcl-sdk")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _release(name: str) -> str:
    """What tells one release of a detector from the next: that of its distribution, or else its module's digest."""
    for entry in entry_points(group=plugins.DETECTOR_GROUP, name=name):
        if entry.dist is not None:
            return f"{entry.dist.name} {entry.dist.version}"
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
