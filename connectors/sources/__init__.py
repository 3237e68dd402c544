"""Where requests come from.

A source of another package is published under the entry point group `dmcl.sources`: a callable that takes the source's
table of settings and returns a `Source`. It must pass the checks of `connectors.testing`.

    [project.entry-points."dmcl.sources"]
    carrier-pigeon = "example.pigeons:open_source"
"""

from connectors.sources.source import GROUP, DeadLetter, Message, Source, open_source

__all__ = ["GROUP", "DeadLetter", "Message", "Source", "open_source"]
