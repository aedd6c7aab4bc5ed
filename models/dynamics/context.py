"""The past as dynamics see it: what is remembered of it, and the faults that training puts into it.

In training the past is real and its actions were read off it; in a dream it is the model's own work, and
the actions are whatever a person presses. Faults are what takes the one towards the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.blocks import KeysValues, Past

RECENT = 8
"""Frames after a change in which the game is taken to be moving at that place."""


class Memory(NamedTuple):
    """What the trunk remembers: keys and values [B, blocks, N, heads, T, D] of the last T frames before the
    present one, of which the last `filled` int64 [B] are there."""

    keys: Tensor
    values: Tensor
    filled: Tensor

    @classmethod
    def of(cls, kept: list[KeysValues], frames: int) -> Memory:
        """The last of the frames that a trunk has seen, at most `frames` of them, in room for as many."""
        keys, values = (torch.stack([own[i] for own in kept], dim=1)[..., -frames:, :] for i in (0, 1))
        filled, lack = keys.shape[4], (0, 0, frames - keys.shape[4], 0)
        return cls(F.pad(keys, lack), F.pad(values, lack), torch.full((len(keys),), filled, device=keys.device))

    @classmethod
    def empty(cls, like: Tensor, batch: int, blocks: int, places: int, frames: int, heads: int) -> Memory:
        """Nothing yet, in room for so many frames; like: a tensor of the trunk, whose last axis has its width."""
        keys = like.new_zeros(batch, blocks, places, heads, frames, like.shape[-1] // heads)
        return cls(keys, keys.clone(), torch.zeros(batch, dtype=torch.int64, device=like.device))

    def past(self) -> list[Past]:
        """One `Past` a block, for one present frame."""
        offset = torch.arange(self.keys.shape[4], 0, -1, device=self.keys.device)
        seen = torch.where(offset[None] <= self.filled[:, None], offset[None], 0)[:, None]
        return [Past(KeysValues(self.keys[:, i], self.values[:, i]), seen) for i in range(self.keys.shape[1])]

    def with_frame(self, kept: list[KeysValues]) -> Memory:
        """The oldest frame forgotten, one more remembered."""
        keys, values = (
            torch.cat([old[..., 1:, :], torch.stack([own[i] for own in kept], dim=1)], dim=4)
            for i, old in ((0, self.keys), (1, self.values))
        )
        return Memory(keys, values, (self.filled + 1).clamp(max=keys.shape[4]))


NEAR, NEVER = -3.0, -12.0
"""What a token's logit loses at a place where it was not seen: if it was seen at two others of the row or the column,
and if not. Of what changes in Breakout's wall on unseen play, 4 % is new to its place and 1 % to the row, too."""


class Other(NamedTuple):
    """Play under other actions than were taken, as far as is known. chosen: bool [B, T-1], where they are others;
    actions: int64 [B, T-1], all of them; future: int64 [B, T-1, N], the frame after each."""

    chosen: Tensor
    actions: Tensor
    future: Tensor


def familiarity(here: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which tokens were seen at which place, bool [N, V], of a grid of rows and columns → what their logits lose
    there: 0, NEAR or NEVER, float [N, V]."""
    seen = here.reshape(*grid, -1)
    near = ((seen.sum(dim=1, keepdim=True) > 1) | (seen.sum(dim=0, keepdim=True) > 1)).expand_as(seen).flatten(0, 1)
    return torch.where(here, 0.0, torch.where(near, NEAR, NEVER))


def erased(context: Tensor, grid: tuple[int, int], rate: float) -> Tensor:
    """Frames [B, T, N]; in a share `rate` of the windows a rectangle of the grid shows, from some frame on,
    only what mostly is there in this batch."""
    batch, frames = context.shape[:2]
    usual = context.flatten(0, 1).mode(dim=0).values
    rows, columns = grid
    corners = [torch.randint(0, size, (2, batch, 1), device=context.device).sort(dim=0).values for size in grid]
    (top, bottom), (left, right) = corners
    place = torch.arange(rows * columns, device=context.device)[None]
    row, column = place // columns, place % columns
    inside = (top <= row) & (row <= bottom) & (left <= column) & (column <= right)  # [B, N]
    since = torch.randint(0, frames, (batch, 1), device=context.device)
    late = torch.arange(frames, device=context.device)[None] >= since
    chosen = torch.rand((batch, 1, 1), device=context.device) < rate
    return torch.where(inside[:, None] & late[..., None] & chosen, usual, context)


def mendable(context: Tensor, real: Tensor, future: Tensor) -> Tensor:
    """bool [B, T, N]: where a context with faults may be told of the next real frame. Not where it is wrong about
    something that has stood still for RECENT frames: that is to be copied, also by a dream that has it otherwise,
    or bricks would come back and digits change by themselves. A paddle that rests for a moment is mended."""
    moving = real != future
    recently = moving.clone()
    for back in range(1, RECENT):
        recently[:, back:] |= moving[:, :-back]
    return (context == real) | recently


def across_games(actions: Tensor) -> tuple[Tensor, Tensor]:
    """Actions [B, T] of which -1 stands between the end of a game and the beginning of the next one → where that is,
    and there others of this batch, as often as they come in it: a new game begins whatever is pressed."""
    begins = actions < 0
    if not bool(begins.any()):
        return begins, actions
    known = actions[~begins] if not bool(begins.all()) else torch.zeros_like(actions[:1, 0])
    other = torch.randint(0, len(known), actions.shape, device=actions.device)
    return begins, torch.where(begins, known[other], actions)


def swapped(actions: Tensor, count: int, rate: float) -> Tensor:
    """A share `rate` of the actions replaced by random ones of `count`, so that every action has been seen
    wherever it may be tried."""
    other = torch.randint(0, count, actions.shape, device=actions.device)
    chosen = torch.rand(actions.shape, device=actions.device) < rate
    return torch.where(chosen, other, actions)
