"""Painting on the frame: pencil, colours picked from it, a stamp that copies a region; then the dream goes on."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pygame

from app import hud, theme
from app.engine import Engine
from app.keymap import Binding, Key, Keymap, chosen_keys
from app.painting import Box, Canvas
from app.scenes.help import HelpScene
from app.scenes.scene import Scene
from app.screen import Screen

LARGEST_PENCIL = 16


class Paints(enum.Enum):
    """What a key can do while painting."""

    PENCIL = enum.auto()
    PICK = enum.auto()
    STAMP = enum.auto()
    BIGGER = enum.auto()
    SMALLER = enum.auto()
    UNDO = enum.auto()
    USE = enum.auto()
    HELP = enum.auto()
    LEAVE = enum.auto()


BINDINGS = (
    Binding(Paints.PENCIL, "pencil: drag with the left button", (Key(pygame.K_b, "B"),)),
    Binding(Paints.PICK, "pick a colour: click on it (or right click at any time)", (Key(pygame.K_i, "I"),)),
    Binding(Paints.STAMP, "stamp: drag round a region, then click where it goes", (Key(pygame.K_s, "S"),)),
    Binding(Paints.BIGGER, "thicker pencil", (Key(pygame.K_RIGHTBRACKET, "]"),)),
    Binding(Paints.SMALLER, "thinner pencil", (Key(pygame.K_LEFTBRACKET, "["),)),
    Binding(Paints.UNDO, "take the last stroke back", (Key(pygame.K_z, "Z"), Key(pygame.K_BACKSPACE, "Backspace"))),
    Binding(Paints.USE, "dream on from what was painted", (Key(pygame.K_RETURN, "Enter"), Key(pygame.K_p, "P"))),
    Binding(Paints.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(Paints.LEAVE, "leave without painting", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)


class PaintScene:
    """Above the game, which stands still. say: shows a line in the game once it goes on."""

    def __init__(self, engine: Engine, say: Callable[[str], None]) -> None:
        self.done, self.waiting = False, True
        self.engine, self._say = engine, say
        self.keymap = Keymap("PAINT", BINDINGS, chosen_keys())
        self.canvas = Canvas(engine.session.frame)
        self.tool, self.size, self.colour = Paints.PENCIL, 2, (255, 255, 255)
        self.region: Any = None  # what the stamp copies, uint8 [h, w, 3]
        self._rect = pygame.Rect(0, 0, 1, 1)
        self._last: tuple[int, int] | None = None  # where the pencil or the region's corner is
        self._here = (0, 0)

    def handle(self, event: Any) -> Scene | None:
        """Mouse on the picture, keys for the tools."""
        if event.type == pygame.KEYDOWN:
            return self._key(self.keymap.lookup(event.key)[0])
        if event.type == pygame.MOUSEBUTTONDOWN and self._rect.collidepoint(event.pos):
            self._press(self._pixel(event.pos), event.button)
        elif event.type == pygame.MOUSEMOTION:
            self._here = self._pixel(event.pos)
            if self.tool is Paints.PENCIL and self._last is not None:
                self.canvas.draw(self._last, self._here, self.colour, self.size)
                self._last = self._here
        elif event.type == pygame.MOUSEBUTTONUP and event.button == 1:
            self._release(self._pixel(event.pos))
        return None

    def update(self) -> None:
        """Nothing moves by itself here."""

    def draw(self, screen: Screen) -> None:
        """The canvas in the picture's place, a bar that says tool, colour and size."""
        surface = screen.surface
        at = hud.layout(surface.get_size())
        screen.clear()
        self._rect = screen.show(self.canvas.frame, at.picture)
        pygame.draw.rect(surface, theme.LIT, self._rect.inflate(4, 4), 2)
        if self.tool is Paints.STAMP:
            self._draw_region(surface)
        pygame.draw.rect(surface, theme.PANEL, at.top)
        words = f"Painting: {self.tool.name.lower()}, {self.size} px"
        if self.tool is Paints.STAMP:
            words = "Stamp: click where it goes" if self.region is not None else "Stamp: drag round a region"
        title = theme.fitted(words, at.letters + 2, at.top.width - at.letters * 4, theme.SKY)
        surface.blit(title, (at.letters, at.letters // 3))
        swatch = pygame.Rect(0, 0, at.letters * 2, at.letters * 2)
        swatch.midright = (at.top.right - at.letters, at.top.centery)
        pygame.draw.rect(surface, self.colour, swatch)
        pygame.draw.rect(surface, theme.EDGE, swatch, 1)
        hint = "B pencil   I pick   S stamp   [ ] size   Z undo   Enter dream on   Esc leave   H help"
        pygame.draw.rect(surface, theme.PANEL, at.bottom)
        said = theme.fitted(hint, at.letters, at.bottom.width - at.letters, theme.INK)
        surface.blit(said, said.get_rect(center=at.bottom.center))

    def _key(self, does: Any) -> Scene | None:
        if does is Paints.HELP:
            return HelpScene(self.keymap, "what is painted stands still until the dream moves it")
        if does in (Paints.PENCIL, Paints.PICK, Paints.STAMP):
            self.tool, self.region, self._last = does, None, None
        elif does is Paints.BIGGER:
            self.size = min(LARGEST_PENCIL, self.size + 1)
        elif does is Paints.SMALLER:
            self.size = max(1, self.size - 1)
        elif does is Paints.UNDO:
            self.canvas.undo()
        elif does is Paints.USE:
            self._use()
        elif does is Paints.LEAVE:
            self.done = True
        return None

    def _press(self, pixel: tuple[int, int], button: int) -> None:
        if button == 3 or (button == 1 and self.tool is Paints.PICK):
            self.colour = self.canvas.pick(*pixel)
            self.tool = Paints.PENCIL if self.tool is Paints.PICK else self.tool
        elif button == 1 and self.tool is Paints.PENCIL:
            self.canvas.remember()
            self.canvas.draw(pixel, pixel, self.colour, self.size)
            self._last = pixel
        elif button == 1 and self.region is not None:
            self.canvas.remember()
            self.canvas.stamp(self.region, *pixel)
        elif button == 1:
            self._last = pixel

    def _release(self, pixel: tuple[int, int]) -> None:
        if self.tool is Paints.STAMP and self.region is None and self._last is not None:
            self.region = self.canvas.copy(_box(self._last, pixel))
        self._last = None

    def _use(self) -> None:
        if self.canvas.changed.any():
            self.engine.session.begin(self.canvas.origin(self.engine.session))
            self._say("dreaming on from what was painted")
        self.done = True

    def _pixel(self, position: tuple[int, int]) -> tuple[int, int]:
        """The pixel of the frame (row, column) under a place of the window; the nearest one outside it."""
        height, width = self.canvas.frame.shape[:2]
        row = (position[1] - self._rect.top) * height // max(1, self._rect.height)
        column = (position[0] - self._rect.left) * width // max(1, self._rect.width)
        return min(height - 1, max(0, row)), min(width - 1, max(0, column))

    def _draw_region(self, surface: pygame.Surface) -> None:
        """The region being marked, or where the stamp would land."""
        times = self._rect.width / self.canvas.frame.shape[1]
        if self.region is not None:
            height, width = self.region.shape[:2]
            top, left = self._here[0] - height // 2, self._here[1] - width // 2
        elif self._last is not None:
            top, left, bottom, right = _box(self._last, self._here)
            height, width = bottom - top, right - left
        else:
            return
        corner = (self._rect.left + left * times, self._rect.top + top * times)
        pygame.draw.rect(surface, theme.LIT, pygame.Rect(*corner, width * times, height * times), 1)


def _box(one: tuple[int, int], other: tuple[int, int]) -> Box:
    """The rectangle that has two pixels as its corners, both inside."""
    (top, bottom), (left, right) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    return Box(top, left, bottom + 1, right + 1)
