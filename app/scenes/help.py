"""The page of keys, drawn over a scene from its table of keys."""

from __future__ import annotations

from typing import Any

import pygame

from app import theme
from app.gamepad import Gamepads, Table, printed
from app.keymap import Binding, Keymap
from app.scenes.scene import Scene
from app.screen import Screen

CLOSING = (pygame.K_h, pygame.K_F1, pygame.K_ESCAPE, pygame.K_q, pygame.K_RETURN, pygame.K_SPACE)


class HelpScene:
    """Every key of a table and what it does; what lies below waits.

    note: a line under the table. pads, buttons: gamepads, and what their buttons do in the scene below; they are
    told where a pad is plugged in.
    """

    def __init__(
        self, keymap: Keymap, note: str = "", pads: Gamepads | None = None, buttons: Table | None = None
    ) -> None:
        self.done, self.waiting, self.note = False, True, note
        self._pads = pads
        told = buttons if pads is not None and pads.names and buttons is not None else {}
        self.lines = [(_keys(binding, told), binding.text) for binding in keymap.bindings]

    def handle(self, event: Any) -> Scene | None:
        """Close on H, F1, Esc, Q, Enter, Space, a click, or any button of a gamepad."""
        if event.type == pygame.MOUSEBUTTONDOWN:
            self.done = True
        elif event.type == pygame.KEYDOWN:
            self.done = event.key in CLOSING
        elif self._pads is not None:
            self.done = any(press.down for press in self._pads.read(event))
        return None

    def update(self) -> None:
        """Nothing moves here."""

    def draw(self, screen: Screen) -> None:
        """A dark page with two columns: keys at the left, what they do at the right."""
        surface = screen.surface
        width, height = surface.get_size()
        veil = pygame.Surface((width, height), pygame.SRCALPHA)
        veil.fill((*theme.ROOM, 236))
        surface.blit(veil, (0, 0))
        rows = len(self.lines) + 4
        letters = max(9, min(18, int(height / (rows * 1.5)), width // 40))
        pitch = min(letters * 1.9, height / rows)
        page = min(width - 2 * letters, letters * 46)
        left, top = (width - page) // 2, (height - pitch * (rows - 1)) / 2
        split = left + int(page * 0.42)
        surface.blit(theme.text("Keys", letters + 4, theme.SKY), (left, top))
        for row, (keys, what) in enumerate(self.lines, start=1):
            y = top + (row + 0.4) * pitch
            shown = theme.fitted(keys, letters, split - left - letters, theme.LIT, least=7)
            surface.blit(shown, shown.get_rect(midleft=(left, y + pitch / 2)))
            said = theme.fitted(what, letters, left + page - split, theme.INK, least=8)
            surface.blit(said, said.get_rect(midleft=(split, y + pitch / 2)))
        note = theme.fitted(self.note, letters, page, theme.FAINT)
        surface.blit(note, note.get_rect(midleft=(left, top + (rows - 1.2) * pitch)))


def _keys(binding: Binding, buttons: Table) -> str:
    """The keys of a line, and the buttons that do the same."""
    pressed = printed(buttons, binding.does)
    return f"{binding.shown}  (pad: {pressed})" if pressed else binding.shown
