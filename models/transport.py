"""The next frame as the present one moved, and what is new in it: shared by LAM and dynamics of pictures that scroll.

Data path: frames [B, T, C, H, W] → *memory*, convolutions that know the past but no action → with an action and how
far the picture moved last, K shifts of the whole picture, and for every pixel whether it is copied, taken from one of
the shifted pictures, or drawn anew → the next frame [B, C, H, W].

The shifts are told as changes of the last one, which is read off the pixels (`displacement.py`): what is pooled over a
picture hardly tells up from down, and a net left alone offers both.

Spatial transformer predictor with masks (STP: Finn, Goodfellow, Levine 2016, arXiv 1605.07157, §3), with one
refinement: the net that chooses and draws may be shown a noisy next frame and be asked again, so that what
cannot be known, such as what comes into view, is drawn as one possibility and not as the average of all
(rectified flow, Liu et al. 2022, arXiv 2209.03003, predicting the clean frame).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIRM = 5.0
"""How far a choice may be liked or disliked: what is never chosen at all could not be found useful later."""

KEEN = 10.0
"""How much faster than other weights it is learned whether pictures in motion stay in motion."""


class Memory(NamedTuple):
    """What is known of the past: features [B, D, H', W'], four times coarser than a frame, and their pool [B, 2 D]."""

    features: Tensor
    pool: Tensor


def shift(frames: Tensor, by: Tensor, sharp: bool = False, cut: int = 0, beyond: str = "border") -> Tensor:
    """Pictures [B, C, H, W] moved by [B, 2] pixels right and down; what comes in repeats the edge, or is zero where
    `beyond` is "zeros". cut: pixels that are left off at every side.

    Bilinearly, or where `sharp`, by cubic convolution (Keys 1981), which blurs less and takes longer.
    """
    if not sharp:
        return _sampled(frames, by, "bilinear", cut, cut, beyond)
    right, down = by * by.new_tensor([1.0, 0.0]), by * by.new_tensor([0.0, 1.0])
    return _cubic(_cubic(frames, right, 0, cut, beyond), down, cut, 0, beyond)


def _cubic(frames: Tensor, by: Tensor, rows: int, columns: int, beyond: str) -> Tensor:
    """Along one axis, with Keys' own -1/2 instead of PyTorch's -3/4: that lets waves of eight pixels grow by a
    fortieth with each half pixel, and pictures that are moved again and again end in stripes.

    The kernel is linear in this number, and with 0 it is the bilinear one at a bent fraction.
    """
    part = by - by.floor()
    bent = by.floor() + part * part * (3 - 2 * part)
    steep = _sampled(frames, by, "bicubic", rows, columns, beyond)
    return (2 * steep + _sampled(frames, bent, "bilinear", rows, columns, beyond)) / 3


def _sampled(frames: Tensor, by: Tensor, kind: str, cut_rows: int, cut_columns: int, beyond: str) -> Tensor:
    height, width = frames.shape[-2:]
    rows = torch.arange(cut_rows, height - cut_rows, device=frames.device) + 0.5
    columns = torch.arange(cut_columns, width - cut_columns, device=frames.device) + 0.5
    x = (columns[None] - by[:, :1]) * 2 / width - 1  # [B, W]
    y = (rows[None] - by[:, 1:]) * 2 / height - 1  # [B, H]
    grid = torch.stack([x[:, None].expand(-1, len(rows), -1), y[:, :, None].expand(-1, -1, len(columns))], dim=-1)
    return F.grid_sample(frames, grid, mode=kind, padding_mode=beyond, align_corners=False)


class Residual(nn.Module):
    """Two convolutions around a residual; a condition [B, D] may scale and shift the first one's input."""

    def __init__(self, width: int, condition: int = 0) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.one, self.two = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.film = nn.Linear(condition, 2 * width) if condition else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """[B, D, H, W] → the same shape."""
        inner = self.norm(x)
        if self.film is not None:
            assert condition is not None, "a conditioned block needs its condition"
            scale, move = self.film(condition)[..., None, None].chunk(2, dim=1)
            inner = inner * (1 + scale) + move
        return x + self.two(F.silu(self.one(F.silu(inner))))


class Transport(nn.Module):
    """history: frames that are seen; codes: actions, beside which `codes` itself stands for none; moves: K shifts;
    push: pixels by which codes differ before anything is learned; noisy: for frames that follow each other, moved
    sharply, and the next of which may be shown with noise."""

    def __init__(
        self,
        history: int,
        codes: int,
        width: int,
        moves: int,
        *,
        channels: int,
        push: float = 0.0,
        noisy: bool = False,
    ) -> None:
        super().__init__()
        self.history, self.moves, self.channels, self.noisy = history, moves, channels, noisy
        self.squeeze = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * channels * history, width // 2, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
        )  # fmt: skip
        self.near = Residual(width)
        self.down = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.far = nn.ModuleList(Residual(width) for _ in range(2))
        self.late = Residual(width)
        self.code = nn.Embedding(codes + 1, 64)
        nn.init.normal_(self.code.weight, std=0.3)
        self.push = nn.Embedding(codes + 1, 2)
        nn.init.normal_(self.push.weight, std=push)
        nn.init.zeros_(self.push.weight[codes])  # none pushes nowhere
        self.move = nn.Sequential(
            nn.Linear(2 * width + 68, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 2 * moves)
        )
        nn.init.normal_(self.move[-1].weight, std=0.05)  # type: ignore[arg-type]  # a Linear's weight is a tensor
        self.inertia = nn.Parameter(torch.zeros(()))
        planes = channels * (1 + moves + noisy) + moves * noisy
        self.look = nn.Conv2d(16 * planes, width, 1)
        condition = 64 + 2 * moves + noisy
        self.judge = nn.ModuleList(Residual(width, condition) for _ in range(2))
        self.choose = nn.Conv2d(width, 16 * (moves + 2), 1)
        self.draw = nn.Conv2d(width, 16 * channels, 1)
        liking = torch.ones(moves + 2)
        liking[-1] = -1.0  # to begin with, nothing is drawn
        self.register_buffer("liking", liking[:, None, None], persistent=False)
        self.liking: Tensor

    def remember(self, frames: Tensor) -> Memory:
        """float [B, T, C, H, W] around zero, T = history → memory."""
        later = frames[:, 1:] - frames[:, :-1]
        seen = torch.cat([later, frames[:, -1:]], dim=1).flatten(1, 2)
        x = self.near(self.squeeze(seen))
        y = self.down(x)
        for block in self.far:
            y = block(y)
        x = self.late(x + F.interpolate(y, size=x.shape[-2:]))
        return Memory(x, torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))

    def shifts(self, memory: Memory, codes: Tensor, moved: Tensor) -> Tensor:
        """codes int64 [B], pixels [B, 2] by which the picture moved last → pixels [B, K, 2] right and down.

        The first of them is that of the picture as a whole.
        """
        known = torch.cat([memory.pool, self.code(codes), moved / 4, moved.tanh()], dim=1)
        going_on = (KEEN * self.inertia).sigmoid() * moved
        return self.move(known).unflatten(1, (self.moves, 2)) + (self.push(codes) + going_on)[:, None]

    def candidates(self, present: Tensor, shifts: Tensor) -> Tensor:
        """The present frame [B, C, H, W] and itself moved: [B, K + 1, C, H, W]."""
        moved = [shift(present, shifts[:, k]) for k in range(self.moves)]
        return torch.stack([present, *moved], dim=1)

    def tell(
        self,
        memory: Memory,
        candidates: Tensor,
        shifts: Tensor,
        codes: Tensor,
        noisy: Tensor | None = None,
        time: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """The next frame [B, C, H, W]. noisy: the next frame with noise, time [B]: how much, in [0, 1];
        seen: bool [B, K, H, W], where the shifted pictures may be chosen."""
        condition, planes = [self.code(codes), shifts.flatten(1) / 4], [candidates.flatten(1, 2)]
        if self.noisy:
            assert noisy is not None, "it wants to see a noisy frame"
            assert time is not None, "and how noisy it is"
            assert seen is not None, "and what has been seen"
            planes += [noisy, seen.to(noisy.dtype)]
            condition.append(time[:, None])
        told = torch.cat(condition, dim=1)
        x = memory.features + self.look(F.pixel_unshuffle(torch.cat(planes, dim=1), 4))
        for block in self.judge:
            x = block(x, told)
        liked = FIRM * (F.pixel_shuffle(self.choose(x), 4) / FIRM).tanh() + self.liking
        if seen is not None:
            always = torch.ones_like(seen[:, :1])
            liked = liked.masked_fill(~torch.cat([always, seen, always], dim=1), -math.inf)
        masks = liked.softmax(dim=1)[:, :, None]  # [B, K + 2, 1, H, W]
        drawn = F.pixel_shuffle(self.draw(x), 4)
        return (masks[:, :-1] * candidates).sum(dim=1) + masks[:, -1] * drawn
