"""Layers that at least two models share: the ST-transformer block with its two attentions.

Data path of a block: x → spatial attention within each frame → causal temporal attention at each
place → one feed-forward, each behind a norm and around a residual (Genie, arXiv 2402.15391, §2.1:
one FFW after both attentions). Time is known only through a learned bias per offset, so keys and
values of past frames can be cached and stay valid while the window slides.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class KeysValues(NamedTuple):
    """What past frames offer to temporal attention: keys and values [B, N, heads, T, D]."""

    keys: Tensor
    values: Tensor


class Past(NamedTuple):
    """Past frames for temporal attention. offset: int64 [T, T'] or [B, T, T'], how far each of the
    T' past frames lies behind each of the T present ones; below 1 means that it may not be seen."""

    memory: KeysValues
    offset: Tensor


def causal_offset(frames: int, device: torch.device | str = "cpu") -> Tensor:
    """int64 [T, T]: entry (t, s) is t - s."""
    steps = torch.arange(frames, device=device)
    return steps[:, None] - steps[None, :]


def shifted(tokens: Tensor) -> Tensor:
    """Frames [B, T, N] → the frames before them; the first one is its own."""
    return torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)


class SpatialAttention(nn.Module):
    """Every token of a frame attends to every other token of the same frame.

    A learned bias per offset in rows and columns starts as a preference for what is near, of another
    strength in each head and none in the last (ALiBi, arXiv 2108.12409, in two dimensions): what moves
    comes from next door, and this need not be found out from where each place is.
    """

    def __init__(self, width: int, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        rows, columns = grid
        row = torch.arange(rows).repeat_interleave(columns)
        column = torch.arange(columns).repeat(rows)
        down, right = row[:, None] - row[None], column[:, None] - column[None]  # [N, N]
        self.register_buffer("index", (down + rows - 1) * (2 * columns - 1) + right + columns - 1, persistent=False)
        self.index: Tensor
        far = torch.zeros((2 * rows - 1) * (2 * columns - 1))
        far[self.index.flatten()] = (down.square() + right.square()).float().sqrt().flatten()
        slope = torch.linspace(2.0, 0.0, heads)
        self.bias = nn.Parameter(-slope[:, None] * far)
        self._kept: tuple[tuple[int, int, torch.device], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, N, D] → [B, T, N, D]."""
        frames = x.shape[1]
        qkv = rearrange(self.qkv(x), "b t n (three h d) -> three (b t) h n d", three=3, h=self.heads)
        (q, k), v = F.rms_norm(qkv[:2], qkv.shape[-1:]), qkv[2]
        near = self._near().to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=near[None], scale=q.shape[-1] ** -0.25)
        return self.out(rearrange(y, "(b t) h n d -> b t n (h d)", t=frames))

    def at(self, x: Tensor, places: Tensor) -> Tensor:
        """What `forward` gives at some places alone: frames [B, N, D], places int64 [B, M] → [B, M, D]."""
        width = x.shape[-1]
        asking, offering = self.qkv.weight[:width], self.qkv.weight[width:]
        here = x.gather(1, places[..., None].expand(-1, -1, width))
        q = rearrange(F.linear(here, asking), "b m (h d) -> b h m d", h=self.heads)
        k, v = rearrange(F.linear(x, offering), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        near = self._near().to(q.dtype)[:, places].transpose(0, 1)  # of each place asked for
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=near, scale=q.shape[-1] ** -0.25)
        return self.out(rearrange(y, "b h m d -> b m (h d)"))

    def _near(self) -> Tensor:
        """The bias of every pair of places, float [heads, N, N]; kept where nothing is learned, until it changes."""
        if self.bias.requires_grad:
            return self.bias[:, self.index]
        state = (self.bias.data_ptr(), self.bias._version, self.bias.device)
        if self._kept is None or self._kept[0] != state:
            with torch.inference_mode(False):  # so that it may also be used where gradients pass by
                self._kept = (state, self.bias[:, self.index])
        return self._kept[1]


class TemporalAttention(nn.Module):
    """Each place attends to itself now and to the same place in up to `reach - 1` earlier frames."""

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(heads, reach))

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, KeysValues]:
        """[B, T, N, D] → the same shape, and these frames' own keys and values.

        Without `past` the frames of x are each other's past, causally.
        """
        qkv = rearrange(self.qkv(x), "b t n (three h d) -> three b n h t d", three=3, h=self.heads)
        (q, k), v = F.rms_norm(qkv[:2], qkv.shape[-1:]), qkv[2]
        own = KeysValues(k, v)
        if past is None:
            past = Past(own, causal_offset(x.shape[1], x.device))
        scale = q.shape[-1] ** -0.25
        seen = torch.einsum("bnhtd,bnhsd->bnhts", q, past.memory.keys) * scale
        seen = seen + self._offset_bias(past.offset).to(seen.dtype)
        now = (q * k).sum(-1, keepdim=True) * scale + self.bias[:, :1, None]
        weight = torch.cat([seen, now.to(seen.dtype)], dim=-1).softmax(dim=-1)
        y = torch.einsum("bnhts,bnhsd->bnhtd", weight[..., :-1], past.memory.values) + weight[..., -1:] * v
        return self.out(rearrange(y, "b n h t d -> b t n (h d)")), own

    def _offset_bias(self, offset: Tensor) -> Tensor:
        """int64 [T, T'] or [B, T, T'] → float [heads, T, T'] or [B, 1, heads, T, T'], -inf where unseen."""
        hidden = (offset < 1) | (offset >= self.reach)
        bias = self.bias[:, offset.clamp(0, self.reach - 1)].masked_fill(hidden, float("-inf"))
        return bias if offset.ndim == 2 else rearrange(bias, "h b t s -> b 1 h t s")


def check_heads(width: int, heads: int) -> None:
    """Raise ValueError, naming the numbers of heads that fit, unless `heads` of them share `width` evenly."""
    if heads < 1 or width % heads:
        fits = ", ".join(str(count) for count in range(1, 17) if width % count == 0)
        raise ValueError(f"width {width} is not divisible by {heads} heads; use {fits}")


class STBlock(nn.Module):
    """One block of the ST-transformer; with `conditioned`, a vector per frame scales and shifts its norms.

    A reach of 1 leaves temporal attention out: each frame for itself.
    """

    def __init__(
        self, width: int, heads: int, reach: int, grid: tuple[int, int], conditioned: bool = False, expand: int = 4
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.spatial = SpatialAttention(width, heads, grid)
        self.temporal = TemporalAttention(width, heads, reach) if reach > 1 else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 + (reach > 1)))
        self.ffn = nn.Sequential(nn.Linear(width, expand * width), nn.GELU(), nn.Linear(expand * width, width))
        self.film = nn.Linear(width, 4 * width) if conditioned else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(
        self, x: Tensor, condition: Tensor | None = None, past: Past | None = None
    ) -> tuple[Tensor, KeysValues | None]:
        """x: [B, T, N, D], condition: [B, T, D] → the same shape as x, and the temporal keys and values."""
        one, own = self.norms[0](x), None
        if self.film is not None and condition is not None:
            scale1, shift1, scale2, shift2 = self.film(condition)[:, :, None].chunk(4, dim=-1)
            one = one * (1 + scale1) + shift1
        x = x + self.spatial(one)
        if self.temporal is not None:
            moved, own = self.temporal(self.norms[1](x), past)
            x = x + moved
        inner = self.norms[-1](x)
        if self.film is not None and condition is not None:
            inner = inner * (1 + scale2) + shift2
        return x + self.ffn(inner), own

    def at(self, x: Tensor, condition: Tensor, places: Tensor) -> Tensor:
        """What `forward` gives at some places alone, for a block without temporal attention.

        Single frames x: [B, N, D], condition: [B, D], places: int64 [B, M] → [B, M, D].
        """
        assert self.temporal is None, "a block that looks back needs all places"
        assert self.film is not None, "only conditioned blocks are asked"
        scale1, shift1, scale2, shift2 = self.film(condition)[:, None].chunk(4, dim=-1)
        moved = self.spatial.at(self.norms[0](x) * (1 + scale1) + shift1, places)
        here = x.gather(1, places[..., None].expand(-1, -1, x.shape[-1])) + moved
        return here + self.ffn(self.norms[-1](here) * (1 + scale2) + shift2)
