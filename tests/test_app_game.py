"""The game through its real loop, without a display: posted keys in, session state and pixels out."""

from __future__ import annotations

import os

os.environ["SDL_VIDEODRIVER"] = "dummy"

import numpy as np
import pygame
import pytest
from test_app_doubles import HEIGHT, WIDTH, CountingWorld, PlainWorld, clips, spec

from app import hud, theme
from app.engine import Engine
from app.game import Game
from app.hud import Stats
from app.keymap import BINDINGS, Does, Keymap
from app.live import Live
from app.places import Places
from app.scenes.help import HelpScene
from app.scenes.play import PlayScene
from app.screen import Screen, fit, window_size
from app.session import Session
from models.world import Sampling


class Table:
    """A game on the dummy driver, with fingers."""

    def __init__(self, tmp_path, world=None) -> None:
        self.session = Session(world or CountingWorld(), clips(), seed=4, start=0)
        self.stats = Stats()
        self.screen = Screen(WIDTH, HEIGHT, bars=hud.bars)
        self.engine = Engine(self.session)
        self.scene = PlayScene(self.engine, self.screen, self.stats, title="block", places=Places.within(tmp_path))
        self.game = Game(self.screen, self.scene, self.stats, fps=0)

    def down(self, *keys: int) -> None:
        for key in keys:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))

    def up(self, *keys: int) -> None:
        for key in keys:
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))

    def press(self, key: int) -> None:
        """Down and up within one turn."""
        self.down(key)
        self.up(key)
        self.game.turn()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.game.turn()

    def pixels(self) -> np.ndarray:
        return pygame.surfarray.array3d(self.screen.surface).transpose(1, 0, 2).copy()

    def cap(self, action: int) -> np.ndarray:
        at = hud.layout(self.screen.surface.get_size())
        rect = hud.caps(self.scene.names, at)[action]
        return self.pixels()[rect.top : rect.bottom, rect.left : rect.right]


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path)
    yield made
    made.screen.close()


def test_every_turn_dreams_one_frame_and_idle_stays_still(table):
    table.turns(5)
    assert (table.session.steps, table.scene.dreamed, list(table.session.history)) == (5, 5, [0] * 5)


def test_number_keys_are_held_actions(table):
    table.down(pygame.K_3)
    table.turns(3)
    table.up(pygame.K_3)
    table.turns(2)
    assert list(table.session.history) == [2, 2, 2, 0, 0]
    assert int(table.session.state["y"]) == 14


def test_a_tap_between_two_frames_is_not_lost(table):
    table.press(pygame.K_7)
    table.turns(1)
    assert list(table.session.history) == [6, 0]


@pytest.mark.parametrize(("key", "action"), [(pygame.K_UP, 2), (pygame.K_w, 2), (pygame.K_s, 3), (pygame.K_LEFT, 6)])
def test_directions_go_through_the_table(table, key, action):
    table.down(key)
    table.turns(1)
    assert list(table.session.history) == [action]
    assert table.scene.lit() == {action}


def test_a_direction_that_was_not_learned_says_so(table):
    table.down(pygame.K_RIGHT)
    table.turns(1)
    assert list(table.session.history) == [0]
    assert table.scene.notice == "no RIGHT in this world: STILL, UP, DOWN, LEFT"


def test_without_a_table_arrows_say_so_and_numbers_work(tmp_path):
    table = Table(tmp_path, CountingWorld(spec(table=False)))
    table.down(pygame.K_UP)
    table.turns(1)
    assert "only numbers" in table.scene.notice
    table.down(pygame.K_5)
    table.turns(1)
    assert list(table.session.history) == [0, 4]


def test_pause_and_single_steps(table):
    table.turns(2)
    table.press(pygame.K_SPACE)
    table.turns(4)
    assert (table.session.steps, table.scene.paused) == (2, True)
    table.press(pygame.K_n)
    table.press(pygame.K_PERIOD)
    table.turns(4)
    assert (table.session.steps, table.scene.paused) == (4, True)
    table.press(pygame.K_SPACE)
    table.turns(2)
    assert table.session.steps == 7


def test_pausing_with_a_key_held_steps_with_it(table):
    table.down(pygame.K_2, pygame.K_SPACE)
    table.turns(3)
    table.press(pygame.K_n)
    assert list(table.session.history) == [1]


def test_restart_takes_the_next_start_and_reseed_goes_on(table):
    table.turns(3)
    table.press(pygame.K_SPACE)
    table.press(pygame.K_g)
    assert (table.session.seed, table.session.steps) == (5, 3)
    for expected in (1, 2, 0):
        table.press(pygame.K_r)
        assert (table.session.start, table.session.steps) == (expected, 0)
    assert table.scene.dreamed == 3


def test_dials_turn_and_stop_at_their_ends(table):
    table.session.set_sampling(Sampling(steps=4, temperature=1.0))
    for key, steps, temperature in [
        (pygame.K_PLUS, 5, 1.0),
        (pygame.K_MINUS, 4, 1.0),
        (pygame.K_RIGHTBRACKET, 4, 1.1),
        (pygame.K_LEFTBRACKET, 4, 1.0),
    ]:
        table.press(key)
        assert (table.session.sampling.steps, table.session.sampling.temperature) == (steps, temperature)
    for _ in range(12):
        table.press(pygame.K_MINUS)
        table.press(pygame.K_LEFTBRACKET)
    assert (table.session.sampling.steps, table.session.sampling.temperature) == (1, 0.0)


def test_a_world_without_abilities_says_so(tmp_path):
    table = Table(tmp_path, PlainWorld())
    table.press(pygame.K_PLUS)
    assert table.scene.notice == "this world has no sampling dials"
    table.press(pygame.K_u)
    assert table.scene.notice == "this world cannot say where it guessed"


def test_the_cap_of_a_held_key_is_lit_and_no_other(table):
    table.turns(1)
    dark = [table.cap(action) for action in range(8)]
    table.down(pygame.K_4)
    table.turns(1)
    lit = [table.cap(action) for action in range(8)]
    assert [not np.array_equal(a, b) for a, b in zip(dark, lit, strict=True)] == [n == 3 for n in range(8)]
    assert tuple(lit[3][4, 20]) == theme.LIT
    assert lit[3].mean() > dark[3].mean() + 50  # brighter, not only another hue
    table.up(pygame.K_4)
    table.turns(1)
    assert np.array_equal(table.cap(3), dark[3])


def test_the_picture_is_whole_multiples_of_the_frame(table):
    table.turns(1)
    at = hud.layout(table.screen.surface.get_size())
    rect = fit(WIDTH, HEIGHT, at.picture)
    scale = rect.width // WIDTH
    assert scale >= 3
    shown = table.pixels()[rect.top : rect.bottom, rect.left : rect.right]
    assert np.array_equal(shown[::scale, ::scale], table.session.frame)
    assert np.array_equal(shown[scale - 1 :: scale, scale - 1 :: scale][:40], table.session.frame[:40])


def test_guesses_tint_the_uncertain_corner_only(table):
    table.press(pygame.K_SPACE)
    table.press(pygame.K_n)
    at = hud.layout(table.screen.surface.get_size())
    rect = fit(WIDTH, HEIGHT, at.picture)
    before = table.pixels()[rect.top : rect.bottom, rect.left : rect.right]
    table.press(pygame.K_u)
    after = table.pixels()[rect.top : rect.bottom, rect.left : rect.right]
    changed = (before != after).any(-1)
    block = changed[: rect.height // 6, : rect.width // 5]
    assert block.all()
    upper = changed[: rect.height // 2].copy()
    upper[: rect.height // 6, : rect.width // 5] = False
    assert not upper.any()


def test_screenshots_are_saved_whole(table):
    table.press(pygame.K_F12)
    files = list((table.scene.captures).iterdir())
    assert len(files) == 1
    assert pygame.image.load(str(files[0])).get_size() == table.screen.surface.get_size()
    assert table.scene.notice == f"saved {files[0].name}"


def test_a_screenshot_that_cannot_be_saved_is_a_notice(table):
    table.scene.captures.write_text("in the way")
    table.press(pygame.K_F12)
    assert table.scene.notice.startswith("cannot write")
    assert table.scene.notice.endswith("File exists")


def test_help_stops_the_game_lists_every_key_and_closes(table):
    table.turns(1)
    before = table.pixels()
    table.press(pygame.K_h)
    assert isinstance(table.game.stack[-1], HelpScene)
    text = " ".join(shown for shown, _ in table.game.stack[-1].lines).split()
    assert all(part in text for binding in BINDINGS for key in binding.keys for part in key.shown.split())
    table.turns(3)
    assert table.session.steps == 1
    assert (before != table.pixels()).mean() > 0.3
    assert table.pixels()[-2:].max() < 40  # the last line is not cut off
    table.press(pygame.K_ESCAPE)
    assert len(table.game.stack) == 1
    table.turns(1)
    assert table.session.steps == 3


@pytest.mark.parametrize("size", [(240, 180), (320, 240), (1280, 800)])
def test_any_window_can_be_drawn(table, size):
    pygame.display.set_mode(size, pygame.RESIZABLE)
    table.turns(1)
    table.press(pygame.K_h)
    table.turns(1)
    assert table.screen.surface.get_size() == size


def test_full_screen_and_back(table):
    seen = []
    for _ in range(2):
        table.press(pygame.K_F11)
        seen.append(bool(table.screen.surface.get_flags() & pygame.FULLSCREEN))
    assert seen == [True, False]  # the dummy driver does not give the old size back; x11 does


@pytest.mark.parametrize("event", [pygame.event.Event(pygame.QUIT), pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q)])
def test_quitting_ends_the_loop(table, event):
    pygame.event.post(event)
    table.game.run()
    assert table.game.stack == []


def test_losing_the_keyboard_lets_every_key_go(table):
    table.down(pygame.K_3)
    table.turns(1)
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    table.turns(1)
    assert list(table.session.history) == [2, 0]


def test_one_table_holds_every_key_once():
    codes = [key.code for binding in BINDINGS for key in binding.keys]
    assert len(codes) == len(set(codes))
    assert {binding.does for binding in BINDINGS} == set(Does)
    keymap = Keymap("PLAY", BINDINGS, {})
    assert keymap.lookup(pygame.K_8) == (Does.ACT, 7)
    assert keymap.lookup(pygame.K_INSERT) == (None, "")


def test_windows_fit_the_desktop():
    for width, height in [(80, 104), (64, 64), (160, 210)]:
        across, down = window_size(width, height, hud.bars, None, (1280, 800))
        assert 640 <= across <= 1280
        assert 400 <= down <= 720
    assert window_size(64, 64, hud.bars, 12, (1280, 800))[0] == 64 * 12 + 16


def test_live_counts_frames_announces_the_first_and_stops(tmp_path):
    heard: list[str] = []
    live = Live(Session(CountingWorld(), clips()), title="block", scale=None, fps=0, places=Places.within(tmp_path))
    live.play(max_frames=6, tune=True, first=lambda: heard.append("first"), say=heard.append)
    assert live.dreamed == 6
    assert heard[0] == "first"
    assert "CPU threads:" in heard[1]
    assert live.rate > 0
