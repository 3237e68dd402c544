"""Where verdicts go.

A sink of another package is published under the entry point group `dmcl.sinks`: a callable that takes the sink's table
of settings and returns a `Sink`. It must pass the checks of `connectors.testing`.

    [project.entry-points."dmcl.sinks"]
    carrier-pigeon = "example.pigeons:open_sink"
"""

from connectors.sinks.sink import GROUP, Sink, kinds, open_sink

__all__ = ["GROUP", "Sink", "kinds", "open_sink"]
