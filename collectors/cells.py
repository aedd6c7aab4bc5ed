"""Frames made so small and so grey that much alike ones become the same: the cells of a game.

All of it is whole numbers, so that every machine finds the same cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GREY = np.array((77, 150, 29), np.int64)  # how bright red, green and blue look, in 256ths
ROWS = (4, 6, 8, 11, 16, 22, 32)
LEVELS = (4, 8, 16, 32)
WANTED = 0.25  # cells for each frame of a first look at a game


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """How small and how grey. rows, columns: of a cell; levels: of grey, 2 to 256."""

    rows: int
    columns: int
    levels: int

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}x{self.levels}"


def cells(frames: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """The cells of frames uint8 [T, H, W, 3]: uint8 [T, rows * columns] of grey levels, averages over areas.

    A grid that is finer than the frames is cut to their size.
    """
    means = _means(frames, min(grid.rows, frames.shape[1]), min(grid.columns, frames.shape[2]))
    return (means * grid.levels >> 16).astype(np.uint8).reshape(len(frames), -1)


def _means(frames: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.int64]:
    """Mean grey of each area, 0 to 65280 for black to white: int64 [T, rows, columns]."""
    tops, lefts = (
        np.arange(count) * side // count for count, side in zip((rows, columns), frames.shape[1:3], strict=True)
    )
    areas = np.outer(np.diff(tops, append=frames.shape[1]), np.diff(lefts, append=frames.shape[2]))
    lines = np.add.reduceat(frames, tops, axis=1, dtype=np.uint32)
    sums = np.add.reduceat(lines, lefts, axis=2, dtype=np.uint32)
    return np.asarray(sums.astype(np.int64) @ GREY // areas, np.int64)


def grids(height: int, width: int) -> list[Grid]:
    """The grids that come into question for frames of a size, coarse ones first; their areas are about square."""
    found = [
        Grid(rows=rows, columns=max(2, round(rows * width / height)), levels=levels)
        for rows in ROWS
        for levels in LEVELS
    ]
    return sorted(found, key=lambda grid: (grid.rows * grid.columns * math.log2(grid.levels), grid.rows))


def fitting_grid(frames: NDArray[np.uint8], among: Sequence[Grid] | None = None) -> Grid:
    """The grid in which these frames, uint8 [T, H, W, 3], fall into the wanted number of cells, or nearly so.

    One that is too coarse sees nothing change; in one that is too fine every frame is new, and neither shows where
    a game was little played. Of two that are equally good the coarser one.
    """
    among = grids(*frames.shape[1:3]) if among is None else among
    wanted = math.log(max(2.0, WANTED * len(frames)))
    counts = [len(np.unique(cells(frames, grid), axis=0)) for grid in among]
    misses = [abs(math.log(count) - wanted) for count in counts]
    return among[misses.index(min(misses))]
