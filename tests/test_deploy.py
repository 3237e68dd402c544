"""What can be checked of the deployment's files without Docker, systemd, Kubernetes, Grafana and Prometheus."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.metrics import Metrics
from connectors.settings import Settings, read_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name}\s+(.+)$", DOCKERFILE, re.MULTILINE)


def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd tells capitals apart
    parser.read(DEPLOY / "dmcl-kafka.service", encoding="utf-8")
    return parser


def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


def pod() -> Any:  # noqa: ANN401 - any YAML
    return manifests()["StatefulSet"]["spec"]["template"]["spec"]


def commands() -> list[list[str]]:
    entry, command = (json.loads(instructions(name)[-1]) for name in ("ENTRYPOINT", "CMD"))
    started = shlex.split(unit()["Service"]["ExecStart"])
    assert Path(started[0]).name == "dmcl"
    return [entry[1:] + command, started[1:3], pod()["containers"][0]["args"]]


def metric_names() -> set[str]:
    endings = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {
        f"{family.name}{ending}"
        for family in Metrics().registry.collect()
        for ending in endings.get(family.type, [])
    }


@pytest.mark.parametrize("name", ["grafana.json", "alerts.yaml"])
def test_every_metric_that_is_looked_at_is_one_that_daemons_have(name: str) -> None:
    named = set(re.findall(r"\bdmcl_\w+", (DEPLOY / name).read_text(encoding="utf-8")))
    assert named
    assert named <= metric_names()


def test_every_panel_and_every_rule_asks_something() -> None:
    dashboard = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert all(rule["alert"] and rule["expr"] for rule in rules)


@pytest.mark.parametrize("command", commands(), ids=["docker", "systemd", "kubernetes"])
def test_every_command_exists(command: list[str]) -> None:
    program = Path(sys.executable).with_name("dmcl")
    run = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Exit status" in run.stdout


def test_what_the_image_copies_and_installs_exists() -> None:
    copied = [line for line in instructions("COPY") if not line.startswith("--from")]
    for source in (one for line in copied for one in line.split()[:-1]):
        assert (ROOT / source).exists(), source
    (extras,) = re.findall(r'"\.\[([a-z,]+)\]"', DOCKERFILE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert "-c constraints.txt" in DOCKERFILE


def test_nothing_runs_as_root_or_writes_where_it_need_not() -> None:
    assert instructions("USER")[-1] == "10001:10001"
    assert pod()["securityContext"]["runAsNonRoot"] is True
    container = pod()["containers"][0]["securityContext"]
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert unit()["Service"]["DynamicUser"] == "yes"
    assert unit()["Service"]["ProtectSystem"] == "strict"


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    text = (DEPLOY / "dmcl-kafka.service").read_text(encoding="utf-8")
    file = tmp_path / "dmcl-kafka.service"
    file.write_text(text.replace("/opt/dmcl/bin/dmcl", sys.executable), encoding="utf-8")
    run = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, check=False)
    ours = [line for line in run.stderr.splitlines() if "dmcl" in line]
    assert (run.returncode, ours) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in manifests() if kind != "ScaledObject"])
def test_kubernetes_has_every_field_of_the_manifests(kind: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="large; `make test-all` installs it")
    validator.validate(manifests()[kind], "1.30", strict=True)


def test_the_set_has_the_service_that_it_names() -> None:
    service, pods = manifests()["Service"], manifests()["StatefulSet"]["spec"]
    assert service["metadata"]["name"] == pods["serviceName"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == pods["selector"]["matchLabels"]


def settings_of(environment: dict[str, str], folder: Path) -> Settings:
    file = folder / "dmcl.toml"
    file.write_text(manifests()["ConfigMap"]["data"]["dmcl.toml"], encoding="utf-8")
    return read_settings(file, environment)


def test_settings_and_variables_exist_and_time_to_drain_fits(tmp_path: Path) -> None:
    image = dict(one.split("=", 1) for line in instructions("ENV") for one in line.split())
    image.pop("DMCL_CONFIG")  # is where the file is mounted
    pods = {one["name"]: "dmcl-0" for one in pod()["containers"][0]["env"]}
    settings = settings_of(image | pods, tmp_path)
    assert settings.kafka is not None
    assert settings.kafka.group_instance_id == "dmcl-0"
    assert settings.service.host == "0.0.0.0"  # noqa: S104 - in a pod of its own
    assert settings.work.drain_s < pod()["terminationGracePeriodSeconds"]
    trigger = manifests()["ScaledObject"]["spec"]["triggers"][0]["metadata"]
    assert (trigger["consumerGroup"], trigger["topic"]) == (settings.kafka.group_id, settings.kafka.topics[0])
    service = dict(one.split("=", 1) for one in unit()["Service"]["Environment"].split())
    assert settings_of(service, tmp_path).work.drain_s < float(unit()["Service"]["TimeoutStopSec"])
