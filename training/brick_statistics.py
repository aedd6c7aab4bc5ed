"""Does a wall of bricks only ever lose bricks, and does it lose one where the ball hits? For real and dreamed play."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.probes import Objects

REACH = (4, 3)
"""Rows and columns of pixels between the ball and a brick that it may have touched within a step."""


def rises(seen: Objects) -> NDArray[np.bool_]:
    """Frames with a brick that the frame before lacked, unless the whole wall is new: bool [N], the first False."""
    assert seen.bricks is not None, "a game without bricks is not asked"
    wall = seen.bricks
    grown = (wall[1:] & ~wall[:-1]).any((1, 2)) & ~wall[1:].all((1, 2))
    return np.concatenate([[False], grown])


def contacts(seen: Objects, brick: tuple[int, int], corner: tuple[int, int]) -> NDArray[np.bool_]:
    """Frames in which one ball turns back, up or down, within REACH of a brick of the frame before: bool [N].

    brick: rows and columns of pixels of one; corner: (y, x) of the wall's first pixel. It is seen where the ball is in
    the frame before, in this one and in the next.
    """
    assert seen.bricks is not None, "a game without bricks is not asked"
    n, rows, columns = seen.bricks.shape
    at = np.where((seen.balls == 1)[:, None], seen.centres[:, 0], np.nan)  # [N, 2]
    out = np.zeros(n, np.bool_)
    if n < 3:
        return out
    way = np.diff(at[:, 0])
    with np.errstate(invalid="ignore"):
        turned = way[:-1] * way[1:] < 0
    for frame in 1 + np.flatnonzero(turned):
        y, x = at[frame]
        first, last = (np.array([y, x]) - REACH - corner) / brick, (np.array([y, x]) + REACH - corner) / brick
        top, left = np.maximum(np.floor(first), 0).astype(int)
        bottom, right = np.minimum(np.floor(last), (rows - 1, columns - 1)).astype(int)
        out[frame] = seen.bricks[frame - 1, top : bottom + 1, left : right + 1].any()
    return out


def brick_tallies(
    seen: Objects, brick: tuple[int, int], corner: tuple[int, int]
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """For each rate: (what counts [N], of which frames [N]), as in `dream_statistics.tallies`.

    `bricks_appear`, see `rises`; `hit_removes`: of the frames in which the ball turns at a brick, those around
    which the wall becomes smaller: from the frame before to the one after.
    """
    assert seen.bricks is not None, "a game without bricks is not asked"
    count = seen.bricks.sum((1, 2))
    later = np.concatenate([np.arange(1, len(count)), [len(count) - 1]])
    earlier = np.maximum(np.arange(len(count)) - 1, 0)
    hit = contacts(seen, brick, corner)
    return {
        "bricks_appear": (rises(seen), np.arange(len(count)) > 0),
        "hit_removes": (hit & (count[later] < count[earlier]), hit),
    }
