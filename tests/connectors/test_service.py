from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest

from connectors.errors import SettingsError
from connectors.metrics import Metrics
from connectors.service import Health, ServiceSettings, serving


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def get(port: int | None, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_loop_that_comes_round_is_alive_and_one_that_is_stuck_is_not() -> None:
    clock = Clock()
    health = Health(30, clock)
    clock.now_s += 30
    assert health.livez()[0] == 200
    clock.now_s += 1
    assert health.livez() == (503, "the loop has been stuck for 31 s")
    health.beat()
    assert health.livez()[0] == 200


def test_it_is_ready_once_it_says_so_and_not_while_something_is_away() -> None:
    clock = Clock()
    health = Health(30, clock)
    assert health.readyz() == (503, "starting")
    health.ready()
    assert health.readyz() == (200, "ok")
    health.not_ready("kafka: no broker answers")
    assert health.readyz() == (503, "kafka: no broker answers")
    assert health.livez()[0] == 200
    health.ready()
    clock.now_s += 31
    assert health.readyz()[0] == 503


def test_probes_and_metrics_are_served_on_loopback() -> None:
    metrics, health = Metrics(), Health(30)
    metrics.dead_letters.labels("not_json").inc(3)
    with serving(ServiceSettings(port=0), health, metrics) as port:
        assert get(port, "/livez") == (200, "ok\n")
        assert get(port, "/readyz") == (503, "starting\n")
        status, text = get(port, "/metrics")
        assert status == 200
        assert 'dmcl_dead_letters_total{reason="not_json"} 3.0' in text
        assert get(port, "/etc/passwd")[0] == 404


def test_a_port_that_is_taken_says_so() -> None:
    with serving(ServiceSettings(port=0), Health(30), Metrics()) as port:
        assert port is not None
        taken = serving(ServiceSettings(port=port), Health(30), Metrics())
        with pytest.raises(SettingsError, match=rf"cannot listen on 127\.0\.0\.1:{port}"), taken:
            pass


def test_nothing_is_served_when_nothing_is_to_be() -> None:
    with serving(ServiceSettings(serve=False), Health(30), Metrics()) as port:
        assert port is None
