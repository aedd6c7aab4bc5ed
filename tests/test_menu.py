"""The menu through its real loop without a display, and the way from it into a game and back."""

from __future__ import annotations

import os

os.environ["SDL_VIDEODRIVER"] = "dummy"

from pathlib import Path

import numpy as np
import pygame
import pytest
from test_app_doubles import CountingWorld, clips
from test_shelf import build

from app import arcade, cli, library, shelf, theme
from app.arcade import Arcade
from app.game import Game
from app.gamepad import Gamepads
from app.hud import Stats
from app.live import NoWindow
from app.scenes.help import HelpScene
from app.scenes.menu import BINDINGS, BUTTONS, Chooses, MenuScene
from app.scenes.tiles import as_many, bars, grid, shrunk, wrapped
from app.screen import Screen, fit
from app.shelf import Tile

HEIGHT, WIDTH = 52, 40


class Pictures:
    """Previews that are there at once: one bright frame a world."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self.watched: tuple[list[str], str] = ([], "")

    def watch(self, visible, selected) -> None:
        self.watched = (list(visible), selected)

    def frame(self, name):
        rng = np.random.default_rng(len(name))
        return None if name == "late" else rng.integers(60, 250, (HEIGHT, WIDTH, 3), dtype=np.uint8)

    def problem(self, name) -> str:
        return self.problems.get(name, "")


def tiles(count: int) -> list[Tile]:
    return [
        Tile(
            name="w" * (number + 1),
            folder=Path(f"worlds/w{number}"),
            title=f"world {number}",
            game="block",
            family="maskgit",
            width=WIDTH,
            height=HEIGHT,
            megabytes=12.5,
            figures=("one ball 54% (game 69%)", "paddle 98%", "obeys 94%", "0 of 20 collapsed"),
        )
        for number in range(count)
    ]


class Room:
    """A menu on the dummy driver, with fingers."""

    def __init__(self, found: list[Tile], size: tuple[int, int] = (640, 480), selected: str = "") -> None:
        self.previews, self.screen, self.pads = Pictures(), Screen(160, 104, bars=bars), Gamepads()
        pygame.display.set_mode(size, pygame.RESIZABLE)
        self.menu = MenuScene(found, self.previews, self.screen, self.pads, selected=selected)
        self.game = Game(self.screen, self.menu, Stats(), fps=1000)

    def press(self, *keys: int) -> None:
        for key in keys:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))
            self.game.turn()

    def post(self, kind: int, **what: object) -> None:
        pygame.event.post(pygame.event.Event(kind, **what))
        self.game.turn()

    def rect(self, index: int) -> pygame.Rect:
        rect = self.menu.layout().rect(index, self.menu.first)
        assert rect is not None
        return rect

    def pixels(self) -> np.ndarray:
        return pygame.surfarray.array3d(self.screen.surface).transpose(1, 0, 2).copy()


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Makes menus, and closes their window."""
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    yield Room
    pygame.display.quit()


def test_arrows_and_letters_walk_over_the_grid(room):
    made = room(tiles(7))
    columns = made.menu.layout().columns
    assert columns >= 3
    walk = [
        (pygame.K_RIGHT, 1),
        (pygame.K_d, 2),
        (pygame.K_LEFT, 1),
        (pygame.K_DOWN, 1 + columns),
        (pygame.K_w, 1),
        (pygame.K_UP, 1),
        (pygame.K_a, 0),
        (pygame.K_LEFT, 0),
    ]
    for key, expected in walk:
        made.press(key)
        assert made.menu.selected == expected
    for _ in range(9):
        made.press(pygame.K_s)
    made.press(*[pygame.K_RIGHT] * columns)
    assert made.menu.selected == 6
    assert made.menu.chosen is None


def test_from_above_a_short_last_row_one_comes_to_its_end(room):
    made = room(tiles(3), size=(520, 640))
    assert made.menu.layout().columns == 2
    made.press(pygame.K_RIGHT, pygame.K_DOWN)
    assert made.menu.selected == 2


@pytest.mark.parametrize("key", [pygame.K_RETURN, pygame.K_SPACE])
def test_opening_with_a_key(room, key):
    made = room(tiles(3))
    made.press(pygame.K_RIGHT, key)
    assert (made.menu.done, made.menu.chosen) == (True, Path("worlds/w1"))
    assert made.game.stack == []


def test_the_mouse_selects_and_opens(room):
    made = room(tiles(3))
    made.post(pygame.MOUSEMOTION, pos=made.rect(2).center, rel=(0, 0), buttons=(0, 0, 0))
    assert (made.menu.selected, made.menu.chosen) == (2, None)
    made.post(pygame.MOUSEBUTTONDOWN, pos=(1, 1), button=1)
    made.post(pygame.MOUSEBUTTONDOWN, pos=made.rect(1).center, button=3)
    assert (made.menu.selected, made.menu.chosen) == (2, None)
    made.post(pygame.MOUSEBUTTONDOWN, pos=made.rect(1).center, button=1)
    assert made.menu.chosen == Path("worlds/w1")


def test_a_gamepad_selects_and_opens(room):
    made = room(tiles(3))
    made.post(pygame.CONTROLLERAXISMOTION, instance_id=9, axis=0, value=32767)
    made.post(pygame.CONTROLLERAXISMOTION, instance_id=9, axis=0, value=30000)
    assert made.menu.selected == 1
    made.post(pygame.CONTROLLERAXISMOTION, instance_id=9, axis=0, value=0)
    made.post(pygame.JOYHATMOTION, instance_id=8, hat=0, value=(1, 0))
    assert made.menu.selected == 2
    made.post(pygame.CONTROLLERBUTTONDOWN, instance_id=9, button=pygame.CONTROLLER_BUTTON_A)
    assert made.menu.chosen == Path("worlds/w2")


def test_escape_leaves_without_a_world(room):
    made = room(tiles(3))
    made.press(pygame.K_ESCAPE)
    assert (made.menu.done, made.menu.chosen) == (True, None)


def test_help_has_every_key_and_closes_with_a_pad_too(room):
    made = room(tiles(2))
    made.press(pygame.K_h)
    page = made.game.stack[-1]
    assert isinstance(page, HelpScene)
    words = " ".join(shown for shown, _ in page.lines).split()
    assert all(part in words for binding in BINDINGS for key in binding.keys for part in key.shown.split())
    assert {does for does, _ in BUTTONS.values()} < set(Chooses)
    made.post(pygame.CONTROLLERBUTTONDOWN, instance_id=9, button=pygame.CONTROLLER_BUTTON_A)
    assert made.game.stack == [made.menu]
    made.post(pygame.CONTROLLERBUTTONUP, instance_id=9, button=pygame.CONTROLLER_BUTTON_A)
    made.post(pygame.CONTROLLERBUTTONDOWN, instance_id=9, button=pygame.CONTROLLER_BUTTON_Y)
    made.post(pygame.CONTROLLERBUTTONUP, instance_id=9, button=pygame.CONTROLLER_BUTTON_Y)
    assert isinstance(made.game.stack[-1], HelpScene)
    assert made.menu.chosen is None


def test_help_names_buttons_where_a_pad_is_plugged_in(room, monkeypatch):
    made = room(tiles(1))
    monkeypatch.setattr(Gamepads, "names", ["a pad"])
    lines = {text: shown for shown, text in HelpScene(made.menu.keymap, "", made.pads, BUTTONS).lines}
    assert lines["play it"] == "Enter  Space  (pad: A Start)"
    assert lines["full screen, window"] == "F11"


def test_a_broken_world_says_why_and_does_not_open(room, tmp_path):
    found = [*tiles(1), Tile(name="odd", folder=tmp_path, title="odd", problem="no weights")]
    made = room(found, selected="odd")
    assert made.menu.selected == 1
    made.press(pygame.K_RETURN)
    assert (made.menu.chosen, made.menu.done) == (None, False)
    assert made.menu.notice == "cannot be opened: no weights"
    made.previews.problems["w"] = "weights are damaged"  # found when it was loaded for its picture
    made.press(pygame.K_LEFT, pygame.K_RETURN)
    assert made.menu.notice == "cannot be opened: weights are damaged"


def test_a_broken_world_is_grey_and_darker(room):
    made = room(tiles(2))
    made.game.turn()
    rect = made.rect(1)
    box = pygame.Rect(rect.left + 5, rect.top + 5, rect.width - 10, rect.width - 10)
    before = made.pixels()[box.top : box.bottom, box.left : box.right].astype(int)
    made.previews.problems["ww"] = "weights are damaged"
    made.game.turn()
    after = made.pixels()[box.top : box.bottom, box.left : box.right].astype(int)
    assert after.max() < 0.75 * before.max()  # the brightest that is left is the word across it
    picture = fit(WIDTH, HEIGHT, box)
    upper = after[picture.top - box.top + 2 : picture.top - box.top + 12, picture.left - box.left + 2 :][:, :8]
    assert (upper.max(-1) == upper.min(-1)).all()


def test_pictures_are_whole_multiples_of_the_frame(room):
    made = room(tiles(1))
    made.game.turn()
    rect = made.rect(0)
    box = pygame.Rect(rect.left + 5, rect.top + 5, rect.width - 10, rect.width - 10)
    place = fit(WIDTH, HEIGHT, box)
    scale = place.width // WIDTH
    assert scale >= 3
    shown = made.pixels()[place.top : place.bottom, place.left : place.right]
    assert np.array_equal(shown[::scale, ::scale], made.previews.frame("w"))
    assert np.array_equal(shown[scale - 1 :: scale, scale - 1 :: scale], made.previews.frame("w"))


def test_the_selected_tile_stands_out_by_brightness(room):
    made = room(tiles(2))
    made.game.turn()
    pixels = made.pixels().tolist()
    edges = [tuple(pixels[made.rect(index).centery][made.rect(index).left + 1]) for index in (0, 1)]
    assert edges[0] == theme.LIT
    assert sum(edges[0]) > sum(edges[1]) + 200


@pytest.mark.parametrize("size", [(240, 180), (320, 240), (640, 480), (700, 300), (400, 900), (1920, 1080)])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 37])
def test_tiles_fit_any_window(size, count):
    at = grid(size, count)
    places = [at.rect(index, 0) for index in range(count)]
    seen = [place for place in places if place is not None]
    assert len(seen) == min(count, at.rows * at.columns) > 0
    assert all(at.page.contains(place) for place in seen)
    assert all(one.collidelist(seen[:number]) == -1 for number, one in enumerate(seen))
    assert seen[0].height > seen[0].width >= 32


def test_a_lone_world_is_shown_large_and_many_smaller():
    assert grid((1280, 800), 1).tile[0] == 560
    widths = [grid((1280, 800), count).tile[0] for count in (1, 2, 4, 8, 16)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] >= 132


@pytest.mark.parametrize("size", [(240, 180), (640, 480)])
def test_the_page_follows_the_selected_tile(room, size):
    made = room(tiles(40), size=size)
    for key in [pygame.K_DOWN] * 40 + [pygame.K_RIGHT] * 8 + [pygame.K_UP] * 40:
        made.press(key)
        seen, selected = made.previews.watched
        assert selected == made.menu.tiles[made.menu.selected].name
        assert selected in seen
        assert len(seen) < 40
    assert made.menu.first == 0
    before = made.menu.selected
    made.post(pygame.MOUSEWHEEL, x=0, y=-1)
    assert made.menu.selected == before + made.menu.layout().columns


@pytest.mark.parametrize("size", [(240, 180), (320, 240), (1280, 800)])
def test_any_window_can_be_drawn(room, size, tmp_path):
    odd = Tile(name="late", folder=tmp_path, title="late", problem="a reason " * 30)
    made = room([odd, *tiles(11)], size=size)
    made.press(pygame.K_h, pygame.K_ESCAPE, pygame.K_RIGHT)
    assert made.screen.surface.get_size() == size
    assert made.pixels().std() > 10.0


def test_without_a_world_it_says_how_to_make_one(room):
    made = room([])
    made.press(pygame.K_RETURN, pygame.K_DOWN, pygame.K_RIGHT)
    made.post(pygame.MOUSEBUTTONDOWN, pos=(320, 240), button=1)
    made.post(pygame.MOUSEWHEEL, x=0, y=1)
    assert (made.menu.chosen, made.menu.done, made.menu.tile) == (None, False, None)
    page = made.menu.layout().page
    middle = made.pixels()[page.centery - 20 : page.centery + 20, 100:540]
    assert (middle == theme.LIT).all(-1).sum() > 100  # letters of the command
    made.press(pygame.K_q)
    assert made.menu.done


def test_a_frame_larger_than_its_box_loses_every_second_pixel():
    frame = np.arange(210 * 160 * 3, dtype=np.uint32).astype(np.uint8).reshape(210, 160, 3)
    assert np.array_equal(shrunk(frame, pygame.Rect(0, 0, 120, 120)), frame[::2, ::2])
    assert shrunk(frame, pygame.Rect(0, 0, 160, 210)) is frame


def test_a_narrow_tile_shows_the_figures_that_fit():
    pygame.font.init()
    parts = ("one ball 54% (game 69%)", "paddle 98%", "obeys 94%")
    assert as_many(parts, 12, 1000) == ", ".join(parts)
    assert as_many(parts, 12, theme.font(12).size(", ".join(parts[:2]))[0]) == "one ball 54% (game 69%), paddle 98%"
    assert as_many(parts, 12, 80) == "one ball 54%"
    assert as_many((), 12, 80) == ""


def test_long_words_are_wrapped_and_cut():
    pygame.font.init()
    lines = wrapped("one two three four five six seven eight nine ten", 11, 100, 2)
    assert len(lines) == 2
    assert lines[1].endswith("..")
    assert all(theme.font(11).size(line)[0] <= 100 for line in lines)
    assert wrapped("short", 11, 100, 2) == ["short"]
    assert theme.font(11).size(wrapped("x" * 300, 11, 100, 2)[0])[0] <= 100


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Two worlds of the player's own, which count; nothing shipped."""
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    monkeypatch.setattr(library, "ASSETS", tmp_path / "assets")
    for name in ("first", "second"):
        build(tmp_path / "saves" / "worlds", name)
    monkeypatch.setattr(library.checkpoint, "load_world", lambda folder, device: CountingWorld())
    monkeypatch.setattr(library.checkpoint, "load_starts", lambda folder: clips())
    return tmp_path / "saves"


def perform(monkeypatch, script):
    """Give each turn of a loop its events: keys, or None for a turn without; at the end the window is closed."""
    left = list(script)

    def get():
        if not left:
            return [pygame.event.Event(pygame.QUIT)]
        key = left.pop(0)
        return [] if key is None else [pygame.event.Event(pygame.KEYDOWN, key=key)]

    monkeypatch.setattr(pygame.event, "get", get)
    return left


def test_from_the_menu_into_a_game_and_back(own, monkeypatch):
    enter, escape, right = pygame.K_RETURN, pygame.K_ESCAPE, pygame.K_RIGHT
    game = [None] * 30  # half a second
    left = perform(monkeypatch, [None, enter, *game, escape, None, right, enter, *game, escape, None, escape])
    house = Arcade(where="cpu", say=lambda words: None)
    windows: list[object] = []
    titles: list[str] = []
    monkeypatch.setattr(pygame.display, "set_mode", lambda *what: windows.append(what))
    monkeypatch.setattr(pygame.display, "set_caption", titles.append)
    house.run()
    assert left == []
    assert 2 <= house.dreamed <= 24  # 15 a second
    assert library.recent() == ["second", "first"]
    assert windows == []  # one window all the time
    assert titles == ["Dreamcade", "first - Dreamcade", "Dreamcade", "second - Dreamcade", "Dreamcade"]
    assert not pygame.display.get_init()


def test_closing_the_window_in_a_game_leaves_the_arcade(own, monkeypatch):
    left = perform(monkeypatch, [pygame.K_RETURN, *[None] * 20])
    menus: list[object] = []
    monkeypatch.setattr(arcade, "MenuScene", lambda *what, **more: menus.append(what) or MenuScene(*what, **more))
    house = Arcade(where="cpu", say=lambda words: None)
    house.run()
    assert left == []
    assert house.dreamed >= 1
    assert len(menus) == 1
    assert not pygame.display.get_init()


def test_a_world_that_does_not_open_leads_back_to_the_menu(own, monkeypatch):
    def broken(folder, device):
        raise ValueError(f"{folder}/model.safetensors is damaged: header too large")

    monkeypatch.setattr(arcade.Previews, "start", lambda self: None)  # so that the menu cannot know it before
    monkeypatch.setattr(library.checkpoint, "load_world", broken)
    left = perform(monkeypatch, [pygame.K_RETURN, None])
    seen: list[str] = []
    say = MenuScene.say
    monkeypatch.setattr(MenuScene, "say", lambda self, words: (seen.append(words), say(self, words))[1])
    house = Arcade(where="cpu", say=lambda words: None)
    house.run()
    assert (left, house.dreamed) == ([], 0)
    assert seen == ["opening first", "first cannot be opened: model.safetensors is damaged: header too large"]
    assert library.recent() == []


def test_a_world_that_the_menu_loaded_is_not_loaded_again(own, monkeypatch):
    loads: list[str] = []

    def load(folder, device):
        loads.append(folder.name)
        return CountingWorld()

    monkeypatch.setattr(library.checkpoint, "load_world", load)
    house = Arcade(where="cpu", say=lambda words: None)
    world = CountingWorld()
    session = house._begin(own / "worlds" / "first", world)
    house.close()
    assert session is not None
    assert session.world is world
    assert len(session.world_id) == 16
    assert loads == []


def test_without_a_command_the_menu_opens_where_there_is_a_window(own, monkeypatch, capsys):
    ran: list[str] = []

    class House:
        driver, dreamed = "x11", 5

        def __init__(self, **what: object) -> None:
            ran.append("made")

        def run(self) -> None:
            ran.append("ran")

    monkeypatch.setattr(arcade, "Arcade", House)
    assert cli.main([]) == 0
    assert ran == ["made", "ran"]
    assert capsys.readouterr().out == "dreamed 5 frames\n"


@pytest.mark.parametrize("trouble", ["dummy", "no window", "no display"])
def test_without_a_window_it_plays_as_before(own, monkeypatch, capsys, trouble):
    monkeypatch.setattr("app.commands.play.UNATTENDED", 3)
    if trouble == "no window":

        def refused(**what: object) -> None:
            raise NoWindow("no screens found")

        monkeypatch.setattr(arcade, "Arcade", refused)
    elif trouble == "no display":
        monkeypatch.setattr("app.commands.arcade.has_display", lambda: False)
    assert cli.main([]) == 0
    assert "dreamed 3 frames" in capsys.readouterr().out
    assert library.recent() == ["first"]


def test_the_menu_knows_what_the_shelf_knows(own, room):
    made = room(shelf.tiles())
    made.game.turn()
    assert made.previews.watched == (["first", "second"], "first")
