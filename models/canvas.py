"""What has been seen around the present frame of a game that scrolls, and moves with it.

A frame of a scrolling game shows a part of a world. Where the picture moves on, what comes in at one side was either
there before, and is to come back as it was, or is new, and has to be made. A canvas larger than the frame tells one
from the other. A world of rooms would need more: what has left the canvas is forgotten.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.transport import shift

SURE = 0.99
"""A place between pixels counts as seen where so much of what it is made of was."""


class Canvas(NamedTuple):
    """picture: float [B, C, H + 2 M, W + 2 M], seen: [B, 1, H + 2 M, W + 2 M], 1 or 0. The frame is in the middle."""

    picture: Tensor
    seen: Tensor

    @classmethod
    def begin(cls, frame: Tensor, margin: int) -> Canvas:
        """Only this frame [B, C, H, W] has been seen; around it its edges are repeated."""
        seen = F.pad(torch.ones_like(frame[:, :1]), (margin,) * 4)
        return cls(F.pad(frame, (margin,) * 4, mode="replicate"), seen)

    def with_frame(self, frame: Tensor) -> Canvas:
        """The middle shows this frame [B, C, H, W]."""
        margin = (self.picture.shape[-1] - frame.shape[-1]) // 2
        picture, seen = self.picture.clone(), self.seen.clone()
        inner = slice(margin, -margin or None)
        picture[..., inner, inner] = frame
        seen[..., inner, inner] = 1
        return Canvas(picture, seen)

    def moved(self, by: Tensor) -> Canvas:
        """All of it moved by [B, 2] pixels right and down."""
        picture = shift(self.picture, by, sharp=True).clamp(-0.5, 0.5)
        return Canvas(picture, (shift(self.seen, by, beyond="zeros") > SURE).to(self.seen.dtype))

    def through(self, by: Tensor, margin: int) -> tuple[Tensor, Tensor]:
        """What a frame shows if all moves by [B, 2]: [B, C, H, W], and where that has been seen: bool [B, H, W]."""
        picture = shift(self.picture, by, sharp=True, cut=margin)
        return picture, shift(self.seen, by, cut=margin, beyond="zeros")[:, 0] > SURE
