"""Where ball and paddle of Breakout are, read off the console's memory, and the player who follows the ball.

The memory holds positions in raw 210x160 coordinates; see `boxes`.
"""

from __future__ import annotations

from collectors.labels import Box, Ram, clipped

FIELD = (32, 193)  # raw rows between the wall at the top and the paddle's lower edge
SIDES = (8, 152)  # raw columns between the walls
NOOP, FIRE, RIGHT, LEFT = 0, 1, 2, 3
HALF = 8  # raw pixels from the paddle's left end to its middle; less once it has shrunk
DEAD_ZONE = 8  # raw pixels


def boxes(ram: Ram) -> tuple[Box | None, Box | None]:
    """What the screen shows of ball and player: raw pixel boxes, None where nothing is shown.

    ram: uint8 [128]. The ball is in play while its row is not 0. The paddle is half as long once the ball has been at
    the wall at the top; its box here is the long one, cut at the walls.
    """
    ball_row, ball_column = int(ram[101]), int(ram[99])
    ball = clipped(FIELD, ball_row + 9, 4, ball_column - 49, 2, SIDES) if ball_row else None
    return ball, clipped(FIELD, 189, 4, int(ram[72]) - 47, 2 * HALF, SIDES)


def follow_ball(ram: Ram) -> int:
    """The action id that brings the paddle below the ball; serves when no ball is in play."""
    if not ram[101]:
        return FIRE
    ball, paddle = int(ram[99]) - 48, int(ram[72]) - 47 + HALF
    if abs(ball - paddle) < DEAD_ZONE:
        return NOOP
    return RIGHT if ball > paddle else LEFT
