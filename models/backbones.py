"""What predicts latents: three networks behind one call, for the deterministic predictor and for the flow.

Data path: past latents [B, T, D, H, W], the actions [B, T] that each of these frames is left by, and for a flow the
noisy next latents [B, D, H, W] and their time [B] → what is told of the next latents [B, D, H, W].

`film`: convolutions over all frames as channels, scaled and shifted by actions and time (FiLM, arXiv 1709.07871).
`temporal`: an ST-transformer, causal in time, over one token a place and frame; each frame is told what led to it.
`dit`: a transformer over the next frame alone (DiT, arXiv 2212.09748). The past comes in as channels beside the noisy
latents and actions by adaptive norms (`adaln`), or past and actions are tokens that it attends to (`cross`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.blocks import STBlock, check_heads
from models.tokenizer import Size
from models.transport import Residual

Kind = Literal["film", "temporal", "dit"]
WAVES = 64
"""Numbers that a time is described by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig:
    """kind: "film", "temporal" or "dit"; width, depth: of it; heads: of its attention; attends: how a "dit" learns of
    past and actions, "adaln" or "cross"; history: frames of the past that it sees, T."""

    kind: Kind = "film"
    width: int = 128
    depth: int = 4
    heads: int = 4
    attends: Literal["adaln", "cross"] = "adaln"
    history: int = 4

    def __post_init__(self) -> None:
        if self.kind not in ("film", "temporal", "dit"):
            raise ValueError(f"kind of backbone must be film, temporal or dit, found {self.kind!r}")
        if self.attends not in ("adaln", "cross"):
            raise ValueError(f"attends must be adaln or cross, found {self.attends!r}")
        if self.width % 8 or self.depth < 1 or self.history < 1:
            found = f"depth {self.depth} and history {self.history} must be 1 or more"
            raise ValueError(f"{found}, width {self.width} a multiple of 8")
        check_heads(self.width, self.heads)

    @classmethod
    def sized(cls, size: Size) -> BackboneConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "depth": 2, "heads": 2},
            "small": {},
            "base": {"width": 256, "depth": 8, "heads": 8},
            "paper": {"width": 384, "depth": 12, "heads": 8},
        }
        return cls(**dials[size])  # type: ignore[arg-type]  # one literal table, checked by __post_init__

    def build(self, channels: int, grid: tuple[int, int], actions: int, noisy: bool) -> Backbone:
        """The network for latents of `channels` numbers on a grid of rows and columns; noisy: for a flow."""
        kinds = {"film": FilmBackbone, "temporal": TemporalBackbone, "dit": DiTBackbone}
        return kinds[self.kind](self, channels, grid, actions, noisy)


def waves(time: Tensor) -> Tensor:
    """Times [B] in [0, 1] → float [B, WAVES]: sines and cosines of many frequencies."""
    rate = torch.exp(torch.linspace(0, 6, WAVES // 2, device=time.device))
    angle = time[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Backbone(nn.Module):
    """What the three have in common. Action id A stands for one that is not known."""

    def __init__(self, config: BackboneConfig, channels: int, actions: int, noisy: bool) -> None:
        super().__init__()
        self.config, self.channels, self.actions, self.noisy = config, channels, actions, noisy
        self.action = nn.Embedding(actions + 1, config.width)
        nn.init.normal_(self.action.weight, std=0.3)
        self.clock = nn.Linear(WAVES, config.width) if noisy else None

    def asked(self, actions: Tensor, time: Tensor | None) -> Tensor:
        """Actions int64 [B, T] and the time [B] → [B, T, D], of which the last is told the time."""
        known = self.action(actions)
        if self.clock is None:
            return known
        assert time is not None, "a flow knows how noisy its latents are"
        now = self.clock(waves(time).to(known.dtype))
        return torch.cat([known[:, :-1], (known[:, -1] + now)[:, None]], dim=1)


class FilmBackbone(Backbone):
    """Convolutions, scaled and shifted by what is asked for."""

    def __init__(self, config: BackboneConfig, channels: int, grid: tuple[int, int], actions: int, noisy: bool) -> None:
        super().__init__(config, channels, actions, noisy)
        width = config.width
        self.mix = nn.Sequential(nn.Linear(config.history * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.see = nn.Conv2d(channels * (config.history + noisy), width, 3, padding=1)
        self.residuals = nn.ModuleList(Residual(width, width) for _ in range(config.depth))
        for block in self.residuals:
            nn.init.normal_(block.film.weight, std=0.02)  # type: ignore[union-attr, arg-type]  # all are conditioned
        self.tell = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, past: Tensor, actions: Tensor, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """See the module."""
        condition = self.mix(self.asked(actions, time).flatten(1))
        planes = past.flatten(1, 2) if noisy is None else torch.cat([past.flatten(1, 2), noisy], dim=1)
        x = self.see(planes)
        for block in self.residuals:
            x = block(x, condition)
        return self.tell(x).float()


class TemporalBackbone(Backbone):
    """An ST-transformer, causal in time."""

    def __init__(self, config: BackboneConfig, channels: int, grid: tuple[int, int], actions: int, noisy: bool) -> None:
        super().__init__(config, channels, actions, noisy)
        width, places = config.width, grid[0] * grid[1]
        self.see = nn.Linear(channels, width)
        self.place = nn.Parameter(0.02 * torch.randn(places, width))
        self.blocks = nn.ModuleList(
            STBlock(width, config.heads, config.history + 1, grid, conditioned=True) for _ in range(config.depth)
        )
        self.norm, self.tell = nn.LayerNorm(width), nn.Linear(width, channels)

    def forward(self, past: Tensor, actions: Tensor, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """See the module. Of the frame to be told a predictor sees the last one in its place."""
        rows = past.shape[-2]
        last = past[:, -1] if noisy is None else noisy
        frames = rearrange(torch.cat([past, last[:, None]], dim=1), "b t d r s -> b t (r s) d")
        led = self.asked(actions, time)
        first = self.action.weight[self.actions].expand(len(past), 1, -1)
        condition = torch.cat([first, led], dim=1)  # what led to each frame, [B, T+1, D]
        x = self.see(frames) + self.place + condition[:, :, None]
        for block in self.blocks:
            x, _ = block(x, condition)
        told = self.tell(self.norm(x[:, -1]))
        return rearrange(told, "b (r s) d -> b d r s", r=rows).float()


class CrossAttention(nn.Module):
    """Tokens [B, N, D] look at others [B, M, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.ask, self.offer = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, others: Tensor) -> Tensor:
        """[B, N, D] → the same shape."""
        q = rearrange(self.ask(self.norm(x)), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.offer(others), "b m (two h d) -> two b h m d", two=2, h=self.heads)
        q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        y = F.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.25)
        return x + self.out(rearrange(y, "b h n d -> b n (h d)"))


class DiTBackbone(Backbone):
    """A transformer over the next frame alone."""

    def __init__(self, config: BackboneConfig, channels: int, grid: tuple[int, int], actions: int, noisy: bool) -> None:
        super().__init__(config, channels, actions, noisy)
        width, places, crossing = config.width, grid[0] * grid[1], config.attends == "cross"
        self.see = nn.Linear(channels if crossing else channels * (config.history + noisy), width)
        self.place = nn.Parameter(0.02 * torch.randn(places, width))
        self.mix = nn.Linear(width if crossing else config.history * width, width)
        self.blocks = nn.ModuleList(
            STBlock(width, config.heads, 1, grid, conditioned=True) for _ in range(config.depth)
        )
        depth = config.depth if crossing else 0
        self.crossing = nn.ModuleList(CrossAttention(width, config.heads) for _ in range(depth))
        self.when = nn.Parameter(0.02 * torch.randn(config.history, width)) if crossing else None
        self.recall = nn.Linear(channels, width) if crossing else None
        self.norm, self.tell = nn.LayerNorm(width), nn.Linear(width, channels)

    def forward(self, past: Tensor, actions: Tensor, noisy: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """See the module."""
        rows, asked = past.shape[-2], self.asked(actions, time)
        if self.recall is None or self.when is None:
            planes = past.flatten(1, 2) if noisy is None else torch.cat([past.flatten(1, 2), noisy], dim=1)
            condition, others = self.mix(asked.flatten(1)), None
        else:
            planes = past[:, -1] if noisy is None else noisy
            known = self.recall(rearrange(past, "b t d r s -> b t (r s) d")) + self.place + self.when[:, None]
            others = torch.cat([known.flatten(1, 2), asked + self.when], dim=1)
            condition = self.mix(asked[:, -1])
        x = self.see(rearrange(planes, "b d r s -> b (r s) d")) + self.place
        for index, block in enumerate(self.blocks):
            if others is not None:
                x = self.crossing[index](x, others)
            x = block(x[:, None], condition[:, None])[0][:, 0]
        return rearrange(self.tell(self.norm(x)), "b (r s) d -> b d r s", r=rows).float()
