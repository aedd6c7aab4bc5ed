"""The emulator is a world: its state is a value, a row is a game of its own, and it shows what the game shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.real import LiveGame, RealWorld, RecordedGame, pixels
from app.session import Session
from collectors.atari import AtariGame
from collectors.games import PONG, game_named
from collectors.rollout import play_episode
from models.world import Window, World, repeat, select

ACTIONS = [2, 2, 5, 3, 0, 4, 1, 3]


@pytest.fixture(scope="module")
def world() -> RealWorld:
    return RealWorld(PONG)


def window(batch: int) -> Window:
    return Window(torch.zeros(batch, 1, 3, PONG.height, PONG.width, dtype=torch.uint8))


def luck(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def after(world: RealWorld, state, actions: list[int]):
    for action in actions:
        state = world.step(state, torch.full((len(state["end"]),), action))
    return state


def test_it_is_a_world_of_real_actions(world):
    assert isinstance(world, World)
    assert world.spec.actions == PONG.action_names
    assert (world.spec.game, world.spec.context, world.spec.fps) == ("pong", 1, 15.0)
    state = world.reset(window(3), luck(0))
    assert all(len(value) == 3 for value in state.values())
    assert (world.render(state).dtype, tuple(world.render(state).shape)) == (torch.uint8, (3, 3, 104, 80))


def test_it_shows_what_the_emulator_shows(world):
    machine, state = AtariGame(PONG), world.begin([7])
    assert torch.equal(world.render(state)[0], pixels(machine.reset(7)))
    for action in ACTIONS * 6:
        state = world.step(state, torch.tensor([action]))
        assert torch.equal(world.render(state)[0], pixels(machine.step(action)[0]))


def test_a_step_leaves_its_state_alone_and_can_be_taken_again(world):
    state = after(world, world.begin([1, 2]), ACTIONS)
    kept = {name: value.clone() for name, value in state.items()}
    first = after(world, state, ACTIONS)
    again = after(world, state, ACTIONS)
    other = after(world, state, ACTIONS[::-1])
    for name, value in kept.items():
        assert torch.equal(state[name], value), name
        assert (first[name].dtype, first[name].shape) == (value.dtype, value.shape), name
        assert torch.equal(first[name], again[name]), name
    assert not torch.equal(world.render(first), world.render(other))


def test_a_row_is_a_game_of_its_own(world):
    three = world.begin([3, 4, 5])
    alone = [world.begin([seed]) for seed in (3, 4, 5)]
    for turn in range(12):
        actions = torch.tensor([2, 3, turn % 6])
        three = world.step(three, actions)
        alone = [world.step(one, actions[row : row + 1]) for row, one in enumerate(alone)]
    assert torch.equal(world.render(three), torch.cat([world.render(one) for one in alone]))
    swapped = after(world, select(three, [2, 0]), [2, 2])
    assert torch.equal(world.render(swapped)[1:], world.render(after(world, alone[0], [2, 2])))
    twice = after(world, repeat(alone[1], 2), [3])
    assert torch.equal(world.render(twice)[0], world.render(twice)[1])


def test_luck_chooses_the_game_and_nothing_else_does(world):
    def begun(rng):
        return world.render(after(world, world.reset(window(4), rng), [0] * 40))

    assert torch.equal(begun(luck(1)), begun(luck(1)))
    assert not torch.equal(begun(luck(1)), begun(luck(2)))
    torch.manual_seed(5)
    assert torch.equal(world.render(world.reset(window(1))), world.render(world.begin([0])))


def test_a_state_survives_the_disk(world, tmp_path):
    state = after(world, world.begin([9]), ACTIONS)
    save_file(dict(state), tmp_path / "state.safetensors")
    there = RealWorld(PONG)
    found = after(there, load_file(tmp_path / "state.safetensors"), ACTIONS)
    assert torch.equal(world.render(after(world, state, ACTIONS)), there.render(found))


def test_a_game_that_is_over_stands_still(world):
    state = after(world, world.begin([0]), ACTIONS)
    over = {**state, "end": torch.tensor([True])}
    still = world.step(over, torch.tensor([2]))
    assert all(torch.equal(value, over[name]) for name, value in still.items())


def test_wrong_actions_are_refused(world):
    state = world.begin([0])
    with pytest.raises(ValueError, match=r"action 6 is outside \[0, 6\)"):
        world.step(state, torch.tensor([6]))
    with pytest.raises(ValueError, match=r"action must be int64 \[1\]"):
        world.step(state, torch.tensor([1, 1]))


def test_any_atari_game_and_size():
    world = RealWorld(game_named("breakout", (64, 48)))
    state = after(world, world.begin([0]), [1, 2, 2, 2, 2])
    assert world.spec.actions == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert not torch.equal(world.render(state), world.render(world.begin([0])))
    assert tuple(world.render(state).shape) == (1, 3, 64, 48)


def test_a_session_goes_back_in_the_real_game(world):
    play = Session(world, [pixels(AtariGame(PONG).reset(0))[None]])
    shown = [play.frame, *(play.step(action) for action in ACTIONS * 5)]
    play.branch(17)
    assert np.array_equal(play.frame, shown[17])
    for action, expected in zip((ACTIONS * 5)[17:], shown[18:], strict=True):
        assert np.array_equal(play.step(action), expected)


def test_a_live_game_plays_and_begins_anew_with_the_next_seed():
    live, machine = LiveGame(PONG, seed=3), AtariGame(PONG)
    assert np.array_equal(live.frame, machine.reset(3))
    for action in ACTIONS:
        assert np.array_equal(live.step(action), machine.step(action)[0])
    assert (live.obeys, live.planned, live.over) == (True, None, False)
    live.state = {**live.state, "end": torch.tensor([True])}
    assert live.over
    assert live.restart()
    assert not live.over
    assert np.array_equal(live.step(2), [machine.reset(4), machine.step(2)[0]][1])


def test_a_recording_goes_its_own_way():
    episode = play_episode(PONG, "sticky", 2, 20)
    real = RecordedGame(episode, PONG.action_names)
    assert not real.obeys
    for step in range(20):
        assert np.array_equal(real.frame, episode.frames[step])
        assert real.planned == episode.actions[step]
        assert np.array_equal(real.step(0), episode.frames[step + 1])
    assert (real.over, real.planned, real.restart()) == (True, None, False)
    with pytest.raises(ValueError, match="the recorded episode is over: it has 20 steps"):
        real.step(0)
