"""`dmcl s3 backfill --engine ray` on a cluster of two nodes on this machine, with a ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.daemons import ROOT
from tests.connectors.servers import Aws, free_port, postgresql
from tests.connectors.test_backfill import Stock

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: pip install '.[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, in our process


@pytest.fixture
def ledger() -> Iterator[dict[str, str]]:
    with postgresql() as server:
        yield {"url": f"postgresql://dmcl@127.0.0.1:{server.port}/postgres"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes that share nothing but the network; the driver runs beside the first."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    made.add_node(**node)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def test_a_node_that_is_lost_in_the_middle_costs_no_verdict_and_doubles_none(
    aws: Aws,
    tmp_path: Path,
    ledger: dict[str, str],
    cluster: Any,  # noqa: ANN401 - published without types
) -> None:
    stock = Stock(aws, tmp_path)
    videos = {stock.put(f"{number}.mp4") for number in range(40)}
    stock.put("crash.mp4", b"#segfault")
    slow = {"options": {"delay_s": 1.0, "log": str(tmp_path / "scored")}}
    process = stock.start("--engine", "ray", ledger=ledger, scoring=slow)

    def written() -> int:
        return stock.results.read_bytes().count(b"\n") if stock.results.exists() else 0

    scored = tmp_path / "scored"
    process.wait_for(
        lambda: written() >= 4 and len({*scored.read_text().splitlines()}) >= 2, "work on both nodes", 600
    )
    assert written() < 30, "there is no middle any more"
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    status, said = process.wait(900), process.text()
    assert status == 3, said
    assert {*stock.verdicts()} == videos
    assert "1 dead letters (killed_worker 1)" in said
    assert '"reason": "killed_worker"' in stock.dead.read_text()
    assert stock.scored() <= len(videos) + 2 * 2 * 4, "what was delivered was scored again"

    before = stock.results.read_bytes(), stock.scored()
    status, said = stock.run("--engine", "ray", ledger=ledger, scoring=slow)
    assert status == 3, said
    assert "0 delivered, 40 delivered before, 1 dead letters" in said
    assert (stock.results.read_bytes(), stock.scored()) == before


def test_what_cannot_be_done_together_is_said_at_once(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said = Stock(aws, tmp_path).run("--engine", "ray")
    assert status == 2
    assert "needs a ledger that all machines reach: set ledger.url" in said
    ledger = {"url": "postgresql://dmcl@127.0.0.1/postgres"}
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    status, said = Stock(aws, tmp_path).run("--engine", "ray", ledger=ledger)
    assert status == 2
    assert "no cluster of Ray: nobody answers at 127.0.0.1:" in said
