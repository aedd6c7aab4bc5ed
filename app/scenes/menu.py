"""The front door: every world as a tile with a small live dream of it; choosing one opens it."""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pygame

from app import theme
from app.gamepad import Button, Gamepads, Table
from app.keymap import ARROWS, Binding, Key, Keymap, chosen_keys
from app.preview import Previews
from app.scenes.help import HelpScene
from app.scenes.scene import Scene
from app.scenes.tiles import Grid, draw_tile, grid
from app.screen import Screen
from app.shelf import Tile

NOTICE_S = 6.0


class Chooses(enum.Enum):
    """What a key can do in the menu."""

    MOVE = enum.auto()
    OPEN = enum.auto()
    FULLSCREEN = enum.auto()
    HELP = enum.auto()
    QUIT = enum.auto()


BINDINGS: tuple[Binding, ...] = (
    Binding(Chooses.MOVE, "choose a world", ARROWS),
    Binding(Chooses.OPEN, "play it", (Key(pygame.K_RETURN, "Enter"), Key(pygame.K_SPACE, "Space"))),
    Binding(Chooses.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(Chooses.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(Chooses.QUIT, "quit", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)
BUTTONS: Table = {
    Button.UP: (Chooses.MOVE, "UP"),
    Button.DOWN: (Chooses.MOVE, "DOWN"),
    Button.LEFT: (Chooses.MOVE, "LEFT"),
    Button.RIGHT: (Chooses.MOVE, "RIGHT"),
    Button.A: (Chooses.OPEN, ""),
    Button.START: (Chooses.OPEN, ""),
    Button.Y: (Chooses.HELP, ""),
    Button.RIGHT_SHOULDER: (Chooses.HELP, ""),
    Button.BACK: (Chooses.QUIT, ""),
}
WAYS = {"LEFT": (-1, 0), "RIGHT": (1, 0), "UP": (0, -1), "DOWN": (0, 1)}
NOTE = "the mouse does it too: point, click, turn the wheel"
EMPTY = ("There is no world yet", "dreamcade make pong", "records a game and learns it")


class MenuScene:
    """Tiles to choose from. `chosen` is the folder of the world that the player opened, None until then."""

    def __init__(
        self, tiles: Sequence[Tile], previews: Previews, screen: Screen, pads: Gamepads, *, selected: str = ""
    ) -> None:
        self.tiles, self.previews = list(tiles), previews
        self.keymap = Keymap("MENU", BINDINGS, chosen_keys())
        self.done, self.waiting = False, True
        self.chosen: Path | None = None
        self.selected = next((at for at, tile in enumerate(self.tiles) if tile.name == selected), 0)
        self.first = 0  # the row at the top
        self.notice, self._until = "", 0.0
        self._screen, self._pads = screen, pads

    @property
    def tile(self) -> Tile | None:
        """The selected tile; None where there is no world at all."""
        return self.tiles[self.selected] if self.tiles else None

    def say(self, words: str) -> None:
        """Show a line at the bottom for some seconds."""
        self.notice, self._until = words, time.monotonic() + NOTICE_S

    def problem(self, tile: Tile) -> str:
        """Why a tile cannot be opened, or an empty string."""
        return tile.problem or self.previews.problem(tile.name)

    def layout(self) -> Grid:
        """Where things are now; scrolls so that the selected tile is seen."""
        at = grid(self._screen.surface.get_size(), len(self.tiles))
        row, last = self.selected // at.columns, max(0, -(-at.count // at.columns) - at.rows)
        self.first = min(max(self.first, row - at.rows + 1), row, last)
        return at

    def handle(self, event: Any) -> Scene | None:
        """Keys, the mouse, gamepads."""
        if event.type == pygame.KEYDOWN:
            return self._command(*self.keymap.lookup(event.key))
        if event.type == pygame.MOUSEMOTION:
            self._point(event.pos)
        elif event.type == pygame.MOUSEWHEEL:
            self._move(0, -event.y)
        elif event.type == pygame.MOUSEBUTTONDOWN:
            if event.button == 1 and self._point(event.pos):
                self._open()
        else:
            for press in self._pads.read(event):
                does, value = BUTTONS.get(press.button, (None, ""))
                if press.down:
                    return self._command(does, value)
        return None

    def update(self) -> None:
        """Tell the previews what is on the screen."""
        at = self.layout()
        seen = [tile.name for index, tile in enumerate(self.tiles) if at.rect(index, self.first) is not None]
        self.previews.watch(seen, "" if self.tile is None else self.tile.name)

    def draw(self, screen: Screen) -> None:
        """The bars, and the tiles that are seen, or what to do where there is none."""
        screen.clear()
        at, surface = self.layout(), screen.surface
        if not self.tiles:
            _draw_empty(surface, at)
        for index, tile in enumerate(self.tiles):
            rect = at.rect(index, self.first)
            if rect is not None:
                frame, problem = self.previews.frame(tile.name), self.problem(tile)
                draw_tile(screen, at, rect, tile, frame, problem, index == self.selected)
        self._draw_scroll(surface, at)
        self._draw_bars(surface, at)

    def _command(self, does: enum.Enum | None, value: int | str) -> Scene | None:
        if does is Chooses.MOVE:
            self._move(*WAYS[str(value)])
        elif does is Chooses.OPEN:
            self._open()
        elif does is Chooses.FULLSCREEN:
            self._screen.toggle_fullscreen()
        elif does is Chooses.HELP:
            return HelpScene(self.keymap, NOTE, self._pads, BUTTONS)
        elif does is Chooses.QUIT:
            self.done = True
        return None

    def _move(self, across: int, down: int) -> None:
        """To the next tile this way. The last row may be short: from above it one comes to its end."""
        if not self.tiles:
            return
        columns, last = self.layout().columns, len(self.tiles) - 1
        wanted = self.selected + across + down * columns
        if wanted > last and down > 0 and self.selected // columns < last // columns:
            wanted = last
        if 0 <= wanted <= last:
            self.selected = wanted

    def _point(self, where: tuple[int, int]) -> bool:
        """Select the tile under the mouse. False if there is none."""
        at = self.layout()
        for index in range(len(self.tiles)):
            rect = at.rect(index, self.first)
            if rect is not None and rect.collidepoint(where):
                self.selected = index
                return True
        return False

    def _open(self) -> None:
        if self.tile is None:
            return
        problem = self.problem(self.tile)
        if problem:
            self.say(f"cannot be opened: {problem}")
        else:
            self.chosen, self.done = self.tile.folder, True

    def _draw_scroll(self, surface: pygame.Surface, at: Grid) -> None:
        """How much of the shelf is seen: a bar at the right edge."""
        rows = -(-at.count // at.columns)
        if rows <= at.rows:
            return
        track = pygame.Rect(at.page.right - 4, at.page.top, 3, at.page.height)
        pygame.draw.rect(surface, theme.PANEL, track)
        thumb = pygame.Rect(track.left, 0, track.width, max(8, track.height * at.rows // rows))
        thumb.top = track.top + (track.height - thumb.height) * self.first // (rows - at.rows)
        pygame.draw.rect(surface, theme.FAINT, thumb)

    def _draw_bars(self, surface: pygame.Surface, at: Grid) -> None:
        pad = at.letters // 2
        for bar in (at.top, at.bottom):
            pygame.draw.rect(surface, theme.PANEL, bar)
        pygame.draw.line(surface, theme.EDGE, at.top.bottomleft, at.top.bottomright)
        pygame.draw.line(surface, theme.EDGE, at.bottom.topleft, at.bottom.topright)
        name = theme.text("Dreamcade", at.letters + 3, theme.SKY)
        surface.blit(name, name.get_rect(midleft=(pad, at.top.centery)))
        keys = f"{self.keymap.shown(Chooses.OPEN)}: play   {self.keymap.shown(Chooses.HELP)}: help"
        hint = theme.fitted(keys, at.letters, max(1, at.top.width - name.get_width() - 3 * pad), theme.FAINT)
        surface.blit(hint, hint.get_rect(midright=(at.top.right - pad, at.top.centery)))
        above, below, ink = self._words()
        room = at.bottom.width - 2 * pad
        for words, share, colour in ((above, 0.28, theme.INK), (below, 0.72, ink)):
            line = theme.fitted(words, at.letters, room, colour)
            surface.blit(line, line.get_rect(midleft=(pad, at.bottom.top + at.bottom.height * share)))

    def _words(self) -> tuple[str, str, theme.Colour]:
        """The two lines at the bottom, and the colour of the second."""
        tile, notice = self.tile, self.notice if time.monotonic() < self._until else ""
        if tile is None:
            return "", notice, theme.LIT
        problem = self.problem(tile)
        facts = tile.title if tile.problem else f"{tile.title}: {tile.facts}"
        second = notice or (f"cannot be opened: {problem}" if problem else tile.score)
        return facts, second, theme.LIT if notice or problem else theme.FAINT


def _draw_empty(surface: pygame.Surface, at: Grid) -> None:
    """No world: what to type."""
    for number, (words, colour) in enumerate(zip(EMPTY, (theme.INK, theme.LIT, theme.FAINT), strict=True)):
        line = theme.fitted(words, at.letters + (4 if number == 1 else 2), at.page.width - at.letters, colour)
        y = at.page.centery + round((number - 1) * at.letters * 2.2)
        surface.blit(line, line.get_rect(center=(at.page.centerx, y)))
