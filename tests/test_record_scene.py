"""Recording by hand, as a person meets it: keys in, pixels out, and a data set of just what was played."""

from __future__ import annotations

import errno
import os

os.environ["SDL_VIDEODRIVER"] = "dummy"

from pathlib import Path

import numpy as np
import pygame
import pytest

from app import tape as tape_module
from app.cli import main
from app.game import Game as Loop
from app.hud import Stats, bars, layout
from app.real_play import Buttons, RealPlay
from app.scenes.help import HelpScene
from app.scenes.record import RecordScene
from app.screen import Screen, fit
from app.subjects import real
from app.tape import Tape
from collectors.atari import AtariGame
from collectors.games import PONG, Game, game_named
from collectors.machines import make_machine
from collectors.shards import Dataset


class Chair:
    """A person before the window, on the dummy driver."""

    def __init__(self, folder: Path, game: Game = PONG, seed: int = 5, **options: object) -> None:
        self.folder = folder / "played"
        self.tape = Tape(folder, real(game), **options)
        self.tape.start(self.folder)
        self.play = RealPlay(game, make_machine(game), self.tape, seed)
        self.screen = Screen(game.width, game.height, bars=bars)
        self.scene = RecordScene(self.play, self.screen, captures=folder / "captures", fps=0)
        self.loop = Loop(self.screen, self.scene, Stats(), fps=0)

    def down(self, key: int, down: bool = True) -> None:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN if down else pygame.KEYUP, key=key))

    def tap(self, key: int) -> None:
        """Down and up within one turn."""
        self.down(key)
        self.down(key, False)
        self.loop.turn()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.turn()

    def leave(self) -> Dataset:
        """Esc, and a look at what was recorded."""
        self.down(pygame.K_ESCAPE)
        self.loop.turn()
        assert self.loop.stack == []
        self.tape.stop()
        self.screen.close()
        return Dataset.open(self.folder)


@pytest.fixture
def chair(tmp_path: Path):
    made = Chair(tmp_path)
    yield made
    made.tape.stop()
    made.screen.close()


def test_what_is_played_is_recorded(chair: Chair) -> None:
    chair.down(pygame.K_UP)
    chair.turns(5)
    chair.down(pygame.K_UP, False)
    chair.turns(3)
    chair.tap(pygame.K_s)
    chair.tap(pygame.K_2)
    chair.turns(2)
    with chair.leave() as data:
        assert len(data.episodes) == 1
        episode = data.read(data.episodes[0])
        data.verify()
    assert episode.actions.tolist() == [2] * 5 + [0] * 3 + [3, 1] + [0] * 2
    assert (episode.seed, episode.behaviour, episode.source) == (5, "human", "real")
    machine = AtariGame(PONG)
    frames, objects = [machine.reset(5)], [machine.objects]
    for action in episode.actions:
        frames.append(machine.step(int(action))[0])
        objects.append(machine.objects)
    np.testing.assert_array_equal(episode.frames, np.stack(frames))
    np.testing.assert_array_equal(episode.objects, np.stack(objects))


def test_the_picture_is_the_game(chair: Chair) -> None:
    chair.turns(8)
    rect = fit(80, 104, layout(chair.screen.surface.get_size()).picture)
    scale = rect.width // 80
    pixels = pygame.surfarray.array3d(chair.screen.surface).transpose(1, 0, 2)
    assert scale >= 2
    shown = pixels[rect.top : rect.bottom : scale, rect.left : rect.right : scale]
    np.testing.assert_array_equal(shown, chair.play.frame)


def test_pause_stops_time(chair: Chair) -> None:
    chair.turns(2)
    chair.tap(pygame.K_SPACE)
    chair.turns(4)
    assert chair.play.steps == 2
    assert chair.scene.waiting
    chair.tap(pygame.K_SPACE)
    assert chair.play.steps == 3
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    chair.turns(3)
    assert chair.play.steps == 3


def test_a_new_game_is_an_episode_of_its_own(chair: Chair) -> None:
    chair.turns(4)
    chair.tap(pygame.K_r)
    chair.turns(2)
    assert (chair.play.games, chair.play.seed, chair.scene.notice) == (2, 6, "game 2")
    with chair.leave() as data:
        assert [(ref.seed, ref.steps) for ref in data.episodes] == [(5, 4), (6, 3)]
        first = data.read(data.episodes[1], 0, 2).frames[0]
    np.testing.assert_array_equal(first, AtariGame(PONG).reset(6))


def test_the_next_game_begins_when_one_is_over(tmp_path: Path) -> None:
    """Skiing is over by the clock, whatever one does."""
    chair = Chair(tmp_path, game_named("skiing", (26, 20)), shard_steps=4000)
    for _ in range(4000):
        chair.play.step(0)
        if chair.play.games == 2:
            break
    assert chair.play.score == 0
    chair.turns(3)
    with chair.leave() as data:
        one, two = (data.read(ref) for ref in data.episodes)
    assert one.ends.nonzero()[0].tolist() == [one.steps - 1]
    assert one.rewards.sum() < 0
    assert (two.seed, two.steps, two.ends.any()) == (6, 3, False)


def test_shards_are_written_under_way(tmp_path: Path) -> None:
    chair = Chair(tmp_path, shard_steps=10)
    chair.turns(25)
    with Dataset.open(chair.folder) as data:  # a crash now would leave this
        assert data.manifest.steps == 20
    with chair.leave() as data:
        assert data.manifest.steps == 25
        assert data.manifest.complete


def test_a_full_disk_ends_it_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chair = Chair(tmp_path, shard_steps=10)
    chair.turns(10)

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on the disk; make room")

    monkeypatch.setattr(tape_module, "write_shard", refuse)
    chair.turns(12)
    assert chair.scene.done
    assert chair.tape.error == "recording stopped: [Errno 28] no space left on the disk; make room"
    with Dataset.open(chair.folder) as data:
        assert data.manifest.steps == 10
    chair.screen.close()


def test_help_and_unknown_actions(chair: Chair) -> None:
    chair.tap(pygame.K_8)
    assert chair.scene.notice == "no action 8 here: NOOP, FIRE, RIGHT, LEFT, RIGHTFIRE, LEFTFIRE"
    steps = chair.play.steps
    chair.tap(pygame.K_h)
    assert isinstance(chair.loop.stack[-1], HelpScene)
    chair.turns(3)
    assert chair.play.steps == steps
    chair.tap(pygame.K_h)
    assert chair.loop.stack == [chair.scene]


def test_a_screenshot(chair: Chair) -> None:
    chair.turns(3)
    chair.tap(pygame.K_F12)
    shots = list((chair.folder.parent / "captures").glob("pong-real-*.png"))
    assert len(shots) == 1
    assert chair.scene.notice == f"saved {shots[0].name}"


@pytest.mark.parametrize(
    ("name", "held", "action"),
    [
        ("pong", ["UP"], "RIGHT"),
        ("pong", ["DOWN"], "LEFT"),
        ("pong", ["UP", "FIRE"], "RIGHTFIRE"),
        ("pong", ["LEFT"], "LEFT"),
        ("breakout", ["FIRE"], "FIRE"),
        ("montezuma_revenge", ["UP"], "UP"),
        ("montezuma_revenge", ["UP", "LEFT"], "UPLEFT"),
        ("montezuma_revenge", ["RIGHT", "DOWN", "FIRE"], "DOWNRIGHTFIRE"),
    ],
)
def test_directions_are_buttons(name: str, held: list[str], action: str) -> None:
    buttons = Buttons(game_named(name))
    found = buttons.chord(held)
    assert found is not None
    assert buttons.labels[found] == action


# the command


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("collect", "pong", "--behaviour", "human", "--seed", 3)
    status, out, _ = run(capsys, *words, "--frames", 6, "--out", tmp_path / "mine")
    assert status == 0
    assert f"look at it: dreamcade inspect {tmp_path / 'mine'}" in out
    with Dataset.open(tmp_path / "mine") as data:
        assert [(ref.seed, ref.steps) for ref in data.episodes] == [(3, 6)]
        assert data.manifest.behaviour == "human"
    status, _, err = run(capsys, *words, "--out", tmp_path / "mine")
    assert status == 2
    assert "something is in" in err
    assert "folder of its own, see --out" in err


def test_a_new_folder_among_the_data_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path))
    status, _, _ = run(capsys, "collect", "breakout", "--behaviour", "human", "--frames", 3)
    assert status == 0
    [folder] = (tmp_path / "datasets").glob("breakout-played-*")
    with Dataset.open(folder) as data:
        assert data.manifest.steps == 3


def test_without_a_display(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    status, _, err = run(capsys, "collect", "pong", "--behaviour", "human", "--out", tmp_path / "mine")
    assert status == 2
    assert err == (
        "error: --behaviour human needs a window and there is no display;"
        " record on a desktop, or without a person: --behaviour sticky\n"
    )
    assert not (tmp_path / "mine").exists()


def test_a_person_is_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "collect", "pong", "--behaviour", "human:1,sticky:2", "--out", tmp_path / "mine")
    assert status == 2
    assert "'human' plays alone, in a window: --behaviour human, with an --out of its own" in err
