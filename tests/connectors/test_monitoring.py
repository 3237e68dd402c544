"""The dashboard and the rules of `deploy/`, asked of a Prometheus that scrapes a daemon's service."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.metrics import Metrics
from connectors.service import Health, ServiceSettings, serving
from tests.connectors.servers import PATIENCE_S, Process, prometheus, prometheus_programs

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yaml"


def panels() -> list[str]:
    """What the dashboard asks, its variables filled in."""
    dashboard = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [one.replace("$job", "dmcl").replace("$__rate_interval", "30s") for one in asked]


def answer(server: Process, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/api/v1/query?{query}", timeout=30) as said:
        found: list[Any] = json.load(said)["data"]["result"]
    return found


def work(metrics: Metrics) -> None:
    """What a daemon counts when something of everything happens."""
    metrics.requests.labels("delivered").inc()
    metrics.verdicts.labels("scored", "authentic").inc()
    metrics.dead_letters.labels("not_found").inc()
    metrics.known.inc()
    metrics.lag.labels("uploads/0").set(3)
    for stage in ("fetch", "score", "deliver"):
        with metrics.timed(stage):
            pass


def test_every_panel_shows_something_of_a_daemon_that_works(tmp_path: Path) -> None:
    metrics = Metrics()
    work(metrics)
    with (
        serving(ServiceSettings(port=0), Health(30), metrics) as port,
        prometheus(tmp_path, port or 0) as server,
    ):
        empty, until = panels(), time.monotonic() + PATIENCE_S
        while empty and time.monotonic() < until:
            work(metrics)
            time.sleep(0.5)
            empty = [one for one in empty if not answer(server, one)]
        assert not empty


QUIET = {
    'dmcl_consumer_lag{partition="uploads/0"}': "1500-10x70",
    'dmcl_requests_total{outcome="delivered"}': "0+20x70",
    'dmcl_requests_total{outcome="dead_letter"}': "0x20 2x50",
    'dmcl_waits_total{what="sink"}': "0+1x70",
    "dmcl_processes_replaced": "0x30 1x40",
    "dmcl_in_flight": "4x70",
}
"""Minute by minute: a daemon that catches up, with a dead letter and a wait now and then."""
TROUBLE = {
    "DmclFallsBehind": {'dmcl_consumer_lag{partition="uploads/0"}': "500+50x70"},
    "DmclDeadLetters": {'dmcl_requests_total{outcome="dead_letter"}': "0x20 40x50"},
    "DmclCannotDeliver": {'dmcl_waits_total{what="sink"}': "0+6x70"},
    "DmclScoringProcessesDie": {"dmcl_processes_replaced": "0+1x70"},
    "DmclStandsStill": {
        f'dmcl_requests_total{{outcome="{one}"}}': "0x70" for one in ("delivered", "dead_letter")
    },
}


def fired(folder: Path, series: dict[str, str], expected: set[str]) -> subprocess.CompletedProcess[str]:
    """Whether these alerts are the ones that fire within an hour, says promtool."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    names = {rule["alert"] for rule in rules}
    at = {name: "30m" if name == "DmclDeadLetters" else "55m" for name in names}
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                        "eval_time": at[name],
                        "exp_samples": [{"labels": "{}", "value": 1}] if name in expected else [],
                    }
                    for name in sorted(names)
                ],
            }
        ],
    }
    file = folder / "tests.yaml"
    file.write_text(yaml.safe_dump(tests))
    promtool = prometheus_programs() / "promtool"
    return subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    promtool = prometheus_programs() / "promtool"
    run = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_daemon_that_catches_up_wakes_nobody(tmp_path: Path) -> None:
    run = fired(tmp_path, QUIET, set())
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("alert", TROUBLE)
def test_an_alert_fires_for_its_trouble_and_no_other_does(tmp_path: Path, alert: str) -> None:
    run = fired(tmp_path, QUIET | TROUBLE[alert], {alert})
    assert run.returncode == 0, run.stdout + run.stderr
