from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dmcl_sdk.network import default_model

ROOT = Path(__file__).parents[2]
STAGES = ["decode", "faces", "motion", "network"]


def dmcl(*args: str, packages: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The command line, with the packages in a folder before all others."""
    return subprocess.run(
        [sys.executable, "-c", "from dmcl_sdk.cli import main; main()", *args],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"},
    )


def test_a_sound_installation_passes_and_every_stage_is_timed() -> None:
    run = dmcl("doctor")
    assert run.returncode == 0, run.stdout
    lines = {line.split()[1]: line for line in run.stdout.splitlines()}
    assert all(lines[stage].startswith("ok") and lines[stage].endswith(" s") for stage in STAGES)
    assert "CPUExecutionProvider" in run.stdout


def test_a_package_that_does_not_load_is_a_finding_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libonnx.so is missing')\n")
    run = dmcl("doctor", packages=tmp_path)
    assert run.returncode == 1
    assert "FAILED  ONNX Runtime      ImportError: libonnx.so is missing" in run.stdout
    assert "ok      PyAV" in run.stdout
    assert "pip install 'dmcl-sdk[cpu]'" in run.stdout
    assert run.stderr == ""


def test_models_are_listed_with_name_version_precision_and_digest() -> None:
    eight_bit, default = dmcl("models", "list").stdout.splitlines()
    assert default.endswith("default")
    assert str(default_model()) in default
    assert ("fp32" in default, "int8" in eight_bit) == (True, True)


@pytest.mark.parametrize("name", ["default.onnx", "default-int8.onnx"])
def test_the_models_that_ship_are_those_their_card_names(name: str) -> None:
    run = dmcl("models", "verify", str(default_model().with_name(name)))
    assert run.returncode == 0, run.stderr
    assert "ok" in run.stdout


def test_a_model_without_a_card_is_not_verified(tmp_path: Path) -> None:
    copy = Path(shutil.copy(default_model(), tmp_path))
    run = dmcl("models", "verify", str(copy))
    assert (run.returncode, run.stdout) == (1, "")
    assert "is not named by" in run.stderr


def test_a_damaged_model_is_a_wrong_installation(tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    half.write_bytes(default_model().read_bytes()[: default_model().stat().st_size // 2])
    run = dmcl("models", "verify", str(half))
    assert (run.returncode, run.stdout) == (2, "")
    assert str(half) in run.stderr
    assert "Traceback" not in run.stderr


def test_the_card_is_printed_as_it_is() -> None:
    card = default_model().with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    assert dmcl("models", "card").stdout == card
