"""Motion fields with the head's own motion left in, to compare with."""

from __future__ import annotations

from dmcl_sdk.motion import Flow, MotionEstimator


class RawMotionEstimator(MotionEstimator):
    """`dmcl_sdk.motion` but for one thing: nothing is taken off the flow."""

    def _own_motion(self, flow: Flow) -> Flow:
        return flow
