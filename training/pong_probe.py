"""Ball and paddles of Pong in pixels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from training.probes import Frames, Mask, Objects, Paddle, Probe, balls_in, paddle_in


class PongProbe(Probe):
    """Pong at 104×80, every second pixel of the ALE screen from row 2: a white ball, a green and an orange paddle.

    Where two raw frames were max-pooled when recording, one fast ball may show as two dots with a gap
    of one pixel and a moving paddle as up to 14 rows with blended ends. Hence white pixels at most
    two apart are one ball, and the blend (144, 186, 92) is the player's green.
    """

    shape: ClassVar = (104, 80, 3)
    axis: ClassVar = 0
    across: ClassVar = {"player": 70.5, "enemy": 8.5}
    span: ClassVar = (16, 96)
    scores: ClassVar = {"enemy": ((0, 12, 0, 40), -1), "player": ((0, 12, 40, 80), 1)}
    last: ClassVar = 20  # of 21 points, the last is never shown

    def _detect(self, frames: Frames) -> Objects:
        first, last = self.span
        red, green, blue = (frames[:, first:last, :, channel] for channel in range(3))
        white = (blue >= 126) & (green >= 140) & (red >= 140)
        masks = {
            "player": (green >= 130) & (red <= 178) & (blue < 126),
            "enemy": (red > 178) & (green <= 175) & (blue < 126),
        }
        balls, centres, blobs = balls_in(white, first, gap=1)
        paddles = {name: self._paddle(mask, white, int(self.across[name])) for name, mask in masks.items()}
        return Objects(balls=balls, centres=centres, blobs=blobs, paddles=paddles)

    def _paddle(self, mask: Mask, white: Mask, left: int) -> Paddle:
        """A paddle two columns wide, two either side allowed; a ball in front of it does not break it."""
        rows: Mask = np.asarray(mask[:, :, left - 2 : left + 4].any(2), np.bool_)  # [n, rows]
        started = np.logical_or.accumulate(rows, 1)
        ending = np.logical_or.accumulate(rows[:, ::-1], 1)[:, ::-1]
        return paddle_in(rows | (white[:, :, left : left + 2].any(2) & started & ending), self.span[0])
