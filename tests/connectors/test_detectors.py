"""What tells the detectors of other packages apart: a new release of one scores everything again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from connectors.detectors import fingerprint, open_detector

MODULE = "detector_of_a_third_party"
DETECTOR = """
class Vendor:
    def __init__(self, region="eu"): self.region = region
    def score(self, video): raise NotImplementedError
def open_vendor(**options): return Vendor(**options)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which somebody else's detector is installed."""
    (tmp_path / f"{MODULE}.py").write_text(DETECTOR)
    info = tmp_path / "vendor-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(f"[dmcl.detectors]\nvendor = {MODULE}:open_vendor\n")
    release(tmp_path, "1.0")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def release(site: Path, version: str) -> None:
    metadata = f"Metadata-Version: 2.1\nName: vendor\nVersion: {version}\n"
    (site / "vendor-1.0.dist-info" / "METADATA").write_text(metadata)


def fingerprints(name: str) -> set[str]:
    """Without options and with some."""
    tables: list[dict[str, str]] = [{}, {"region": "us"}]
    found = {fingerprint(name, table, open_detector(name, table)) for table in tables}
    del sys.modules[MODULE]
    return found


def test_an_installed_detector_is_told_by_its_options_and_its_release(site: Path) -> None:
    before = fingerprints("vendor")
    assert fingerprints("vendor") == before
    release(site, "1.1")
    assert len(before | fingerprints("vendor")) == 4


def test_a_detector_that_no_distribution_publishes_is_told_by_its_module(site: Path) -> None:
    before = fingerprints(f"{MODULE}:open_vendor")
    release(site, "1.1")
    assert fingerprints(f"{MODULE}:open_vendor") == before
    (site / f"{MODULE}.py").write_text(f"{DETECTOR}THRESHOLD = 0.7\n")
    assert len(before | fingerprints(f"{MODULE}:open_vendor")) == 4
