"""Which changes of colour play ever showed: counted, not learned.

A game draws little: in Breakout bricks go black, and nothing but a ball, two pixels of it, ever lights up where they
were. Weights learn that only where they saw it often; where a ball flies inside the wall they are unsure, and a token
that brings a brick back is drawn now and then. What hundreds of thousands of frames never show can be told by counting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.frames import SHADES

EACH, MOST = 4.0, 12.0
"""What a token's logit loses for each pixel that would change as it never did, and at most."""


class Counted(NamedTuple):
    """What play shows. seen: int16 [N, P, SHADES], for each place, pixel and colour a bit for each colour that it
    became; most: int16 [N, SHADES, SHADES], how many pixels of a place went from one colour to another at once."""

    seen: NDArray[np.int16]
    most: NDArray[np.int16]


def count_changes(
    tokens: NDArray[np.int32], follows: NDArray[np.bool_], shades: NDArray[np.int64], grid: tuple[int, int], wide: int
) -> Counted:
    """Frames int32 [F, N] and which of them, bool [F-1], the next one follows in the same game → what changed.

    shades: [V, P], the colours of the pixels of each token; grid: rows and columns of tokens; wide: columns of pixels
    a token. What two pixels, or places, of a row or of a column did, all others of it may do.
    """
    places, (size, pixels) = tokens.shape[1], shades.shape
    seen = np.zeros((places, pixels, SHADES, SHADES), np.bool_)
    most = np.zeros((places, SHADES * SHADES), np.int16)
    at = np.arange(pixels)[None]
    for place in range(places):
        before, after = (tokens[span, place].astype(np.int64)[follows] for span in (slice(-1), slice(1, None)))
        pair = np.unique(before * size + after)
        had, gets = shades[pair // size], shades[pair % size]  # [K, P]
        seen[place, at, had, gets] = True
        for one in had * SHADES + gets:
            most[place] = np.maximum(most[place], np.bincount(one, minlength=SHADES * SHADES))
    (rows, columns), tall = grid, pixels // wide
    frame = seen.reshape(rows, columns, tall, wide, SHADES, SHADES).swapaxes(1, 2)  # [rows, tall, columns, wide, …]
    frame = frame.reshape(rows * tall, columns * wide, SHADES, SHADES)
    frame = frame | (frame.sum(axis=1, keepdims=True) > 1) | (frame.sum(axis=0, keepdims=True) > 1)
    seen = frame.reshape(rows, tall, columns, wide, SHADES, SHADES).swapaxes(1, 2).reshape(seen.shape)
    bits = (seen * (1 << np.arange(SHADES))).sum(axis=-1).astype(np.uint16).view(np.int16)
    wall = most.reshape(rows, columns, -1)
    for axis in (0, 1):
        if wall.shape[axis] > 1:
            wall = np.maximum(wall, np.sort(wall, axis=axis).take([-2], axis=axis))
    return Counted(bits, wall.reshape(places, SHADES, SHADES))


class Changes(nn.Module):
    """What is known of how pixels change, and what it does to the logits of a next frame.

    seen, most: as in `Counted`, of N places and P pixels a token, all bits and all pixels until something is counted.
    shades: int64 [V, P], from the tokenizer, or None where it says nothing about pixels.
    """

    seen: Tensor
    most: Tensor

    def __init__(self, places: int, pixels: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.full((places, pixels, SHADES), -1, dtype=torch.int16))
        self.register_buffer("most", torch.full((places, SHADES, SHADES), pixels, dtype=torch.int16))
        self.shades: Tensor | None = None

    def learn(self, found: Counted) -> None:
        """Take over what was counted; what was known before stays known."""
        seen, most = (torch.from_numpy(each).to(self.seen.device) for each in found)
        if bool((self.seen != -1).any()):
            seen, most = seen | self.seen, torch.maximum(most, self.most)
        self.seen.copy_(seen)
        self.most.copy_(most)

    def strange(self, place: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Places, tokens there and tokens that would follow, int64 [K] each → pixels that would change as they never
        did, or that are more of a kind than ever, int64 [K]. A token may always stay."""
        assert self.shades is not None
        had, gets = self.shades[before], self.shades[after]  # [K, P]
        pixel = torch.arange(had.shape[1], device=had.device)
        allowed = self.seen[place[:, None], pixel, had] >> gets.to(torch.int16)
        never = ((allowed & 1) == 0).sum(dim=-1)
        kinds = torch.zeros((len(had), SHADES * SHADES), dtype=torch.int16, device=had.device)
        kinds.scatter_add_(1, had * SHADES + gets, torch.ones_like(had, dtype=torch.int16))
        kinds[:, :: SHADES + 1] = 0  # what keeps its colour
        more = (kinds - self.most.flatten(1)[place]).clamp(min=0).sum(dim=-1)
        return torch.maximum(never, more) * (before != after)

    def forward(self, logits: Tensor, place: Tensor, before: Tensor) -> Tensor:
        """Logits [K, V] of the tokens at places [K] that had tokens before [K] → the same, less EACH for each strange
        pixel, and MOST at most. Tokens that have no chance anyway are left alone."""
        if self.shades is None:
            return logits
        near = logits > logits.amax(dim=-1, keepdim=True) - MOST
        row, token = near.nonzero(as_tuple=True)
        loss = (EACH * self.strange(place[row], before[row], token)).clamp(max=MOST)
        return logits.index_put((row, token), -loss.to(logits.dtype), accumulate=True)
