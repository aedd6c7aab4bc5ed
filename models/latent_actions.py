"""The LAM: which of a few codes explains each change. Unsupervised.

Data path: frames [B, T, C, H, W] → pairs of patches (before, after) where they differ → one vector a
transition → three signs = one code of eight → a causal ST-transformer that must rebuild frame t+1
from the frames up to t and the code.

Genie (arXiv 2402.15391, §2.1) with four departures, each against a measured failure: the encoder
sees only the pair and no history, so that a code names a change and not a surprise; its bottleneck
is a row of signs, which cannot leave codes unused the way a codebook can; the decoder first learns,
without codes, what can be told without them (the ball, the opponent), so that what is left for the
codes is what the player does; it rebuilds the tokens of the frame rather than its pixels, because a
one-pixel ball weighs nothing in a squared error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import STBlock
from models.frames import patchify, to_float
from models.quantizers import perplexity
from models.tokenizer import Tokenizer
from models.world import WorldSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentActionConfig:
    """bits: the number of signs, 2^bits codes. width, heads, depth, reach: of the decoder.

    free_share: share of training in which the decoder learns without codes; drop: share of codes
    dropped after that; unchanged: weight in the loss of tokens that stay as they were; spread: weight
    of the term that keeps the signs apart from each other and away from zero.
    """

    bits: int = 3
    width: int = 128
    heads: int = 4
    depth: int = 4
    reach: int = 6
    encoder_width: int = 128
    free_share: float = 0.35
    drop: float = 0.1
    unchanged: float = 0.05
    spread: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 6:
            raise ValueError(f"latent action bits must be in [1, 6], found {self.bits}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        if not 0 <= self.free_share < 1 or not 0 <= self.drop < 1:
            raise ValueError(f"free_share {self.free_share} and drop {self.drop} must be in [0, 1)")

    @property
    def codes(self) -> int:
        """Number of latent actions, A."""
        return 2**self.bits

    @classmethod
    def sized(cls, size: Literal["tiny", "small", "base", "paper"]) -> LatentActionConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "depth": 1, "encoder_width": 32},
            "small": {},
            "base": {"width": 256, "heads": 8, "depth": 6, "encoder_width": 256},
            "paper": {"width": 1024, "heads": 16, "depth": 20, "encoder_width": 1024, "reach": 16},
        }
        return cls(**dials[size])  # type: ignore[arg-type]  # one literal table, checked by __post_init__


class ChangeEncoder(nn.Module):
    """Sums over the patches that changed: what was there, what is there now, where."""

    def __init__(self, pixels: int, tokens: int, width: int, bits: int) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(pixels, width), nn.Linear(pixels, width)
        self.place = nn.Parameter(torch.zeros(tokens, width))
        self.each = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.all = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, bits))
        self.centre = nn.BatchNorm1d(bits, affine=False, momentum=0.02)

    def forward(self, patches: Tensor) -> Tensor:
        """float [B, T, N, D] → [B, T-1, bits] before the signs."""
        before, after = patches[:, :-1], patches[:, 1:]
        changed = (before != after).any(dim=-1)  # [B, T-1, N]
        batch, time, place = changed.nonzero(as_tuple=True)
        x = self.each(
            self.before(before[batch, time, place]) + self.after(after[batch, time, place]) + self.place[place]
        )
        total = x.new_zeros(changed.shape[0] * changed.shape[1], x.shape[-1])
        total = total.index_add(0, batch * changed.shape[1] + time, x)
        return self.centre(self.all(total).float()).unflatten(0, changed.shape[:2])


class LatentActionModel(nn.Module):
    """Reads codes off real frames. Needs a fitted tokenizer, whose tokens its decoder rebuilds."""

    def __init__(self, config: LatentActionConfig, spec: WorldSpec, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        tokens, width = tokenizer.grid[0] * tokenizer.grid[1], config.width
        self.patch = tokenizer.config.patch
        pixels = spec.channels * self.patch[0] * self.patch[1]
        self.encoder = ChangeEncoder(pixels, tokens, config.encoder_width, config.bits)
        features = tokenizer.features()
        self.register_buffer("features", features, persistent=False)
        self.features: Tensor
        self.look = nn.Linear(features.shape[1], width)
        self.embed = nn.Embedding(tokenizer.size, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.earlier = nn.Linear(width, width)
        self.code = nn.Linear(config.bits, width)
        nn.init.normal_(self.code.weight, std=0.1)
        self.blocks = nn.ModuleList(
            STBlock(width, config.heads, config.reach, tokenizer.grid, conditioned=True) for _ in range(config.depth)
        )
        self.norm, self.stay = nn.LayerNorm(width), nn.Linear(width, 1)
        self.head = nn.Linear(width, width)

    def signs(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, T, C, H, W] → tanh values and signs (straight through), each [B, T-1, bits]."""
        soft = torch.tanh(self.encoder(patchify(to_float(frames), self.patch)))
        hard = torch.where(soft >= 0, 1.0, -1.0)
        return soft, soft + (hard - soft).detach()

    @torch.no_grad()
    def infer(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1] in [0, 2^bits)."""
        soft, _ = self.signs(frames)
        return codes_of(soft)

    def predict(self, tokens: Tensor, signs: Tensor, places: Tensor) -> Tensor:
        """Logits [K, V] of frames 2…T at `places` (a mask bool [B, T-1, N] with K trues).

        tokens: int64 [B, T-1, N], frames 1…T-1; signs: [B, T-1, bits], zero where there is no code.
        """
        table = self.embed.weight + self.look(self.features)  # [V, D]
        condition = self.code(signs)  # [B, T-1, D]
        earlier = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
        x = F.embedding(tokens, table) + self.earlier(F.embedding(earlier, table)) + self.place + condition[:, :, None]
        for block in self.blocks:
            x, _ = block(x, condition)
        x = self.norm(x)[places]  # [K, D]
        logits = self.head(x) @ table.T * table.shape[1] ** -0.5
        return logits.scatter_add(1, tokens[places][:, None], self.stay(x).to(logits.dtype))

    def loss(self, frames: Tensor, tokens: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the next frame's tokens, given the codes read off the pair.

        frames: uint8 [B, T, C, H, W]; tokens: int64 [B, T, N] of the same frames; progress: share of
        training done, which decides whether codes are open yet.
        """
        soft, signs = self.signs(frames)
        keep = torch.rand(signs.shape[:2], device=signs.device) >= self.config.drop
        is_open = progress >= self.config.free_share
        given = signs * keep[..., None] if is_open else torch.zeros_like(signs)
        past, future = tokens[:, :-1], tokens[:, 1:]
        changed = past != future
        places = changed | (torch.rand(changed.shape, device=changed.device) < 1 / 16)
        entropy = F.cross_entropy(self.predict(past, given, places).float(), future[places], reduction="none")
        weight = torch.where(changed[places], 1.0, 16 * self.config.unchanged)
        rebuild = (entropy * weight).sum() / changed.sum().clamp(min=1)
        flat = soft.flatten(0, 1)
        flat = flat - flat.mean(dim=0)
        joint = (flat.T @ flat) / len(flat)
        spread = joint.triu(diagonal=1).square().sum() + F.relu(0.6 - joint.diagonal()).sum()
        counts = torch.bincount(codes_of(soft).flatten(), minlength=self.config.codes)
        moved = changed[places]
        logs = {
            "changed_ce": entropy.detach()[moved].mean(),
            "spread": spread.detach(),
            "perplexity": torch.tensor(perplexity(counts)),
        }
        return rebuild + self.config.spread * spread, logs


def codes_of(soft: Tensor) -> Tensor:
    """[..., bits] before the signs → int64 [...]: the bits that are positive, lowest first."""
    weights = 2 ** torch.arange(soft.shape[-1], device=soft.device)
    return ((soft >= 0).long() * weights).sum(-1)
