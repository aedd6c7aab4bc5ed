"""A recording from the command line and in its window: found its world, watched, filmed, checked."""

from __future__ import annotations

import os

os.environ["SDL_VIDEODRIVER"] = "dummy"

import json
from pathlib import Path

import numpy as np
import pygame
import pytest
import torch
from stranger_files import played
from test_app_doubles import HEIGHT, WIDTH, CountingWorld, card, clips

from app import cli, library
from app.capsule import read_capsule, write_capsule
from app.game import Game
from app.hud import Stats
from app.keymap import Keymap
from app.replaying import Replay
from app.scenes.help import HelpScene
from app.scenes.replay import BINDINGS, Does, ReplayScene, bars
from app.screen import Screen
from app.session import Session
from models import checkpoint

PONG = Path(__file__).resolve().parents[1] / "assets" / "worlds" / "pong"


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Two worlds, `block` and `other`, that differ in their weights alone, and `aaa`, which has lost its own."""
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(library, "ASSETS", tmp_path / "assets")
    for name in ("aaa", "block", "other"):
        folder = tmp_path / "saves" / "worlds" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(card()))
        if name != "aaa":
            (folder / "model.safetensors").write_text(name)
    monkeypatch.setattr(library.checkpoint, "load_world", lambda folder, device: CountingWorld())
    return tmp_path


@pytest.fixture
def file(house) -> Path:
    """A recording of 41 frames in the world `block`."""
    play = played()
    play.world_id = checkpoint.world_id(house / "saves" / "worlds" / "block")
    return write_capsule(play, house / "evening.capsule")


def run(capsys, *args: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return status, out, err


def spoil(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_verify_says_one_line_and_exits_0_or_2(file, capsys):
    assert run(capsys, "replay", file, "--verify") == (
        0,
        f"{file}: all 41 frames are identical to the recording\n",
        "",
    )
    spoil(file, checksums=["0" * 64])
    status, out, err = run(capsys, "replay", file, "--verify")
    assert (status, len(out.splitlines()), err) == (2, 1, "")
    assert out.startswith(f"{file}: frames 0 to 40 differ from the recording; both were dreamed with torch ")
    assert run(capsys, "replay", file, "--verify", "--world", "other")[:2] == (
        2,
        f"{file}: it was recorded with world {_id(file, 'block')} of 'block', this is world {_id(file, 'other')}\n",
    )


def _id(file: Path, name: str) -> str:
    return checkpoint.world_id(file.parent / "saves" / "worlds" / name)


def test_a_film_has_every_frame_and_can_be_checked_on_the_way(file, capsys):
    out = file.parent / "evening.npz"
    status, said, _ = run(capsys, "replay", file, "--out", out, "--verify")
    assert (status, said.splitlines()) == (
        0,
        [f"{out}: 41 frames", f"{file}: all 41 frames are identical to the recording"],
    )
    kept, play = np.load(out), played()
    assert bytes(kept["actions"].tolist()) == play.history
    assert all(np.array_equal(frame, play.peek(step)) for step, frame in enumerate(kept["frames"]))


def test_another_world_may_be_asked_for(file, capsys):
    status, said, err = run(capsys, "replay", file, "--out", file.parent / "a.npz", "--world", "other")
    assert (status, said) == (0, f"{file.parent / 'a.npz'}: 41 frames\n")
    assert err.startswith("note: it was recorded with world ")
    assert len(err.splitlines()) == 1


def test_a_recording_whose_world_is_not_here_says_so(file, capsys):
    spoil(file, world_id="feedfeedfeedfeed", game="chess\n\x1b[31m")
    status, out, err = run(capsys, "replay", file)
    assert (status, out) == (2, "")
    expected = "error: the recording is of world feedfeedfeedfeed of 'chess [31m', which is not here; --world NAME"
    assert err.startswith(expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.capsule"], "error: capsule not found: nothing.capsule"),
        (["x", "--out", "x.webp"], "error: cannot write '.webp' files"),
        (["x", "--threads", "0"], "error: invalid value for '--threads'"),
    ],
)
def test_what_cannot_be_is_one_line(house, capsys, words, message):
    status, out, err = run(capsys, "replay", *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(message)


def test_threads_are_those_of_the_recording_or_those_asked_for(file, capsys):
    spoil(file, threads=2)
    run(capsys, "replay", file, "--verify")
    assert torch.get_num_threads() == 2
    run(capsys, "replay", file, "--verify", "--threads", 1)
    assert torch.get_num_threads() == 1


def test_a_recording_from_another_kind_of_device_is_dreamed_here(file, capsys):
    if torch.backends.mps.is_available():
        pytest.skip("this machine has what the test needs to lack")
    spoil(file, device="mps")
    status, out, err = run(capsys, "replay", file, "--verify")
    assert (status, out.count("identical")) == (0, 1)
    assert err == "note: recorded on mps, which is not here: dreaming on cpu\n"


def test_a_window_that_nobody_can_close_closes_at_the_end(file, capsys):
    spoil(file, fps=500)
    status, out, _ = run(capsys, "replay", file)
    assert (status, out) == (0, "watched 41 of 41 frames; the same dream, frame by frame\n")


def test_without_a_display_there_is_a_film(file, capsys, monkeypatch):
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    status, out, _ = run(capsys, "replay", file)
    films = list((file.parent / "saves" / "captures").iterdir())
    assert (status, len(films)) == (0, 1)
    assert out == f"there is no display: video: {films[0]}\n"
    assert films[0].name.startswith("block-replay-")


def test_the_shipped_world_dreams_the_same_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path))
    world = library.open_world(PONG, "cpu")
    play = Session(world, checkpoint.load_starts(PONG), seed=11, world_id=checkpoint.world_id(PONG))
    for step in range(30):
        play.step((step // 4) % 8)
    file = write_capsule(play, tmp_path / "pong.capsule")
    assert file.stat().st_size < 40_000
    status, out, err = run(capsys, "replay", file, "--verify")
    assert (status, out, err) == (0, f"{file}: all 31 frames are identical to the recording\n", "")


class Table:
    """A recording in a window on the dummy driver."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.play = played(steps=steps)
        found = read_capsule(write_capsule(self.play, folder / "a.capsule"), CountingWorld())
        self.screen = Screen(WIDTH, HEIGHT, bars=bars)
        stats = Stats()
        self.scene = ReplayScene(
            Replay(found, CountingWorld()), self.screen, stats, title="block", captures=folder / "captures"
        )
        self.game = Game(self.screen, self.scene, stats, fps=0)

    @property
    def shown(self) -> int:
        return self.scene.replay.shown

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.game.turn()

    def press(self, key: int) -> None:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        self.game.turn()


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path, steps=12)
    yield made
    made.screen.close()


def test_it_shows_what_was_played_and_says_at_the_end_that_it_is_the_same(table):
    for step in range(1, 13):
        table.turns(1)
        assert np.array_equal(table.scene.replay.session.frame, table.play.peek(step))
        assert table.scene.waiting == (step == 12)
    table.turns(5)
    assert (table.shown, table.scene.same, table.scene.verdict) == (13, True, "the same dream, frame by frame")
    table.press(pygame.K_r)
    assert (table.shown, table.scene.same, table.scene.verdict) == (2, None, "")
    table.turns(20)
    assert table.scene.same


def test_it_says_what_differs(tmp_path):
    table = Table(tmp_path, steps=12)
    spoil(tmp_path / "a.capsule", checksums=["1" * 64])
    found = read_capsule(tmp_path / "a.capsule", CountingWorld())
    scene = ReplayScene(
        Replay(found, CountingWorld()), table.screen, Stats(), title="block", captures=tmp_path / "captures"
    )
    for _ in range(12):
        scene.update()
    scene.draw(table.screen)
    assert scene.same is False
    assert scene.verdict.startswith("frames 0 to 12 differ")
    table.screen.close()


def test_pause_and_single_frames(table):
    table.press(pygame.K_SPACE)
    table.turns(3)
    assert (table.shown, table.scene.waiting) == (1, True)
    table.press(pygame.K_n)
    table.press(pygame.K_PERIOD)
    table.turns(3)
    assert table.shown == 3
    table.press(pygame.K_SPACE)
    assert table.shown == 4
    table.press(pygame.K_F12)
    assert len(list(table.scene.captures.iterdir())) == 1


def test_help_lists_every_key_and_waits(table):
    table.press(pygame.K_h)
    top = table.game.stack[-1]
    assert isinstance(top, HelpScene)
    assert [text for _, text in top.lines] == [binding.text for binding in BINDINGS]
    table.turns(3)
    assert table.shown == 1
    table.press(pygame.K_ESCAPE)
    table.press(pygame.K_ESCAPE)
    assert table.game.stack == []


def test_every_command_has_a_key_and_every_key_one_command(table):
    assert {binding.does for binding in BINDINGS} == set(Does)
    keymap = Keymap("REPLAY", BINDINGS, {"REPLAY.AGAIN": ["a"]})
    assert keymap.lookup(pygame.K_a)[0] is Does.AGAIN
    assert keymap.lookup(pygame.K_r)[0] is None


@pytest.mark.parametrize("size", [(240, 180), (320, 240), (1280, 800)])
def test_any_window_can_be_drawn(table, size):
    pygame.display.set_mode(size, pygame.RESIZABLE)
    table.turns(2)
    assert table.screen.surface.get_size() == size


def test_a_recording_of_one_frame_is_over_at_once(tmp_path):
    play = Session(CountingWorld(), clips())
    found = read_capsule(write_capsule(play, tmp_path / "a.capsule"), CountingWorld())
    screen = Screen(WIDTH, HEIGHT, bars=bars)
    scene = ReplayScene(Replay(found, CountingWorld()), screen, Stats(), title="b", captures=tmp_path)
    scene.update()
    scene.draw(screen)
    assert (scene.replay.done, scene.same, scene.waiting) == (True, True, True)
    screen.close()
