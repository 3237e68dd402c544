"""A session for every shape: with real sessions of a small graph, on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import TensorProto, helper

from dmcl_sdk.network import OnnxNetwork, default_model
from dmcl_sdk.sessions import SessionPerShape, start, use_threads


class Opener:
    """Opens sessions that double their input, and keeps them."""

    def __init__(self) -> None:
        self.opened: list[Any] = []
        shape = [None, None]
        crops = helper.make_tensor_value_info("rgb", TensorProto.FLOAT, shape)
        answer = helper.make_tensor_value_info("fused", TensorProto.FLOAT, shape)
        node = helper.make_node("Add", ["rgb", "rgb"], ["fused"])
        graph = helper.make_graph([node], "doubling", [crops], [answer])
        opset = [helper.make_opsetid("", 18)]
        self._content = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()

    def __call__(self) -> Any:  # noqa: ANN401 - onnxruntime has no types
        session = onnxruntime.InferenceSession(self._content, providers=["CPUExecutionProvider"])
        self.opened.append(session)
        return session


@pytest.fixture
def opener() -> Opener:
    return Opener()


def of(frames: int) -> npt.NDArray[np.float32]:
    return np.arange(frames, dtype=np.float32)[None]


def answered(sessions: SessionPerShape, frames: int) -> bool:
    return np.array_equal(sessions.run(["fused"], {"rgb": of(frames)})[0], 2 * of(frames))


def test_a_length_keeps_the_session_that_was_opened_for_it(opener: Opener) -> None:
    sessions = SessionPerShape(opener(), opener)
    assert all(answered(sessions, frames) for frames in (192, 24, 192, 40, 24, 192))
    assert len(opener.opened) == 3


def test_the_session_that_was_open_already_is_the_first_lengths(opener: Opener) -> None:
    sessions = SessionPerShape(opener(), opener)
    assert answered(sessions, 192)
    assert len(opener.opened) == 1


def test_the_length_that_was_not_asked_for_longest_gives_way(opener: Opener) -> None:
    sessions = SessionPerShape(opener(), opener, most=2)
    for frames, opened in ((192, 1), (24, 2), (192, 2), (40, 3), (192, 3), (24, 4)):
        assert answered(sessions, frames)
        assert len(opener.opened) == opened


def test_threads_that_ask_for_a_length_at_once_share_its_session(opener: Opener) -> None:
    sessions = SessionPerShape(opener(), opener)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(answered, [sessions] * 64, [16, 24, 32, 40] * 16))
    assert len(opener.opened) == 4


def test_a_session_that_does_not_open_leaves_no_trace(opener: Opener) -> None:
    fit = [False]

    def fails_once() -> Any:  # noqa: ANN401 - the same
        if not fit[0]:
            fit[0] = True
            raise MemoryError
        return opener()

    sessions = SessionPerShape(opener(), fails_once)
    assert answered(sessions, 192)
    with pytest.raises(MemoryError):
        answered(sessions, 24)
    assert answered(sessions, 24)


def test_a_process_says_how_many_threads_its_sessions_have_and_the_answers_stay() -> None:
    rng = np.random.default_rng(0)
    spec = OnnxNetwork(providers=["cpu"]).spec
    rgb = rng.integers(0, 256, (1, 24 // spec.rgb_stride, spec.size_px, spec.size_px, 3), np.uint8)
    motion = rng.integers(-40, 41, (1, 24, spec.motion.channels, spec.motion_px, spec.motion_px), np.int8)
    answers = []
    try:
        for count in (1, 3):
            use_threads(count)
            opened = start(default_model(), default_model().read_bytes(), "cpu")
            assert opened.get_session_options().intra_op_num_threads == count
            answers.append(OnnxNetwork(providers=["cpu"]).run(rgb, motion).fused)
    finally:
        use_threads(0)
    assert np.array_equal(answers[0], answers[1])
    with pytest.raises(ValueError, match="0 or more"):
        use_threads(-1)
