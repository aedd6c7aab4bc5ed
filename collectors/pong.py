"""Where the things of Pong are, read off the console's memory, and the player who follows the ball.

The memory holds object positions in raw 210x160 coordinates; see `boxes`. Labels are for scoring
only: no model is trained on them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ram = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # top, bottom, left, right: raw pixels, bottom and right exclusive

FIELD = (34, 194)  # raw rows between the two white walls; what is beyond is hidden behind them
NOOP, RIGHT, LEFT = 0, 2, 3  # RIGHT moves the paddle up
DEAD_ZONE = 8  # raw pixels


def boxes(ram: Ram) -> tuple[Box | None, Box | None, Box | None]:
    """What the screen shows of ball, player and enemy: raw pixel boxes, None where nothing is shown.

    ram: uint8 [128]. Paddles are drawn on even rows only. The ball is in play while its row is not 0.
    """
    ball_row, ball_column = int(ram[54]), int(ram[49])
    ball = _clipped(ball_row - 14, 4, ball_column - 49, 2) if ball_row else None
    player = _clipped(_even(int(ram[51]) - 13), 16, 140, 4)
    enemy = _clipped(_even(int(ram[50]) - 14), 16, 16, 4)
    return ball, player, enemy


def _even(row: int) -> int:
    return row - row % 2


def _clipped(top: int, height: int, left: int, width: int) -> Box | None:
    first, last = max(top, FIELD[0]), min(top + height, FIELD[1])
    start, stop = max(left, 0), min(left + width, 160)
    return (first, last, start, stop) if first < last and start < stop else None


def objects(
    rams: tuple[Ram, Ram], crop: tuple[int, int], height: int, width: int, decimated: bool
) -> NDArray[np.float32]:
    """Ball, player and enemy in a stored frame: float32 [3, 3] of (visible, y, x), in its pixels.

    rams: the memory behind the two raw frames that were merged into the stored one; crop: the first
    and one-past-last raw row of the stored frame; decimated: whether it keeps every second pixel
    (else areas were averaged). (y, x) is the middle of the box round all that both raw frames show of
    the thing, 0 being the middle of the first pixel; a hidden thing is (0, 0, 0).

    Measured on 6737 frames of six episodes at 104x80: visible agrees with the pixels in all frames, the
    middle is within 1 pixel in all (ball: on average 0.10 down and 0.00 across).
    """
    found = np.zeros((3, 3), np.float32)
    down, across = height / (crop[1] - crop[0]), width / 160
    for row, seen in enumerate(zip(*map(boxes, rams), strict=True)):
        shown = [box for box in seen if box is not None]
        if shown:  # plain numbers: this is done at every step of a recording
            top, bottom = min(box[0] for box in shown), max(box[1] for box in shown)
            left, right = min(box[2] for box in shown), max(box[3] for box in shown)
            if decimated:  # an odd edge falls on a pixel that is left out: the next one is the edge that is seen
                top, bottom, left, right = (edge + edge % 2 for edge in (top, bottom, left, right))
            found[row] = (1.0, ((top + bottom) / 2 - crop[0]) * down - 0.5, (left + right) / 2 * across - 0.5)
    return found


def follow_ball(ram: Ram) -> int:
    """The action id that brings the paddle to the ball; stands still when near it or with no ball in play."""
    if not ram[54]:
        return NOOP
    ball, paddle = int(ram[54]) - 12, int(ram[51]) - 5
    if abs(ball - paddle) < DEAD_ZONE:
        return NOOP
    return RIGHT if ball < paddle else LEFT
