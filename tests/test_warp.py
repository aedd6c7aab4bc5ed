"""Dynamics that move pictures: faults of the past, windows, few steps from noise to a frame."""

from dataclasses import replace

import pytest
import torch

from models.dynamics.config import WarpConfig
from models.dynamics.warp import NOISE, Plan, Warp, WarpFamily, worst
from models.world import Sampling, Window, WorldSpec

SPEC = WorldSpec(game="landscape", height=16, width=24)
TINY = replace(WarpConfig.sized("tiny"), history=4, span=6, apart=2, ahead=3)


def made(**changes: float) -> Warp:
    torch.manual_seed(0)
    return Warp(replace(TINY, **changes), SPEC, 4)


def play(batch: int = 3, length: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    luck = torch.Generator().manual_seed(seed)
    frames = torch.rand(batch, length, 3, SPEC.height, SPEC.width, generator=luck) - 0.5
    moved = 3 * torch.randn(batch, length - 1, 2, generator=luck)
    return frames, torch.randint(0, 4, (batch, length - 1), generator=luck), moved


def test_a_short_past_repeats_its_oldest_frame() -> None:
    past, _, _ = play(64, 4)
    torch.manual_seed(0)
    found, missing = made(short=1.0)._shortened(past)
    assert torch.equal(found[:, -1], past[:, -1])
    firsts = []
    for shown, real in zip(found, past, strict=True):
        same = [bool((one == two).all()) for one, two in zip(shown, real, strict=True)]
        first = same.index(True)
        assert all(same[first:])
        assert all(torch.equal(frame, real[first]) for frame in shown[:first])
        firsts.append(first)
    assert missing.tolist() == firsts
    assert set(firsts) == {1, 2, 3}
    whole, missing = made(short=0.0)._shortened(past)
    assert torch.equal(whole, past)
    assert not missing.any()


def test_faults_blur_and_grain_the_past() -> None:
    past, _, _ = play(40, 4)
    torch.manual_seed(0)
    assert torch.equal(made(blurred=0.0, grain=0.0)._faulty(past), past)
    blurred = made(blurred=1.0, grain=0.0)._faulty(past)
    detail = [(frames[..., 1:] - frames[..., :-1]).abs().mean() for frames in (past, blurred)]
    assert detail[1] < 0.8 * detail[0]
    torch.testing.assert_close(blurred.mean(), past.mean(), atol=0.02, rtol=0)
    grained = made(blurred=0.0, grain=0.1)._faulty(past) - past
    spread = grained.flatten(1).std(dim=1)  # another strength for each window, at most what the config says
    assert spread.max() <= 0.105
    assert spread.min() < 0.03


def test_faults_come_late() -> None:
    frames, actions, moved = play()
    none = dict.fromkeys(("own_share", "blurred", "grain", "jitter", "short", "action_noise"), 0.0)
    for changes in ({"own_share": 1.0}, {"blurred": 1.0}, {"grain": 1.0}, {"jitter": 1.0}, {"action_noise": 1.0}):
        dynamics = made(**{**none, "own_from": 0.5, **changes})
        losses = []
        for progress in (0.0, 0.4, 0.5):
            torch.manual_seed(1)
            losses.append(dynamics.loss(frames, actions, moved, progress)[0].item())
        assert losses[0] == losses[1]
        assert losses[0] != losses[2], changes


def test_the_worst_places_weigh_more_than_their_share() -> None:
    told, truth = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)  # 64 places, of which the worst two count
    told[0, :, 4:8, 8:12] = 0.5
    told[1] = 0.1
    torch.testing.assert_close(worst(told, truth), torch.tensor([0.125, 0.01]))
    assert (told[0] - truth[0]).square().mean() < (told[1] - truth[1]).square().mean()


def test_every_window_costs_what_it_alone_would() -> None:
    dynamics = made(short=0.0)
    frames, actions, moved = play(4, 6)
    past = dynamics._past(frames, moved, 0.0)
    told, truth, now = past.frames[:, 0], past.frames[:, 1], moved[:, 0]
    with torch.no_grad():
        plan = dynamics.plan(past, actions[:, 0])
        costs = dynamics.cost(told, truth, plan, now)
        assert costs.shape == (4,)
        for row in range(4):
            one = Plan(plan.memory, *(part[row : row + 1] for part in plan[1:]))
            alone = dynamics.cost(told[row : row + 1], truth[row : row + 1], one, now[row : row + 1])
            torch.testing.assert_close(alone, costs[row : row + 1])


def test_a_dream_is_told_of_the_next_frame_where_it_is_itself() -> None:
    """What is three pixels to the right of the game should see the next frame three pixels to the right."""
    frames, _, _ = play(2, 1)
    truth, drift = frames[:, 0], torch.tensor([[3.0, 0.0], [0.0, -2.0]])
    moved, shown = made()._drifted(truth, drift)
    torch.testing.assert_close(moved[0, :, :, 3:], truth[0, :, :, :-3], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[1, :, :-2], truth[1, :, 2:], atol=1e-5, rtol=0)
    assert shown[0].sum() == 16 * 21
    assert not shown[0, :, :, :3].any()
    assert not shown[1, :, -2:].any()
    same, everywhere = made()._drifted(truth, torch.zeros(2, 2))
    assert torch.equal(same, truth)
    assert everywhere.all()


def test_windows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"windows of 6 frames do not fit; use --set dynamics\.length=9"):
        made().loss(*play(2, 6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history": 1}, "history 1 must be 2 or more"),
        ({"span": 3}, "span 3 must be at least history 4"),
        ({"margin": 0}, "margin must be 1 or more, found 0"),
        ({"width": 20}, "width 20 a multiple of 8"),
        ({"blurred": 1.5}, r"blurred must be in \[0, 1\], found 1.5"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_frames_must_halve_twice() -> None:
    with pytest.raises(ValueError, match="frames must be of multiples of 4 pixels, found 22x24"):
        WarpFamily.sized("tiny").build(WorldSpec(game="landscape", height=22, width=24))
    WarpFamily.sized("tiny").build(WorldSpec(game="landscape", height=84, width=84))


def test_the_past_of_a_window_is_laid_out_as_it_moved() -> None:
    """A landscape that scrolls by three pixels: what the first frames showed lies around the last one."""
    land = torch.rand(2, 3, SPEC.height, 60, generator=torch.Generator().manual_seed(0)) - 0.5
    frames = torch.stack([land[..., 3 * t : 3 * t + SPEC.width] for t in range(6)], dim=1)
    moved = torch.tensor([-3.0, 0.0]).expand(2, 5, 2)
    dynamics = made(short=0.0, own_from=1.0)
    past = dynamics._past(frames, moved, 0.0)
    assert torch.equal(past.frames, frames[:, 2:])
    assert torch.equal(past.moved, moved[:, -1])
    view, seen = past.canvas.through(torch.tensor([[3.0, 0.0]] * 2), TINY.margin)
    assert seen.all()
    torch.testing.assert_close(view, frames[:, 4], atol=1e-4, rtol=0)


def test_a_past_that_is_short_has_seen_nothing_else_and_does_not_move_if_it_is_one_frame() -> None:
    torch.manual_seed(0)
    frames, _, moved = play(64, 6)
    past = made(short=1.0)._past(frames, moved, 0.0)
    assert torch.equal(past.canvas.seen.sum(dim=(1, 2, 3)), torch.full((64,), 16.0 * 24))
    alone = (past.frames[:, 0] == past.frames[:, -1]).flatten(1).all(dim=1)
    assert 0 < alone.sum() < 64
    assert torch.equal(alone, (past.moved == 0).all(dim=1))


def test_one_step_of_the_flow_is_the_clean_frame_that_is_told() -> None:
    """And of many, each begins from a mixture of the last clean frame and the noise."""
    dynamics = made(short=0.0)
    frames, actions, moved = play(2, 6)
    action, noise = actions[:, -1], NOISE * torch.randn(2, 3, SPEC.height, SPEC.width)
    past = dynamics._past(frames, moved, 0.0)
    plan = dynamics.plan(past, action)

    def told(noisy: torch.Tensor, time: float) -> torch.Tensor:
        return dynamics.told(plan, action, noisy, torch.full((2,), time))

    with torch.no_grad():
        first = told(noise, 1.0)
        one = dynamics.draw(past, action, noise, 1)
        torch.testing.assert_close(one.frames[:, -1], first)
        assert torch.equal(one.moved, plan.shifts[:, 0])
        inner = slice(TINY.margin, -TINY.margin)
        torch.testing.assert_close(one.canvas.picture[..., inner, inner], first)
        second = told(0.5 * first + 0.5 * noise, 0.5)
        torch.testing.assert_close(dynamics.draw(past, action, noise, 2).frames[:, -1], second)


def test_a_world_begins_from_one_frame_and_forgets_what_is_long_gone() -> None:
    torch.manual_seed(0)
    world = WarpFamily.sized("tiny").build(replace(SPEC, context=1)).eval()
    frames = torch.randint(0, 256, (2, 9, 3, SPEC.height, SPEC.width), dtype=torch.uint8)
    world.tokenizer.fit(iter(frames))
    one = world.reset(Window(frames[:, -1:]))["latents"]
    assert torch.equal(one, one[:, -1:].expand_as(one))
    many, last = (world.reset(Window(part)) for part in (frames, frames[:, -5:]))
    assert all(torch.equal(many[name], last[name]) for name in many)
    cool = world.with_sampling(Sampling(steps=2, temperature=0.0))
    action = torch.tensor([0, 1])
    states = [cool.step(last, action, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert torch.equal(states[0]["latents"], states[1]["latents"])  # without temperature there is no luck
