"""The takes that going back has made, as a strip of thumbnails, any of which can be entered."""

from __future__ import annotations

from typing import Any

import pygame

from app import hud
from app.scenes.scene import Scene
from app.screen import Screen
from app.session import Session
from app.timeline import Take
from app.widgets import grid, headline, tile, veil

STEPS = {pygame.K_LEFT: -1, pygame.K_a: -1, pygame.K_UP: -1, pygame.K_RIGHT: 1, pygame.K_d: 1, pygame.K_DOWN: 1}


class TakesScene:
    """Above the game. Arrows choose, Enter or a click goes on at the end of a take, T or Esc closes."""

    def __init__(self, session: Session) -> None:
        self.done, self.waiting, self.session = False, True, session
        self.chosen = session.takes.index(session.take)

    def handle(self, event: Any) -> Scene | None:
        """Choose and enter."""
        if event.type == pygame.MOUSEBUTTONDOWN:
            for at, cell in enumerate(self._cells(pygame.display.get_surface())):
                if cell.collidepoint(event.pos):
                    self.chosen = at
                    self._enter()
        elif event.type == pygame.KEYDOWN:
            if event.key in STEPS:
                self.chosen = (self.chosen + STEPS[event.key]) % len(self.session.takes)
            elif event.key in (pygame.K_RETURN, pygame.K_SPACE):
                self._enter()
            elif event.key in (pygame.K_ESCAPE, pygame.K_t, pygame.K_q):
                self.done = True
        return None

    def update(self) -> None:
        """Nothing moves here."""

    def draw(self, screen: Screen) -> None:
        """A thumbnail of the end of each take, and where it came from."""
        surface = screen.surface
        veil(surface)
        letters = hud.layout(surface.get_size()).letters
        headline(surface, "Takes", "arrows choose, Enter plays on from the end of one, Esc closes", letters)
        for at, (take, cell) in enumerate(zip(self.session.takes, self._cells(surface), strict=True)):
            mark = " (now)" if take is self.session.take else ""
            tile(
                surface,
                cell,
                take.frame(take.end),
                [f"take {take.number}{mark}", _whence(take)],
                letters,
                at == self.chosen,
            )

    def _cells(self, surface: pygame.Surface) -> list[pygame.Rect]:
        letters = hud.layout(surface.get_size()).letters
        area = pygame.Rect(0, letters * 4, surface.get_width(), max(1, surface.get_height() - letters * 5))
        spec = self.session.world.spec
        return grid(len(self.session.takes), area, spec.width / spec.height, round(letters * 3))

    def _enter(self) -> None:
        self.session.enter(self.session.takes[self.chosen].number)
        self.done = True


def _whence(take: Take) -> str:
    """`40 to 92, from take 1`."""
    if take.origin is not None:
        source = {"start": "a start", "prompt": "a picture"}.get(take.origin.why, take.origin.why)
    else:
        number = 0 if take.parent is None else take.parent.number
        source = f"take {number}" if number else "what is forgotten"
    return f"{take.begin} to {take.end}, from {source}"
