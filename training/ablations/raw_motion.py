"""Motion fields with the head's own motion left in, to compare with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dmcl_sdk.motion import FLOW_SCALE_PX, MotionEstimator, compress


class RawMotionEstimator(MotionEstimator):
    """`dmcl_sdk.motion` but for one thing: nothing is taken off the flow."""

    def _pair(self, now: npt.NDArray[np.uint8], then: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        fields = super()._pair(now, then)
        flow = np.asarray(self._flow.calc(now, then, None), np.float32)  # type: ignore[call-overload]
        fields[:2] = compress(flow * 2, FLOW_SCALE_PX).transpose(2, 0, 1)
        return fields
