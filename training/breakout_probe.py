"""Ball, paddle and bricks of Breakout in pixels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from training.probes import Frames, Mask, Objects, Probe, balls_in, paddle_in

TOP, PADDLE = 16, (94, 96)  # first row below the upper wall; rows of the paddle
WALL, BRICK, GRID = 28, (3, 4), (6, 18)  # first row of bricks; rows and columns of one; how many there are
DARK = 40  # of 255: what is darker in every channel is the ground
SHARE = 0.75  # of a brick's pixels that must be bright for it to be there


class BreakoutProbe(Probe):
    """Breakout at 104×80, every second pixel of the ALE screen from row 2: a wall of 6 by 18 bricks, a ball of two
    pixels that takes the colour of the row of bricks it is in, a red paddle of eight pixels and later of four.

    Whatever is bright between the walls and is no brick is a ball or, where it is too large for one, a blob.
    """

    shape: ClassVar = (104, 80, 3)
    axis: ClassVar = 1
    across: ClassVar = {"player": 94.5}
    span: ClassVar = (4, 76)
    wall: ClassVar = (BRICK, (WALL, 4))

    def _detect(self, frames: Frames) -> Objects:
        left, right = self.span
        bright: Mask = np.asarray((frames[:, :, left:right] > DARK).any(-1), np.bool_)  # [n, H, columns]
        rows, columns = GRID
        wall = bright[:, WALL : WALL + rows * BRICK[0]]
        cells = wall.reshape(len(frames), rows, BRICK[0], columns, BRICK[1])
        bricks = cells.mean((2, 4)) >= SHARE
        loose = bright.copy()
        loose[:, WALL : WALL + rows * BRICK[0]] &= ~bricks.repeat(BRICK[0], 1).repeat(BRICK[1], 2)
        balls, centres, blobs = balls_in(loose[:, TOP : PADDLE[0]], TOP, gap=0)
        centres[..., 1] += left
        red = frames[:, PADDLE[0] : PADDLE[1], left:right]
        line: Mask = np.asarray(((red[..., 0] > 136) & (red[..., 1] < 110)).any(1), np.bool_)
        paddle = paddle_in(line, left)
        return Objects(balls=balls, centres=centres, blobs=blobs, paddles={"player": paddle}, bricks=bricks)
