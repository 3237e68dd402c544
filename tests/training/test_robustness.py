"""Robustness: which videos are taken, what the figures are, and real perturbed videos scored by a real detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dmcl_sdk import Detector
from tests.made import make_video, smooth
from tests.training.made_scores import clip, plain_spec, scored_as
from training.data.manifest import Clip
from training.figures import Labelled
from training.perturbations import KINDS
from training.robustness import Perturbed, chosen, perturb_and_score, robustness_figures
from training.scores import Scored, Scorer


def a_set() -> list[Clip]:
    reals = [clip(f"r{n}") for n in range(10)]
    fakes = [clip(f"a{n}", fake=True, generator="a", pair=f"r{n}") for n in range(8)]
    return [*reals, *fakes, clip("b0", fake=True, generator="b", pair="r9")]


def of(clips: Sequence[Clip], logits: Sequence[float | None]) -> Labelled:
    scored = [Scored(None) if logit is None else scored_as(logit) for logit in logits]
    return Labelled.of(list(clips), scored, plain_spec())


def test_a_subset_has_as_many_of_either_class_and_every_generator() -> None:
    taken = chosen(a_set(), 2)

    assert [one.fake for one in taken] == [False, False, True, True]
    assert {one.generator for one in taken if one.fake} == {"a", "b"}
    assert {one.path for one in taken if not one.fake} == {one.pair for one in taken if one.fake}


def test_the_same_seed_takes_the_same_videos() -> None:
    assert chosen(a_set(), 3) == chosen(a_set(), 3)
    assert chosen(a_set(), None) == a_set()
    assert len(chosen(a_set(), 100)) == len(a_set())


def test_the_loss_is_what_a_perturbation_takes_from_the_auc() -> None:
    clips = [clip(f"{n}", fake=n >= 4) for n in range(8)]
    clean = of(clips, [-1.0] * 4 + [1.0] * 4)
    blind = of(clips, [0.0] * 8)
    data = Perturbed(
        clean,
        {
            (kind, level): blind if kind == "blur" and level == 5 else clean
            for kind in KINDS
            for level in range(1, 6)
        },
    )
    report = robustness_figures(data, 0.6, resamples=20)

    assert report["clean"]["value"] == 1.0
    assert report["kinds"]["blur"][4]["auc"]["value"] == 0.5
    assert report["kinds"]["blur"][4]["loss"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert report["kinds"]["noise"][4]["loss"]["value"] == 0.0
    assert report["mean_auc"]["value"] == pytest.approx((34 + 0.5) / 35)


def test_real_videos_that_a_perturbation_makes_look_forged_are_counted_though_the_auc_stays() -> None:
    clips = [clip(f"{n}", fake=n >= 4) for n in range(8)]
    clean, shifted = of(clips, [-1.0] * 4 + [1.0] * 4), of(clips, [-1.0, 2.0, 2.0, 2.0] + [3.0] * 4)
    data = Perturbed(clean, {(kind, 3): shifted if kind == "blur" else clean for kind in KINDS})
    report = robustness_figures(data, 0.6, resamples=20)

    assert report["kinds"]["blur"][0]["loss"]["value"] == 0.0
    assert report["kinds"]["blur"][0]["false_positive_rate"]["value"] == 0.75
    assert report["kinds"]["noise"][0]["false_positive_rate"]["value"] == 0.0
    assert report["false_positive_rate"]["value"] == 0.0


def test_a_threshold_of_one_accuses_nobody() -> None:
    clean = of([clip("r"), clip("f", fake=True)], [-1.0, 1.0])
    report = robustness_figures(Perturbed(clean, {(kind, 3): clean for kind in KINDS}), 1.0, resamples=10)

    assert report["kinds"]["noise"][0]["false_positive_rate"]["value"] == 0.0


def test_a_video_that_is_not_judged_any_more_counts_as_undecided_and_the_others_are_told_apart_beside() -> (
    None
):
    clips = [clip("r"), clip("a", fake=True), clip("s"), clip("b", fake=True)]
    lost = of(clips, [-1.0, None, 1.0, 2.0])
    data = Perturbed(
        of(clips, [-1.0, 1.0] * 2), {(kind, level): lost for kind in KINDS for level in range(1, 6)}
    )
    report = robustness_figures(data, 0.6, resamples=10)["kinds"]["noise"][0]

    assert report["not_judged"] == 1
    assert report["auc"]["value"] == 0.75
    assert report["auc_judged_only"]["value"] == 1.0


def test_every_video_is_scored_after_every_perturbation_once(tmp_path: Path) -> None:
    source = tmp_path / "plain.mp4"
    source.write_bytes(make_video(6, painter=smooth))
    clips = [Clip(source, "val", fake=False)]
    scorer = Scorer(Detector(providers=["cpu"]), tmp_path / "scores")
    told: list[int] = []

    def watched(jobs, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        told.append(count)
        return jobs

    data = perturb_and_score(scorer, clips, watched=watched)

    assert told == [35]
    assert len(data.perturbed) == 35
    assert len(list((tmp_path / "scores").iterdir())) == 36
    assert np.array_equal(data.clean.log_odds, [0.0])  # a video without a face
    assert perturb_and_score(scorer, clips).perturbed.keys() == data.perturbed.keys()
    only = perturb_and_score(scorer, clips, levels=(3,))
    assert {level for _, level in only.perturbed} == {3}


def test_a_report_of_one_level_says_which() -> None:
    clips = [clip("r"), clip("f", fake=True)]
    same = of(clips, [-1.0, 1.0])
    report = robustness_figures(Perturbed(same, {(kind, 3): same for kind in KINDS}), 0.6, resamples=10)

    assert [one["level"] for one in report["kinds"]["blur"]] == [3]
