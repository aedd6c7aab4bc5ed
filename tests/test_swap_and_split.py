"""Another world of the same game takes over in mid-play, or plays beside, under the same keys; without a display."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

os.environ["SDL_VIDEODRIVER"] = "dummy"

import numpy as np
import pygame
import pytest
import torch
from test_app_doubles import CONTEXT, HEIGHT, WIDTH, CountingWorld, clips, spec
from test_app_game import Table
from torch import Tensor

from app import library, relatives
from app.keymap import Keymap, chosen_keys
from app.scenes.split import BINDINGS, SplitScene
from app.session import Session
from models.world import Luck, State, Window, WorldSpec, check_action

GOES = {0: (0, 0), 1: (3, 0), 2: (-3, 0)}


class Darker:
    """The same game by other means: real actions in another order, three pixels a step, no dials, and a darker block.
    It begins where the block is in the frame that it is shown."""

    def __init__(self, made: WorldSpec | None = None) -> None:
        usual = replace(spec(table=False), actions=("NOOP", "DOWN", "UP"), context=2)
        self.spec = made or usual

    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        frame = window.frames[:, -1, 0]
        rows, columns = [(frame > 100).any(dim=axis).int().argmax(dim=1) for axis in (2, 1)]
        self.told = window.actions
        return {"y": rows, "x": columns, "seen": window.frames[:, -CONTEXT:].clone()}

    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        check_action(action, 3, len(state["y"]))
        moves = torch.tensor([GOES[int(each)] for each in action])
        return {**state, "y": (state["y"] + moves[:, 0]).clamp(0, HEIGHT - 8)}

    def render(self, state: State) -> Tensor:
        frames = torch.zeros(len(state["y"]), 3, HEIGHT, WIDTH, dtype=torch.uint8)
        for row, (y, x) in enumerate(zip(state["y"].tolist(), state["x"].tolist(), strict=True)):
            frames[row, :2, y : y + 8, x : x + 8] = 150
        return frames


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three folders of worlds, of which one is of another size; `own` is the one that is played."""
    found = {}
    for name, height in (("a-other", HEIGHT), ("b-taller", 2 * HEIGHT), ("own", HEIGHT)):
        folder = found[name] = tmp_path / "worlds" / name
        folder.mkdir(parents=True)
        told = {"game": "block", "height": height, "width": WIDTH, "channels": 3}
        (folder / "config.json").write_text(json.dumps({"format": 1, "family": f"family of {name}", "spec": told}))
        (folder / "model.safetensors").write_bytes(name.encode())
    monkeypatch.setattr(library, "worlds", lambda: found)
    monkeypatch.setattr(library, "open_world", lambda folder, where: Darker())
    monkeypatch.setattr(relatives.checkpoint, "load_starts", lambda folder: [clip[:2] for clip in clips(2)])
    return found


@pytest.fixture
def table(tmp_path: Path, shelf: dict[str, Path]):
    made = Table(tmp_path, CountingWorld())
    made.session.world_id = relatives.checkpoint.world_id(shelf["own"])
    yield made
    made.screen.close()


def top(frame: np.ndarray) -> int:
    """The first row of the block."""
    return int((frame[..., 0] > 100).any(axis=1).argmax())


def test_only_worlds_of_the_same_game_and_size_are_relatives(shelf: dict[str, Path]) -> None:
    assert [folder.name for folder in relatives.relatives(spec())] == ["a-other", "own"]
    (shelf["a-other"] / "config.json").write_text("not a world")
    assert [folder.name for folder in relatives.relatives(spec())] == ["own"]


def test_another_world_takes_over_at_the_same_state(table, shelf: dict[str, Path]) -> None:
    table.down(pygame.K_UP)
    table.turns(4)
    table.up(pygame.K_UP)
    table.turns(1)
    before, steps = table.session.frame.copy(), table.session.steps
    table.down(pygame.K_SPACE)
    table.turns(1)
    assert table.scene.paused
    table.press(pygame.K_x)
    assert isinstance(table.session.world, Darker)
    assert table.session.steps == steps
    assert table.session.world.told.tolist() == [[0]]  # nothing was pressed any more
    assert torch.equal(table.session.state["seen"][0, -1], torch.from_numpy(before).permute(2, 0, 1))
    assert top(table.session.frame) == top(before)
    assert table.session.frame.max() == 150  # as the new one draws it
    assert table.scene.notice == "a-other (family of a-other) goes on from the last frames"
    assert table.scene.title == "a-other"
    assert table.session.sampling is None
    table.down(pygame.K_SPACE)
    table.turns(1)
    table.down(pygame.K_DOWN)  # which has another number here
    table.turns(2)
    assert list(table.session.take.actions)[-2:] == [1, 1]
    assert top(table.session.frame) == top(before) + 6
    assert table.session.world_id == relatives.checkpoint.world_id(shelf["a-other"])


def test_without_a_relative_it_says_how_to_make_one(table, shelf: dict[str, Path]) -> None:
    (shelf["a-other"] / "config.json").unlink()
    for key in (pygame.K_x, pygame.K_y):
        table.press(key)
        assert table.scene.notice == (
            "no other world of block here; make one: dreamcade train block --family latent_flow"
        )
    assert isinstance(table.session.world, CountingWorld)
    assert table.game.stack[-1] is table.scene


def test_a_relative_that_cannot_be_opened_is_told(table, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, where: str) -> None:
        raise ValueError(f"{folder.name} is damaged")

    monkeypatch.setattr(library, "open_world", broken)
    table.press(pygame.K_x)
    assert table.scene.notice == "a-other is damaged"
    assert isinstance(table.session.world, CountingWorld)


def test_copies_of_what_is_played_are_passed_over(table, shelf: dict[str, Path]) -> None:
    (shelf["a-other"] / "model.safetensors").write_bytes(b"own")
    with pytest.raises(ValueError, match="no other world of block here"):
        next(relatives.others(table.session))


def test_a_relative_whose_starts_do_not_fit_is_told(table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relatives.checkpoint, "load_starts", lambda folder: [clip[:1, :, :8] for clip in clips(2)])
    for key in (pygame.K_x, pygame.K_y):
        table.press(key)
        assert table.scene.notice.startswith("start clip of 'block' must be uint8")
        assert isinstance(table.session.world, CountingWorld)


def test_what_was_pressed_is_known_as_far_as_it_goes(table) -> None:
    session = Session(CountingWorld(), clips())
    assert session.heard(2) is None  # nothing was dreamed yet
    for action in (1, 2, 3):
        session.step(action)
    assert session.heard(1) == ()
    assert session.heard(3) == (2, 3)
    session.branch(session.steps - 1)
    session.step(5)
    assert session.heard(4) == (1, 2, 5)
    assert session.heard(5) is None
    told = relatives.heard(session, Darker())
    assert told is not None
    assert told.tolist() == [1]  # UP and DOWN have other numbers there


def test_two_worlds_under_the_same_keys(table, tmp_path: Path) -> None:
    table.down(pygame.K_UP)
    table.turns(3)
    table.up(pygame.K_UP)
    table.turns(1)
    steps = table.session.steps
    table.press(pygame.K_y)
    scene = table.game.stack[-1]
    assert isinstance(scene, SplitScene)
    left, right = scene.sessions
    assert isinstance(left.world, CountingWorld)
    assert isinstance(right.world, Darker)
    first = top(right.frame)
    table.down(pygame.K_DOWN)
    table.turns(3)
    table.up(pygame.K_DOWN)
    assert scene.titles()[0].startswith("block: DOWN")
    assert scene.titles()[1].startswith("a-other (family of a-other): DOWN")
    assert list(right.take.actions)[-1] == 1
    assert top(right.frame) == first + 3 * len([each for each in right.take.actions if each == 1])
    table.turns(2)
    halves = np.split(table.pixels(), 2, axis=1)
    assert (halves[0] == 250).any()
    assert (halves[1] == 150).any()
    table.press(pygame.K_r)
    assert top(right.frame) == top(left.frame)
    assert right.world.told.shape == (1, 1)
    table.press(pygame.K_F12)
    table.turns(1)
    assert list((tmp_path / "captures").glob("split-*.png"))
    table.press(pygame.K_ESCAPE)
    table.turns(1)
    assert table.game.stack[-1] is table.scene
    assert steps <= table.session.steps <= steps + 2  # the dream itself waited


def test_an_action_means_the_same_on_both_sides(table) -> None:
    sessions = (table.session, Session(Darker(), [clip[:2] for clip in clips(1)]))
    scene = SplitScene(sessions, table.screen, titles=("one", "other"), captures=Path("x"))
    assert [scene.meant(action) for action in range(8)] == [0, 2, 2, 1, 0, 1, 0, 0]  # LEFT is unknown there: idle
    bare = Session(CountingWorld(spec(table=False)), clips())
    numbers = SplitScene((bare, bare.twin()), table.screen, titles=("one", "other"), captures=Path("x"))
    assert [numbers.meant(action) for action in range(8)] == list(range(8))


def test_keys_of_the_split_screen_do_not_clash() -> None:
    keymap = Keymap("SPLIT", BINDINGS, chosen_keys())
    assert {binding.does.name for binding in keymap.bindings} >= {"ACT", "MOVE", "JOIN", "QUIT"}
