"""Pixels out of the decoder's planes: orientation, colours, scale."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from dmcl_sdk.frame import Frame, Geometry, Matrix, Picture, Pixels, Rotation
from dmcl_sdk.video import open_video
from tests.made import CORNERS, cornered, frame_of, make_video, smooth

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT = 160, 120
LOSSLESS = {"crf": "0", "qp": "0"}


def only_frame(video: bytes) -> Frame:
    with open_video(video) as opened:
        return list(opened)[-1]


def similarity(scale: float, radians: float, x: float, y: float) -> Matrix:
    cosine, sine = scale * np.cos(radians), scale * np.sin(radians)
    return np.array([[cosine, -sine, x], [sine, cosine, y]])


def reference_crop(image: Floats | Pixels, matrix: Matrix, size: int) -> Floats:
    """Bilinear samples of RGB (h, w, 3), in plain arithmetic."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    points = matrix @ np.stack([x.ravel(), y.ravel(), np.ones(size * size)])
    limits = np.array(image.shape[1::-1])[:, None] - 1
    points = np.clip(points, 0, limits)
    left, top = np.minimum(points.astype(int), limits - 1)
    right, down = (points - (left, top))[:, :, None]
    image = image.astype(np.float64)
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float64).reshape(size, size, 3)


FORMATS = {
    "8-bit 4:2:0": {"options": LOSSLESS},
    "8-bit 4:2:2": {"pixel_format": "yuv422p", "options": LOSSLESS},
    "8-bit 4:4:4": {"pixel_format": "yuv444p", "options": LOSSLESS},
    "10-bit 4:2:0": {"pixel_format": "yuv420p10le", "options": {"crf": "4"}},
    "10-bit 4:2:2": {"codec": "prores_ks", "container": "mov", "pixel_format": "yuv422p10le"},
    "709": {"colour": (1, 1), "options": LOSSLESS},
    "709, full range": {"colour": (1, 2), "options": LOSSLESS},
    "601, full range": {"colour": (5, 2), "options": LOSSLESS},
    "2020, 10-bit": {"colour": (9, 1), "pixel_format": "yuv420p10le", "options": {"crf": "4"}},
    "JPEG": {"codec": "mjpeg", "container": "mov", "pixel_format": "yuvj420p", "colour": (5, 2)},
    "RGB": {"codec": "png", "container": "mov", "pixel_format": "rgb24"},
    "RGB with alpha": {"codec": "ffv1", "container": "matroska", "pixel_format": "bgra"},
    "HEVC": {"codec": "libx265", "options": {"crf": "4"}},
}


@pytest.mark.parametrize("made", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("matrix", [similarity(0.6, 0.3, 50, 20), similarity(1.3, -0.2, 10, 25)])
def test_a_crop_is_a_warp_of_the_displayed_picture(made: dict[str, object], matrix: Matrix) -> None:
    frame = only_frame(make_video(2, width=WIDTH, height=HEIGHT, painter=smooth, **made))  # type: ignore[arg-type]
    error = np.abs(frame.crop(matrix, 80) - reference_crop(smooth(1, WIDTH, HEIGHT), matrix, 80))
    assert error.mean() < 2.6
    assert error.max() < 16


@pytest.mark.parametrize("made", FORMATS.values(), ids=FORMATS)
def test_an_image_is_the_displayed_picture(made: dict[str, object]) -> None:
    frame = only_frame(make_video(2, width=WIDTH, height=HEIGHT, painter=smooth, **made))  # type: ignore[arg-type]
    error = np.abs(frame.image(WIDTH) - smooth(1, WIDTH, HEIGHT).astype(int))
    assert error.mean() < 2
    assert error.max() < 20


@pytest.mark.parametrize(
    "colour", [(250, 250, 250), (5, 5, 5), (200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128)]
)
@pytest.mark.parametrize("standard", [(5, 1), (5, 2), (1, 1), (1, 2), (9, 1)])
def test_colours_come_back_exactly(colour: tuple[int, int, int], standard: tuple[int, int]) -> None:
    def plain(_index: int, width: int, height: int) -> Pixels:
        return np.full((height, width, 3), colour, np.uint8)

    frame = only_frame(make_video(1, painter=plain, colour=standard, options=LOSSLESS))
    assert np.abs(frame.image(96) - np.array(colour)).max() <= 3


@pytest.mark.parametrize(("height", "standard"), [(576, "601"), (720, "709")])
def test_a_file_that_does_not_say_follows_the_standard_of_its_size(height: int, standard: str) -> None:
    frame = only_frame(make_video(1, width=640, height=height, options={"preset": "ultrafast"}))
    assert frame.picture.standard == standard


@pytest.mark.parametrize("odd", [(175, 143), (33, 35), (17, 15)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_odd_sizes_keep_every_row_and_column(odd: tuple[int, int], pixel_format: str) -> None:
    width, height = odd
    video = make_video(
        1,
        width=width,
        height=height,
        painter=smooth,
        codec="ffv1",
        container="matroska",
        pixel_format=pixel_format,
    )
    frame = only_frame(video)
    assert frame.image(1000).shape == (height, width, 3)
    whole = frame.crop(np.array([[1.0, 0, 0], [0, 1.0, 0]]), max(odd))[:height, :width]
    assert np.abs(whole - smooth(0, width, height).astype(int)).mean() < 3


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_rotated_picture_is_shown_upright(rotation: Rotation) -> None:
    frame = only_frame(make_video(2, width=WIDTH, height=HEIGHT, painter=cornered, rotation=rotation))
    shown = np.rot90(cornered(0, WIDTH, HEIGHT), -rotation // 90)
    assert frame.picture.geometry.rotation == rotation
    assert (frame.height, frame.width) == shown.shape[:2]
    inner = np.abs(frame.image(WIDTH) - shown.astype(int)).mean(2)
    assert np.median(inner) < 4


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("matrix", [similarity(0.6, 0.3, 50, 20), similarity(1.3, -0.2, 10, 25)])
def test_a_crop_of_a_rotated_picture_is_a_warp_of_what_is_shown(rotation: int, matrix: Matrix) -> None:
    video = make_video(2, width=WIDTH, height=HEIGHT, painter=smooth, rotation=rotation, options=LOSSLESS)
    shown = np.rot90(smooth(1, WIDTH, HEIGHT), -rotation // 90)
    error = np.abs(only_frame(video).crop(matrix, 80) - reference_crop(shown, matrix, 80))
    assert error.mean() < 2.6
    assert error.max() < 16


def test_a_mirrored_picture_is_shown_mirrored() -> None:
    picture = frame_of(cornered(0, 64, 48)).picture
    mirrored = Picture(picture.planes, Geometry(64, 48, turn=(-1, 0, 0, 1), chroma_step=(1, 1)))
    assert mirrored.geometry.rotation == 0
    assert np.abs(mirrored.image(64) - cornered(0, 64, 48)[:, ::-1].astype(int)).max() < 4


def test_wide_pixels_widen_the_displayed_picture() -> None:
    video = make_video(1, width=90, height=80, painter=smooth, sample_aspect=Fraction(4, 3), options=LOSSLESS)
    frame = only_frame(video)
    assert (frame.width, frame.height) == (120, 80)
    assert frame.image(120).shape == (80, 120, 3)
    matrix = similarity(0.8, 0.2, 30, 10)
    # displayed x is shown at (x + .5) * 3/4 - .5 of the coded row
    to_coded = np.array([[0.75, 0, -0.125], [0, 1, 0]]) @ np.vstack([matrix, (0, 0, 1)])
    error = np.abs(frame.crop(matrix, 60) - reference_crop(smooth(0, 90, 80), to_coded, 60))
    assert error.mean() < 2.6


def test_pixel_aspect_and_rotation_go_together() -> None:
    frame = only_frame(make_video(1, width=90, height=80, sample_aspect=Fraction(4, 3), rotation=90))
    assert (frame.width, frame.height) == (80, 120)


def test_an_impossible_pixel_aspect_is_ignored() -> None:
    frame = only_frame(make_video(1, width=90, height=80, sample_aspect=Fraction(200, 1)))
    assert (frame.width, frame.height) == (90, 80)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_of_interlaced_video_only_the_first_field_is_seen(codec: str) -> None:
    def combed(_index: int, width: int, height: int) -> Pixels:
        picture = np.full((height, width, 3), 60, np.uint8)
        picture[1::2] = 200
        return picture

    options = {"flags": "+ildct+ilme"} | ({"x264-params": "tff=1"} if codec == "libx264" else {})
    container = "mp4" if codec == "libx264" else "mpegts"
    frame = only_frame(make_video(24, painter=combed, codec=codec, container=container, options=options))
    assert (frame.width, frame.height) == (96, 72)
    assert np.abs(frame.image(96) - 60.0).max() < 12
    assert np.abs(frame.crop(similarity(0.7, 0.1, 20, 5), 64) - 60.0).max() < 12
    assert np.abs(frame.shrunk_luma() - (16 + 60 * 219 / 255)).max() < 12


def test_a_crop_of_interlaced_video_lies_where_it_was_asked() -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "1"}
    frame = only_frame(make_video(2, width=WIDTH, height=HEIGHT, painter=smooth, options=options))
    matrix = similarity(0.8, 0.2, 30, 10)
    error = np.abs(frame.crop(matrix, 80) - reference_crop(smooth(1, WIDTH, HEIGHT), matrix, 80))
    assert frame.picture.geometry.first_field
    assert error.mean() < 2.6


@pytest.mark.parametrize("chroma_x", [0.0, 0.5])
def test_chroma_is_read_where_it_was_sampled(chroma_x: float) -> None:
    blue = (60 + 2 * (2 * np.arange(20) + chroma_x)).astype(np.uint8)
    planes = (
        np.full((40, 40), 120, np.uint8),
        np.broadcast_to(blue, (20, 20)).copy(),
        np.full((20, 20), 128, np.uint8),
    )
    picture = Picture(planes, Geometry(40, 40, chroma_x=chroma_x), "601", full_range=True)
    shown = picture.crop(np.array([[1.0, 0, 0], [0, 1.0, 0]]), 40)[20, 4:-4, 2]
    expected = np.clip(120 + 1.772 * (60 + 2 * np.arange(4, 36) - 128), 0, 255)
    assert np.abs(shown - expected).max() < 1.6


@pytest.mark.parametrize("scale", [1.5, 2.0, 2.1, 3.0, 5.0, 8.3])
def test_fine_detail_is_averaged_and_not_aliased_when_a_crop_shrinks_it(scale: float) -> None:
    checks = np.indices((720, 720)).sum(0) % 2 * 160 + 40
    frame = frame_of(np.repeat(checks[:, :, None], 3, 2).astype(np.uint8))
    crop = frame.crop(similarity(scale, 0.1, 20, 5), 64).astype(int)
    assert np.abs(crop - 120).mean() < 12
    assert crop.std() < 14


@pytest.mark.parametrize("scale", [1.7, 2.4, 3.9, 6.0])
def test_a_shrunk_crop_lies_where_it_was_asked(scale: float) -> None:
    y, x = np.mgrid[0:600, 0:600]
    image = np.stack([x * 0.4, y * 0.4, 120 + 0 * x], 2)
    matrix = similarity(scale, 0.3, 150, 10)
    crop = frame_of(image.round().astype(np.uint8)).crop(matrix, 64)
    assert np.abs(crop - reference_crop(image, matrix, 64)).max() < 3.5


def test_beyond_the_edge_the_edge_is_repeated() -> None:
    frame = frame_of(smooth(0, 64, 48))
    for scale in (1.0, 5.0):
        crop = frame.crop(similarity(scale, 0, -5000, -5000), 32)
        assert np.abs(crop - smooth(0, 64, 48)[0, 0].astype(int)).max() < 30
        assert np.ptp(crop, (0, 1)).max() == 0


@pytest.mark.parametrize("max_side", [40, 64, 79, 160, 320])
def test_an_image_is_shrunk_to_its_longer_side_and_never_enlarged(max_side: int) -> None:
    image = frame_of(smooth(0, 160, 96)).image(max_side)
    assert max(image.shape[:2]) == min(max_side, 160)
    assert image.shape[0] == round(image.shape[1] * 96 / 160)
    assert np.abs(image.mean((0, 1)) - smooth(0, 160, 96).mean((0, 1))).max() < 3


def test_shrunk_luma_tells_one_shot_from_another() -> None:
    dark, bright = (frame_of(np.full((360, 640, 3), value, np.uint8)).shrunk_luma() for value in (40, 200))
    assert dark.shape == (36, 64)
    assert np.ptp(dark) == 0
    assert abs(int(bright[0, 0]) - int(dark[0, 0]) - 160 * 219 / 255) < 2


def test_corners_keep_their_colours() -> None:
    image = frame_of(cornered(0, 64, 48)).image(64)
    assert np.abs(image[4, 4] - np.array(CORNERS["top left"])).max() < 4
    assert np.abs(image[-4, -4] - np.array(CORNERS["bottom right"])).max() < 4


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))]
)
def test_shrunk_luma_is_turned_as_the_picture_is_displayed(rotation: int, corner: tuple[int, int]) -> None:
    def lit(_index: int, width: int, height: int) -> np.ndarray:
        picture = np.zeros((height, width, 3), np.uint8)
        picture[: height // 3, : width // 3] = 255
        return picture

    with open_video(make_video(3, painter=lit, rotation=rotation)) as frames:
        small = next(iter(frames)).shrunk_luma()
    assert small.shape == ((64, 36) if rotation % 180 else (36, 64))
    assert small[corner] > 200
    assert (small > 128).mean() < 0.2
