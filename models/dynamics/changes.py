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
    became; most: int16 [N, SHADES, SHADES], how many pixels of a place went from one colour to another at once; opens:
    bool [N, V], which tokens a game begins with."""

    seen: NDArray[np.int16]
    most: NDArray[np.int16]
    opens: NDArray[np.bool_]


def count_changes(
    tokens: NDArray[np.int32], firsts: NDArray[np.int64], shades: NDArray[np.int64], grid: tuple[int, int], wide: int
) -> Counted:
    """Frames int32 [F, N] and which of them, [E], begin a game → what changed within games, and how they begin.

    shades: [V, P], the colours of the pixels of each token; grid: rows and columns of tokens; wide: columns of pixels
    a token. What two pixels, or places, of a row or of a column did, all others of it may do.
    """
    places, (size, pixels) = tokens.shape[1], shades.shape
    seen = np.zeros((places, pixels, SHADES, SHADES), np.bool_)
    most = np.zeros((places, SHADES * SHADES), np.int16)
    opens = np.zeros((places, size), np.bool_)
    opens[np.arange(places)[None], tokens[firsts]] = True
    follows = np.ones(len(tokens) - 1, np.bool_)
    follows[firsts[firsts > 0] - 1] = False
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
    return Counted(bits, wall.reshape(places, SHADES, SHADES), opens)


class Changes(nn.Module):
    """What is known of how pixels change, and what it does to the logits of a next frame.

    seen, most, opens: as in `Counted`, of N places, P pixels a token and V tokens; everything may be until something is
    counted. shades: int64 [V, P], from the tokenizer, or None where it says nothing about pixels.
    """

    seen: Tensor
    most: Tensor
    opens: Tensor

    def __init__(self, places: int, pixels: int, tokens: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.full((places, pixels, SHADES), -1, dtype=torch.int16))
        self.register_buffer("most", torch.full((places, SHADES, SHADES), pixels, dtype=torch.int16))
        self.register_buffer("opens", torch.ones((places, tokens), dtype=torch.bool))
        self.shades: Tensor | None = None

    def learn(self, found: Counted) -> None:
        """Take over what was counted; what was known before stays known."""
        seen, most, opens = (torch.from_numpy(each).to(self.seen.device) for each in found)
        if bool((self.seen != -1).any()):
            seen, most, opens = seen | self.seen, torch.maximum(most, self.most), opens | self.opens
        for mine, new in ((self.seen, seen), (self.most, most), (self.opens, opens)):
            mine.copy_(new)

    def strange(self, place: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Places, tokens there and tokens that would follow, int64 [K] each → pixels that would change as they never
        did, or that are more of a kind than ever, int64 [K]. A token may always stay."""
        assert self.shades is not None
        had, gets = self.shades[before], self.shades[after]  # [K, P]
        pixel = torch.arange(had.shape[1], device=had.device)
        allowed = self.seen[place[:, None], pixel, had] >> gets.to(torch.int16)
        never = (((allowed & 1) == 0) & (had != gets)).sum(dim=-1)
        kinds = torch.zeros((len(had), SHADES * SHADES), dtype=torch.int16, device=had.device)
        kinds.scatter_add_(1, had * SHADES + gets, torch.ones_like(had, dtype=torch.int16))
        kinds[:, :: SHADES + 1] = 0  # what keeps its colour
        more = (kinds - self.most.flatten(1)[place]).clamp(min=0).sum(dim=-1)
        return torch.maximum(never, more) * (before != after)

    def forward(self, logits: Tensor, place: Tensor, before: Tensor, begins: Tensor | None = None) -> Tensor:
        """Logits [K, V] of the tokens at places [K] that had tokens before [K] → the same, less EACH for each strange
        pixel, and MOST at most. Where a game begins, bool [K], less MOST for what none began with. Tokens that have
        no chance anyway are left alone."""
        if self.shades is None:
            return logits
        near = logits > logits.amax(dim=-1, keepdim=True) - MOST
        row, token = near.nonzero(as_tuple=True)
        loss = (EACH * self.strange(place[row], before[row], token)).clamp(max=MOST)
        if begins is not None:
            loss = torch.where(begins[row], torch.where(self.opens[place[row], token], 0.0, MOST), loss)
        return logits.index_put((row, token), -loss.to(logits.dtype), accumulate=True)
