"""A bundle for an appeal: verdict, page, pictures, and digests of all. The same input gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from dmcl_sdk.explanation import Explanation
from dmcl_sdk.report import pictures
from dmcl_sdk.report.page import evidence_pictures
from dmcl_sdk.verdict import Verdict
from dmcl_sdk.verification import Check

FORMAT = "dmcl.evidence/1"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say; when it was packed is nobody's evidence

_README = """Evidence for a verdict on manipulated faces in a video.

report.html         what was found, where, when and why: open it in a browser, no network is needed
verdict.json        the verdict, byte for byte as it was given
pictures/           the frame, the face and its motion where each span is strongest
verification.json   what was checked when this bundle was made
manifest.json       which video, model, preprocessing, settings and policy, by their SHA-256
SHA256SUMS          `sha256sum -c SHA256SUMS` tells whether a file was changed since

`dmcl verify verdict.json VIDEO` scores the video again and compares.
A verdict is evidence for a person, not proof.
"""


def bundle(
    content: bytes,
    verdict: Verdict,
    explanation: Explanation | None,
    checks: Sequence[Check],
    html: str,
    *,
    redact: bool,
) -> bytes:
    """The zip file.

    Args:
        content: the verdict as it was given.
        verdict: the same, read.
        explanation: of the same verdict; None where there was nothing to score.
        checks: what was verified.
        html: the page.
        redact: whether faces without a finding are made unrecognisable.
    """
    contents: dict[str, bytes] = {
        "README.txt": _README.encode(),
        "report.html": html.encode(),
        "verdict.json": content,
        "verification.json": _json([asdict(check) for check in checks]),
    }
    for name, image in evidence_pictures(verdict, explanation, redact=redact).items():
        contents[f"pictures/{name}.jpg"] = pictures.jpeg(image)
    contents["manifest.json"] = _json(_manifest(verdict, contents, redact=redact))
    sums = "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(contents.items()))
    contents["SHA256SUMS"] = sums.encode()
    return _zipped(contents)


def _manifest(verdict: Verdict, contents: Mapping[str, bytes], *, redact: bool) -> dict[str, object]:
    model, runtime, decision = verdict.model, verdict.runtime, verdict.decision
    return {
        "format": FORMAT,
        "redacted": redact,
        "sha256": {
            "video": verdict.asset.sha256,
            "model": model and model.sha256,
            "calibration": model and model.calibration.sha256,
            "preprocessing": runtime and runtime.preprocess_sha256,
            "settings": runtime and runtime.config_sha256,
            "policy": decision and decision.sha256,
        },
        "files": {name: _sha256(data) for name, data in sorted(contents.items())},
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _zipped(contents: Mapping[str, bytes]) -> bytes:
    """Stored, not deflated: what zlib makes of the same bytes depends on its version."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, contents[name])
    return file.getvalue()
