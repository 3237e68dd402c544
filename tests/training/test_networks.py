from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.worlds import TINY
from training.losses import LossWeights, contrast, dmcl_loss, evidence, frame_ranking, picture_loss, ranking
from training.networks.backbone import TimeBlock, over_space, over_time
from training.networks.msca import SpanAttention, frames_of, windows
from training.networks.msmr import (
    Explanation,
    MotionPath,
    MotionPreservingDown,
    balanced_loss,
    motion_targets,
    second_difference,
)
from training.networks.streams import LitePictures
from training.networks.two_stream import NetworkConfig, TwoStream, noisy_or, pool_logits


def clip(batch: int = 2, frames: int = 16, config: NetworkConfig = TINY) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    size, side = config.size_px, config.size_px // config.motion_shrink
    rgb = torch.randint(0, 256, (batch, frames, size, size, 3), dtype=torch.uint8)
    motion = torch.randint(-40, 41, (batch, frames, 12, side, side), dtype=torch.int8)
    return rgb, motion


@pytest.mark.parametrize("frames", [16, 24, 40])
def test_every_frame_is_answered_by_every_span_and_stream(frames: int) -> None:
    curves = TwoStream(TINY).eval()(*clip(frames=frames))
    assert curves.fused.shape == curves.rgb.shape == curves.flow.shape == (2, frames)
    assert curves.spans.shape == (2, frames, 3)


@pytest.mark.parametrize(
    "switch", ["motion_preserving", "motion_explanation", "equal_priority", "cross_attention"]
)
def test_every_piece_can_be_switched_off(switch: str) -> None:
    network = TwoStream(replace(TINY, **{switch: False}))  # type: ignore[arg-type]
    rgb, motion = clip()
    curves, extra = network.learn(rgb, motion)
    labels, masks = torch.zeros(2, 16), torch.zeros(2, 16, 8, 8)
    loss, parts = dmcl_loss(
        curves, extra, labels, torch.tensor([0.0, 1.0]), masks, spans=TINY.spans, weights=LossWeights()
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert ("motion" in parts) == (switch != "motion_explanation")
    assert ("balance" in parts) == (switch != "equal_priority")


def learn(network: TwoStream) -> None:
    """Gradients of the whole loss on two clips."""
    config = network.config
    curves, extra = network.learn(*clip(config=config))
    labels, masks = torch.zeros(2, 16), torch.zeros(2, 16, 16, 16)
    labels[1, 4:9] = 1
    loss, _ = dmcl_loss(
        curves, extra, labels, torch.tensor([0.0, 1.0]), masks, spans=config.spans, weights=LossWeights()
    )
    loss.backward()


def test_every_weight_learns_from_the_loss() -> None:
    network = TwoStream(TINY)
    for module in network.modules():  # what starts at zero would hide what feeds it
        if isinstance(module, MotionPath):
            torch.nn.init.ones_(module.weight.weight)
    learn(network)
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_a_network_starts_as_one_of_single_frames() -> None:
    network = TwoStream(TINY).eval()
    rgb, motion = clip(batch=1)
    changed = rgb.clone()
    changed[0, 8] = 255 - changed[0, 8]
    before, after = network(rgb, motion).rgb[0], network(changed, motion).rgb[0]
    differs = (before - after).abs() > 1e-6
    assert differs.nonzero().flatten().tolist() == [8]


def test_an_rgb_stream_that_looks_at_every_second_frame_answers_for_the_one_before_too() -> None:
    network = TwoStream(replace(TINY, rgb_stride=2)).eval()
    rgb, motion = clip(batch=1)
    before = network(rgb, motion)
    assert before.fused.shape == before.rgb.shape == (1, 16)
    seen, between = rgb.clone(), rgb.clone()
    seen[0, 9], between[0, 8] = 255 - seen[0, 9], 255 - between[0, 8]
    differs = (before.rgb[0] - network(seen, motion).rgb[0]).abs() > 1e-6
    assert differs.nonzero().flatten().tolist() == [8, 9]
    assert torch.equal(before.fused, network(between, motion).fused)


def test_a_network_that_looks_at_every_second_frame_learns_with_every_weight() -> None:
    network = TwoStream(replace(TINY, rgb_stride=2))
    for module in network.modules():
        if isinstance(module, MotionPath):
            torch.nn.init.ones_(module.weight.weight)
    learn(network)
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_a_stride_that_leaves_a_rest_is_refused() -> None:
    with pytest.raises(ValueError, match="rgb_stride divides the 8 frames"):
        replace(TINY, rgb_stride=3)


@pytest.mark.parametrize("backbone", ["plain", "lite0"])
def test_crops_may_be_finer_than_the_motion_that_they_explain(backbone: str) -> None:
    size_px = 128 if backbone == "plain" else 256
    config = replace(TINY, backbone=backbone, size_px=size_px, motion_shrink=4, rgb_stride=4)  # type: ignore[arg-type]
    network = TwoStream(config)
    learn(network)
    _, extra = network.learn(*clip(config=config))
    assert all(one.predicted.shape == one.actual.shape for one in extra.explanations)
    assert network.flow_stem.conv.weight.grad is not None
    assert network(*clip(config=config)).fused.shape == (2, 16)


def test_baselines_stay_apart_until_the_attention() -> None:
    network = TwoStream(TINY).eval()
    rgb, motion = clip(batch=1)
    changed = motion.clone()
    changed[:, :, :4] = 0  # the shortest baseline
    torch.nn.init.zeros_(network.stream_weight)  # a stream's own logit hears all of its baselines
    before, after = network(rgb, motion).spans, network(rgb, changed).spans
    moved = (before - after).abs().amax((0, 1)) > 1e-6
    assert moved.tolist() == [True, False, False]


@given(st.sampled_from([1, 2, 4, 16]), st.integers(1, 4))
def test_a_frame_gets_the_mean_of_the_windows_that_hold_it(span: int, blocks: int) -> None:
    frames = 16 * blocks
    ramp = torch.arange(frames, dtype=torch.float32)[None]
    means = windows(ramp, span).mean(-1)
    back = frames_of(means, span)
    assert back.shape == ramp.shape
    assert (back - ramp).abs().max() <= span
    assert torch.equal(frames_of(torch.ones_like(means), span), torch.ones_like(ramp))


def test_folding_over_time_and_back_changes_nothing() -> None:
    x = torch.randn(2 * 5, 3, 4, 6)
    assert torch.equal(over_space(over_time(x, 5), 4, 6), x)
    assert over_time(x, 5)[1, 2, 3, 7] == x[1 * 5 + 3, 2, 1, 1]


def test_a_steady_motion_has_no_second_difference() -> None:
    ramp = torch.arange(8.0)[None, :, None] * 3
    assert second_difference(ramp).abs().max() == 0
    ramp[0, 4] += 1
    assert second_difference(ramp)[0, :, 0].tolist() == [0, 0, 0, 1, -2, 1, 0, 0]


def test_motion_preserving_downsampling_keeps_what_pooling_loses() -> None:
    still = torch.zeros(6, 4, 8, 8)
    still[3, :, 2, 2] = 1.0  # one place flickers in one frame
    down = MotionPreservingDown(4)
    plain = down(still, 6)
    assert down.path is not None
    torch.nn.init.ones_(down.path.pick.weight)
    torch.nn.init.ones_(down.path.weight.weight)
    assert plain[3, 0, 1, 1] == 0.25
    assert down(still, 6)[3, 0, 1, 1] > 4


def test_motion_targets_keep_the_strongest_value_with_its_sign() -> None:
    flow = torch.zeros(4, 2, 4, 4)
    flow[2, 0, 1, 1], flow[2, 0, 0, 0] = -3.0, 1.0
    assert motion_targets(flow, 4, 2)[2, 0, 0, 0] == -3.0


def test_each_clip_is_explained_in_units_of_its_own_motion() -> None:
    torch.manual_seed(0)
    predicted, actual = torch.randn(2, 4, 4, 4, 4)
    actual[:2] *= 100  # two pictures of a clip that moves a lot, two of one that hardly does
    apart = [Explanation(predicted[n : n + 2], actual[n : n + 2]).loss(1) for n in (0, 2)]
    assert torch.allclose(Explanation(predicted, actual).loss(2), torch.stack(apart).mean())


def test_the_cue_that_is_ahead_learns_more_slowly() -> None:
    target = torch.tensor([0.0, 1.0])
    ahead = torch.tensor([-3.0, 3.0], requires_grad=True)
    behind = torch.tensor([0.0, 0.0], requires_grad=True)
    balanced_loss(ahead, behind, target).backward()
    alone = torch.tensor([-3.0, 3.0], requires_grad=True)
    balanced_loss(alone, alone.detach().clone(), target).backward()
    assert ahead.grad is not None
    assert alone.grad is not None
    assert ahead.grad.abs().sum() < 0.5 * alone.grad.abs().sum()


def test_noisy_or_is_sure_when_one_span_is() -> None:
    weight = torch.full((3,), 1 / 3)
    logits = torch.tensor([[-9.0, -9.0, 9.0], [-9.0, -9.0, -9.0]])
    sure, clear = torch.sigmoid(noisy_or(logits, weight)).tolist()
    assert sure > 0.9
    assert clear < 0.01


@pytest.mark.parametrize("logit", [-25.0, -12.0, -5.0, -4.5, 0.0, 9.0])
def test_noisy_or_of_equal_spans_keeps_their_digits_however_little_they_say(logit: float) -> None:
    weight = torch.full((3,), 1 / 3)
    assert float(noisy_or(torch.full((3,), logit), weight)) == pytest.approx(logit, abs=1e-5)


@given(st.floats(0.1, 5), st.floats(-5, 5))
def test_pooling_a_level_curve_gives_its_level(sharpness: float, level: float) -> None:
    assert float(pool_logits(torch.full((1, 20), level), sharpness)) == pytest.approx(level, abs=1e-4)


def test_a_picture_is_answered_with_a_logit_and_places() -> None:
    rgb, _ = clip()
    logits, places = TwoStream(TINY).look(rgb[:, 0])
    assert (logits.shape, places.shape) == ((2,), (2, 8, 8))
    loss, parts = picture_loss(logits, places, torch.tensor([0.0, 1.0]), torch.full((2, 8, 8), torch.nan))
    assert set(parts) == {"picture", "pairs"}
    assert torch.isfinite(loss)


def test_attention_sees_the_whole_window_of_the_other_stream() -> None:
    attention = SpanAttention(8, 8, 4, width=16)
    rgb, flow = torch.randn(1, 8, 16, 8), torch.randn(1, 8, 16, 8)
    changed = flow.clone()
    changed[0, 3] += 1
    moved = (attention(rgb, flow) - attention(rgb, changed)).abs()[0] > 1e-7
    assert moved.tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spans": (1, 4)}, "every span has a baseline"),
        ({"spans": (1, 3, 16)}, "1 or even"),
        ({"size_px": 100}, "multiple of 32"),
        ({"size_px": 160}, "best a multiple of 64"),
        ({"size_px": 64, "motion_shrink": 4}, "at least 128"),
        ({"size_px": 160, "backbone": "lite0"}, "multiple of 128"),
        ({"rgb_depths": (1, 1)}, "RGB has four scales"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(NetworkConfig(), **change)  # type: ignore[arg-type]


def test_both_sizes_come_from_one_configuration() -> None:
    names = ("small", "base")
    small, base = (sum(p.numel() for p in TwoStream(NetworkConfig.named(n)).parameters()) for n in names)
    assert small < 1.5e6
    assert base > 10e6
    with pytest.raises(ValueError, match="base"):
        NetworkConfig.named("huge")


@pytest.mark.parametrize("config", [NetworkConfig.named("base"), replace(TINY, size_px=192)])
def test_a_network_learns_at_whatever_size_its_crops_are(config: NetworkConfig) -> None:
    network = TwoStream(config)
    learn(network)
    pictures, places = network.look(clip(config=config)[0][:, 0])
    loss, parts = picture_loss(pictures, places, torch.tensor([0.0, 1.0]), torch.zeros(2, 16, 16))

    assert torch.isfinite(loss)
    assert "masks" in parts


def test_a_clip_in_which_nothing_is_forged_is_not_ranked_above_its_real() -> None:
    logits = torch.zeros(4, requires_grad=True)
    ranking(logits, torch.tensor([0.0, 0.0, 0.0, 1.0])).backward()

    assert logits.grad is not None
    assert logits.grad.tolist() == [0.0, 0.0, 0.5, -0.5]


LITE = replace(TINY, size_px=128, backbone="lite0")


def test_the_pretrained_backbone_starts_from_its_imagenet_weights() -> None:
    network = TwoStream(LITE)
    network.load_imagenet()
    assert isinstance(network.rgb, LitePictures)
    stem = network.rgb.backbone.scales[0][0]  # type: ignore[index]
    kernels = stem[0].weight.detach()
    # kernels that have learned are smooth: neighbours agree, as those of a fresh start do not
    ours, fresh = (
        torch.corrcoef(torch.stack([k[..., 1:].flatten(), k[..., :-1].flatten()]))[0, 1]
        for k in (kernels, torch.randn_like(kernels))
    )
    assert ours > 0.3 > fresh


def test_scales_that_are_held_stay_and_all_else_learns() -> None:
    network = TwoStream(LITE)
    network.load_imagenet()
    network.hold(3, statistics=True)
    for module in network.modules():
        if isinstance(module, MotionPath):
            torch.nn.init.ones_(module.weight.weight)
        if isinstance(module, TimeBlock):
            torch.nn.init.constant_(module.norm.weight, 0.1)
    network.train()
    before = network.rgb.backbone.scales[4][0].layers[1].running_mean.clone()  # type: ignore[union-attr, index]
    learn(network)
    idle = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().any()}
    held = tuple(f"rgb.backbone.scales.{n}." for n in range(3))
    unused = (*(f"priorities.{n}." for n in range(3)), "explain.0.", "explain.1.")  # the held scales' own
    assert {name for name in idle if not name.startswith(held + unused)} == set()
    assert all(name in idle for name, _ in network.named_parameters() if name.startswith(held))
    after = network.rgb.backbone.scales[4][0].layers[1].running_mean  # type: ignore[union-attr, index]
    assert torch.equal(before, after)


def test_time_is_learned_before_a_scale_that_is_held_too() -> None:
    network = TwoStream(LITE)
    network.load_imagenet()
    network.hold(4, statistics=True)
    for module in network.modules():
        if isinstance(module, TimeBlock):
            torch.nn.init.constant_(module.norm.weight, 0.1)
    learn(network)
    assert isinstance(network.rgb, LitePictures)
    assert all(
        p.grad is not None and p.grad.abs().any() for time in network.rgb.times for p in time.parameters()
    )


def test_a_plain_backbone_cannot_be_held() -> None:
    with pytest.raises(TypeError, match="lite0"):
        TwoStream(TINY).hold(2, statistics=False)


def test_a_pair_is_ranked_where_the_fake_is_manipulated_and_a_span_against_its_own_clip() -> None:
    labels = torch.tensor([[0.0, 0, 0, 0], [0, 1, 1, 0]])
    apart = torch.tensor([[0.0, -9, -9, 0], [-9, 9, 9, -9]])
    level = torch.full((2, 4), 3.0)  # the same offset everywhere tells nothing
    chance = float(torch.log(torch.tensor(2.0)))
    for loss in (frame_ranking, contrast):
        assert float(loss(apart, labels)) < 1e-3
        assert float(loss(level, labels)) == pytest.approx(chance)
    assert float(contrast(apart, torch.ones(2, 4))) == 0  # no clip has both


def best_of_both(anchor: float | None) -> float:
    """The logit that a real and a fake one have when nothing tells them apart."""
    logits = torch.linspace(-6, 6, 1201)
    both = torch.stack([logits, logits], 1)
    losses = torch.stack([evidence(pair, torch.tensor([0.0, 1.0]), anchor) for pair in both])
    return float(logits[losses.argmin()])


def test_where_nothing_shows_an_anchored_logit_stays_with_the_reals() -> None:
    assert best_of_both(None) == pytest.approx(0, abs=0.02)
    assert best_of_both(-2.0) == pytest.approx(-2, abs=0.3)


def test_an_anchored_real_is_drawn_from_both_sides_and_a_fake_pushed_up_without_end() -> None:
    logits = torch.tensor([-5.0, 1.0, -5.0, 1.0], requires_grad=True)
    evidence(logits, torch.tensor([0.0, 0.0, 1.0, 1.0]), -2.0).backward()
    assert logits.grad is not None
    assert logits.grad.sign().tolist() == [-1, 1, -1, -1]


def test_with_an_anchor_every_part_of_the_loss_still_teaches() -> None:
    network = TwoStream(TINY)
    rgb, motion = clip()
    curves, extra = network.learn(rgb, motion)
    labels = torch.stack([torch.zeros(16), torch.ones(16)])
    masks = torch.full((2, 16, 16, 16), torch.nan)
    weights = LossWeights(anchor=-2.0)
    fake = torch.tensor([0.0, 1.0])
    loss, parts = dmcl_loss(curves, extra, labels, fake, masks, spans=TINY.spans, weights=weights)
    assert {"video", "frames", "windows", "streams"} <= set(parts)
    assert torch.isfinite(loss)


def test_a_flow_stream_is_taken_over_from_a_network_with_another_rgb_stream() -> None:
    torch.manual_seed(0)
    one, other = TwoStream(TINY), TwoStream(replace(TINY, rgb_widths=(4, 4, 4, 4)))
    one.take_flow(other)
    motion = clip()[1]
    values = motion.flatten(0, 1).float()
    for mine, theirs in zip(
        one.flow(one.flow_stem(values, 16), 16), other.flow(other.flow_stem(values, 16), 16), strict=True
    ):
        assert torch.equal(mine, theirs)
    with pytest.raises(RuntimeError, match="size mismatch"):
        one.take_flow(TwoStream(replace(TINY, flow_widths=(4, 4, 4))))
