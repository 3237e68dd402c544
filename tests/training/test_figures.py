"""Figures of whole videos: what they are on sets whose answer is known, and how odd videos count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.training.made_scores import clip, labelled, plain_spec, scored_as
from training.figures import Bootstrap, Labelled, cross_fitted, video_figures
from training.metrics import auc
from training.scores import Scored


def figures(data: Labelled) -> dict[str, object]:
    return video_figures(data, plain_spec(), resamples=50)


def of(*rows: tuple[str, bool, float | None]) -> Labelled:
    """Videos by generator, label and logit."""
    clips = [clip(f"{n}.mp4", fake=fake, generator=name) for n, (name, fake, _) in enumerate(rows)]
    scored = [Scored(None) if logit is None else scored_as(logit) for _, _, logit in rows]
    return Labelled.of(clips, scored, plain_spec())


def test_a_fake_and_its_real_are_one_group_and_a_pair() -> None:
    data = labelled(np.random.default_rng(0), people=4, generators=("swap", "sync"))

    assert len(set(data.groups)) == 4
    assert data.pairs == [(0, 1), (0, 2), (3, 4), (3, 5), (6, 7), (6, 8), (9, 10), (9, 11)]


def test_every_figure_has_its_value_inside_its_interval() -> None:
    report = video_figures(
        labelled(np.random.default_rng(1), generators=("swap", "sync")), plain_spec(), resamples=100
    )
    found = [value for value in report.values() if isinstance(value, dict) and "low" in value]

    assert len(found) == 8
    assert all(one["low"] <= one["value"] <= one["high"] for one in found)
    assert report["videos"] == {
        "real": 20,
        "fake": 40,
        "groups": 20,
        "not_judged": 0,
        "unreadable": 0,
    }


def test_each_generator_weighs_the_same_in_the_mean() -> None:
    rows = [("", False, 0.0), ("", False, 1.0)]
    easy, hard = [("easy", True, 2.0)] * 8, [("hard", True, 0.5)] * 2
    report = figures(of(*rows, *easy, *hard))

    assert report["generators"]["easy"]["auc"]["value"] == 1.0  # type: ignore[index]
    assert report["generators"]["hard"]["auc"]["value"] == 0.5  # type: ignore[index]
    assert report["auc_mean_over_generators"]["value"] == 0.75  # type: ignore[index]
    assert report["auc"]["value"] == pytest.approx(0.9)  # type: ignore[index]


def test_a_video_without_a_face_counts_as_undecided_and_is_counted() -> None:
    data = of(("", False, -1.0), ("", False, None), ("swap", True, 1.0), ("swap", True, None))
    report = figures(data)

    # of four pairs three are right and one, nothing against nothing, is a tie
    assert report["auc"]["value"] == pytest.approx(3.5 / 4)  # type: ignore[index]
    assert report["auc_judged_only"]["value"] == 1.0  # type: ignore[index]
    assert report["videos"]["not_judged"] == 2  # type: ignore[index]
    assert report["as_calibrated"]["abstained"] == 1.0  # type: ignore[index]


def test_an_unreadable_file_is_told_from_one_without_a_face() -> None:
    clips = [clip("a.mp4"), clip("b.mp4", fake=True)]
    data = Labelled.of(clips, [Scored(None, (), "not a video"), scored_as(1.0)], plain_spec())
    counts = figures(data)["videos"]

    assert (counts["not_judged"], counts["unreadable"]) == (0, 1)  # type: ignore[index]


def test_what_offsets_people_counts_less_on_pairs() -> None:
    clips, scored = [], []
    for number in range(12):
        clips += [
            clip(f"r{number}", identity=str(number)),
            clip(f"f{number}", fake=True, generator="g", pair=f"r{number}"),
        ]
        scored += [scored_as(number), scored_as(number + 0.5)]
    report = figures(Labelled.of(clips, scored, plain_spec()))

    assert report["pairs"]["ranked_right"]["value"] == 1.0  # type: ignore[index]
    assert report["pairs"]["auc"]["value"] < 0.6  # type: ignore[index]


def test_a_set_without_pairs_has_no_figures_of_pairs() -> None:
    report = figures(of(("", False, 0.0), ("", False, 0.2), ("g", True, 1.0), ("g", True, 0.1)))

    assert report["pairs"] == {}
    assert math.isnan(report["generators"]["g"]["auc_pairs"]["value"])  # type: ignore[index]


def test_cross_fitting_measures_on_people_that_it_was_not_fitted_to() -> None:
    data = labelled(np.random.default_rng(2), people=60, apart=1.0)
    crossed = cross_fitted(data, seed=0)

    assert crossed is not None
    probability, threshold = crossed
    assert len(set(threshold.tolist())) == 2
    for group in set(data.groups):
        assert len({threshold[row] for row, one in enumerate(data.groups) if one == group}) == 1
    assert auc(data.fake, probability) > 0.75


def test_a_set_too_small_to_cross_fit_says_so() -> None:
    report = figures(of(("", False, 0.0), ("g", True, 1.0)))

    assert report["cross_fitted"] == {}


def test_intervals_over_some_rows_keep_their_groups() -> None:
    interval = Bootstrap(["a", "a", "b", "b", *range(3)], seed=0, resamples=100)
    seen: set[tuple[int, ...]] = set()

    def note(rows: np.ndarray) -> float:
        seen.add(tuple(sorted(rows.tolist())))
        return 0.0

    interval(note, np.array([0, 1, 3, 4, 5, 6]))
    assert all(rows.count(0) == rows.count(1) and 2 not in rows for rows in seen)
    assert len(seen) > 10


def test_a_few_groups_have_a_value_and_no_interval() -> None:
    few = Bootstrap(["a", "a", "b", "c", "d"], seed=0)(lambda rows: float(len(rows)))

    assert few["value"] == 5.0
    assert math.isnan(few["low"])
    assert math.isnan(few["high"])
