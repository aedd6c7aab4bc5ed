"""How far the picture as a whole moved between two frames, read off their pixels: the scrolling of a game.

Block matching with the whole picture as the block: the displacement at which what both frames show differs least,
first on every second pixel and over the whole reach, then around the best of these on all pixels, then between
pixels by a parabola. Differences count up to CAP, so that a figure which moves its own way does not decide.
"""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 10
"""Pixels, to each side, that a picture is taken to move at most."""
CAP = 96
"""Levels of 255 beyond which pixels are simply different."""
DOUBT = 0.15
"""Levels by which a displacement of REACH must fit better than none; where there is nothing to see nothing moves."""
AROUND = 2
"""Pixels around the coarse answer in which the fine one is looked for."""
NOWHERE = 8192  # a level that no pixel has: it always differs by CAP


def displacement(before: Tensor, after: Tensor, at_once: int = 128) -> Tensor:
    """uint8 [B, C, H, W], twice → pixels right and down by which the picture moved: float [B, 2].

    H and W must be even, or a ValueError says so. Frames that show nothing that could be followed are taken to stand
    still.
    """
    if before.shape[-1] % 2 or before.shape[-2] % 2:
        raise ValueError(f"what scrolls must have even sides, found {before.shape[-2]}x{before.shape[-1]}")
    parts = zip(torch.split(before, at_once), torch.split(after, at_once), strict=True)
    return torch.cat([_displacement(one.float(), two.float()) for one, two in parts])


def displacements(frames: Tensor) -> Tensor:
    """uint8 [B, T, C, H, W] → pixels right and down by which the picture moved in each step: float [B, T-1, 2]."""
    found = displacement(frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1))
    return found.reshape(len(frames), -1, 2)


def _displacement(before: Tensor, after: Tensor) -> Tensor:
    batch, _, height, width = before.shape
    half = (height // 2, width // 2)
    coarse = min(REACH // 2, *(size // 2 for size in half))
    thin, later = (
        part.reshape(batch, -1, half[0], 2, half[1], 2).mean(dim=(1, 3, 5))[:, None] for part in (before, after)
    )
    none = torch.zeros(batch, 2, dtype=torch.int64, device=before.device)
    at = 2 * _best(*_costs(thin, later, none, coarse), 2)[0]
    costs, offsets = _costs(before, after, at, AROUND)
    best, index = _best(costs, offsets, 1)
    row, column = index // (2 * AROUND + 1), index % (2 * AROUND + 1)
    across = costs.gather(1, row[:, None, None].expand(-1, 1, costs.shape[2]))[:, 0]
    down = costs.gather(2, column[:, None, None].expand(-1, costs.shape[1], 1))[:, :, 0]
    return best + torch.stack([_between(across, column), _between(down, row)], dim=1)


def _costs(before: Tensor, after: Tensor, at: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Mean capped difference of what both show, displaced by `at` int64 [B, 2] and up to `reach` more each way:
    float [B, R, R], rows for down, and the displacements int64 [B, R, R, 2]."""
    batch, _, height, width = before.shape
    rows = torch.arange(-reach, height + reach, device=at.device) - at[:, 1:]  # [B, H + 2 reach]
    columns = torch.arange(-reach, width + reach, device=at.device) - at[:, :1]
    outside = (rows < 0) | (rows >= height)
    beside = (columns < 0) | (columns >= width)
    line = rows.clamp(0, height - 1)[:, None, :, None].expand(-1, before.shape[1], -1, width)
    place = columns.clamp(0, width - 1)[:, None, None].expand(-1, before.shape[1], height + 2 * reach, -1)
    picture = before.gather(2, line).gather(3, place)
    picture = picture.masked_fill((outside[:, :, None] | beside[:, None])[:, None], NOWHERE)
    places = range(2 * reach, -1, -1)
    off = torch.stack(
        [
            (picture[:, :, y : y + height, x : x + width] - after).abs_().clamp_(max=CAP).sum(dim=(1, 2, 3))
            for y in places
            for x in places
        ],
        dim=1,
    ).reshape(batch, len(places), len(places))
    more = torch.arange(-reach, reach + 1, device=at.device)
    offsets = torch.stack(torch.meshgrid(more, more, indexing="xy"), dim=-1) + at[:, None, None]
    both = (width - offsets[..., 0].abs()) * (height - offsets[..., 1].abs())
    channels = before.shape[1]
    return (off - CAP * channels * (height * width - both)) / (channels * both), offsets


def _best(costs: Tensor, offsets: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """The displacement int64 [B, 2] that costs least and its number [B]; a far one must be better than a near one.

    pixels: size of one of theirs.
    """
    doubt = DOUBT / REACH * pixels * offsets.abs().sum(dim=-1)
    index = (costs + doubt).flatten(1).argmin(dim=1)
    return offsets.flatten(1, 2)[torch.arange(len(index), device=index.device), index], index


def _between(costs: Tensor, index: Tensor) -> Tensor:
    """Where between the pixels the least cost is: costs [B, R] along one axis, the least at `index` [B] → [B]."""
    last = costs.shape[1] - 1
    inner = index.clamp(1, last - 1)
    left, least, right = (costs.gather(1, inner[:, None] + step)[:, 0] for step in (-1, 0, 1))
    bend = left - 2 * least + right
    found = ((left - right) / (2 * bend.clamp(min=1e-6))).clamp(-0.5, 0.5)
    return torch.where((index == inner) & (bend > 1e-6), found, torch.zeros_like(found))
