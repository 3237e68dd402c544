from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from connectors import tracing
from tests.connectors.collector import collector
from tests.connectors.daemons import daemon
from tests.connectors.topics import Topics

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_a_span_hangs_in_the_trace_that_the_request_came_with(spans: InMemorySpanExporter) -> None:
    with tracing.span("dmcl.scan", TRACE, {"dmcl.request": "s3://b/k"}), tracing.span("dmcl.score"):
        pass
    score, scan = spans.get_finished_spans()
    assert scan.parent is not None
    assert score.parent is not None
    assert scan.context is not None
    assert f"{scan.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert f"{scan.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert score.parent.span_id == scan.context.span_id
    assert dict(scan.attributes or {}) == {"dmcl.request": "s3://b/k"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_spans_reach_a_collector_in_the_trace_that_the_verdicts_event_names(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics(broker, f"t{uuid4().hex[:8]}", tmp_path)
    topics.send(topics.upload("clip.mp4"), headers=[("traceparent", TRACE.encode())])
    with collector() as collected:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        with daemon(tmp_path, "kafka run", topics.settings(service={"tracing": True})) as process:
            process.wait_for(lambda: process.events("delivered"), "delivered")
            assert process.stop() == 0
    assert collected.services == {"dmcl"}
    found = {span.name: span for span in collected.spans}
    assert {*found} == {"dmcl.scan", "dmcl.fetch", "dmcl.score", "dmcl.deliver"}
    (event,) = topics.effective().values()
    _, trace_id, parent, _ = dict(event.headers)["ce_traceparent"].decode().split("-")
    assert {span.trace_id.hex() for span in found.values()} == {trace_id}
    scan = found.pop("dmcl.scan")
    assert scan.parent_span_id.hex() == parent
    assert {span.parent_span_id for span in found.values()} == {scan.span_id}


def run(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return ended.stderr


def test_without_opentelemetry_a_span_is_nothing() -> None:
    run(
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from connectors import tracing\n"
        "with tracing.span('dmcl.scan', None): pass\n"
    )


def test_a_line_of_the_log_is_one_json_object_with_what_was_bound() -> None:
    said = run(
        "import logging, structlog\n"
        "from connectors import logs\n"
        "logs.configure()\n"
        "structlog.contextvars.bind_contextvars(request='s3://b/naïve')\n"
        "structlog.get_logger().info('delivered', event_id='1')\n"
        "structlog.get_logger().debug('left out')\n"
        "logging.getLogger('kafka').warning('of a library\\nin two lines')\n"
    )
    own, library = (json.loads(line) for line in said.splitlines())
    assert (own["event"], own["request"], own["event_id"]) == ("delivered", "s3://b/naïve", "1")
    assert own["level"] == "info"
    assert own["timestamp"].endswith("Z")
    assert library["event"] == "of a library\nin two lines"
    assert library["logger"] == "kafka"


def test_a_line_goes_out_whole_so_that_no_death_and_no_other_writer_comes_between() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # each write arrives by itself
    with here, there:
        command = (
            "import structlog\n"
            "from connectors import logs\n"
            "logs.configure()\n"
            "structlog.get_logger().info('delivered', event_id='1')\n"
        )
        subprocess.run(
            [sys.executable, "-c", command], cwd=ROOT, stderr=there.fileno(), check=True, timeout=60
        )
        written = here.recv(10_000)
    assert written.endswith(b"}\n")
    assert json.loads(written)["event"] == "delivered"


def test_a_traceback_says_where_and_holds_no_value_of_a_variable() -> None:
    said = run(
        "import structlog\n"
        "from connectors import logs\n"
        "logs.configure()\n"
        "def sign(key): raise ValueError('no')\n"
        "try: sign('s3s' + 'ame')\n"
        "except ValueError: structlog.get_logger().exception('bug')\n"
    )
    assert "s3same" not in said
    (told,) = json.loads(said)["exception"]
    assert (told["exc_type"], told["frames"][-1]["name"]) == ("ValueError", "sign")


def test_a_library_that_repeats_itself_is_heard_once_in_a_while() -> None:
    said = run(
        "import logging\n"
        "from connectors import logs\n"
        "logs.configure()\n"
        "for _ in range(100): logging.getLogger('kafka.net').error('Connection refused')\n"
        "logging.getLogger('kafka.cluster').error('another part')\n"
    )
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["Connection refused", "another part"]
