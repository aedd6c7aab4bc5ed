"""Ten places to save a dream in, and the quick save: look, save, go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pygame

from app import hud, saving
from app.keymap import typed_digit
from app.scenes.scene import Scene
from app.screen import Screen
from app.session import Session
from app.widgets import grid, headline, tile, veil

STEPS = {pygame.K_LEFT: -1, pygame.K_UP: -1, pygame.K_RIGHT: 1, pygame.K_DOWN: 1}


class SlotsScene:
    """Above the game. Arrows or a digit choose, S saves here, Enter goes on from here, Esc closes.

    folder: where the saves of this world are; say: shows a line in the game afterwards.
    """

    def __init__(self, session: Session, folder: Path, say: Callable[[str], None]) -> None:
        self.done, self.waiting = False, True
        self.session, self.folder, self._say = session, folder, say
        self.chosen = 1
        self.note = ""
        self.slots = saving.slots(folder)

    def handle(self, event: Any) -> Scene | None:
        """Choose, save, load."""
        if event.type == pygame.MOUSEBUTTONDOWN:
            for at, cell in enumerate(self._cells(pygame.display.get_surface())):
                if cell.collidepoint(event.pos):
                    self.chosen = at
        elif event.type == pygame.KEYDOWN:
            self._key(event.key)
        return None

    def update(self) -> None:
        """Nothing moves here."""

    def draw(self, screen: Screen) -> None:
        """A thumbnail for each slot, with its name, time and step, or the reason why it cannot be read."""
        surface = screen.surface
        veil(surface)
        letters = hud.layout(surface.get_size()).letters
        hint = self.note or "arrows or 0 to 9 choose, S saves here, Enter goes on from here, Esc closes"
        headline(surface, "Saved dreams", hint, letters)
        spec = self.session.world.spec
        blank = np.full((spec.height, spec.width, 3), 24, np.uint8)
        for at, (slot, cell) in enumerate(zip(self.slots, self._cells(surface), strict=True)):
            told = slot.problem or ("empty" if slot.empty else f"frame {slot.step}, {slot.when}")
            frame = blank if slot.frame is None else slot.frame
            tile(surface, cell, frame, [f"{slot.key} {slot.name}".strip(), told], letters, at == self.chosen)

    def _cells(self, surface: pygame.Surface) -> list[pygame.Rect]:
        letters = hud.layout(surface.get_size()).letters
        area = pygame.Rect(0, letters * 4, surface.get_width(), max(1, surface.get_height() - letters * 5))
        spec = self.session.world.spec
        return grid(len(self.slots), area, spec.width / spec.height, round(letters * 3))

    def _key(self, key: int) -> None:
        digit = typed_digit(key)
        if key in STEPS:
            self.chosen = (self.chosen + STEPS[key]) % len(self.slots)
        elif digit is not None:
            self.chosen = next(at for at, slot in enumerate(self.slots) if slot.key == str(digit))
        elif key == pygame.K_s:
            self._save()
        elif key == pygame.K_RETURN:
            self._load()
        elif key in (pygame.K_ESCAPE, pygame.K_q, pygame.K_F6):
            self.done = True

    def _save(self) -> None:
        try:
            saving.save(self.session, self.slots[self.chosen].path, when=time.strftime("%Y-%m-%d %H:%M"))
        except (OSError, ValueError) as problem:
            self.note = str(problem)
            return
        self.slots = saving.slots(self.folder)
        self.note = f"saved in slot {self.slots[self.chosen].key}"

    def _load(self) -> None:
        slot = self.slots[self.chosen]
        if slot.empty:
            self.note = f"slot {slot.key} is empty"
            return
        try:
            self.session.aside(lambda: saving.load(self.session, slot.path))
        except (OSError, ValueError) as problem:
            self.note = str(problem)
            return
        self._say(f"went on from slot {slot.key}, frame {slot.step}")
        self.done = True
