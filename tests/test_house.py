from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import dmcl_sdk

ROOT = Path(__file__).parents[1]
HEAVY = {"av", "cv2", "numpy", "onnxruntime", "pydantic", "rich", "scipy", "torch", "typer"}

PUBLIC_NAMES = [
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


def test_the_public_names_are_these() -> None:
    assert list(dmcl_sdk.__all__) == PUBLIC_NAMES


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(dmcl_sdk, name).__name__ == name
    assert name in dir(dmcl_sdk)


def test_importing_the_sdk_loads_nothing_heavy() -> None:
    code = "import dmcl_sdk, json, sys; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert HEAVY & set(json.loads(loaded.stdout)) == set()


def test_a_detector_waits_for_no_library_that_one_face_does_not_need() -> None:
    code = "import dmcl_sdk.detector, json, sys; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"asyncio", "onnxruntime", "rich", "scipy", "torch", "typer"} & set(
        json.loads(loaded.stdout)
    ) == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_three_packages_their_types_and_the_models(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {
        "dmcl_sdk/py.typed",
        "connectors/py.typed",
        "training/py.typed",
        "dmcl_sdk/models/default.onnx",
        "dmcl_sdk/models/default-int8.onnx",
        "dmcl_sdk/models/MODEL_CARD.md",
        "dmcl_sdk/report/page.html.j2",
        "dmcl_sdk/report/report.css",
        "dmcl_sdk/report/report.js",
        "training/weights/small.safetensors",
    } <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
    assert tops == {"dmcl_sdk", "connectors", "training"}
    kinds = {Path(name).suffix for name in wheel.namelist() if ".dist-info/" not in name}
    assert kinds <= {".py", ".typed", ".onnx", ".safetensors", ".md", ".json", ".toml", ".j2", ".css", ".js"}


def test_every_pin_is_exact_and_every_requirement_is_pinned() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in extras if extra != "gpu" for one in extras[extra])]
    names = {re.split(r"[\[<>=;]", requirement)[0] for requirement in wanted} - {"dmcl-sdk"}
    assert names <= set(pins)
