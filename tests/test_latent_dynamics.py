"""What continuous families are made of: the autoencoder, the backbones, the flow's sampler, further objectives."""

from __future__ import annotations

import math
from dataclasses import replace

import block_play
import pytest
import torch
from torch import Tensor, nn

from models.backbones import BackboneConfig, waves
from models.conv_autoencoder import ConvAutoencoderConfig
from models.dynamics.latent_flow import LatentFlow, LatentFlowConfig
from models.dynamics.latent_predictor import LatentPredictor, LatentPredictorConfig
from models.dynamics.latent_world import check_batch, forgotten
from models.dynamics.pixel_film import DOUBT, PixelFiLMConfig, Told
from models.dynamics.regression import Regression, RegressionConfig
from models.objectives import Objectives, ObjectivesConfig
from models.pixels import PixelsConfig, is_gray
from models.tokenizer import TokenizerConfig
from models.world import Window, WorldSpec
from training.optim import OptimConfig

SPEC = WorldSpec(game="x", height=84, width=84)
TINY = ConvAutoencoderConfig.sized("tiny")


@pytest.mark.parametrize("factor", [8, 16])
@pytest.mark.parametrize("decoder", ["upsample_conv", "conv_transpose"])
@pytest.mark.parametrize("variational", [False, True])
def test_an_autoencoder_pads_and_cuts(factor: int, decoder: str, variational: bool) -> None:
    config = replace(TINY, factor=factor, decoder=decoder, variational=variational, latent=5)
    model = config.build(SPEC)
    frames = torch.randint(0, 256, (2, 3, 3, 84, 84), dtype=torch.uint8)
    latents = model.encode(frames)
    side = -(-84 // factor)
    assert latents.shape == (2, 3, 5, side, side)
    assert model.reconstruct(frames).shape == frames.shape
    loss, logs = model.loss(Window(frames))
    loss.backward()
    assert torch.isfinite(loss)
    assert set(logs) == {"psnr", "latent_variance", "latent_norm"}


def test_latents_are_standardised_once_they_were_measured() -> None:
    torch.manual_seed(0)
    window, _ = block_play.play(8, 6)
    model = TINY.build(block_play.SPEC).eval()
    before = model.encode(window.frames)
    told = model.measure(iter(window.frames))
    after = model.encode(window.frames)
    assert told["variance"] == pytest.approx(float(before.detach().var(unbiased=False)), rel=1e-3)
    flat = after.transpose(0, 2).flatten(1)
    torch.testing.assert_close(flat.mean(dim=1), torch.zeros(len(flat)), atol=1e-3, rtol=0)
    torch.testing.assert_close(flat.std(dim=1), torch.ones(len(flat)), atol=1e-2, rtol=0)
    torch.testing.assert_close(
        model.decode(after), model.pixels(before.flatten(0, 1)).reshape(after.shape[0], 6, 3, 24, 32)
    )
    with pytest.raises(ValueError, match="no frames to measure"):
        model.measure(iter(()))


def test_a_gray_game_needs_one_channel() -> None:
    frames = torch.randint(0, 256, (2, 3, 1, 84, 84), dtype=torch.uint8).expand(-1, -1, 3, -1, -1)
    assert is_gray(frames)
    assert not is_gray(torch.cat([frames[..., :2, :, :], 255 - frames[..., 2:, :, :]], dim=-3))
    for config in (replace(TINY, gray=True), PixelsConfig(gray=True)):
        model = config.build(SPEC)
        rebuilt = model.reconstruct(frames)
        assert model.channels == 1
        assert torch.equal(rebuilt[:, :, 0], rebuilt[:, :, 2])
    assert torch.equal(rebuilt, frames)  # pixels lose nothing


@pytest.mark.parametrize("name", ["variance", "foreground", "structure"])
def test_the_loss_of_an_autoencoder_has_its_terms(name: str) -> None:
    window, _ = block_play.play(4, 4)
    torch.manual_seed(0)
    with_it, without = (replace(TINY, **{name: weight}).build(block_play.SPEC) for weight in (5.0, 0.0))
    with_it.load_state_dict(without.state_dict())
    assert with_it.loss(window)[0] != without.loss(window)[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"factor": 4}, "factor of the autoencoder must be 8 or 16, found 4"),
        ({"width": 12}, "width must be a multiple of 8"),
        ({"decoder": "bilinear"}, "decoder must be upsample_conv or conv_transpose, found 'bilinear'"),
        ({"beta": -1.0}, "beta must be 0 or more, found -1.0"),
        ({"delta": 0.0}, "delta and target must be above 0"),
    ],
)
def test_what_an_autoencoder_cannot_be(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ConvAutoencoderConfig(**wrong)


KINDS = [{"kind": "film"}, {"kind": "temporal"}, {"kind": "dit"}, {"kind": "dit", "attends": "cross"}]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
@pytest.mark.parametrize("noisy", [False, True])
def test_backbones_see_all_that_they_are_given(kind: dict, noisy: bool) -> None:
    torch.manual_seed(0)
    net = replace(BackboneConfig.sized("tiny"), history=3, **kind).build(5, (3, 4), 4, noisy)
    for weight in net.parameters():  # nothing is at rest as it is at the beginning
        nn.init.normal_(weight, std=0.1) if weight.ndim > 1 else None
    past, actions = torch.randn(2, 3, 5, 3, 4), torch.randint(0, 4, (2, 3))
    extra = (torch.randn(2, 5, 3, 4), torch.rand(2)) if noisy else ()
    told = net(past, actions, *extra)
    assert told.shape == (2, 5, 3, 4)
    for at in range(3):
        other = past.clone()
        other[0, at] += 1
        moved = net(other, actions, *extra)
        assert not torch.allclose(moved[0], told[0])
        torch.testing.assert_close(moved[1], told[1])
        pressed = actions.clone()
        pressed[0, at] = 4  # not known
        assert not torch.allclose(net(past, pressed, *extra)[0], told[0])
    if noisy:
        assert not torch.allclose(net(past, actions, extra[0] + 1, extra[1]), told)
        assert not torch.allclose(net(past, actions, extra[0], 1 - extra[1]), told)


def test_times_are_told_apart() -> None:
    found = waves(torch.tensor([0.0, 0.01, 0.5, 1.0]))
    assert torch.cdist(found, found).fill_diagonal_(9).min() > 0.1


class Oracle(nn.Module):
    """Tells what is true, as the clean latents or as the velocity."""

    def __init__(self, truth: Tensor, tells: str) -> None:
        super().__init__()
        self.truth, self.tells, self.asked = truth, tells, []

    def forward(self, past: Tensor, actions: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        self.asked.append(float(time[0]))
        part = time[:, None, None, None]
        return self.truth - past[:, -1] if self.tells == "clean" else (noisy - self.truth) / part


@pytest.mark.parametrize("tells", ["clean", "velocity"])
@pytest.mark.parametrize("steps", [1, 3, 16])
@pytest.mark.parametrize("middle", [False, True])
def test_the_sampler_finds_what_the_network_knows(tells: str, steps: int, middle: bool) -> None:
    flow = LatentFlow(replace(LatentFlowConfig.sized("tiny"), tells=tells, middle=middle), 5, (3, 4), 4)
    truth = torch.randn(2, 5, 3, 4)
    flow.backbone = Oracle(truth, tells)
    past, actions = torch.randn(2, 4, 5, 3, 4), torch.zeros(2, 4, dtype=torch.int64)
    found = flow.next(past, actions, torch.randn_like(truth), steps)
    first = 1 - 0.5 / steps if middle else 1.0
    assert flow.backbone.asked == pytest.approx([first - k / steps for k in range(steps)])
    if not middle or tells == "clean":
        torch.testing.assert_close(found, truth, atol=1e-4, rtol=0)
    elif steps == 16:  # a straight path that is looked at in the middle is left by a bent one
        assert (found - truth).abs().mean() < 0.2


def test_guidance_goes_beyond_what_an_action_does() -> None:
    torch.manual_seed(0)
    flow = LatentFlow(LatentFlowConfig.sized("tiny"), 5, (3, 4), 4)
    nn.init.normal_(flow.backbone.action.weight, std=2.0)
    past, noise, time = torch.randn(2, 4, 5, 3, 4), torch.randn(2, 5, 3, 4), torch.ones(2)
    actions = torch.zeros(2, 4, dtype=torch.int64)
    nothing = actions.clone()
    nothing[:, -1] = 4
    plain, without = flow.clean(past, actions, noise, time), flow.clean(past, nothing, noise, time)
    assert torch.equal(flow.guided(past, actions, noise, time, 1.0), plain)
    torch.testing.assert_close(flow.guided(past, actions, noise, time, 3.0), without + 3 * (plain - without))
    assert torch.equal(flow.next(past, actions, noise, 1, 3.0), flow.guided(past, actions, noise, time, 3.0))
    assert LatentFlowConfig(guidance=3.0).sampling().guidance == 3.0
    with pytest.raises(ValueError, match=r"guidance must be in \[0, 10\], found 11"):
        LatentFlowConfig(guidance=11.0)


def test_the_predictor_learns_from_its_own_frames_late() -> None:
    torch.manual_seed(0)
    model = LatentPredictor(replace(LatentPredictorConfig.sized("tiny"), forget=0.0), 5, (3, 4), 4)
    seen: list[Tensor] = []
    forward = model.backbone.forward
    model.backbone.forward = lambda past, actions: seen.append(past) or forward(past, actions)  # type: ignore[method-assign]
    latents, actions = torch.randn(2, 7, 5, 3, 4), torch.randint(0, 4, (2, 6))
    model.loss(latents, actions, 0.0)
    assert all(torch.equal(past, latents[:, at : at + 4]) for at, past in enumerate(seen))
    seen.clear()
    model.loss(latents, actions, 0.9)
    assert torch.equal(seen[0], latents[:, :4])
    assert not torch.equal(seen[1][:, -1], latents[:, 4])
    assert seen[2][:, -1].requires_grad  # through its own frames
    with pytest.raises(ValueError, match="windows of 4 frames are too short; use 5 or more"):
        model.loss(latents[:, :4], actions[:, :3])


def test_the_predictor_is_always_told_what_leads_to_the_next_frame() -> None:
    torch.manual_seed(0)
    model = LatentPredictor(replace(LatentPredictorConfig.sized("tiny"), forget=1.0), 5, (3, 4), 4)
    heard: list[Tensor] = []
    forward = model.backbone.forward
    model.backbone.forward = lambda past, actions: heard.append(actions) or forward(past, actions)  # type: ignore[method-assign]
    actions = torch.randint(0, 4, (2, 6))
    model.loss(torch.randn(2, 7, 5, 3, 4), actions)
    assert all((each[:, :-1] == 4).all() for each in heard)
    assert torch.equal(torch.stack([each[:, -1] for each in heard], dim=1), actions[:, 3:])


def test_pixel_film_may_not_know_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = replace(PixelFiLMConfig.sized("tiny"), lost=0.5, forget=0.0)
    model = config.build(PixelsConfig().build(block_play.SPEC), 3)
    window, _ = block_play.play(4, 9)
    frames = PixelsConfig().build(block_play.SPEC).encode(window.frames)
    plain, asked = model.logits, []
    monkeypatch.setattr(model, "logits", lambda past, actions: asked.append(actions) or plain(past, actions))
    for _ in range(10):
        model.loss(frames, window.actions)
    gone = torch.cat(asked)[:, : config.past_actions] == 3
    assert torch.equal(gone.any(dim=1), gone.all(dim=1))
    assert 0.2 < gone[:, 0].float().mean() < 0.8
    assert (torch.cat(asked)[:, config.past_actions :] < 3).all()
    with pytest.raises(ValueError, match=r"lost -0.1 must be in \[0, 1\]"):
        replace(config, lost=-0.1)


def test_actions_are_forgotten_as_often_as_said() -> None:
    torch.manual_seed(0)
    actions = torch.zeros(20_000, 4, dtype=torch.int64)
    found = forgotten(actions, 9, 0.2) == 9
    assert found[:, :3].all(dim=1).float().mean() == pytest.approx(0.2, abs=0.02)
    assert found[:, 3].float().mean() == pytest.approx(0.2, abs=0.02)
    assert (found[:, 3] & ~found[:, 0]).float().mean() == pytest.approx(0.16, abs=0.02)  # as guidance asks
    assert torch.equal(found[:, 0], found[:, 2])


def test_pixel_film_leaves_what_it_thinks_will_stand_still_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = PixelFiLMConfig.sized("tiny").build(PixelsConfig().build(block_play.SPEC), 3)
    window, _ = block_play.play(4, 8)
    frames = PixelsConfig().build(block_play.SPEC).encode(window.frames)
    told, change, _ = model.logits(frames[:, :4], torch.zeros(4, 5, dtype=torch.int64))
    assert change is not None
    assert change.shape == told[:, :, :1].shape
    change = torch.randn_like(change)
    monkeypatch.setattr(model, "logits", lambda past, actions: Told(told, change, None))
    shown = model.next(frames[:, :4], window.actions[:, :4])
    moves = (change[:, 0].sigmoid() > DOUBT).expand_as(shown)
    assert torch.equal(shown[~moves], frames[:, 3][~moves])
    assert torch.equal(shown[moves], told[:, 0].sigmoid()[moves])
    monkeypatch.undo()
    loss, _ = model.loss(frames, window.actions)
    rows = torch.autograd.grad(loss, model.out.bias)[0].reshape(model.config.future, model.channels + 1, -1)
    assert (rows[:, -1].abs() > 0).all()  # told of every frame
    before = replace(model.config, changes=0.0).build(PixelsConfig().build(block_play.SPEC), 3)
    assert before.logits(frames[:, :4], torch.zeros(4, 5, dtype=torch.int64))[1] is None
    with pytest.raises(ValueError, match=r"changes -1.0 must be 0 or more"):
        replace(model.config, changes=-1.0)


def test_pixel_film_counts_more_what_moves() -> None:
    spec = block_play.SPEC
    model = PixelFiLMConfig.sized("tiny").build(PixelsConfig().build(spec), 3)
    window, _ = block_play.play(4, 6)
    frames = PixelsConfig().build(spec).encode(window.frames)
    found = []
    for motion in (0.0, 5.0):
        model.config = replace(model.config, motion=motion, near=0)
        torch.manual_seed(0)
        loss, logs = model.loss(frames, window.actions)
        (slope,) = torch.autograd.grad(loss, model.out.bias)
        found.append((loss.item(), slope.abs().sum().item()))
        assert float(logs["moving_mse"]) > 0
        assert float(logs["copy_mse"]) < 0.05
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]
    with pytest.raises(ValueError, match=r"\(got 5\); use --set dynamics.length=6"):
        model.loss(frames[:, :5], window.actions[:, :4])
    with pytest.raises(ValueError, match="n_past_actions must be <= n_past_frames - 1"):
        PixelFiLMConfig(past=4, past_actions=4)


@pytest.mark.parametrize("residual", [True, False])
def test_pixel_film_begins_with_a_copy(residual: bool) -> None:
    """And a world that was saved before there was the option is without it."""
    torch.manual_seed(0)
    assert not PixelFiLMConfig().residual
    model = replace(PixelFiLMConfig.sized("tiny"), residual=residual).build(PixelsConfig().build(block_play.SPEC), 3)
    window, _ = block_play.play(2, 9)
    frames = PixelsConfig().build(block_play.SPEC).encode(window.frames)
    found = model.next(frames[:, :4], window.actions[:, :4])
    assert ((found - frames[:, 3]).abs().amax() <= 0.0041) == residual
    _, logs = model.loss(frames, window.actions)
    assert (float(logs["next_mse"]) == pytest.approx(float(logs["copy_mse"]), rel=0.05)) == residual


def test_pixel_film_learns_from_its_own_dream_later_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = replace(PixelFiLMConfig.sized("tiny"), own_share=1.0, lost=0.0)
    model = config.build(PixelsConfig().build(block_play.SPEC), 3)
    window, _ = block_play.play(2, 9)
    frames, actions = PixelsConfig().build(block_play.SPEC).encode(window.frames), window.actions
    dreamed = model._dreamed(frames, actions, 6)
    one = model.next(frames[:, :4], actions[:, :4])
    two = model.next(torch.cat([frames[:, 1:4], one[:, None]], dim=1), actions[:, 1:5])
    torch.testing.assert_close(dreamed, torch.stack([frames[:, 2], frames[:, 3], one, two], dim=1))
    seen: list[tuple[int, bool]] = []
    plain = model.logits

    def watched(past: Tensor, asked: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            at = 4 + int((frames[:, :, 0] == past[:, :1, 0]).all(dim=(0, 2, 3)).nonzero()[0])
            seen.append((at, torch.equal(past, frames[:, at - 4 : at])))
            assert torch.equal(asked[:, :4], actions[:, at - 4 : at])
        return plain(past, asked)

    monkeypatch.setattr(model, "logits", watched)
    for progress in (0.0, 1.0):
        for _ in range(30):
            model.loss(frames, actions, progress)
    assert {at for at, _ in seen[:30]} == {4, 5, 6, 7}
    assert all(real for _, real in seen[:30])
    assert not all(real for _, real in seen[30:])


def test_regression_is_causal_and_snaps() -> None:
    torch.manual_seed(0)
    window, _ = block_play.play(4, 6)
    tokenizer = replace(TokenizerConfig.sized("tiny"), patch=block_play.PATCH, codes=64).build(block_play.SPEC)
    tokenizer.fit(iter(window.frames))
    model = Regression(RegressionConfig.sized("tiny"), tokenizer.features(), tokenizer.grid, 3)
    nn.init.normal_(model.tell.weight, std=0.5)
    tokens = tokenizer.encode(window.frames)
    told, _ = model.foretell(tokens[:, :-1], window.actions)
    other = tokens.clone()
    other[:, 4] = (other[:, 4] + 1) % tokenizer.size
    moved, _ = model.foretell(other[:, :-1], window.actions)
    torch.testing.assert_close(moved[:, :4], told[:, :4])
    assert not torch.allclose(moved[:, 4], told[:, 4])
    pressed = window.actions.clone()
    pressed[:, -1] = (pressed[:, -1] + 1) % 3
    assert not torch.allclose(model.foretell(tokens[:, :-1], pressed)[0][:, -1], told[:, -1])  # the last frame's, too
    snapped, doubt = model.nearest(model.features[tokens[:, 0]])
    assert torch.equal(model.features[snapped], model.features[tokens[:, 0]])
    between = (model.features[0] + model.features[1]) / 2
    assert model.nearest(between.expand(1, 1, -1))[1] > doubt.max()
    memory = model.remember(tokens[:, :4], window.actions[:, :3])
    following, _, _ = model.advance(tokens[:, 3], window.actions[:, 3], memory)
    assert torch.equal(following, model.nearest(told[:, 3])[0])


@pytest.mark.parametrize("name", ["adversarial", "consistency"])
def test_further_objectives_pull_at_what_is_told(name: str) -> None:
    torch.manual_seed(0)
    made = Objectives(ObjectivesConfig(**{name: 1.0}, begin=0.5, width=8), 5, 4)
    present, truth = torch.randn(3, 5, 6, 6), torch.randn(3, 5, 6, 6)
    action = torch.tensor([0, 3, 4])  # the last one is not known
    for progress, counts in ((0.1, False), (0.9, True)):
        told = torch.randn(3, 5, 6, 6, requires_grad=True)
        loss, logs = made.loss(present, truth, told, action, progress)
        loss.backward()
        assert bool(told.grad.any()) == counts
        assert all(torch.isfinite(log) for log in logs.values())
        if name == "consistency" and counts:
            assert not told.grad[2].any()


@pytest.mark.parametrize("name", ["adversarial", "consistency", "perceptual"])
def test_frames_and_codebook_vectors_may_have_further_objectives(name: str) -> None:
    torch.manual_seed(0)
    objectives = ObjectivesConfig(**{name: 1.0}, begin=0.0, width=8)
    pixels = PixelsConfig().build(replace(SPEC, height=24, width=16))
    film = replace(PixelFiLMConfig.sized("tiny"), objectives=objectives).build(pixels, 3)
    film.objectives.look = lambda one, other: (one - other).abs().mean(dim=(1, 2, 3))
    film.objectives.decode = lambda latents: latents
    frames, actions = torch.rand(2, 6, film.channels, 24, 16), torch.randint(3, (2, 5))
    found = []
    for progress in (-1.0, 1.0):
        torch.manual_seed(1)
        found.append(film.loss(frames, actions, progress))
    (plain, _), (told, logs) = found
    adds = {"adversarial": ("judge", "taken"), "consistency": ("action_ce_told",), "perceptual": ("lpips",)}[name]
    more = sum(float(logs[each]) * (-1 if each == "taken" else 1) for each in adds)
    assert float((told - plain).detach()) == pytest.approx(more, rel=1e-3)
    assert more != 0
    if name == "perceptual":
        with pytest.raises(ValueError, match="regression has no gradient through snapped frames"):
            RegressionConfig(objectives=objectives)
        return
    config = RegressionConfig(width=32, heads=2, hidden=64, objectives=objectives)
    model = Regression(config, torch.randn(9, 4), (3, 2), 3)
    tokens, codes = torch.randint(9, (2, 5, 6)), torch.tensor([[0, 1, -1, 2], [1, 1, 0, 0]])
    slopes = []
    for progress in (-1.0, 1.0):
        model.zero_grad()
        loss, logs = model.loss(tokens, codes, progress)
        loss.backward()
        slopes.append(model.tell.weight.grad.clone())
    assert not torch.allclose(*slopes)
    assert all(torch.isfinite(log) for log in logs.values())


def test_the_judge_learns_one_way_and_the_dynamics_the_other() -> None:
    torch.manual_seed(0)
    made = Objectives(ObjectivesConfig(adversarial=1.0, begin=0.0, width=8), 5, 4)
    present, truth = torch.zeros(8, 5, 6, 6), torch.ones(8, 5, 6, 6)
    told = torch.zeros(8, 5, 6, 6, requires_grad=True)
    action = torch.zeros(8, dtype=torch.int64)
    judge = torch.optim.Adam(made.parameters(), lr=1e-2)
    before = float(made.loss(present, truth, told, action, 1.0)[1]["judge"])
    for _ in range(60):
        judge.zero_grad()
        made.loss(present, truth, told, action, 1.0)[0].backward()
        judge.step()
    after, taken = (float(made.loss(present, truth, told, action, 1.0)[1][name]) for name in ("judge", "taken"))
    assert after < 0.7 * before  # it tells them apart
    dynamics = torch.optim.SGD([told], lr=20.0)
    made.zero_grad()
    for _ in range(20):
        dynamics.zero_grad()
        made.loss(present, truth, told, action, 1.0)[0].backward()
        dynamics.step()
    fooled = made.loss(present, truth, told, action, 1.0)[1]
    assert float(fooled["taken"]) > taken + 0.5
    assert float(fooled["judge"]) > after


def test_no_objective_teaches_judge_or_reader_to_go_along() -> None:
    """What dynamics tell may move the judge only as something false, and the reader not at all."""
    torch.manual_seed(0)
    made = Objectives(ObjectivesConfig(consistency=7.0, begin=0.0, width=8), 5, 4)
    present, truth, action = torch.randn(3, 5, 6, 6), torch.randn(3, 5, 6, 6), torch.tensor([0, 1, 2])
    slopes = []
    for told in (truth, torch.randn(3, 5, 6, 6)):
        made.zero_grad()
        made.loss(present, truth, told, action, 1.0)[0].backward()
        slopes.append(torch.cat([weight.grad.flatten() for weight in made.parameters()]))
    torch.testing.assert_close(slopes[0], slopes[1])


def test_a_perceptual_objective_wants_somebody_who_looks() -> None:
    made = Objectives(ObjectivesConfig(perceptual=2.0, begin=0.0), 5, 4)
    present, truth = torch.zeros(2, 5, 6, 6), torch.ones(2, 5, 6, 6)
    told = torch.full((2, 5, 6, 6), 0.5, requires_grad=True)
    action = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="perceptual > 0 needs the weights of LPIPS; give their folder"):
        made.loss(present, truth, told, action, 1.0)
    made.look, made.decode = lambda one, other: (one - other).abs().mean(dim=(1, 2, 3)), lambda latents: latents
    loss, logs = made.loss(present, truth, told, action, 1.0)
    assert float(loss) == pytest.approx(1.0)
    assert float(logs["lpips"]) == pytest.approx(0.5)


def test_one_cycle_rises_and_falls_along_cosines() -> None:
    config = OptimConfig(schedule="onecycle", rise=0.25, begin=0.04, end=0.001)
    rates = [config.rate(step, 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == rates[250] == pytest.approx(1.0)
    assert rates[1000] == pytest.approx(0.001)
    assert rates[125] == pytest.approx((1 + 0.04) / 2)
    assert rates[625] == pytest.approx((1 + 0.001) / 2)
    assert all(math.isfinite(rate) for rate in rates)
    with pytest.raises(ValueError, match="schedule must be stable or onecycle, found 'cosine'"):
        OptimConfig(schedule="cosine")


def test_a_batch_is_checked_by_name() -> None:
    latents, actions = torch.rand(2, 7, 5, 3, 4), (torch.arange(12) % 4).reshape(2, 6)
    check_batch(latents, actions, 4, bounded=True)
    for batch, said in (
        ((latents.half().long(), actions, 4), r"latents must be float \[B, T, D, H, W\], found torch.int64 \[2, 7, 5"),
        ((latents[0], actions, 4), r"latents must be float \[B, T, D, H, W\], found torch.float32 \[7, 5, 3, 4\]"),
        ((latents, actions[:, 1:], 4), r"actions must be int64 \[2, 6\], found torch.int64 \[2, 5\]"),
        ((latents, actions.float(), 4), r"actions must be int64 \[2, 6\], found torch.float32"),
        ((latents, actions + 2, 4), r"actions must be in \[0, 4\], found \d to 5"),
        ((latents * torch.nan, actions, 4), "latents must be finite, found nan to nan"),
        ((latents - 1, actions, 4, True), r"latents must be in \[0, 1\], found -"),
    ):
        with pytest.raises(ValueError, match=said):
            check_batch(*batch)
