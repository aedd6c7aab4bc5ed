"""Going back, takes, what if, painting and dials in the window: posted events in, session state and pixels out."""

from __future__ import annotations

import numpy as np
import pygame
import pytest
from PIL import Image
from test_app_doubles import HEIGHT, WIDTH, PlainWorld
from test_app_game import Table

from app import hud
from app.scenes.calibrate import CalibrateScene
from app.scenes.dials import DialsScene
from app.scenes.help import HelpScene
from app.scenes.paint import Paints, PaintScene
from app.scenes.takes import TakesScene
from app.scenes.what_if import WhatIfScene
from app.screen import fit


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path)
    yield made
    made.screen.close()


def mouse(kind: int, position: tuple[int, int], button: int = 1) -> None:
    values = {"pos": position, "button": button}
    if kind == pygame.MOUSEMOTION:
        values = {"pos": position, "rel": (0, 0), "buttons": (1, 0, 0)}
    pygame.event.post(pygame.event.Event(kind, **values))


def test_backspace_runs_back_and_letting_go_branches(table):
    table.turns(2)
    table.down(pygame.K_3)
    table.turns(30)
    table.up(pygame.K_3)
    shown = table.session.frame.copy()
    table.down(pygame.K_BACKSPACE)
    table.turns(31)
    assert table.engine.cursor == 1
    assert table.session.steps == 32
    assert np.array_equal(table.engine.frame, table.session.peek(1))
    table.up(pygame.K_BACKSPACE)
    table.turns(1)
    assert (len(table.session.takes), table.session.steps) == (2, 2)
    table.down(pygame.K_3)
    table.turns(30)
    assert np.array_equal(table.session.frame, shown)
    assert "take 2, from frame 1" in table.scene.notice


def test_any_take_can_be_entered(table):
    table.press(pygame.K_t)
    assert "only one take" in table.scene.notice
    table.turns(9)
    end, first = table.session.frame.copy(), table.session.take
    table.down(pygame.K_BACKSPACE)
    table.turns(5)
    table.up(pygame.K_BACKSPACE)
    table.turns(20)
    table.engine.paused = True
    table.press(pygame.K_t)
    assert isinstance(table.game.stack[-1], TakesScene)
    table.press(pygame.K_LEFT)
    table.press(pygame.K_RETURN)
    assert len(table.game.stack) == 1
    assert table.session.take is first
    assert np.array_equal(table.session.frame, end)


def test_what_if_shows_eight_dreams_and_a_number_enters_one(table):
    table.turns(4)
    table.down(pygame.K_TAB)
    table.turns(9)
    scene = table.game.stack[-1]
    assert isinstance(scene, WhatIfScene)
    assert (scene.dreams.ahead, table.session.steps) == (8, 4)
    assert len({frame.tobytes() for frame in scene.dreams.frames}) >= 4  # still, up, down, left
    ahead, picture = scene.dreams.ahead, scene.dreams.frames[3].copy()
    table.press(pygame.K_4)
    assert len(table.game.stack) == 1
    table.scene.engine.paused = True
    table.turns(ahead + 2)
    assert list(table.session.history)[4:] == [3] * ahead
    assert np.array_equal(table.session.frame, picture)


def test_what_if_closes_when_the_key_is_let_go(table):
    table.down(pygame.K_TAB)
    table.turns(3)
    table.up(pygame.K_TAB)
    table.turns(1)
    assert len(table.game.stack) == 1
    steps = table.session.steps
    table.turns(2)
    assert table.session.steps == steps + 2


def place(table, row: int, column: int) -> tuple[int, int]:
    """Where in the window a pixel of the frame is."""
    rect = fit(WIDTH, HEIGHT, hud.layout(table.screen.surface.get_size()).picture)
    times = rect.width // WIDTH
    return rect.left + column * times + times // 2, rect.top + row * times + times // 2


def test_painting_with_the_mouse_and_dreaming_on(table):
    table.turns(3)
    table.press(pygame.K_p)
    scene = table.game.stack[-1]
    assert isinstance(scene, PaintScene)
    mouse(pygame.MOUSEBUTTONDOWN, place(table, 22, 18), button=3)
    table.turns(1)
    assert scene.colour == tuple(table.session.frame[22, 18])
    table.press(pygame.K_LEFTBRACKET)
    mouse(pygame.MOUSEBUTTONDOWN, place(table, 5, 3))
    mouse(pygame.MOUSEMOTION, place(table, 5, 9))
    mouse(pygame.MOUSEBUTTONUP, place(table, 5, 9))
    table.turns(1)
    assert scene.canvas.changed.sum() == 7
    table.press(pygame.K_z)
    assert not scene.canvas.changed.any()
    table.press(pygame.K_s)
    assert scene.tool is Paints.STAMP
    mouse(pygame.MOUSEBUTTONDOWN, place(table, 20, 16))
    mouse(pygame.MOUSEBUTTONUP, place(table, 27, 23))
    mouse(pygame.MOUSEBUTTONDOWN, place(table, 40, 5))
    table.turns(1)
    assert scene.region.shape == (8, 8, 3)
    assert scene.canvas.changed.any()
    table.press(pygame.K_RETURN)
    assert len(table.game.stack) == 1
    assert table.session.take.origin.why == "paint"
    assert table.session.steps >= 3


def test_leaving_paint_changes_nothing_and_its_help_is_its_own(table):
    table.turns(3)
    table.press(pygame.K_p)
    table.press(pygame.K_h)
    page = table.game.stack[-1]
    assert isinstance(page, HelpScene)
    assert any("stamp" in text for _, text in page.lines)
    table.press(pygame.K_ESCAPE)
    table.press(pygame.K_ESCAPE)
    assert len(table.game.stack) == 1
    assert len(table.session.takes) == 1


def test_sliders_turn_the_dials_while_the_game_goes_on(table):
    table.press(pygame.K_o)
    scene = table.game.stack[-1]
    assert isinstance(scene, DialsScene)
    table.turns(3)
    assert table.session.steps >= 3
    steps = next(slider for slider in scene.sliders if slider.label == "sampling steps")
    mouse(pygame.MOUSEBUTTONDOWN, (steps.rect.right - 1, steps.rect.centery))
    mouse(pygame.MOUSEBUTTONUP, (steps.rect.right - 1, steps.rect.centery))
    table.turns(1)
    assert table.session.sampling.steps == 32
    table.down(pygame.K_3)
    table.turns(2)
    assert table.session.last_action == 2
    table.press(pygame.K_o)
    assert len(table.game.stack) == 1


def test_wait_for_key_moves_only_when_a_key_is_pressed(table):
    table.press(pygame.K_k)
    before = table.session.steps
    table.turns(10)
    assert table.session.steps == before
    table.press(pygame.K_4)
    table.turns(5)
    assert table.session.steps == before + 1
    assert table.session.last_action == 3


def test_speed_and_fit_say_where_they_stand(table):
    table.press(pygame.K_PAGEDOWN)
    assert table.scene.notice == "speed 0.5 x"
    table.press(pygame.K_z)
    assert table.scene.notice == "as large as fits"
    assert not table.screen.whole


def test_the_calibration_page_opens_for_any_world(table, tmp_path):
    table.press(pygame.K_c)
    assert isinstance(table.game.stack[-1], CalibrateScene)
    table.turns(20)
    table.press(pygame.K_c)
    assert len(table.game.stack) == 1


def test_a_picture_dropped_on_the_window_becomes_the_present(table, tmp_path):
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    pygame.event.post(pygame.event.Event(pygame.DROPFILE, file=str(tmp_path / "grey.png")))
    table.turns(1)
    assert table.session.take.origin.why == "prompt"
    assert int(table.session.take.origin.clip.float().mean()) == 90
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pygame.event.post(pygame.event.Event(pygame.DROPFILE, file=str(tmp_path / "bad.png")))
    table.turns(1)
    assert "not a picture" in table.scene.notice


def test_doubt_needs_a_world_that_tells(tmp_path):
    plain = Table(tmp_path, PlainWorld())
    plain.press(pygame.K_j)
    assert plain.scene.notice == "this world cannot say where it guessed"
    plain.screen.close()
