"""Autoregressive: the next frame's tokens one after the other, each knowing those before it.

Data path: tokens [B, T, N], actions [B, T-1] that each frame is left by → the trunk of `maskgit.py` → what is known of
each next frame [B, T-1, N, D] → blocks that are causal over the tokens of a frame → logits [B, T-1, N, V].

As IRIS (arXiv 2209.00588, §2.2) draws a frame: row by row, each token from what the past and all tokens before it in
the same frame say. IRIS runs one transformer over the tokens of all frames; here the past is thought through once a
frame, as in our MaskGIT, so that the two differ in how a frame is drawn and in nothing else. What earlier tokens offer
to attention is kept, so that a token costs one place and not a whole frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.dynamics.config import MaskGITConfig
from models.dynamics.maskgit import MaskGIT, MaskGITFamily, MaskGITWorld
from models.learned_world import assembled
from models.sampling import sample
from models.tokenizer import Size
from models.world import WorldSpec


class CausalBlock(nn.Module):
    """Attention to earlier places of the same frame, then a layer for each place; a condition scales and shifts."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.ffn = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.film = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(
        self, x: Tensor, condition: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x: [B, N, D], condition: [B, D] → the same shape, and keys and values [B, heads, N, D] of all places so far.

        past: those of earlier places, of which x is the next one.
        """
        scale, move = self.film(condition)[:, None].chunk(2, dim=-1)
        q, k, v = rearrange(
            self.qkv(self.norms[0](x) * (1 + scale) + move), "b n (three h d) -> three b h n d", three=3, h=self.heads
        )
        q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None, scale=q.shape[-1] ** -0.25)
        x = x + self.out(rearrange(y, "b h n d -> b n (h d)"))
        return x + self.ffn(self.norms[1](x)), (k, v)


class Autoregressive(MaskGIT):
    """The dynamics. The filler of MaskGIT is one that reads the frame from its first token to its last."""

    def __init__(
        self, config: MaskGITConfig, features: Tensor, grid: tuple[int, int], actions: int, pixels: int = 0
    ) -> None:
        super().__init__(config, features, grid, actions, pixels)
        self.fill = nn.ModuleList(CausalBlock(config.width, config.heads) for _ in range(config.fill_depth))

    def in_order(self, known: Tensor, tokens: Tensor, action: Tensor, table: Tensor) -> Tensor:
        """What is known [B, N, D] of frames and their tokens [B, N] → features [B, N, D], each of what the tokens
        before it leave open."""
        before = torch.cat([self.hidden.expand(len(tokens), 1, -1), F.embedding(tokens[:, :-1], table)], dim=1)
        x, condition = known + before + self.where, self.meant(action)
        for block in self.fill:
            x, _ = block(x, condition)
        return self.norm(x)

    def attempt(self, known: Tensor, future: Tensor, actions: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """What training asks for: every token of frames [B, T, N] is guessed, from those before it."""
        features = self.in_order(known.flatten(0, 1), future.flatten(0, 1), actions.flatten(), table)
        return features.reshape(known.shape), torch.ones_like(future, dtype=torch.bool)

    def draw(
        self,
        known: Tensor,
        before: Tensor,
        action: Tensor,
        table: Tensor,
        temperature: float,
        chance: Tensor,
        begins: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One frame, token by token: as in `MaskGIT.draw`, of whose chances [B, K, N] the first of K are used."""
        condition, grid, entropy = self.meant(action), before.clone(), torch.zeros_like(chance[:, 0])
        last = self.hidden.expand(len(before), -1)
        kept: list[tuple[Tensor, Tensor] | None] = [None] * len(self.fill)
        least, sure = (0.0, 1.0) if self.training else (self.config.least, self.config.sure)
        for place in range(before.shape[1]):
            x = (known[:, place] + last + self.where[place])[:, None]
            for index, block in enumerate(self.fill):
                x, kept[index] = block(x, condition, kept[index])
            where = torch.full_like(before[:, 0], place)
            logits = self.logits(self.norm(x[:, 0]), before[:, place], where, table).float()
            if self.changes is not None and not self.training:
                logits = self.changes(logits, where, before[:, place], begins)
            luck = chance[:, 0, place]
            grid[:, place], entropy[:, place] = sample(logits, temperature, luck, least=least, sure=sure)
            last = F.embedding(grid[:, place], table)
        return grid, entropy


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoregressiveFamily(MaskGITFamily):
    """The parts of a MaskGIT world, whose dynamics draw a frame token by token."""

    kind: Literal["autoregressive"] = "autoregressive"

    @classmethod
    def sized(cls, size: Size) -> Self:
        """One dial for all parts."""
        whole = MaskGITFamily.sized(size)
        return cls(tokenizer=whole.tokenizer, latent_actions=whole.latent_actions, dynamics=whole.dynamics)

    def build(self, spec: WorldSpec) -> MaskGITWorld:
        """The world that this config describes, untrained."""
        world: MaskGITWorld = assembled(AutoregressiveWorld, self, spec)
        return world


class AutoregressiveWorld(MaskGITWorld):
    """Draws a frame token by token; sampling steps mean nothing to it."""

    @property
    def in_one_step(self) -> bool:
        """Each token is drawn once."""
        return True

    def fresh_dynamics(self) -> Autoregressive:
        """Untrained dynamics over the present tokenizer."""
        features, actions = self.tokenizer.features(), len(self.spec.actions)
        rows, columns = self.tokenizer.config.patch
        return Autoregressive(self.config.dynamics, features, self.tokenizer.grid, actions, rows * columns)
