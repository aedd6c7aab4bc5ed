"""The curve under two games that run side by side: how near they have been over the last turns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pygame

from app import theme
from app.compare import Point

TOP_DB = 40.0  # upper end; what is better is drawn there
STEP = 3  # pixels a turn
LINES = (("copy", theme.FAINT, 1), ("psnr", theme.SKY, 1), ("moving", theme.LIT, 3))  # field of a point, colour, width
LEGEND = (("what moves", theme.LIT), ("whole picture", theme.SKY), ("a picture that never moves", theme.FAINT))


def draw_curve(
    surface: pygame.Surface, area: pygame.Rect, letters: int, points: Sequence[Point], threshold: float
) -> None:
    """PSNR of what moves, of the whole picture, and of one that never changes, over the threshold.

    A new line begins at each sync. The lines differ in thickness as well as in colour.
    """
    pygame.draw.rect(surface, theme.PANEL, area)
    pygame.draw.line(surface, theme.EDGE, area.topleft, area.topright)
    _legend(surface, area, letters, threshold)
    plot = _plot(area, letters)
    for db in (0.0, TOP_DB / 2, TOP_DB):
        y = _height(plot, db)
        label = theme.text(f"{db:.0f} dB", letters - 2, theme.FAINT)
        surface.blit(label, label.get_rect(midright=(plot.left - letters // 2, y)))
        pygame.draw.line(surface, theme.EDGE, (plot.left, y), (plot.right, y))
    at = _height(plot, threshold)
    for x in range(plot.left, plot.right, 10):
        pygame.draw.line(surface, theme.INK, (x, at), (x + 4, at))
    runs = _runs(points[-max(2, plot.width // STEP) :])
    for name, colour, thick in LINES:
        for run in runs:
            values = [(plot.left + STEP * index, getattr(point, name)) for index, point in run]
            line = [(x, _height(plot, value)) for x, value in values if not math.isnan(value)]
            if len(line) > 1:
                pygame.draw.lines(surface, colour, False, line, thick)
            elif line:
                pygame.draw.circle(surface, colour, line[0], thick)


def _plot(area: pygame.Rect, letters: int) -> pygame.Rect:
    """Where the lines go: right of the numbers, below the legend."""
    pad, small = letters // 2, letters - 2
    left = area.left + theme.font(small).size("40 dB")[0] + 2 * pad
    top = area.top + round(letters * 2.2)
    return pygame.Rect(left, top, max(1, area.right - pad - left), max(1, area.bottom - pad - small // 3 - top))


def _legend(surface: pygame.Surface, area: pygame.Rect, letters: int, threshold: float) -> None:
    """What the lines are, each in its colour, as many as fit."""
    left = area.left + letters // 2
    for name, colour in (*LEGEND, (f"- - lost below {threshold:g} dB", theme.INK)):
        label = theme.text(name, letters - 1, colour)
        if left + label.get_width() > area.right - letters // 2:
            break
        surface.blit(label, label.get_rect(midleft=(left, area.top + letters)))
        left += label.get_width() + 2 * letters


def _runs(points: Sequence[Point]) -> list[list[tuple[int, Point]]]:
    """Turns with their place in the curve, cut where the dream was put back on the game."""
    runs: list[list[tuple[int, Point]]] = []
    for index, point in enumerate(points):
        if point.since == 1 or not runs:
            runs.append([])
        runs[-1].append((index, point))
    return runs


def _height(plot: pygame.Rect, value: float) -> int:
    return round(plot.bottom - plot.height * min(max(value, 0.0), TOP_DB) / TOP_DB)
