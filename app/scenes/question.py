"""A question before something that cannot be undone, drawn over a scene. Only Y does it; there is no default."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import pygame

from app import theme
from app.keymap import Binding, Key, Keymap, chosen_keys
from app.scenes.scene import Scene
from app.screen import Screen


class Answers(enum.Enum):
    """What a key can do while a question is open."""

    YES = enum.auto()
    NO = enum.auto()


BINDINGS: tuple[Binding, ...] = (
    Binding(Answers.YES, "yes", (Key(pygame.K_y, "Y"),)),
    Binding(Answers.NO, "no", (Key(pygame.K_n, "N"), Key(pygame.K_ESCAPE, "Esc"))),
)


class QuestionScene:
    """lines: the question; yes: called when it is answered so. A click answers no, other keys nothing."""

    def __init__(self, lines: Sequence[str], yes: Callable[[], None]) -> None:
        self.done, self.lines, self._yes = False, tuple(lines), yes
        self.keymap = Keymap("QUESTION", BINDINGS, chosen_keys())

    @property
    def waiting(self) -> bool:
        """Nothing moves here."""
        return True

    def handle(self, event: Any) -> Scene | None:
        """Yes, no, or nothing."""
        if event.type == pygame.MOUSEBUTTONDOWN:
            self.done = True
        elif event.type == pygame.KEYDOWN:
            does, _ = self.keymap.lookup(event.key)
            self.done = does is not None
            if does is Answers.YES:
                self._yes()
        return None

    def update(self) -> None:
        """Nothing moves here."""

    def draw(self, screen: Screen) -> None:
        """A box in the middle: the question, and the keys that answer it."""
        surface = screen.surface
        width, height = surface.get_size()
        veil = pygame.Surface((width, height), pygame.SRCALPHA)
        veil.fill((*theme.ROOM, 190))
        surface.blit(veil, (0, 0))
        letters = max(12, min(20, width // 40))
        keys = f"{self.keymap.shown(Answers.YES)}: yes      {self.keymap.shown(Answers.NO)}: no"
        shown = [theme.fitted(line, letters, width - 4 * letters) for line in self.lines]
        shown.append(theme.fitted(keys, letters, width - 4 * letters, theme.LIT))
        pitch = int(letters * 1.8)
        box = pygame.Rect(0, 0, max(line.get_width() for line in shown) + 3 * letters, pitch * (len(shown) + 1))
        box.center = (width // 2, height // 2)
        pygame.draw.rect(surface, theme.PANEL, box, border_radius=6)
        pygame.draw.rect(surface, theme.LIT, box, 1, border_radius=6)
        for row, line in enumerate(shown):
            surface.blit(line, line.get_rect(center=(box.centerx, box.top + pitch * (row + 1))))
