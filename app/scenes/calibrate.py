"""What each action was found to do: the table of codes and real actions, and a small loop of each."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from app import hud, theme
from app.engine import Engine
from app.names import ActionNames
from app.scenes.scene import Scene
from app.screen import Screen
from app.what_if import WhatIf
from app.widgets import headline, tile, veil

AHEAD = 12  # steps of the loops
CLOSING = (pygame.K_ESCAPE, pygame.K_q, pygame.K_c, pygame.K_RETURN)
SHORT = {"UPRIGHT": "UR", "UPLEFT": "UL", "DOWNRIGHT": "DR", "DOWNLEFT": "DL"}


class CalibrateScene:
    """Above the game. One row an action: number, name, agreement, use, shares of real actions, what it does."""

    def __init__(self, engine: Engine, names: ActionNames) -> None:
        self.done, self.waiting = False, False
        self.engine, self.names = engine, names
        self.table = engine.session.world.spec.table
        self.loops = WhatIf(engine.session, AHEAD)
        self._thought: Future[Any] | None = None

    def handle(self, event: Any) -> Scene | None:
        """Close on C, Esc, Q, Enter or a click."""
        if event.type == pygame.MOUSEBUTTONDOWN or (event.type == pygame.KEYDOWN and event.key in CLOSING):
            self.done = True
        return None

    def update(self) -> None:
        """The loops go on."""
        if self._thought is not None and self._thought.done():
            self.loops.accept(self._thought.result())
            self._thought = None
        if self._thought is None:
            if self.loops.over:
                self.loops.begin_again()
            self._thought = self.engine.beside(self.loops.think)

    def draw(self, screen: Screen) -> None:
        """Rows of figures at the left, loops at the right."""
        surface = screen.surface
        veil(surface)
        letters = hud.layout(surface.get_size()).letters
        lag = "" if self.table is None else f"; real actions {self.table.best_lag} steps earlier"
        hint = f"share of each action's uses in which the player pressed a button{lag}; C or Esc closes"
        area = headline(surface, "What the actions do", hint, letters)
        rows = self.loops.actions
        pitch = (area.height - letters * 2) / max(1, rows)
        spec = self.engine.session.world.spec
        loop = pygame.Rect(0, 0, round((pitch - 6) * spec.width / spec.height), round(pitch - 6))
        figures = pygame.Rect(letters, area.top, max(1, area.width - loop.width - 3 * letters), area.height)
        shares = _shares(self.table.counts[self.table.best_lag]) if self.table is not None else None
        self._heads(surface, figures, letters)
        for action in range(rows):
            top = area.top + letters * 2 + round(action * pitch)
            self._row(surface, pygame.Rect(figures.left, top, figures.width, round(pitch)), action, shares, letters)
            loop.topright = (area.right - letters, top)
            tile(surface, loop, self.loops.frames[action], [], letters)

    def _columns(self, area: pygame.Rect) -> tuple[int, int]:
        """Where the shares begin, and how wide each is."""
        names = 0 if self.table is None else len(self.table.real_actions)
        first = area.left + round(area.width * 0.42)
        return first, (area.right - first) // max(1, names)

    def _heads(self, surface: pygame.Surface, area: pygame.Rect, letters: int) -> None:
        if self.table is None:
            surface.blit(theme.text("not measured for this world", letters, theme.FAINT), area.topleft)
            return
        surface.blit(theme.text("action   agrees   used", letters, theme.FAINT), area.topleft)
        first, width = self._columns(area)
        for at, name in enumerate(self.table.real_actions):
            said = theme.fitted(SHORT.get(name, name), letters - 2, width - 3, theme.FAINT, least=7)
            surface.blit(said, said.get_rect(midtop=(first + at * width + width // 2, area.top)))

    def _row(
        self, surface: pygame.Surface, area: pygame.Rect, action: int, shares: NDArray[np.float64] | None, letters: int
    ) -> None:
        name = theme.fitted(f"{action + 1} {self.names.title(action)}", letters + 2, round(area.width * 0.2))
        surface.blit(name, name.get_rect(midleft=(area.left, area.centery)))
        if self.table is None or shares is None:
            return
        words = f"{self.table.agreement[action]:.0%}    {self.table.usage[action]:.0%}"
        said = theme.fitted(words, letters, round(area.width * 0.2), theme.FAINT)
        surface.blit(said, said.get_rect(midleft=(area.left + round(area.width * 0.21), area.centery)))
        first, width = self._columns(area)
        for at, share in enumerate(shares[action]):
            cell = pygame.Rect(first + at * width, area.top + 2, max(1, width - 3), max(1, area.height - 4))
            colour = tuple(round(a + (b - a) * share) for a, b in zip(theme.CAP, theme.LIT, strict=True))
            pygame.draw.rect(surface, colour, cell, border_radius=3)
            ink = theme.DARK if share > 0.5 else theme.INK
            figure = theme.fitted(f"{share:.0%}", letters - 1, cell.width, ink, least=7)
            surface.blit(figure, figure.get_rect(center=cell.center))


def _shares(counts: Any) -> NDArray[np.float64]:
    """Counts, actions x real actions, → shares of each row; an unused row is all zeros."""
    table = np.asarray(counts, np.float64)
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1))
