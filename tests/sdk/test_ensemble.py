from __future__ import annotations

import pickle

import numpy as np
import pytest

from dmcl_sdk import Detector, ModelError
from dmcl_sdk.calibration import Platt
from dmcl_sdk.ensemble import Ensemble
from dmcl_sdk.testing import Crops, KnownFaces, ScriptedNetwork, scripted_spec
from tests.sdk.scenes import known_face, red_video, redness


def calm(_crop: Crops) -> tuple[float, float, float]:
    return -4.0, -4.0, -4.0


def platt(slope: float, intercept: float) -> Platt:
    return Platt(slope, intercept, ((0.0, 0.0), (0.0, 0.0)))


def member(**changes: object) -> ScriptedNetwork:
    return ScriptedNetwork(calm, scripted_spec(**changes))


def fused(network: Ensemble | ScriptedNetwork, red: int = 200) -> float:
    """The logit of a red crop."""
    crops = np.zeros((1, 8, 64, 64, 3), np.uint8)
    crops[..., 0] = red
    motion = np.zeros((1, 8, network.spec.motion.channels, 32, 32), np.int8)
    return float(network.run(crops, motion).fused[0, 0])


def test_log_odds_are_weighed() -> None:
    assert fused(Ensemble(ScriptedNetwork(redness), member())) == pytest.approx(0)
    assert fused(Ensemble(ScriptedNetwork(redness), member(), weights=(3, 1))) == pytest.approx(2)


def test_each_member_speaks_by_its_own_calibration_and_is_heard_on_the_leads_scale() -> None:
    lead = ScriptedNetwork(redness, scripted_spec(frame_calibration=platt(0.5, 1)))  # 4 means log-odds of 3
    other = member(frame_calibration=platt(2, 1))  # -4 means -7
    both = fused(Ensemble(lead, other))
    assert lead.spec.frame_calibration.slope * both + 1 == pytest.approx((3 - 7) / 2)


def test_a_lead_that_has_all_the_weight_is_alone() -> None:
    video, faces = red_video(60, 20, 40), KnownFaces((known_face(),))
    lead = ScriptedNetwork(redness)
    alone = Detector(lead, face_model=faces).score(video)
    together = Detector(Ensemble(lead, member(), weights=(1, 0)), face_model=faces).score(video)
    assert (together.tracks, together.spans, together.summary) == (alone.tracks, alone.spans, alone.summary)


def test_verdicts_name_every_member_and_change_with_the_weights() -> None:
    first, second = (
        Ensemble(ScriptedNetwork(redness), member(name="calm"), weights=(1, share)) for share in (1, 2)
    )
    assert first.spec.name == "scripted+calm"
    assert len({first.sha256, second.sha256}) == len({first.spec.weights_sha256, second.spec.weights_sha256})
    assert first.sha256 != second.sha256


def test_an_ensemble_travels_to_another_process() -> None:
    network = pickle.loads(pickle.dumps(Ensemble(_Red(), _Red())))  # noqa: S301 - our own bytes
    assert fused(network) == pytest.approx(4)


class _Red(ScriptedNetwork):
    """A script that is a module's function can be pickled."""

    def __init__(self) -> None:
        super().__init__(redness)


@pytest.mark.parametrize(
    "changes",
    [
        {"size_px": 96},
        {"motion_shrink": 4},
        {"rgb_stride": 2},
        {"baselines": (1,)},
        {"max_fps": 60.0},
        {"frames_multiple": 16},
    ],
)
def test_a_member_that_needs_other_input_does_not_go_with_the_lead(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="does not go with scripted"):
        Ensemble(ScriptedNetwork(redness), member(**changes))


@pytest.mark.parametrize("weights", [(1,), (1, 1, 1), (0, 0), (1, -1), (1, float("nan")), ()])
def test_weights_are_one_a_member_and_say_something(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weight"):
        Ensemble(ScriptedNetwork(redness), member(), weights=weights)
