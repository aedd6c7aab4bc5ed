"""What if: eight dreams from here, one for each action, while the key is held. A number enters one."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

import pygame

from app import hud
from app.engine import Engine
from app.keymap import Does, Keymap
from app.names import ActionNames
from app.scenes.scene import Scene
from app.screen import Screen
from app.what_if import Thought, WhatIf
from app.widgets import grid, headline, tile, veil

AHEAD = 2  # steps that are asked for at a time, so that the thinking thread need not wait for the next turn
HOLD_TURNS = 30  # for which the last pictures stay on show before the dreams begin again


class WhatIfScene:
    """Above the game, which stands still meanwhile. Closes when the key is let go, or when a dream is entered."""

    def __init__(self, engine: Engine, names: ActionNames, keymap: Keymap) -> None:
        self.done, self.waiting = False, False
        self.stale = True  # there is something new to draw
        self.engine, self.names, self.keymap = engine, names, keymap
        self.dreams = WhatIf(engine.session)
        self._thoughts: deque[Future[Thought]] = deque()
        self._held = 0

    def handle(self, event: Any) -> Scene | None:
        """A number or a click enters a dream; letting the key go, or Esc, closes."""
        if event.type == pygame.WINDOWFOCUSLOST:
            self.done = True
        elif event.type == pygame.MOUSEBUTTONDOWN:
            for action, cell in enumerate(self._cells(pygame.display.get_surface())):
                if cell.collidepoint(event.pos):
                    self._enter(action)
        elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
            does, value = self.keymap.lookup(event.key)
            down = event.type == pygame.KEYDOWN
            if (does is Does.WHAT_IF and not down) or (does is Does.QUIT and down):
                self.done = True
            elif does is Does.ACT and down and isinstance(value, int) and value < self.dreams.actions:
                self._enter(value)
        if self.done:
            for thought in self._thoughts:
                thought.cancel()
        return None

    def update(self) -> None:
        """Dream all of them one step further."""
        self.stale = bool(self._thoughts) and self._thoughts[0].done()
        if self.stale:
            self.dreams.accept(self._thoughts.popleft().result())
        if self.dreams.over:
            self._held += 1
            if self._held < HOLD_TURNS:
                return
            self._held = 0
            self.dreams.begin_again()
        while len(self._thoughts) < min(AHEAD, self.dreams.horizon - self.dreams.ahead):
            self._ask()

    def _ask(self) -> None:
        last = self._thoughts[-1] if self._thoughts else None
        self._thoughts.append(self.engine.beside(lambda: self.dreams.think(last.result() if last else None)))

    def draw(self, screen: Screen) -> None:
        """A grid of dreams with the names of their actions."""
        surface = screen.surface
        veil(surface)
        letters = hud.layout(surface.get_size()).letters
        headline(surface, f"What if?  {self.dreams.ahead} steps ahead", "a number enters a dream", letters)
        for action, cell in enumerate(self._cells(surface)):
            name = f"{action + 1} {self.names.title(action)}"
            tile(surface, cell, self.dreams.frames[action], [name], letters, lit=action == self.names.idle)

    def _cells(self, surface: pygame.Surface) -> list[pygame.Rect]:
        letters = hud.layout(surface.get_size()).letters
        area = pygame.Rect(0, letters * 4, surface.get_width(), max(1, surface.get_height() - letters * 5))
        spec = self.engine.session.world.spec
        return grid(self.dreams.actions, area, spec.width / spec.height, round(letters * 1.6))

    def _enter(self, action: int) -> None:
        self.engine.hurry(self.dreams.path(action))
        self.done = True
