"""What every family of worlds promises, whatever is inside. A new family must be entered in TINY."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import block_play
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.checkpoint import load_world, save_world
from models.conv_autoencoder import ConvAutoencoder
from models.displacement import displacements
from models.dynamics.autoregressive import AutoregressiveFamily
from models.dynamics.genie import GenieFamily
from models.dynamics.latent_flow import LatentFlowFamily
from models.dynamics.latent_predictor import LatentPredictorFamily
from models.dynamics.maskgit import MaskGITFamily
from models.dynamics.one_pass import OnePassFamily
from models.dynamics.pixel_film import PixelFiLMFamily
from models.dynamics.regression import RegressionFamily
from models.dynamics.warp import WarpFamily
from models.patch_actions import PatchActionConfig
from models.registry import ALIASES, FAMILIES, alone, family
from models.world import (
    InfersActions,
    Reconstructs,
    Samples,
    Sampling,
    ShowsUncertainty,
    Window,
    World,
    repeat,
    select,
)

SPEC = replace(block_play.SPEC, context=3, actions=("STAY", "LEFT", "RIGHT"))


@dataclass(frozen=True)
class Tiny:
    """config: a config that trains in seconds; losses: every part's losses, (name, module, loss), in all of its
    phases; learn: train what follows the actions, with the true ones, on block play; lossy: what is encoded does not
    come out of the decoder to the last shade."""

    config: Callable[[], Any]
    losses: Callable[[Any, Window], Iterator[tuple[str, nn.Module, Tensor]]]
    learn: Callable[[Any], None]
    lossy: bool = False


def _maskgit() -> MaskGITFamily:
    tiny = MaskGITFamily.sized("tiny")
    return replace(
        tiny,
        tokenizer=replace(tiny.tokenizer, patch=block_play.PATCH, codes=64),
        latent_actions=replace(tiny.latent_actions, codes=3),
        dynamics=replace(tiny.dynamics, first=1),
    )


def _tokens_losses(world: Any, window: Window) -> Iterator[tuple[str, nn.Module, Tensor]]:
    learned = replace(world.config.tokenizer, kind="vq").build(world.spec)
    yield "tokenizer", learned, learned.loss(window)[0]
    world.tokenizer.fit(iter(window.frames))
    world.link()
    tokens = world.tokenizer.encode(window.frames)
    for progress in (0.0, 0.0, 0.0, 0.0, 0.5, 1.0):  # the first ones with or without the past
        yield "latent actions", world.latent_actions, world.latent_actions.loss(window.frames, tokens, progress)[0]
    actions = window.actions.clone()
    actions[0, -2] = -1  # where one game ends and another begins
    for progress in (0.0, 1.0):
        yield "dynamics", world.dynamics, world.dynamics.loss(tokens, actions, progress)[0]


def _genie() -> GenieFamily:
    tiny = GenieFamily.sized("tiny")
    return replace(
        tiny,
        tokenizer=replace(tiny.tokenizer, kind="patch", patch=block_play.PATCH, codes=64),
        latent_actions=replace(tiny.latent_actions, codes=3, patch=block_play.PATCH),
        dynamics=replace(tiny.dynamics, temperature=1.0),
    )


def _tokens_learn(world: Any, steps: int = 260) -> None:
    window, _ = block_play.play(64, 10, seed=1)
    world.tokenizer.fit(iter(window.frames))
    world.link()
    tokens = world.tokenizer.encode(window.frames)
    adam = torch.optim.Adam(world.dynamics.parameters(), lr=5e-3)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 5e-3 * min(1.0, 2 * (1 - step / steps))
        rows = torch.randint(0, 64, (8,))
        loss, _ = world.dynamics.loss(tokens[rows], window.actions[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()


def _warp() -> WarpFamily:
    tiny = WarpFamily.sized("tiny")
    return replace(
        tiny,
        tokenizer=replace(tiny.tokenizer, latent=48),
        latent_actions=replace(tiny.latent_actions, codes=3),
        dynamics=replace(tiny.dynamics, history=3, span=3, apart=1, ahead=2),
    )


def _warp_losses(world: Any, window: Window) -> Iterator[tuple[str, nn.Module, Tensor]]:
    world.tokenizer.fit(iter(window.frames))
    for progress in (0.0, 0.4, 1.0):
        yield "latent actions", world.latent_actions, world.latent_actions.loss(window.frames[:, :3], progress)[0]
    frames, moved = world.centred(window.frames[:, :5]), displacements(window.frames[:, :5])
    for progress in (0.0, 1.0):
        yield "dynamics", world.dynamics, world.dynamics.loss(frames, window.actions[:, :4], moved, progress)[0]


def _warp_learn(world: Any) -> None:
    window, _ = block_play.play(64, 10, seed=1)
    world.tokenizer.fit(iter(window.frames))
    frames, moved = world.centred(window.frames), displacements(window.frames)
    adam = torch.optim.Adam(world.dynamics.parameters(), lr=5e-3)
    for step in range(400):
        for group in adam.param_groups:
            group["lr"] = 5e-3 * min(1.0, 2 * (1 - step / 400))
        rows, first = torch.randint(0, 64, (16,)), int(torch.randint(0, 6, ()))
        steps = (rows, slice(first, first + 4))
        loss, _ = world.dynamics.loss(frames[rows, first : first + 5], window.actions[steps], moved[steps])
        adam.zero_grad()
        loss.backward()
        adam.step()


def _like_maskgit(kind: Any) -> Any:
    tiny = _maskgit()
    base = kind.sized("tiny")
    dynamics = replace(base.dynamics, first=1)
    return replace(base, tokenizer=tiny.tokenizer, latent_actions=tiny.latent_actions, dynamics=dynamics)


def _regression() -> RegressionFamily:
    tiny, tokens = RegressionFamily.sized("tiny"), _maskgit()
    return replace(tiny, tokenizer=tokens.tokenizer, latent_actions=tokens.latent_actions)


def _eyes() -> PatchActionConfig:
    tiny = PatchActionConfig.sized("tiny")
    eyes = replace(tiny.eyes, patch=block_play.PATCH, codes=64)
    return replace(tiny, eyes=eyes, model=replace(tiny.model, codes=3))


def _predictor() -> LatentPredictorFamily:
    return replace(LatentPredictorFamily.sized("tiny"), latent_actions=_eyes())


def _flow() -> LatentFlowFamily:
    return replace(LatentFlowFamily.sized("tiny"), latent_actions=_eyes())


def _pixel_film() -> PixelFiLMFamily:
    return replace(PixelFiLMFamily.sized("tiny"), latent_actions=_eyes())


def _latent_losses(world: Any, window: Window) -> Iterator[tuple[str, nn.Module, Tensor]]:
    window, _ = block_play.play(4, 8, seed=3)
    if isinstance(world.tokenizer, ConvAutoencoder):
        yield "tokenizer", world.tokenizer, world.tokenizer.loss(window)[0]
        world.tokenizer.measure(iter(window.frames))
    lam = world.latent_actions
    lam.eyes.fit(iter(window.frames))
    lam.open_eyes()
    world.link()
    tokens = lam.eyes.encode(window.frames)
    for progress in (0.0, 0.0, 0.0, 0.0, 0.5, 1.0):
        yield "latent actions", lam.model, lam.loss(window.frames, tokens, progress)[0]
    length = world.config.least_lengths()["dynamics"]
    latents = world.tokenizer.encode(window.frames).detach()
    for progress in (0.0, 0.0, 0.0, 1.0, 1.0, 1.0):
        known, actions = latents[:, :length], window.actions[:, : length - 1]
        yield "dynamics", world.dynamics, world.dynamics.loss(known, actions, progress)[0]


def _latent_learn(world: Any, steps: int = 400) -> None:
    window, _ = block_play.play(64, 10, seed=1)
    if isinstance(world.tokenizer, ConvAutoencoder):
        _descend(world.tokenizer, lambda rows: world.tokenizer.loss(Window(window.frames[rows, :2]))[0], steps)
        world.tokenizer.measure(iter(window.frames))
    world.latent_actions.eyes.fit(iter(window.frames))
    world.latent_actions.open_eyes()
    world.link()
    with torch.no_grad():
        latents = world.tokenizer.encode(window.frames)
    length = world.config.least_lengths()["dynamics"]

    def loss(rows: Tensor) -> Tensor:
        first = int(torch.randint(0, 10 - length + 1, ()))
        actions = window.actions[rows, first : first + length - 1]
        return world.dynamics.loss(latents[rows, first : first + length], actions, 0.0)[0]

    _descend(world.dynamics, loss, steps)


def _descend(module: nn.Module, loss: Callable[[Tensor], Tensor], steps: int) -> None:
    adam = torch.optim.Adam(module.parameters(), lr=5e-3)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 5e-3 * min(1.0, 2 * (1 - step / steps))
        adam.zero_grad()
        loss(torch.randint(0, 64, (16,))).backward()
        adam.step()


TINY = {
    "autoregressive": Tiny(
        config=partial(_like_maskgit, AutoregressiveFamily), losses=_tokens_losses, learn=_tokens_learn
    ),
    "genie": Tiny(config=_genie, losses=_tokens_losses, learn=partial(_tokens_learn, steps=600)),
    "latent_flow": Tiny(config=_flow, losses=_latent_losses, learn=_latent_learn, lossy=True),
    "latent_predictor": Tiny(config=_predictor, losses=_latent_losses, learn=_latent_learn, lossy=True),
    "maskgit": Tiny(config=_maskgit, losses=_tokens_losses, learn=_tokens_learn),
    "one_pass": Tiny(config=partial(_like_maskgit, OnePassFamily), losses=_tokens_losses, learn=_tokens_learn),
    "pixel_film": Tiny(config=_pixel_film, losses=_latent_losses, learn=partial(_latent_learn, steps=800)),
    "regression": Tiny(config=_regression, losses=_tokens_losses, learn=_tokens_learn),
    "warp": Tiny(config=_warp, losses=_warp_losses, learn=_warp_learn),
}
EVERY = pytest.mark.parametrize("name", sorted(FAMILIES))


def test_every_family_is_here() -> None:
    assert set(TINY) == set(FAMILIES)
    assert all(type(tiny.config()) is FAMILIES[name] for name, tiny in TINY.items())
    known = ", ".join(sorted({*FAMILIES, *ALIASES}))
    with pytest.raises(ValueError, match=f"unsupported family 'magic'; supported: {known}"):
        family("magic")
    assert family("pixel_world_model") is FAMILIES["pixel_film"]
    assert family("latent_ae") is FAMILIES["latent_predictor"]
    assert family("latent_flow_world_model") is FAMILIES["latent_flow"]
    assert [name for name in (*FAMILIES, *ALIASES) if alone(name)] == ["latent_ae"]


@pytest.fixture(scope="module")
def worlds() -> dict[str, Any]:
    """One trained world a family, made when first asked for."""

    class Made(dict):
        def __missing__(self, name: str) -> Any:
            torch.manual_seed(0)
            world = TINY[name].config().build(SPEC)
            TINY[name].learn(world)
            self[name] = world.eval().requires_grad_(False)
            return self[name]

    return Made()


def start(batch: int = 3, length: int = 5) -> Window:
    return block_play.play(batch, length, seed=42)[0]


def shows(frames: Tensor, truth: Tensor, name: str) -> bool:
    """Whether frames are the true ones; of a lossy family, whether they are hardly off and have its things in place."""
    if not TINY[name].lossy:
        return torch.equal(frames, truth)
    flat = [each.reshape(-1, *each.shape[-3:]) for each in (frames, truth)]
    there = [[block_play.player_column(frame) for frame in each] for each in flat]
    return there[0] == there[1] and bool((flat[0].int() - flat[1].int()).abs().float().mean() < 4)


def greedy(world: Any) -> Any:
    return world.with_sampling(Sampling(temperature=0.0)) if isinstance(world, Samples) else world


def hot(world: Any) -> Any:
    """Dials at which luck matters, where there are any."""
    return world.with_sampling(Sampling(temperature=8.0)) if isinstance(world, Samples) else world


def luck(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@EVERY
def test_losses_are_finite_and_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    world = TINY[name].config().build(SPEC)
    parts: dict[str, nn.Module] = {}
    for part, module, loss in TINY[name].losses(world, block_play.play(4, 6, seed=3)[0]):
        assert loss.shape == ()
        assert torch.isfinite(loss), part
        loss.backward()
        parts[part] = module
    for part, module in parts.items():
        gradients = {key: weight.grad for key, weight in module.named_parameters()}
        assert gradients
        untouched = [key for key, grad in gradients.items() if grad is None or not grad.any()]
        assert untouched == [], part
        assert all(torch.isfinite(grad).all() for grad in gradients.values()), part


@EVERY
def test_it_is_a_world(worlds, name: str) -> None:
    world = worlds[name]
    assert isinstance(world, World)
    assert world.spec.actions == SPEC.actions
    state = world.reset(start())
    frame = world.render(state)
    assert (frame.dtype, tuple(frame.shape)) == (torch.uint8, (3, 3, SPEC.height, SPEC.width))
    assert all(isinstance(value, Tensor) and len(value) == 3 for value in state.values())


@EVERY
def test_reset_shows_the_last_frame(worlds, name: str) -> None:
    """Of play like that it was trained on, so that nothing is lost in its tokens."""
    window = start()
    assert shows(worlds[name].render(worlds[name].reset(window)), window.frames[:, -1], name)


@EVERY
def test_step_leaves_the_state_it_is_given_alone(worlds, name: str) -> None:
    world = worlds[name]
    state = world.reset(start())
    kept = {key: value.clone() for key, value in state.items()}
    after = world.step(world.step(state, torch.tensor([0, 1, 2]), luck(0)), torch.tensor([2, 1, 0]), luck(0))
    assert set(after) == set(state)
    for key, value in state.items():
        assert torch.equal(value, kept[key]), key
        assert (after[key].dtype, after[key].shape) == (value.dtype, value.shape), key


def same_picture(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two batches of frames are the same but for rounding: sums of another batch size may be taken in another
    order, and which order that is depends on the CPU."""
    return one.shape == other.shape and bool(((one.int() - other.int()).abs() <= 1).all())


@EVERY
def test_a_row_of_a_batch_is_the_step_alone(worlds, name: str) -> None:
    world = greedy(worlds[name])
    window, actions = start(), torch.tensor([[0, 1, 2], [2, 2, 1], [1, 0, 0]])
    state = world.reset(window)
    alone = [world.reset(Window(window.frames[i : i + 1], window.actions[i : i + 1])) for i in range(3)]
    for turn in actions:
        state = world.step(state, turn)
        alone = [world.step(alone[i], turn[i : i + 1]) for i in range(3)]
        assert same_picture(world.render(state), torch.cat([world.render(one) for one in alone]))


@EVERY
def test_the_first_row_has_the_luck_of_a_step_alone(worlds, name: str) -> None:
    """Rows that follow take what luck comes after; so a longer batch never changes the rows before."""
    world = hot(worlds[name])
    state, action = world.reset(start(1)), torch.tensor([1])
    alone = world.render(world.step(state, action, luck(5)))
    many = world.render(world.step(repeat(state, 4), action.expand(4), luck(5)))
    assert same_picture(many[:1], alone)


@EVERY
def test_a_row_with_luck_of_its_own_is_the_step_alone(worlds, name: str) -> None:
    world = hot(worlds[name])
    window, action = start(), torch.tensor([0, 1, 2])
    many = world.render(world.step(world.reset(window), action, [luck(seed) for seed in (5, 6, 7)]))
    for row, seed in enumerate((5, 6, 7)):
        state = world.reset(Window(window.frames[row : row + 1], window.actions[row : row + 1]))
        assert same_picture(many[row : row + 1], world.render(world.step(state, action[row : row + 1], luck(seed))))
    if isinstance(world, Samples):
        with pytest.raises(ValueError, match="rng has 2 generators for a batch of 3"):
            world.step(world.reset(window), action, [luck(0), luck(1)])


@EVERY
def test_same_luck_same_frames(worlds, name: str) -> None:
    world = hot(worlds[name])
    state = repeat(world.reset(start(1)), 8)

    def dream(seed: int) -> Tensor:
        rng, now, seen = luck(seed), state, []
        for turn in range(3):
            now = world.step(now, torch.full((8,), turn), rng)
            seen.append(world.render(now))
        return torch.stack(seen)

    torch.manual_seed(1)
    first = dream(7)
    torch.manual_seed(2)  # luck comes in by the generator and by nothing else
    assert torch.equal(first, dream(7))
    if isinstance(world, Samples):
        assert not torch.equal(first, dream(8))


@EVERY
def test_saved_and_loaded_dreams_the_same(worlds, name: str, tmp_path: Path) -> None:
    world, window = worlds[name], start()
    save_world(world, tmp_path / "world", {}, [window.frames[0]], "# card")
    other = load_world(tmp_path / "world")
    assert other.spec == world.spec
    assert other.config == world.config
    assert not other.training
    for one, two in ((world, other), (hot(world), hot(other))):
        states = [each.reset(window) for each in (one, two)]
        for turn in range(3):
            states = [
                each.step(state, torch.full((3,), turn), luck(turn))
                for each, state in zip((one, two), states, strict=True)
            ]
            assert torch.equal(one.render(states[0]), two.render(states[1]))


@EVERY
def test_a_state_survives_the_disk(worlds, name: str, tmp_path: Path) -> None:
    world = worlds[name]
    state = world.step(world.reset(start()), torch.tensor([0, 1, 2]), luck(0))
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "state.safetensors")
    again = load_file(tmp_path / "state.safetensors")
    assert torch.equal(world.render(again), world.render(state))
    actions = torch.tensor([2, 0, 1])
    one, two = (world.render(world.step(each, actions, luck(3))) for each in (state, again))
    assert torch.equal(one, two)


@EVERY
def test_rows_are_repeated_and_selected(worlds, name: str) -> None:
    world = greedy(worlds[name])
    state = world.reset(start())
    twice = world.render(repeat(state, 2))
    assert torch.equal(twice, world.render(state).repeat_interleave(2, 0))
    chosen = select(state, [2, 0])
    assert torch.equal(world.render(chosen), world.render(state)[[2, 0]])
    moved = world.render(world.step(chosen, torch.tensor([1, 2])))
    assert same_picture(moved, world.render(world.step(state, torch.tensor([2, 0, 1])))[[2, 0]])


@EVERY
def test_actions_do_what_they_did_in_the_data(worlds, name: str) -> None:
    world = greedy(worlds[name])
    window = block_play.play(32, 5, seed=77)[0]
    state = world.reset(window)
    right = 0
    for action in range(3):
        columns = [block_play.player_column(frame) for frame in window.frames[:, -1]]
        frames = world.render(world.step(state, torch.full((32,), action)))
        for before, frame in zip(columns, frames, strict=True):
            right += block_play.player_column(frame) == block_play.go(before, action)
    assert right >= 0.75 * 96  # deaf to the keys it would be right about once in three


@EVERY
def test_an_action_that_is_not_there_is_refused(worlds, name: str) -> None:
    world = worlds[name]
    state = world.reset(start())
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"action {wrong} is outside \[0, 3\)"):
            world.step(state, torch.tensor([0, wrong, 1]))
    with pytest.raises(ValueError, match=r"action must be int64 \[3\], found torch.int64 \[2\]"):
        world.step(state, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"action must be int64 \[3\], found torch.float32 \[3\]"):
        world.step(state, torch.tensor([0.0, 1.0, 2.0]))


@EVERY
def test_a_window_shorter_than_the_context_is_refused(worlds, name: str) -> None:
    with pytest.raises(ValueError, match="window has 2 frames but 'blocks' needs a context of 3"):
        worlds[name].reset(start(length=2))
    worlds[name].reset(start(length=3))


@EVERY
def test_a_window_without_actions_will_do(worlds, name: str) -> None:
    if not isinstance(worlds[name], InfersActions):
        pytest.skip("it cannot read actions off frames")
    window = start()
    state = worlds[name].reset(Window(window.frames))
    assert shows(worlds[name].render(state), window.frames[:, -1], name)
    read = worlds[name].reset(Window(window.frames, worlds[name].infer_actions(window.frames)))
    assert all(torch.equal(value, read[key]) for key, value in state.items())


@EVERY
def test_frames_before_the_context_may_be_there(worlds, name: str) -> None:
    """A longer past must not confuse: greedy dreams from 4 and from 12 frames show the same blocks."""
    world = greedy(worlds[name])
    window = block_play.play(8, 12, seed=11)[0]
    short = Window(window.frames[:, -4:], window.actions[:, -3:])
    actions = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    frames = [world.render(world.step(world.reset(each), actions)) for each in (window, short)]
    assert (frames[0] == frames[1]).float().mean() > 0.99


@EVERY
def test_inferred_actions_are_actions(worlds, name: str) -> None:
    if not isinstance(worlds[name], InfersActions):
        pytest.skip("it cannot read actions off frames")
    codes = worlds[name].infer_actions(start(4, 7).frames)
    assert (codes.dtype, tuple(codes.shape)) == (torch.int64, (4, 6))
    assert 0 <= int(codes.min()) <= int(codes.max()) < 3


@EVERY
def test_uncertainty_is_a_picture_of_doubt(worlds, name: str) -> None:
    if not isinstance(worlds[name], ShowsUncertainty):
        pytest.skip("it does not say where it guessed")
    world = hot(worlds[name])
    doubt = world.uncertainty(world.step(world.reset(start()), torch.tensor([0, 1, 2]), luck(0)))
    assert doubt.is_floating_point()
    assert doubt.ndim == 3
    assert len(doubt) == 3
    assert torch.isfinite(doubt).all()
    assert (doubt >= -1e-6).all()
    assert doubt.max() > 0


@EVERY
def test_reconstruction_keeps_what_was_seen_in_training(worlds, name: str) -> None:
    if not isinstance(worlds[name], Reconstructs):
        pytest.skip("it has no tokenizer")
    frames = start().frames
    assert shows(worlds[name].reconstruct(frames), frames, name)


@EVERY
def test_other_dials_leave_the_world_as_it_was(worlds, name: str) -> None:
    world = worlds[name]
    if not isinstance(world, Samples):
        pytest.skip("it has no dials")
    before = world.sampling
    other = world.with_sampling(Sampling(steps=2, temperature=0.5))
    steps = 1 if name in ("autoregressive", "one_pass") else 2  # which have one only
    assert (other.sampling.steps, other.sampling.temperature) == (steps, 0.5)
    assert world.sampling == before
    state = world.reset(start())
    assert torch.equal(other.render(state), world.render(state))
    assert set(other.step(state, torch.tensor([0, 1, 2]), luck(0))) == set(state)


@pytest.mark.parametrize(
    ("frames", "actions", "message"),
    [
        (torch.zeros(1, 2, 3, 4, 4), None, r"uint8 \[B, T, C, H, W\], found torch.float32 \[1, 2, 3, 4, 4\]"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), None, r"found torch.uint8 \[2, 3, 4, 4\]"),
        (torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 2, dtype=torch.int64), r"int64 \[1, 1\], found"),
        (torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 1), r"found torch.float32 \[1, 1\]"),
    ],
)
def test_a_window_is_checked_when_made(frames: Tensor, actions: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Window(frames, actions)
