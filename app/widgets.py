"""Small things to look at and drag: a slider, a grid of pictures. They draw themselves and know no scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pygame
from numpy.typing import NDArray

from app import theme

Frame = NDArray[np.uint8]


@dataclass(slots=True)
class Slider:
    """A value between two ends, dragged with the mouse. step: it snaps to whole multiples of this."""

    label: str
    low: float
    high: float
    step: float
    get: Callable[[], float]
    set: Callable[[float], None]
    rect: pygame.Rect = field(default_factory=lambda: pygame.Rect(0, 0, 0, 0))
    held: bool = False

    def handle(self, event: pygame.event.Event) -> bool:
        """React to the mouse. True if the event was meant for this slider."""
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.rect.collidepoint(event.pos):
            self.held = True
        elif event.type == pygame.MOUSEBUTTONUP and self.held:
            self.held = False
            return True
        if not self.held or event.type not in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEMOTION):
            return False
        rail = self._rail()
        share = min(1.0, max(0.0, (event.pos[0] - rail.left) / max(1, rail.width)))
        value = self.low + share * (self.high - self.low)
        self.set(min(self.high, max(self.low, round(value / self.step) * self.step)))
        return True

    def draw(self, surface: pygame.Surface, rect: pygame.Rect, letters: int) -> None:
        """Label and value above a rail with a knob."""
        self.rect = rect
        value = self.get()
        surface.blit(theme.text(self.label, letters), (rect.left, rect.top))
        said = theme.text(f"{value:g}" if self.step >= 1 else f"{value:.2f}", letters, theme.LIT)
        surface.blit(said, said.get_rect(topright=(rect.right, rect.top)))
        rail = self._rail()
        pygame.draw.rect(surface, theme.CAP, rail, border_radius=2)
        knob = rail.left + round((value - self.low) / (self.high - self.low) * rail.width)
        pygame.draw.circle(surface, theme.LIT if self.held else theme.SKY, (knob, rail.centery), max(5, letters // 2))

    def _rail(self) -> pygame.Rect:
        rail = pygame.Rect(self.rect.left + 6, 0, max(1, self.rect.width - 12), 5)
        rail.centery = self.rect.bottom - max(6, self.rect.height // 4)
        return rail


def grid(count: int, area: pygame.Rect, aspect: float, words: int, gap: int = 8) -> list[pygame.Rect]:
    """Equal cells for `count` pictures of width / height `aspect`, each with `words` pixels of text below it.

    Of all numbers of columns the one that makes the pictures largest.
    """
    best: tuple[float, list[pygame.Rect]] = (-1.0, [])
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        width = (area.width - gap * (columns + 1)) / columns
        height = (area.height - gap * (rows + 1)) / rows - words
        across = min(width, height * aspect)
        if across <= best[0]:
            continue
        cell = (max(1, int(across)), max(1, int(across / aspect) + words))
        left = area.left + (area.width - columns * cell[0] - (columns - 1) * gap) // 2
        top = area.top + (area.height - rows * cell[1] - (rows - 1) * gap) // 2
        cells = [
            pygame.Rect(left + at % columns * (cell[0] + gap), top + at // columns * (cell[1] + gap), *cell)
            for at in range(count)
        ]
        best = (across, cells)
    return best[1]


def tile(
    surface: pygame.Surface, cell: pygame.Rect, frame: Frame, lines: Sequence[str], letters: int, lit: bool = False
) -> None:
    """A picture, uint8 [H, W, 3], in a cell, with a frame round it and lines of text below."""
    words = round(letters * 1.3) * len(lines)
    place = pygame.Rect(cell.left, cell.top, cell.width, max(1, cell.height - words))
    picture = pygame.image.frombuffer(np.ascontiguousarray(frame).tobytes(), (frame.shape[1], frame.shape[0]), "RGB")
    surface.blit(pygame.transform.scale(picture, place.size), place)
    pygame.draw.rect(surface, theme.LIT if lit else theme.EDGE, place.inflate(4, 4), 2, border_radius=3)
    for row, words_of_line in enumerate(lines):
        ink = theme.LIT if lit else theme.INK if row == 0 else theme.FAINT
        said = theme.fitted(words_of_line, letters, cell.width, ink)
        surface.blit(said, said.get_rect(midtop=(cell.centerx, place.bottom + 3 + row * round(letters * 1.3))))


def veil(surface: pygame.Surface, strength: int = 236) -> None:
    """Darken what lies below."""
    cloth = pygame.Surface(surface.get_size(), pygame.SRCALPHA)
    cloth.fill((*theme.ROOM, strength))
    surface.blit(cloth, (0, 0))


def headline(surface: pygame.Surface, words: str, hint: str, letters: int) -> pygame.Rect:
    """A title and a hint along the top; returns the area that is left below them."""
    width, height = surface.get_size()
    title = theme.fitted(words, letters + 4, width - 2 * letters, theme.SKY)
    surface.blit(title, (letters, letters // 2))
    said = theme.fitted(hint, letters, width - 2 * letters, theme.FAINT)
    below = letters // 2 + title.get_height() + 2
    surface.blit(said, (letters, below))
    top = below + said.get_height() + letters // 2
    return pygame.Rect(0, top, width, max(1, height - top - letters // 2))
