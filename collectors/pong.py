"""Where the things of Pong are, read off the console's memory, and the player who follows the ball.

The memory holds object positions in raw 210x160 coordinates; see `boxes`.
"""

from __future__ import annotations

from collectors.labels import Box, Ram, clipped

FIELD = (34, 194)  # raw rows between the two white walls; what is beyond is hidden behind them
NOOP, RIGHT, LEFT = 0, 2, 3  # RIGHT moves the paddle up
DEAD_ZONE = 8  # raw pixels


def boxes(ram: Ram) -> tuple[Box | None, Box | None, Box | None]:
    """What the screen shows of ball, player and enemy: raw pixel boxes, None where nothing is shown.

    ram: uint8 [128]. Paddles are drawn on even rows only. The ball is in play while its row is not 0.
    """
    ball_row, ball_column = int(ram[54]), int(ram[49])
    ball = clipped(FIELD, ball_row - 14, 4, ball_column - 49, 2) if ball_row else None
    player = clipped(FIELD, _even(int(ram[51]) - 13), 16, 140, 4)
    enemy = clipped(FIELD, _even(int(ram[50]) - 14), 16, 16, 4)
    return ball, player, enemy


def _even(row: int) -> int:
    return row - row % 2


def follow_ball(ram: Ram) -> int:
    """The action id that brings the paddle to the ball; stands still when near it or with no ball in play."""
    if not ram[54]:
        return NOOP
    ball, paddle = int(ram[54]) - 12, int(ram[51]) - 5
    if abs(ball - paddle) < DEAD_ZONE:
        return NOOP
    return RIGHT if ball < paddle else LEFT
