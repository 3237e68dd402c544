"""The audit on sets made so that the answer is known: a leak is found, and honest sight is told from it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.made import make_video
from tests.training.made_scores import labelled
from training.audit import as_markdown, audit, conclusion
from training.figures import Labelled, Report
from training.file_properties import FileProperties, as_table, file_properties

PLAIN = FileProperties(1e6, 5.0, 640.0, 480.0, 25.0, 1.6e6, 0.2, 12.0, 0.0, 120.0, "h264", ".mp4")


def files(rng: np.random.Generator, count: int) -> list[FileProperties]:
    """Files that differ in rate and size, and say nothing of the label."""
    return [
        replace(PLAIN, size_bytes=float(rng.lognormal(14, 0.3)), bit_rate=float(rng.lognormal(14, 0.3)))
        for _ in range(count)
    ]


def leaking(rng: np.random.Generator, data: Labelled) -> list[FileProperties]:
    """Fakes have lower rates, with some overlap."""
    return [
        replace(one, bit_rate=one.bit_rate * (0.4 if fake else 1.0))
        for one, fake in zip(files(rng, len(data.fake)), data.fake, strict=True)
    ]


@pytest.fixture(scope="module")
def seeing() -> Report:
    """A score that sees forgeries, and files that tell nothing."""
    rng = np.random.default_rng(4)
    data = labelled(rng, people=30)
    return audit(data, files(rng, len(data.fake)), resamples=60)


@pytest.fixture(scope="module")
def reading() -> Report:
    """A score that is the file's rate and nothing else."""
    rng = np.random.default_rng(1)
    data = labelled(rng, people=30, apart=0.0)
    properties = leaking(rng, data)
    rates = np.array([-math.log(one.bit_rate) for one in properties])
    return audit(replace(data, log_odds=rates - rates.mean()), properties, resamples=60)


def test_a_leak_in_the_files_is_found(reading: Report) -> None:
    assert reading["auc_of_properties"]["low"] > 0.8
    assert reading["auc_of_each_property"]["bit_rate"]["value"] > 0.9
    assert reading["auc_of_each_property"]["width"]["value"] == 0.5
    assert reading["conclusion"][0].startswith("File properties alone tell real from fake")


def test_a_score_that_reads_the_file_is_found_out(reading: Report) -> None:
    assert reading["auc_of_score"]["low"] > 0.8
    assert reading["auc_of_score_residual"]["low"] < 0.5 < reading["auc_of_score_residual"]["high"]
    assert reading["conclusion"][1].startswith(
        "It is not shown that the score tells real from fake beyond what file properties predict (AUC "
        f"{reading['auc_of_score_residual']['value']:.3f} ("
    )
    assert reading["r2_within_real"]["low"] > 0.5
    assert reading["r2_within_fake"]["low"] > 0.5
    assert "file properties explain part of the score" in reading["conclusion"][3]


def test_a_score_that_sees_forgeries_is_cleared(seeing: Report) -> None:
    assert seeing["auc_of_properties"]["low"] < 0.5 < seeing["auc_of_properties"]["high"]
    assert seeing["auc_of_score_in_strata"]["low"] > 0.8
    assert seeing["auc_of_score_on_pairs"]["low"] > 0.8
    assert seeing["auc_of_score_residual"]["low"] > 0.8
    assert seeing["r2_within_real"]["low"] <= 0
    assert seeing["conclusion"][0].startswith("File properties alone do not tell")


def test_the_conclusion_follows_from_intervals_not_from_values(seeing: Report) -> None:
    unsure = {"value": 0.8, "low": 0.45, "high": 0.99}
    nothing = {"value": math.nan, "low": math.nan, "high": math.nan}
    sentences = conclusion(seeing | {"auc_of_score_in_strata": unsure, "auc_of_score_on_pairs": nothing})

    assert sentences[1].startswith("It is not shown that the score tells real from fake among files")
    assert sentences[2].startswith("How the score does on pairs of a fake and its real cannot be said")


def test_the_tables_hold_every_figure_and_the_conclusion(seeing: Report) -> None:
    text = as_markdown(seeing)

    assert "AUC of file properties alone" in text
    assert all(f"* {sentence}" in text for sentence in seeing["conclusion"])
    assert "nan" not in text


def test_people_who_cannot_be_held_out_are_no_audit() -> None:
    rng = np.random.default_rng(0)
    data = labelled(rng, people=1)
    with pytest.raises(ValueError, match="two independent groups of real"):
        audit(data, files(rng, len(data.fake)))


def test_properties_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "made.mp4"
    path.write_bytes(make_video(50, width=128, height=96, fps=25, gop=10, b_frames=0, audio_s=1.0))
    found = file_properties(path, 80.0)

    assert (found.width, found.height, found.frame_rate, found.duration_s) == (128, 96, 25, 2.0)
    assert (found.key_interval, found.audio, found.face_px) == (10.0, 1.0, 80.0)
    assert (found.codec, found.container) == ("h264", ".mp4")
    assert found.size_bytes == path.stat().st_size
    assert found.bit_rate == pytest.approx(found.bits_per_pixel * 128 * 96 * 25)
    assert found.bit_rate * 2 / 8 < found.size_bytes


def test_a_file_that_cannot_be_read_has_a_size_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    found = file_properties(path)

    assert (found.size_bytes, found.codec) == (11.0, "unreadable")
    assert math.isnan(found.bit_rate)


def test_unknown_numbers_are_the_median_and_words_have_columns() -> None:
    table = as_table(
        [PLAIN, replace(PLAIN, width=320.0, codec="vp9"), replace(PLAIN, width=math.nan, container=".webm")]
    )

    assert table.shape == (3, 10 + 2 + 2)
    assert table[2, 2] == 480.0
    assert table[:, 10:].tolist() == [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]
