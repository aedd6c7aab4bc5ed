"""Worlds as tiles: where they go in a window, and how one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pygame

from app import theme
from app.screen import Screen
from app.shelf import Tile
from app.timeline import Frame

NARROWEST, WIDEST = 132, 560  # pixels of a tile
SMALL = 11  # pixels of the smallest letters
DIM = 0.35  # of the brightness of a broken world's picture


@dataclass(frozen=True, slots=True)
class Grid:
    """Where tiles go in a window of some size. rows: how many are seen at a time; the page scrolls by whole rows."""

    top: pygame.Rect
    page: pygame.Rect
    bottom: pygame.Rect
    letters: int
    gap: int
    columns: int
    rows: int
    tile: tuple[int, int]
    count: int

    def rect(self, index: int, first: int) -> pygame.Rect | None:
        """The place of a tile when row `first` is at the top; None if it is not seen."""
        row, column = divmod(index, self.columns)
        if not first <= row < first + self.rows:
            return None
        width, height = self.tile
        across = min(self.columns, self.count)
        down = min(self.rows, -(-self.count // self.columns))
        left = self.page.centerx - (across * (width + self.gap) - self.gap) // 2
        top = self.page.top + max(0, self.page.height - down * (height + self.gap) + self.gap) // 2
        place = (left + column * (width + self.gap), top + (row - first) * (height + self.gap))
        return pygame.Rect(place, self.tile)


def lettering(width: int) -> int:
    """Pixels of the letters in a window of some width."""
    return max(11, min(20, width // 46))


def bars(width: int) -> int:
    """Pixels that the bars above and below need in a window of some width."""
    return round(lettering(width) * 2.2) + round(lettering(width) * 3.4)


def grid(size: tuple[int, int], count: int) -> Grid:
    """As large as all tiles can be seen at once; where they would become too small, fewer at a time."""
    width, height = size
    letters = lettering(width)
    top = pygame.Rect(0, 0, width, round(letters * 2.2))
    bottom = pygame.Rect(0, height - round(letters * 3.4), width, round(letters * 3.4))
    page = pygame.Rect(0, top.bottom, width, max(1, bottom.top - top.bottom))
    gap, words = max(4, letters // 2), caption(letters)

    def widest(columns: int, rows: int) -> int:
        across = (page.width - gap * (columns + 1)) // columns
        return min(across, (page.height - gap * (rows + 1)) // rows - words, WIDEST)

    count = max(1, count)
    fits = {columns: widest(columns, -(-count // columns)) for columns in range(1, count + 1)}
    columns = max(fits, key=lambda number: (fits[number], -number))
    if fits[columns] >= NARROWEST:
        rows, across = -(-count // columns), fits[columns]
    else:
        columns = max(1, min(count, (page.width - gap) // (NARROWEST + gap)))
        rows = max(1, (page.height - gap) // (NARROWEST + words + gap))
        across = max(32, widest(columns, rows))
    return Grid(top, page, bottom, letters, gap, columns, rows, (across, across + words), count)


def tile_letters(letters: int) -> int:
    """Pixels of a tile's letters, which leave the room to the picture."""
    return min(letters, 15)


def caption(letters: int) -> int:
    """Pixels of the lines under a picture."""
    return round(tile_letters(letters) * 4.3)


def draw_tile(
    screen: Screen, at: Grid, rect: pygame.Rect, tile: Tile, frame: Frame | None, problem: str, selected: bool
) -> None:
    """One tile: the picture if there is one, name, size and scorecard, or what is wrong with it."""
    surface = screen.surface
    pygame.draw.rect(surface, theme.CAP if selected else theme.PANEL, rect, border_radius=6)
    pygame.draw.rect(surface, theme.LIT if selected else theme.EDGE, rect, 3 if selected else 1, border_radius=6)
    box = pygame.Rect(rect.left + 5, rect.top + 5, rect.width - 10, rect.width - 10)
    if frame is not None:
        screen.show(_dimmed(shrunk(frame, box)) if problem else shrunk(frame, box), box)
    letters, small = tile_letters(at.letters), max(SMALL, tile_letters(at.letters) - 3)
    room, ink = rect.width - letters, theme.LIT if selected else theme.INK
    if problem:
        word = theme.fitted("broken", letters, room, theme.FAINT)
        surface.blit(word, word.get_rect(center=box.center))
        lines = [theme.fitted(tile.title, letters + 2, room, theme.FAINT)]
        lines += [theme.text(line, small, theme.FAINT) for line in wrapped(problem, small, room, 2)]
    else:
        size = f"{tile.width} x {tile.height}, {tile.megabytes:.1f} MB"
        lines = [theme.fitted(tile.title, letters + 2, room, ink), theme.fitted(size, small, room)]
        lines.append(theme.fitted(as_many(tile.figures, small, room) or tile.score, small, room, theme.FAINT))
    for number, line in enumerate(lines):
        y = rect.bottom - caption(at.letters) + round(letters * (0.6 + 1.35 * number))
        surface.blit(line, line.get_rect(center=(rect.centerx, y)))


def shrunk(frame: Frame, box: pygame.Rect) -> Frame:
    """A frame that fits a box: every second pixel, every third, and so on, of one that is larger."""
    height, width = frame.shape[:2]
    stride = max(1, -(-height // max(1, box.height)), -(-width // max(1, box.width)))
    return frame if stride == 1 else np.ascontiguousarray(frame[::stride, ::stride])


def wrapped(words: str, size: int, width: int, lines: int) -> list[str]:
    """Words in at most so many lines; the last one is cut off where there are more."""
    left, found = words.split(), [""]
    while left:
        longer = f"{found[-1]} {left[0]}".strip()
        if found[-1] and theme.font(size).size(longer)[0] > width:
            if len(found) == lines:
                break
            found.append("")
        else:
            found[-1] = longer
            left.pop(0)
    cut = [line if theme.font(size).size(line)[0] <= width else _cut(line, size, width) for line in found]
    return [*cut[:-1], _cut(f"{cut[-1]} ..", size, width)] if left else cut


def _cut(line: str, size: int, width: int) -> str:
    line = line.removesuffix(" ..")
    while line and theme.font(size).size(f"{line}..")[0] > width:
        line = line[:-1]
    return f"{line}.." if line else ""


def as_many(parts: Sequence[str], size: int, width: int) -> str:
    """As many parts, from the first, as fit one line; of a lone one that does not fit, what stands before brackets."""
    shown = list(parts)
    while len(shown) > 1 and theme.font(size).size(", ".join(shown))[0] > width:
        shown.pop()
    words = ", ".join(shown)
    return words if theme.font(size).size(words)[0] <= width else words.partition(" (")[0]


def _dimmed(frame: Frame) -> Frame:
    grey = (frame.mean(axis=-1, keepdims=True) * DIM).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey, frame.shape))
