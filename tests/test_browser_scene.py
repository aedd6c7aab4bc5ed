"""The data set browser through the real loop, without a display: keys and clicks in, cursor and pixels out."""

from __future__ import annotations

import os

os.environ["SDL_VIDEODRIVER"] = "dummy"

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pygame
import pytest
from test_browsing import ReadingWorld
from test_shards import HEIGHT, WIDTH, make_dataset

from app import theme
from app.browsing import Browser
from app.commands import browse
from app.game import Game
from app.hud import Stats
from app.keymap import Keymap
from app.scenes import question
from app.scenes.browser import BINDINGS, FAR, BrowserScene, Browses
from app.scenes.browser_page import WIDER, Layout, bars, layout
from app.scenes.help import HelpScene
from app.scenes.question import QuestionScene
from app.screen import Screen
from collectors.manifest import read_manifest
from collectors.shards import Dataset


class Table:
    """A browser in a window on the dummy driver, with fingers, a mouse and a clock that stands still."""

    def __init__(self, folder: Path, tmp_path: Path, context: int | None = 3) -> None:
        self.folder, self.captures, self.now = folder, tmp_path / "captures", 100.0
        self.browser = Browser(Dataset.open(folder), ReadingWorld())
        self.screen = Screen(round(WIDTH * WIDER), HEIGHT, bars=bars)
        self.scene = BrowserScene(
            self.browser, self.screen, title="data", captures=self.captures, context=context, clock=lambda: self.now
        )
        self.game = Game(self.screen, self.scene, Stats(), fps=0)
        self.game.turn()

    def press(self, *keys: int) -> None:
        for key in keys:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))
        self.game.turn()

    def mouse(self, kind: int, point: tuple[int, int], **facts: object) -> None:
        pygame.event.post(pygame.event.Event(kind, pos=point, **facts))
        self.game.turn()

    def click(self, point: tuple[int, int], button: int = 1) -> None:
        self.mouse(pygame.MOUSEBUTTONDOWN, point, button=button)
        self.mouse(pygame.MOUSEBUTTONUP, point, button=button)

    def turns(self, count: int, seconds: float) -> None:
        for _ in range(count):
            self.now += seconds
            self.game.turn()

    @property
    def at(self) -> Layout:
        return layout(self.screen.surface.get_size())

    @property
    def cursor(self) -> tuple[int, int]:
        return self.browser.episode, self.browser.frame

    def pixels(self, rect: pygame.Rect) -> np.ndarray:
        """uint8 [height, width, 3] of a part of the window."""
        whole = pygame.surfarray.array3d(self.screen.surface).transpose(1, 0, 2)
        return whole[rect.top : rect.bottom, rect.left : rect.right].copy()

    def columns_of(self, rect: pygame.Rect, colour: theme.Colour) -> list[int]:
        """The x, seen from the rectangle, at which most of its height has this colour."""
        share = (self.pixels(rect) == colour).all(-1).mean(0)
        return np.flatnonzero(share > 0.6).tolist()


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    monkeypatch.setenv("DREAMCADE_SAVES", str(tmp_path / "saves"))
    made = Table(make_dataset(tmp_path / "data")[0], tmp_path)
    yield made
    made.browser.close()
    made.screen.close()


def test_the_picture_at_the_cursor_is_shown_large(table: Table) -> None:
    table.browser.go(1, 30)
    table.game.turn()
    shown = (table.pixels(table.at.picture) == 36).all(-1)
    scale = min(table.at.picture.width // WIDTH, table.at.picture.height // HEIGHT)
    assert scale >= 8
    assert shown.sum() == scale * scale * WIDTH * HEIGHT


def test_keys_move_the_cursor(table: Table) -> None:
    table.press(pygame.K_DOWN)
    assert table.cursor == (1, 0)
    table.press(pygame.K_RIGHT, pygame.K_RIGHT, pygame.K_d)
    assert table.cursor == (1, 3)
    table.press(pygame.K_LEFT, pygame.K_a)
    assert table.cursor == (1, 1)
    table.press(pygame.K_PAGEDOWN, pygame.K_PERIOD)
    assert table.cursor == (1, 1 + 2 * FAR)
    table.press(pygame.K_PAGEUP)
    assert table.cursor == (1, 1 + FAR)
    table.press(pygame.K_END)
    assert table.cursor == (1, 40)
    table.press(pygame.K_HOME)
    assert table.cursor == (1, 0)
    table.press(pygame.K_s, pygame.K_s, pygame.K_w)
    assert table.cursor == (2, 0)


def test_a_held_key_repeats_after_a_moment(table: Table) -> None:
    table.browser.go(1)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RIGHT))
    table.game.turn()
    assert table.cursor == (1, 1)
    table.turns(3, 0.1)
    assert table.cursor == (1, 1)
    assert not table.scene.waiting
    table.turns(5, 0.1)
    assert table.cursor == (1, 6)
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_RIGHT))
    table.turns(5, 0.1)
    assert table.cursor == (1, 6)
    assert table.scene.waiting


def test_playing_keeps_the_rate_of_the_game_and_stops_at_the_end(table: Table) -> None:
    table.browser.go(1)
    table.press(pygame.K_SPACE)
    table.turns(30, 1 / 60)
    assert table.browser.frame in (7, 8)  # half a second at 15 frames a second
    table.press(pygame.K_SPACE)
    stopped = table.browser.frame
    table.turns(30, 1 / 60)
    assert table.browser.frame == stopped
    table.press(pygame.K_PLUS)
    assert table.scene.notice == "2 times the game's own speed"
    table.press(pygame.K_SPACE)
    table.turns(30, 1 / 60)
    assert table.browser.frame - stopped in (14, 15, 16)
    table.turns(120, 1 / 60)
    assert (table.cursor, table.browser.playing, table.scene.waiting) == ((1, 40), False, True)


def test_after_a_halt_it_does_not_run_to_catch_up(table: Table) -> None:
    table.browser.go(1)
    table.press(pygame.K_SPACE)
    table.turns(1, 60.0)
    assert table.browser.frame <= 6


def test_one_step_while_playing_stops_it(table: Table) -> None:
    table.browser.go(1, 10)
    table.press(pygame.K_SPACE)
    table.press(pygame.K_LEFT)
    assert (table.cursor, table.browser.playing) == ((1, 9), False)


def test_a_click_on_the_time_line_goes_there_and_drags(table: Table) -> None:
    table.browser.go(1)
    line = table.at.line
    table.mouse(pygame.MOUSEBUTTONDOWN, (line.left + line.width // 4, line.centery), button=1)
    assert table.cursor == (1, 10)
    table.mouse(pygame.MOUSEMOTION, (line.left + line.width // 2, 5), rel=(1, 1), buttons=(1, 0, 0))
    assert table.cursor == (1, 20)
    table.mouse(pygame.MOUSEMOTION, (9999, 5), rel=(1, 1), buttons=(1, 0, 0))
    assert table.cursor == (1, 40)
    table.mouse(pygame.MOUSEBUTTONUP, (9999, 5), button=1)
    table.mouse(pygame.MOUSEMOTION, (line.left, line.centery), rel=(1, 1), buttons=(0, 0, 0))
    assert table.cursor == (1, 40)


def test_the_time_line_shows_the_cursor_and_the_rewards(table: Table) -> None:
    table.browser.go(1, 20)
    table.game.turn()
    line = table.at.line
    drawn = table.columns_of(line, theme.LIT)
    assert drawn
    assert abs(np.mean(drawn) - 0.5 * line.width) <= 2
    upper = pygame.Rect(line.left, line.top, line.width, line.height // 2)
    ticks = table.columns_of(upper, theme.SKY)  # every step of the counting episodes wins something
    assert len(ticks) > 39
    lower = pygame.Rect(line.left, line.centery + 1, line.width, line.height // 2 - 1)
    assert table.columns_of(lower, theme.SKY) == []


def test_a_click_in_the_strip_goes_to_its_frame(table: Table) -> None:
    table.browser.go(1)
    table.game.turn()
    strip, rects = table.scene.page._places(table.at)
    assert len(strip) > 3
    table.click(rects[2].center)
    assert table.cursor == (1, strip[2][0])
    assert abs(int(table.pixels(rects[3])[10, 10, 0]) - (6 + strip[3][0])) <= 1


def test_a_click_on_the_list_goes_to_the_episode_and_the_wheel_turns_episodes(table: Table) -> None:
    at = table.at
    row = (at.listed.left + 30, at.listed.top + int(3.5 * at.pitch))
    assert table.scene.page.episode_at(at, row) == 2
    table.click(row)
    assert table.cursor == (2, 0)
    table.click((row[0], at.listed.top + 3))  # the names of the columns
    table.click((row[0], at.listed.bottom - 2))  # below the last episode
    assert table.cursor == (2, 0)
    table.click(row, button=5)
    assert table.cursor == (3, 0)
    table.click(at.picture.center, button=5)
    assert table.cursor == (3, 1)
    table.click(at.picture.center, button=4)
    table.click(row, button=4)
    assert table.cursor == (2, 0)


def test_a_click_on_the_picture_plays(table: Table) -> None:
    table.click(table.at.picture.center)
    assert table.browser.playing


def test_marks_are_seen_in_the_list(table: Table) -> None:
    at = table.at
    row = pygame.Rect(at.listed.left + at.letters // 2, at.listed.top + at.pitch, at.listed.width // 6, at.pitch)

    def lit() -> int:
        return int((table.pixels(row) == theme.LIT).all(-1).sum())

    assert lit() == 0
    table.press(pygame.K_x)
    assert lit() > 0  # edges of letters are smoothed: few pixels have the very colour
    assert (table.browser.marked(), table.scene.notice) == ([0], "episode 0 is marked")
    table.press(pygame.K_x)
    assert lit() == 0
    assert (table.browser.marked(), table.scene.notice) == ([], "episode 0 is not marked any more")


def test_marks_that_cannot_be_written_are_said(table: Table, tmp_path: Path) -> None:
    (tmp_path / "saves").write_text("in the way")
    table.press(pygame.K_x)
    assert table.scene.notice.startswith("cannot write ")
    assert table.browser.marked() == []


def test_dropping_asks_first(table: Table) -> None:
    before = read_manifest(table.folder)
    table.press(pygame.K_DELETE)
    assert table.scene.notice == "no episode is marked: X marks the one that is shown"
    table.press(pygame.K_x, pygame.K_DOWN, pygame.K_DOWN, pygame.K_x)
    for answer in (pygame.K_n, pygame.K_ESCAPE):
        table.press(pygame.K_DELETE)
        asked = table.game.stack[-1]
        assert isinstance(asked, QuestionScene)
        assert asked.lines == ("Delete the marked episodes of data for good?", "2 of 5, 6 transitions: 0, 2")
        table.press(pygame.K_RETURN)  # means nothing here
        assert len(table.game.stack) == 2
        table.press(answer)
        assert len(table.game.stack) == 1
        assert not table.scene.done
    table.press(pygame.K_DELETE)
    table.click((3, 3))
    assert (len(table.game.stack), read_manifest(table.folder)) == (1, before)
    table.press(pygame.K_DELETE)
    table.press(pygame.K_y)
    assert len(table.game.stack) == 1
    assert table.scene.notice == "deleted 2 episodes"
    assert [episode.seed for episode in read_manifest(table.folder).dropped] == [0, 2]
    assert (table.browser.ref.seed, table.browser.marked()) == (3, [])
    assert (table.pixels(table.at.picture) == 49).all(-1).sum() > 1000


def test_a_drop_that_fails_is_said(table: Table) -> None:
    table.press(pygame.K_x)
    (table.folder / "00000.h5").write_bytes(b"damaged")
    table.press(pygame.K_DELETE)
    table.press(pygame.K_y)
    assert "00000.h5" in table.scene.notice
    assert table.browser.marked() == [0]
    assert read_manifest(table.folder).dropped == ()


def test_an_episode_is_written_as_a_video(table: Table) -> None:
    import cv2

    table.browser.go(3)
    table.press(pygame.K_e)
    (path,) = table.captures.iterdir()
    assert path.name.startswith("data-episode3-")
    assert table.scene.notice == f"saved {path.name}"
    reader = cv2.VideoCapture(str(path))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 18
    reader.release()


def test_a_place_that_cannot_be_written_is_said(table: Table) -> None:
    table.captures.write_text("in the way")
    for key in (pygame.K_e, pygame.K_F12):
        table.scene.notice = ""
        table.press(key)
        assert table.scene.notice.startswith("cannot write ")
    assert table.scene.done is False


def test_enter_chooses_the_frames_to_dream_from(table: Table) -> None:
    table.browser.go(1, 20)
    table.press(pygame.K_RETURN)
    assert table.scene.done
    assert table.game.stack == []
    assert table.scene.chosen is not None
    assert table.scene.chosen[:, 0, 0, 0].tolist() == [24, 25, 26]
    assert tuple(table.scene.chosen.shape) == (3, 3, HEIGHT, WIDTH)


def test_without_a_world_enter_says_so(table: Table, tmp_path: Path) -> None:
    other = Table(table.folder, tmp_path, context=None)
    other.press(pygame.K_RETURN)
    assert (other.scene.done, other.scene.chosen) == (False, None)
    assert "there is no world for this game" in other.scene.notice


def test_escape_leaves_and_chooses_nothing(table: Table) -> None:
    table.press(pygame.K_ESCAPE)
    assert (table.scene.done, table.scene.chosen, table.game.stack) == (True, None, [])


def test_help_shows_every_key_and_a_held_key_is_let_go(table: Table) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RIGHT))
    table.press(pygame.K_h)
    page = table.game.stack[-1]
    assert isinstance(page, HelpScene)
    assert len(page.lines) == len(BINDINGS)
    assert ("Enter", "dream on from this frame") in page.lines
    table.press(pygame.K_h)
    at = table.cursor
    table.turns(5, 0.5)
    assert table.cursor == at


def test_every_command_has_a_key_and_every_key_a_command(table: Table) -> None:
    assert {binding.does for binding in BINDINGS} == set(Browses)
    assert set(table.scene._commands) == set(Browses) - {Browses.HELP, Browses.DROP}
    chosen = Keymap("BROWSER", BINDINGS, {"BROWSER.MARK": ["m"]})
    assert chosen.lookup(pygame.K_m)[0] is Browses.MARK
    assert chosen.lookup(pygame.K_x)[0] is None
    assert {binding.does for binding in question.BINDINGS} == set(question.Answers)


@pytest.mark.parametrize("size", [(320, 240), (400, 900), (1600, 300), (1900, 1000)])
def test_any_size_of_window_can_be_drawn_and_used(table: Table, size: tuple[int, int]) -> None:
    pygame.display.set_mode(size, pygame.RESIZABLE)
    table.browser.go(4, 3)
    table.press(pygame.K_RIGHT)
    at = table.at
    window = pygame.Rect((0, 0), size)
    for part in (at.top, at.listed, at.picture, at.facts, at.strip, at.line):
        assert window.contains(part)
        assert part.height > 0
    assert not any(at.picture.colliderect(part) for part in (at.top, at.listed, at.facts, at.strip, at.line))
    table.click(at.line.center)
    assert table.cursor == (4, 15)
    table.press(pygame.K_h)
    table.press(pygame.K_h)


def test_the_list_follows_the_cursor(table: Table) -> None:
    pygame.display.set_mode((400, 240), pygame.RESIZABLE)
    table.game.turn()
    assert table.at.rows < 5
    for episode in (4, 2, 0):
        table.browser.go(episode)
        table.game.turn()
        at = table.at
        seen = {
            table.scene.page.episode_at(at, (10, at.listed.top + int((row + 0.5) * at.pitch)))
            for row in range(1, at.rows + 1)
        }
        assert episode in seen


def test_a_screenshot_is_saved(table: Table) -> None:
    table.press(pygame.K_F12)
    (path,) = table.captures.iterdir()
    assert pygame.image.load(str(path)).get_size() == table.screen.surface.get_size()


def test_the_window_of_the_command_gives_back_what_was_chosen(table: Table) -> None:
    table.screen.close()
    presses = [pygame.K_DOWN, pygame.K_RIGHT, pygame.K_RIGHT, pygame.K_RETURN]

    def next_key() -> bool:
        if presses:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=presses.pop(0)))
        return True

    clip = browse.window(table.browser, "data", 2, after_turn=next_key)
    assert clip is not None
    assert clip[:, 0, 0, 0].tolist() == [7, 8]
    presses = [pygame.K_q]
    assert browse.window(table.browser, "data", 2, after_turn=next_key) is None
    table.screen = Screen(WIDTH, HEIGHT, bars=bars)
