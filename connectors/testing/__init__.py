"""What every sink and every source must do, as checks that any can be put through, with any test runner.

Describe how it is opened and what its other side got, and run each check:

    @pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
    def test_my_sink_behaves(check):
        check(SinkBench(open=..., received=...))

    @pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
    def test_my_source_behaves(check):
        check(SourceBench(open=..., send=..., dead=...))

A check fails with an `AssertionError`.
"""

from connectors.testing.expectations import HARD_TEXT
from connectors.testing.sinks import (
    SINK_CHECKS,
    SinkBench,
    a_closed_sink_takes_nothing,
    a_refusal_is_final,
    a_sink_opened_in_an_outage_delivers_after_it,
    an_outage_is_transient_and_passes,
    events_arrive_whole_and_unchanged,
    its_name_says_which_it_is,
    made_delivery,
    repetitions_are_known_by_their_id,
    several_threads_deliver_at_once,
)
from connectors.testing.sources import SOURCE_CHECKS, SourceBench

__all__ = [
    "HARD_TEXT",
    "SINK_CHECKS",
    "SOURCE_CHECKS",
    "SinkBench",
    "SourceBench",
    "a_closed_sink_takes_nothing",
    "a_refusal_is_final",
    "a_sink_opened_in_an_outage_delivers_after_it",
    "an_outage_is_transient_and_passes",
    "events_arrive_whole_and_unchanged",
    "its_name_says_which_it_is",
    "made_delivery",
    "repetitions_are_known_by_their_id",
    "several_threads_deliver_at_once",
]
