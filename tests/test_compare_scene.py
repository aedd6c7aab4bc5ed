"""Compare as a person meets it: keys and pixels of the window, and what the command prints, writes and refuses."""

from __future__ import annotations

import json
import os

os.environ["SDL_VIDEODRIVER"] = "dummy"

import numpy as np
import pygame
import pytest
from block_compare import BUTTONS, BlockGame, BlockWorld, ReadingWorld, start, top_of
from test_compare import SHIPPED, recording

from app import library, theme
from app.cli import main
from app.compare import GAP, Comparison, Mode
from app.game import Game
from app.hud import Stats
from app.keymap import Keymap
from app.real import RecordedGame
from app.scenes.compare import BINDINGS, CompareDoes, CompareScene, bars, view
from app.scenes.help import HelpScene
from app.screen import Screen, fit
from app.session import Session
from collectors.rollout import CollectConfig, collect
from models import checkpoint


class Table:
    """Both games on the dummy driver, with fingers."""

    def __init__(self, tmp_path, world=None, real=None, **options) -> None:
        session = Session(world or ReadingWorld(), [start()])
        self.comparison = Comparison(session, real or BlockGame(), **options)
        self.screen = Screen(3 * 40, 48, bars=bars)
        self.stats = Stats()
        self.scene = CompareScene(
            self.comparison, self.screen, title="block", captures=tmp_path / "captures", datasets=tmp_path / "datasets"
        )
        self.game = Game(self.screen, self.scene, self.stats, fps=0)

    def down(self, *keys: int) -> None:
        for key in keys:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))

    def press(self, key: int) -> None:
        """Down and up within one turn."""
        self.down(key)
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))
        self.game.turn()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.game.turn()

    def pixels(self) -> np.ndarray:
        return pygame.surfarray.array3d(self.screen.surface).transpose(1, 0, 2).copy()

    def pane(self, number: int) -> np.ndarray:
        """What a pane shows, one pixel of the window for each of the game."""
        at = view(self.screen.surface.get_size(), (self.comparison.spec.width, self.comparison.spec.height))
        rect = fit(40, 48, at.panes[number])
        scale = rect.width // 40
        assert scale >= 2
        return self.pixels()[rect.top : rect.bottom : scale, rect.left : rect.right : scale]


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path)
    yield made
    made.screen.close()


# the window


def test_three_panes_show_real_dreamed_and_difference(tmp_path):
    table = Table(tmp_path, ReadingWorld(deaf=True))
    table.down(pygame.K_UP)
    table.turns(4)
    turn = table.comparison.last
    for number, frame in enumerate([turn.real, turn.dream, turn.difference]):
        assert np.array_equal(table.pane(number), frame), number
    assert top_of(turn.real) == 14
    assert top_of(turn.dream) == 20
    assert table.scene.titles() == ["real: RIGHT", "dream: 3 UP", "difference"]
    table.screen.close()


@pytest.mark.parametrize(
    ("mode", "key", "button", "code"),
    [
        (Mode.CODES, pygame.K_UP, 2, 1),
        (Mode.CODES, pygame.K_s, 3, 1),
        (Mode.CODES, pygame.K_a, 3, 1),
        (Mode.CODES, pygame.K_2, 1, 1),
        (Mode.CODES, pygame.K_RETURN, 1, 1),
        (Mode.KEYS, pygame.K_w, 2, 1),
        (Mode.LEAD, pygame.K_DOWN, 3, 0),
        (Mode.LEAD, pygame.K_3, 2, 2),
    ],
)
def test_keys_play_what_the_mode_says(tmp_path, mode, key, button, code):
    table = Table(tmp_path, mode=mode)
    table.press(key)
    assert (table.comparison.last.button, table.comparison.last.code) == (button, code)
    table.turns(1)
    assert table.comparison.last.button == 0
    table.screen.close()


def test_what_cannot_be_pressed_says_so(table):
    table.press(pygame.K_8)
    assert table.scene.notice == "no action 8 here: NOOP, FIRE, RIGHT, LEFT"
    assert table.comparison.last.button == 0


def test_modes_go_round_and_begin_from_the_real_game(table):
    table.turns(3)
    seen = []
    for _ in range(3):
        table.press(pygame.K_m)
        seen.append(table.comparison.mode)
        assert table.scene.human.names is table.comparison.hears
    assert seen == [Mode.KEYS, Mode.LEAD, Mode.CODES]
    assert table.comparison.syncs == 4


def test_a_world_with_one_mode_stays_in_it(tmp_path):
    table = Table(tmp_path, real=RecordedGame(recording([0] * 20), BUTTONS), world=BlockWorld(), mode=Mode.KEYS)
    table.press(pygame.K_m)
    assert table.scene.notice == "only mode keys is possible here"
    table.screen.close()


def test_pause_step_and_sync(tmp_path):
    table = Table(tmp_path, ReadingWorld(deaf=True))
    table.down(pygame.K_UP)
    table.turns(8)
    assert not np.array_equal(table.comparison.session.frame, table.comparison.real.frame)
    table.press(pygame.K_SPACE)
    turns = table.comparison.turns
    table.turns(3)
    assert (table.comparison.turns, table.scene.waiting) == (turns, True)
    table.press(pygame.K_r)
    table.scene.say("")  # the line that says so lies on the panes of a window this small
    table.scene.draw(table.screen)
    assert np.array_equal(table.comparison.session.frame, table.comparison.real.frame)
    assert np.array_equal(table.pane(1), table.pane(0))
    table.press(pygame.K_n)
    assert (table.comparison.turns, table.scene.waiting, table.comparison.since) == (turns + 1, True, 1)
    table.press(pygame.K_SPACE)
    assert table.comparison.turns == turns + 2
    table.screen.close()


def test_auto_is_switched_on_and_off(tmp_path):
    table = Table(tmp_path, ReadingWorld(deaf=True))
    table.press(pygame.K_t)
    assert table.comparison.auto
    table.down(pygame.K_UP)
    table.turns(5)
    assert table.comparison.syncs == 2
    assert any(part == "syncs 2" for part in table.scene.numbers())
    table.press(pygame.K_t)
    assert not table.comparison.auto
    table.screen.close()


def test_the_end_of_a_recording_pauses(tmp_path):
    table = Table(tmp_path, real=RecordedGame(recording([2] * 6), BUTTONS))
    table.turns(7)
    assert (table.comparison.turns, table.scene.paused) == (4, True)
    assert table.scene.notice == "the recorded episode is over"
    table.screen.close()


def test_the_curve_of_what_moves_is_drawn_and_cut_at_a_sync(table):
    def lit() -> np.ndarray:
        at = view(table.screen.surface.get_size(), (table.comparison.spec.width, table.comparison.spec.height))
        area = table.pixels()[at.curve.top + 2 * at.letters : at.curve.bottom, : at.curve.width]
        return np.unique(np.nonzero((area == theme.LIT).all(-1))[1])

    table.turns(2)
    assert len(lit()) == 0  # nothing moved
    table.down(pygame.K_UP)
    table.turns(6)
    first = lit()
    assert len(first) >= 10
    table.press(pygame.K_r)
    table.turns(4)
    later = lit()
    assert later.max() > first.max()
    assert np.diff(later).max() > 1


def test_help_lists_every_key_and_lets_the_games_wait(table):
    table.turns(2)
    table.press(pygame.K_h)
    page = table.game.stack[-1]
    assert isinstance(page, HelpScene)
    text = " ".join(shown for shown, _ in page.lines).split()
    assert all(part in text for binding in BINDINGS for key in binding.keys for part in key.shown.split())
    assert page.note.startswith("codes:")
    table.turns(2)
    assert table.comparison.turns == 2
    table.press(pygame.K_ESCAPE)
    assert len(table.game.stack) == 1


def test_one_table_holds_every_key_once():
    codes = [key.code for binding in BINDINGS for key in binding.keys]
    assert len(codes) == len(set(codes))
    assert {binding.does for binding in BINDINGS} == set(CompareDoes)
    chosen = Keymap("COMPARE", BINDINGS, {"COMPARE.RESYNC": ["y"]})
    assert chosen.lookup(pygame.K_y) == (CompareDoes.RESYNC, "")


def test_screenshots_full_screen_and_leaving(table):
    table.press(pygame.K_F12)
    files = list(table.scene.captures.iterdir())
    assert [file.suffix for file in files] == [".png"]
    assert table.scene.notice == f"saved {files[0].name}"
    table.press(pygame.K_F11)
    assert table.screen.surface.get_flags() & pygame.FULLSCREEN
    table.press(pygame.K_ESCAPE)
    assert table.game.stack == []


@pytest.mark.parametrize("size", [(240, 180), (320, 240), (1280, 800)])
def test_any_window_can_be_drawn(table, size):
    pygame.display.set_mode(size, pygame.RESIZABLE)
    table.turns(3)
    table.press(pygame.K_SPACE)
    assert table.screen.surface.get_size() == size


# the command


@pytest.fixture(scope="module")
def shipped():
    return checkpoint.load_world(SHIPPED)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "pong"
    collect(CollectConfig(frames=160, episode_frames=80, workers=1, seed=5, behaviour="sticky"), folder)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, shipped):
    """A command line with the shipped world already loaded: exit status, stdout, stderr."""
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(library, "open_world", lambda folder, where: shipped)

    def typed(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["compare", "pong", "--device", "cpu", *map(str, words)])
        return (status, *capsys.readouterr())

    return typed


def test_a_recording_beside_its_dream_as_npz(run, data, tmp_path):
    out = tmp_path / "new" / "beside.npz"
    status, said, _ = run("--episode", f"{data}:1", "--frames", 12, "--from", 40, "--out", out, "--seed", 2)
    assert status == 0
    assert "12 turns, mode codes, the dream never lost in 12 frames" in said or "held" in said
    found = np.load(out, allow_pickle=False)
    assert found["real"].shape == found["dream"].shape == (12, 104, 80, 3)
    assert (found["real"].dtype, found["codes"].dtype, found["actions"].dtype) == (np.uint8, np.int64, np.int64)
    assert {found[name].shape for name in ("codes", "actions", "psnr", "moving_psnr", "copy_moving_psnr")} == {(12,)}
    from collectors.shards import Dataset

    with Dataset.open(data) as dataset:
        episode = dataset.read(dataset.episodes[1])
    assert np.array_equal(found["real"], episode.frames[44:56])
    assert np.array_equal(found["actions"], episode.actions[43:55])
    again = tmp_path / "again.npz"
    run("--episode", f"{data}:1", "--frames", 12, "--from", 40, "--out", again, "--seed", 2)
    assert out.read_bytes() == again.read_bytes()


def test_the_live_game_as_a_video(run, tmp_path):
    import cv2

    out = tmp_path / "beside.mp4"
    status, said, _ = run("--mode", "lead", "--frames", 6, "--out", out)
    assert status == 0
    assert "6 turns, mode lead" in said
    reader = cv2.VideoCapture(str(out))
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == 6
    assert reader.get(cv2.CAP_PROP_FRAME_WIDTH) == 4 * (3 * 80 + 2 * GAP)
    reader.release()


def test_many_stretches_are_measured_into_json(run, data, tmp_path):
    path = tmp_path / "drift.json"
    status, said, _ = run("--episodes", 3, "--frames", 8, "--data", data, "--split", "all", "--json", path)
    assert status == 0
    assert said.startswith(f"3 stretches of 8 frames from {data} (all)")
    found = json.loads(path.read_text())
    assert (found["game"], found["stretches"], found["frames"], found["split"]) == ("pong", 3, 8, "all")
    for kind in ("dream", "copy", "shuffled"):
        assert len(found[kind]["each"]) == 3
        assert 0 <= found[kind]["median"] <= 8


def test_a_window_on_the_dummy_driver_stops_by_itself(run):
    status, said, _ = run("--frames", 3)
    assert status == 0
    assert said.splitlines()[-1] == "3 turns; the dream was put on the real game 1 time"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--episode", "nowhere"],
            "--episode must be DATASET:NUMBER, as in saves/datasets/pong-held-out:3, found 'now",
        ),
        (["--episode", ":3"], "--episode must be DATASET:NUMBER"),
        (["--episode", "nowhere:3"], "no manifest.json in nowhere"),
        (["--episode", "{data}:2", "--out", "x.npz"], "--episode 2 is outside [0, 2), the episodes of {data}"),
        (["--episode", "{data}:1", "--from", "77"], "episode 1 of {data} has 4 frames from there on, 5 are needed"),
        (["--episode", "{data}:1", "--mode", "lead"], "mode lead is not possible: a recorded episode cannot follow"),
        (["--episode", "{data}:1", "--episodes", "2"], "--episodes measures many stretches; leave out --episode and"),
        (["--json", "x.json"], "--json keeps what --episodes measured; add --episodes 20"),
        (["--out", "x.webp"], "cannot write '.webp' files"),
        (["--episodes", "2", "--data", "{data}", "--split", "odd"], "no split 'odd'"),
        (
            ["--episodes", "2", "--data", "{data}", "--split", "all", "--frames", "90"],
            "evaluation needs episodes of 94",
        ),
        (["--mode", "dance"], "invalid value for '--mode'"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, data, words, message):
    status, said, problems = run(*(word.replace("{data}", str(data)) for word in words))
    assert (status, said) == (2, "")
    lines = [line for line in problems.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {message.format(data=data)}"), lines


def test_without_a_display_it_says_what_to_do(run, monkeypatch):
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    status, _, problems = run()
    assert status == 2
    assert problems.strip() == (
        "error: there is no display; add --out beside.mp4 for a clip, or --episodes 20 for figures"
    )


def test_panes_stand_where_they_are_largest() -> None:
    tall, wide = view((640, 840), (80, 104)), view((1200, 600), (80, 104))
    assert len({pane.top for pane in wide.panes}) == 1
    assert [pane.top for pane in tall.panes].count(tall.panes[0].top) == 2
    narrow = view((640, 840)).panes[0].width // 80
    assert min(tall.panes[0].width // 80, tall.panes[0].height // 104) > narrow
    for at in (tall, wide):
        for pane, title in zip(at.panes, at.titles, strict=True):
            assert pane.bottom <= at.curve.top
            assert title.bottom <= pane.top
            assert not any(pane.colliderect(other) for other in at.panes if other is not pane)
