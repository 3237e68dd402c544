from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dmcl_sdk.motion import MotionEstimator, MotionSpec, as_values
from training.ablations.claims import (
    AMPLITUDES_PX,
    FIRST_SEED,
    HEAD_PX,
    KINDS,
    NETWORKS,
    SIZES,
    TRANSIENT_FRAMES,
    Figures,
    cell,
    chosen,
    made,
    moved,
    tinted_pairs,
    tints,
    trembling,
)
from training.ablations.command import app, run_claims
from training.ablations.learning import Sizes, fit, scores, small
from training.ablations.raw_motion import RawMotionEstimator
from training.ablations.verdicts import (
    LEAST_SEEDS,
    NEVER,
    growth,
    half_amplitude,
    judge,
    relative_growth,
)
from training.ablations.worlds import REAL, Floats, Forgery, Scene, World, drift, jitter, transient

STILL = World(frames=3, head_px=0, tracker_px=0, mouth_px=0, lids_px=0, grain=0)
FEW = dict.fromkeys(SIZES, Sizes(steps=1, batch_pairs=2, train_pairs=4, test_scenes=2))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_scene_is_the_same_for_the_same_seed_and_no_other() -> None:
    world = World(frames=4)
    first = Scene(world, 7).clip()
    assert np.array_equal(first, Scene(world, 7).clip())
    assert not np.array_equal(first, Scene(world, 8).clip())


def test_a_forgery_of_nothing_is_the_real_clip_bit_for_bit() -> None:
    scene = Scene(World(frames=4), 0)
    assert np.array_equal(scene.clip(REAL), scene.clip(Forgery(np.zeros((4, 2), np.float32))))


@pytest.mark.parametrize("distance_px", [0.15, 0.6, 2.4])
def test_a_region_moves_by_as_many_pixels_as_its_path_says(distance_px: float) -> None:
    scene = Scene(replace(STILL, region_px=300), 0)  # so wide that the whole face moves as one
    path = np.array([[0, 0], [distance_px, 0], [0, -distance_px]], np.float32)
    rest, right, up = (frame.mean(2).astype(np.float32) for frame in scene.render(Forgery(path)))
    assert shift_that_fits(rest, right, (1, 0)) == pytest.approx(distance_px, abs=0.051)
    assert shift_that_fits(rest, up, (0, -1)) == pytest.approx(distance_px, abs=0.051)


def shift_that_fits(rest: Floats, moved: Floats, direction: tuple[int, int]) -> float:
    """The distance along a direction by which `rest` has to be moved to look most like `moved`, to .05 px."""
    distances = np.arange(0, 3.01, 0.05)
    errors = []
    for distance in distances:
        by = np.array([[1, 0, distance * direction[0]], [0, 1, distance * direction[1]]], np.float32)
        guess = cv2.warpAffine(rest, by, (64, 64), flags=cv2.INTER_CUBIC)
        errors.append(np.abs(guess - moved)[16:48, 16:48].mean())
    return float(distances[np.argmin(errors)])


def test_a_forged_region_leaves_the_rest_of_the_picture_alone() -> None:
    scene = Scene(STILL, 0)
    path = np.full((3, 2), 2.0, np.float32)
    changed = np.abs(scene.render(Forgery(path)).astype(int) - scene.render()).max((0, 3)) > 2
    near = cv2.resize(scene.mask(16), (64, 64), interpolation=cv2.INTER_NEAREST) > 0
    assert changed[near].mean() > 0.5
    assert changed[~near].mean() < 0.1


def test_the_head_moves_as_far_as_the_world_says() -> None:
    scene = Scene(replace(STILL, head_px=6, frames=12), 0)
    distance = np.linalg.norm(scene._moves.head, axis=1)
    assert distance.max() == pytest.approx(6, abs=1e-3)
    assert np.allclose(scene._moves.head.mean(0), 0, atol=1e-3)


def test_a_scene_at_another_head_motion_is_the_same_scene() -> None:
    calm, wild = (Scene(World(frames=5, head_px=head_px), 3) for head_px in (2.0, 8.0))
    assert np.array_equal(calm.region, wild.region)
    assert np.array_equal(calm._moves.mouth, wild._moves.mouth)
    assert np.allclose(4 * calm._moves.head, wild._moves.head, atol=1e-5)


def test_trembling_has_the_amplitude_it_is_asked_for() -> None:
    path = jitter(rng(), 17, 0.3)
    assert math.sqrt((path**2).sum(1).mean()) == pytest.approx(0.3, rel=1e-4)


def test_a_transient_comes_back_and_a_drift_does_not() -> None:
    jump = transient(rng(), 12, 2.0, first=5, length=2)
    assert np.linalg.norm(jump, axis=1).nonzero()[0].tolist() == [5, 6]
    slide = np.linalg.norm(drift(rng(), 12, 2.0), axis=1)
    assert np.allclose(np.diff(slide), 2.0 / 11, atol=1e-5)
    assert slide[-1] == pytest.approx(2.0)


def test_the_tint_tells_the_truth_of_exactly_nine_clips_in_ten() -> None:
    tinted = tints(rng(), 100, right=0.9)
    assert tinted.sum(0).tolist() == [10, 90]
    assert tints(rng(), 100, right=1.0).sum(0).tolist() == [0, 100]


def test_pairs_are_tinted_as_told_and_only_the_forged_one_trembles() -> None:
    told = np.array([[True, True], [False, True]])
    pairs = tinted_pairs(World(frames=4), rng(), told)
    assert [one.forgery.tinted for one in pairs] == told.ravel().tolist()
    assert [one.forgery.path is not None for one in pairs] == [False, True, False, True]
    assert [one.labels.max() for one in pairs] == [0, 1, 0, 1]
    assert pairs[0].scene is pairs[1].scene
    still = tinted_pairs(World(frames=4), rng(), told, trembles=False)
    assert all(one.forgery.path is None for one in still)


def test_a_tint_colours_its_clip() -> None:
    scene = Scene(STILL, 0)
    greener = scene.render(Forgery(tinted=True)).astype(int) - scene.render()
    assert greener[..., 1].max() > 15
    assert greener[..., 0].min() < -15


def test_every_amplitude_is_tried_on_the_same_path() -> None:
    clips = trembling(World(frames=4), rng(), 1)
    paths = [one.forgery.path for one in clips]
    assert paths[0] is None
    for path, amplitude_px in zip(paths[1:], AMPLITUDES_PX, strict=True):
        assert path is not None
        assert math.sqrt((path**2).sum(1).mean()) == pytest.approx(amplitude_px, rel=1e-4)


def test_a_transient_is_labelled_in_its_frames_and_a_drift_in_all() -> None:
    real, jump, slide = moved(World(frames=31), rng(), 15, KINDS)
    assert real.labels.sum() == 0
    assert jump.labels[15:].sum() == TRANSIENT_FRAMES
    assert jump.forgery.path is not None
    assert np.array_equal(jump.labels > 0, np.abs(jump.forgery.path).sum(1) > 0)
    assert slide.labels.all()


def test_raw_motion_keeps_the_heads_motion_that_the_product_removes() -> None:
    clip = Scene(World(frames=3, head_px=4), 1).clip()
    spec = MotionSpec((1,))
    stable, raw = MotionEstimator(spec).of(clip), RawMotionEstimator(spec).of(clip)
    assert np.array_equal(stable[:, 2:], raw[:, 2:])
    inner = np.s_[1:, :2, 10:22, 10:22]  # the background moves on its own
    assert np.abs(as_values(raw[inner])).mean() > 2 * np.abs(as_values(stable[inner])).mean()


def test_a_network_of_one_span_sees_its_own_baseline() -> None:
    clips = made(moved(World(frames=23), rng(), 15, ("drift",)), MotionEstimator(MotionSpec()), history=15)
    assert clips.rgb.shape == (2, 8, 64, 64, 3)
    assert clips.fake.tolist() == [0, 1]
    assert torch.equal(chosen(clips, (4,)).motion, clips.motion[:, :, 4:8])
    assert torch.equal(chosen(clips, (1, 4, 15)).motion, clips.motion)


def test_learning_is_repeated_by_its_seed() -> None:
    pairs = tinted_pairs(World(frames=9), rng(), tints(rng(), 4, right=1.0))
    clips = made(pairs, MotionEstimator(MotionSpec((1,))), history=1)
    config = small((1,), (1,))
    once, again, other = (scores(fit(config, clips, sizes=FEW[1], seed=seed), clips) for seed in (0, 0, 1))
    assert once.shape == (8, 3)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


@pytest.mark.parametrize(
    ("aucs", "amplitude_px"),
    [
        ([0.5, 0.5, 1.0], math.sqrt(8)),  # half-way between 2 and 4 on a log scale
        ([0.5, 0.75, 1.0], 2.0),
        ([0.8, 0.9, 1.0], 1.0),  # not asked for less than was tried
        ([0.6, 0.9, 0.7], 2**0.5),  # what falls again is noise
        ([0.5, 0.6, 0.7], math.inf),
    ],
)
def test_the_amplitude_needed_is_where_the_curve_first_reaches_three_quarters(
    aucs: list[float], amplitude_px: float
) -> None:
    assert half_amplitude([1, 2, 4], aucs) == pytest.approx(amplitude_px)


def test_growth_is_the_slope_of_the_line() -> None:
    assert growth((0, 2, 4, 8), (1.0, 1.5, 2.0, 3.0)) == pytest.approx(0.25)
    assert growth((0, 2, 4, 8), (1.0, 1.5, 2.0, math.inf)) == math.inf


def of_claim_1(gain: float, loss: float) -> Figures:
    return {
        "with MSMR": {"decorrelated": 0.6 + gain, "spatial only": 0.95 - loss},
        "without MSMR": {"decorrelated": 0.6, "spatial only": 0.95},
    }


def of_claim_2(reached_at: dict[str, list[int]]) -> Figures:
    """AUC 1 from the given number of amplitude on at each head motion, .5 before."""
    return {
        name: {
            cell(head, amplitude): 1.0 if place >= first else 0.5
            for head, first in zip(HEAD_PX, firsts, strict=True)
            for place, amplitude in enumerate(AMPLITUDES_PX)
        }
        for name, firsts in reached_at.items()
    }


def of_claim_3(**recalls: tuple[float, float]) -> Figures:
    short, middle, long, every = (recalls[name] for name in ("short", "middle", "long", "every"))
    return {
        name: dict(zip(KINDS, pair, strict=True))
        for name, pair in zip(NETWORKS, (short, middle, long, every), strict=True)
    }


def test_claim_1_holds_only_with_a_gain_and_without_a_loss() -> None:
    assert judge(1, [of_claim_1(0.1, 0.01)] * 5).answer == "holds"
    assert judge(1, [of_claim_1(0.04, 0.0)] * 5).answer == "does not hold"
    assert judge(1, [of_claim_1(0.2, 0.03)] * 5).answer == "does not hold"


def test_a_gain_that_the_seeds_disagree_on_is_not_enough() -> None:
    verdict = judge(1, [of_claim_1(gain, 0.0) for gain in (0.3, 0.3, 0.3, -0.2, -0.2)])
    assert verdict.conditions[0].estimate.value == pytest.approx(0.1)
    assert verdict.answer == "does not hold"


def test_nothing_is_decided_on_few_seeds() -> None:
    assert judge(1, [of_claim_1(0.1, 0.01)] * (LEAST_SEEDS - 1)).answer == "not decided"


OURS, PLAIN = "MSMR, stabilised flow", "plain pooling, raw flow"


def test_claim_2_compares_how_fast_the_amplitude_needed_grows() -> None:
    level, rising, steep = [1, 1, 1, 1], [1, 1, 2, 2], [1, 2, 3, 4]
    assert judge(2, [of_claim_2({OURS: level, PLAIN: steep})] * 5).answer == "holds"
    assert relative_growth([of_claim_2({OURS: steep, PLAIN: steep})]) == pytest.approx(1)
    assert 0 < relative_growth([of_claim_2({OURS: rising, PLAIN: steep})]) < 0.5


def test_claim_2_is_not_won_by_never_getting_there_nor_against_a_rival_that_does_not_grow() -> None:
    level, lost = [1, 1, 1, 1], [1, 1, 2, 5]
    assert relative_growth([of_claim_2({OURS: lost, PLAIN: [1, 2, 3, 4]})]) == NEVER
    assert relative_growth([of_claim_2({OURS: level, PLAIN: level})]) == NEVER
    assert judge(2, [of_claim_2({OURS: lost, PLAIN: lost})] * 5).answer == "does not hold"


def test_claim_3_wants_every_single_span_to_fail_at_something_and_several_at_nothing() -> None:
    good = of_claim_3(short=(0.9, 0.1), middle=(0.5, 0.5), long=(0.2, 0.9), every=(0.88, 0.85))
    assert judge(3, [good] * 5).answer == "holds"
    rival = of_claim_3(short=(0.9, 0.1), middle=(0.8, 0.7), long=(0.2, 0.9), every=(0.9, 0.9))
    assert [one.met for one in judge(3, [rival] * 5).conditions] == [True, False, True, True, True]
    torn = of_claim_3(short=(0.9, 0.1), middle=(0.5, 0.5), long=(0.2, 0.9), every=(0.7, 0.9))
    assert [one.met for one in judge(3, [torn] * 5).conditions] == [True, True, True, False, True]


def figures_of(claim: int) -> Figures:
    return {
        1: of_claim_1(0.1, 0.01),
        2: of_claim_2({OURS: [1, 1, 1, 1], PLAIN: [1, 2, 3, 5]}),
        3: of_claim_3(short=(0.9, 0.1), middle=(0.5, 0.5), long=(0.2, 0.9), every=(0.88, 0.85)),
    }[claim]


def finished(folder: Path, *, seeds: int, sizes: dict[int, Sizes] = SIZES) -> Path:
    """A folder in which every seed was run already."""
    lines = [
        {"claim": claim, "seed": seed, "sizes": asdict(sizes[claim]), "figures": figures_of(claim)}
        for claim in (1, 2, 3)
        for seed in range(FIRST_SEED[claim], FIRST_SEED[claim] + seeds)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_command_writes_tables_plots_and_what_it_decided(tmp_path: Path) -> None:
    out = finished(tmp_path / "out", seeds=5)
    result = CliRunner().invoke(app, ["claims", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("**holds (5 seeds)**") == 3
    assert (out / "claims.md").read_text() in result.stdout
    answers = json.loads((out / "results.json").read_text())
    assert [one["answer"] for one in answers] == ["holds"] * 3
    plots = [out / f"claims-{claim}.svg" for claim in (1, 2, 3)]
    before = [plot.read_bytes() for plot in plots]
    CliRunner().invoke(app, ["claims", "--out", str(out)])
    assert [plot.read_bytes() for plot in plots] == before


def test_a_claim_is_really_run_and_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    first = run_claims([1], 1, tmp_path, sizes=FEW)
    assert all(0 <= auc <= 1 for row in first[1] for tests in row.values() for auc in tests.values())
    lines = tmp_path / "results.jsonl"
    whole = lines.read_text()
    lines.write_text(whole + '{"claim": 1, "se')
    assert run_claims([1], 1, tmp_path, sizes=FEW) == first
    assert lines.read_text() == whole


@pytest.mark.slow
@pytest.mark.parametrize("claim", [2, 3])
def test_the_other_claims_are_really_run(claim: int, tmp_path: Path) -> None:
    ((figures,),) = run_claims([claim], 1, tmp_path, sizes=FEW).values()
    assert set(figures) == set(figures_of(claim))
    for name, tests in figures.items():
        assert set(tests) == set(figures_of(claim)[name])


def test_results_of_other_sizes_or_of_something_else_are_refused_with_a_way_out(tmp_path: Path) -> None:
    out = finished(tmp_path, seeds=1, sizes=FEW)
    result = CliRunner().invoke(app, ["claims", "--out", str(out)])
    assert result.exit_code == 2
    assert "other sizes" in result.output
    (out / "results.jsonl").write_text("no JSON\n")
    with pytest.raises(ValueError, match=r"line 1 of .* is no result"):
        run_claims([1], 1, out)


def test_help_teaches(tmp_path: Path) -> None:
    text = CliRunner().invoke(app, ["claims", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert "dmcl ablate claims --out" in text
    assert "can fail" in text
    assert CliRunner().invoke(app, ["claims", "--out", str(tmp_path), "--claim", "4"]).exit_code == 2


@pytest.mark.parametrize("change", [{"frames": 2}, {"head_px": -1.0}, {"region_px": 0.0}, {"size_px": 16}])
def test_a_world_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"a world needs|not negative"):
        replace(World(), **change)  # type: ignore[arg-type]
