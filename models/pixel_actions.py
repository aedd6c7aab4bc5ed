"""The LAM as in the papers: an autoencoder of changes whose bottleneck is a latent action. For comparison.

Data path: frames [B, T, C, H, W] → patches → causal ST-transformer that has seen the next frame → a code for each
transition → causal ST-transformer that has not → the next frame's pixels.

`vq`: Genie (arXiv 2402.15391, §2.1): vector quantization with eight codes, the action added to the decoder's input.
`signs`: as in TinyWorlds: three signs are the eight codes, and a hinge keeps each from settling on one side. The action
scales and shifts the decoder's norms, and half of what the decoder sees is hidden, so that it cannot do without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import STBlock, check_heads
from models.frames import check_patch, patchify, to_float, to_uint8, unpatchify
from models.quantizers import Quantized, VectorQuantizer, perplexity
from models.tokenizer import Size
from models.world import WorldSpec

PIXEL_UNIT = 0.01
"""Brings squared errors of pixels near one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelActionConfig:
    """kind: "vq" or "signs"; codes: how many latent actions, a power of two for signs; patch: rows and columns of
    pixels; width, heads, depth, reach: of encoder and decoder each; latent: dimensions at the vector quantizer;
    hidden: share of the patches that the decoder of "signs" does not see; spread: weight of its hinge.
    """

    kind: Literal["vq", "signs"] = "vq"
    codes: int = 8
    patch: tuple[int, int] = (8, 8)
    width: int = 96
    heads: int = 4
    depth: int = 3
    reach: int = 5
    latent: int = 32
    hidden: float = 0.5
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.codes <= 64:
            raise ValueError(f"number of latent actions must be in [2, 64], found {self.codes}")
        if self.kind == "signs" and self.codes & (self.codes - 1):
            raise ValueError(f"signs make a power of two latent actions, found {self.codes}; use 4, 8 or 16")
        if not 0 <= self.hidden < 1:
            raise ValueError(f"hidden must be in [0, 1), found {self.hidden}")
        check_heads(self.width, self.heads)

    @classmethod
    def sized(cls, size: Size) -> PixelActionConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "heads": 2, "depth": 1, "latent": 8},
            "small": {},
            "base": {"width": 256, "heads": 8, "depth": 6},
            "paper": {"width": 1024, "heads": 16, "depth": 20, "reach": 16},
        }
        return cls(**dials[size])  # type: ignore[arg-type]  # one literal table, checked by __post_init__


class _Signs(nn.Module):
    """Each dimension is +1 or -1; the gradient passes straight through a tanh."""

    def forward(self, latents: Tensor) -> Quantized:
        """[..., D] → codes, signs, and a hinge on the spread of each dimension over the batch."""
        soft = latents.float().tanh()
        signs = torch.where(soft >= 0, 1.0, -1.0)
        flat = soft.reshape(-1, soft.shape[-1])
        narrow = (1 - flat.std(dim=0)).clamp(min=0).mean() + flat.mean(dim=0).square().mean()
        places = 2 ** torch.arange(soft.shape[-1], device=soft.device)
        codes = ((signs > 0).long() * places).sum(-1)
        return Quantized(codes, soft + (signs - soft).detach(), narrow)


class _Sides(NamedTuple):
    patches: Tensor
    quantized: Quantized


class PixelActionModel(nn.Module):
    """Reads codes off real frames."""

    def __init__(self, config: PixelActionConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        grid = check_patch(spec.height, spec.width, config.patch)
        pixels, width = spec.channels * config.patch[0] * config.patch[1], config.width
        signs = config.kind == "signs"
        latent = round(math.log2(config.codes)) if signs else config.latent
        self.patch_in = nn.ModuleList(nn.Linear(pixels, width) for _ in range(2))
        self.place = nn.ParameterList(nn.Parameter(0.02 * torch.randn(grid[0] * grid[1], width)) for _ in range(2))
        self.encoder, self.decoder = (
            nn.ModuleList(
                STBlock(width, config.heads, config.reach, grid, conditioned=conditioned) for _ in range(config.depth)
            )
            for conditioned in (False, signs)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.latent_out, self.action_in = nn.Linear(width, latent), nn.Linear(latent, width)
        self.quantizer = _Signs() if signs else VectorQuantizer(config.codes, latent)
        self.unseen = nn.Parameter(0.02 * torch.randn(width)) if signs else None
        self.patch_out = nn.Linear(width, pixels)

    @torch.no_grad()
    def infer(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1] in [0, A)."""
        was, self.quantizer.training = self.quantizer.training, False
        codes = self._read(frames).quantized.codes
        self.quantizer.training = was
        return codes

    def loss(self, frames: Tensor, tokens: Tensor | None, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the next frame's pixels and the bottleneck's own loss. frames: uint8 [B, T, C, H, W]."""
        sides = self._read(frames)
        hidden = None
        if self.unseen is not None:
            hidden = torch.rand(sides.patches[:, :-1, :, 0].shape, device=sides.patches.device) < self.config.hidden
        told = self._tell(sides.patches[:, :-1], sides.quantized.vectors, hidden)
        error = F.mse_loss(told, sides.patches[:, 1:])
        weight = self.config.spread if self.unseen is not None else 1.0
        counts = torch.bincount(sides.quantized.codes.flatten(), minlength=self.config.codes)
        logs = {
            "psnr": -10 * torch.log10(error.detach().clamp(min=1e-10)),
            "copy_psnr": -10 * torch.log10(F.mse_loss(sides.patches[:, 1:], sides.patches[:, :-1]).clamp(min=1e-10)),
            "perplexity": torch.tensor(perplexity(counts)),
        }
        return error / PIXEL_UNIT + weight * sides.quantized.loss, logs

    @torch.no_grad()
    def gain(self, frames: Tensor, tokens: Tensor | None = None) -> dict[str, float]:
        """Squared errors of the next frame with the codes read off frames uint8 [B, T, C, H, W], and with the same
        shuffled; `gain` is shuffled over inferred."""
        was, self.quantizer.training = self.quantizer.training, False
        sides = self._read(frames)
        self.quantizer.training = was
        vectors = sides.quantized.vectors
        order = torch.randperm(vectors.shape[0] * vectors.shape[1], generator=torch.Generator().manual_seed(0))
        shuffled = vectors.flatten(0, 1)[order.to(vectors.device)].reshape(vectors.shape)
        found = {
            name: float(F.mse_loss(self._tell(sides.patches[:, :-1], given, None), sides.patches[:, 1:]))
            for name, given in (("inferred", vectors), ("shuffled", shuffled))
        }
        return {**found, "gain": found["shuffled"] / max(found["inferred"], 1e-9)}

    @torch.no_grad()
    def next_frame(self, frames: Tensor, codes: Tensor) -> Tensor:
        """The frame after frames uint8 [B, T, C, H, W] under codes int64 [B]: uint8 [B, C, H, W]."""
        found = self._read(torch.cat([frames, frames[:, -1:]], dim=1))
        vectors = torch.cat([found.quantized.vectors[:, :-1], self._look_up(codes)[:, None]], dim=1)
        patches = self._tell(found.patches[:, :-1], vectors, None)[:, -1:] + 0.5
        return to_uint8(unpatchify(patches, self.config.patch, self.spec.height))[:, 0]

    def _look_up(self, codes: Tensor) -> Tensor:
        """int64 [B] → what the decoder is told [B, D]."""
        if isinstance(self.quantizer, VectorQuantizer):
            return self.quantizer.lookup(codes)
        bits = 2 ** torch.arange(round(math.log2(self.config.codes)), device=codes.device)
        return 2.0 * ((codes[:, None] & bits) > 0) - 1

    def _read(self, frames: Tensor) -> _Sides:
        """uint8 [B, T, C, H, W] → patches float [B, T, N, D] around zero, and a quantized latent a transition."""
        patches = patchify(to_float(frames), self.config.patch) - 0.5
        x = self.patch_in[0](patches) + self.place[0]
        for block in self.encoder:
            x, _ = block(x)
        latents = self.latent_out(self.norms[0](x[:, 1:]).mean(dim=2))
        return _Sides(patches, self.quantizer(latents))

    def _tell(self, past: Tensor, vectors: Tensor, hidden: Tensor | None) -> Tensor:
        """Patches of frames 0…T-2, an action [B, T-1, D] each, and which patches are hidden → patches of 1…T-1."""
        x, action = self.patch_in[1](past), self.action_in(vectors)
        if hidden is not None and self.unseen is not None:
            x = torch.where(hidden[..., None], self.unseen, x)
        x = x + self.place[1]
        if self.unseen is None:
            x = x + action[:, :, None]
        for block in self.decoder:
            x, _ = block(x, action if self.unseen is not None else None)
        return self.patch_out(self.norms[1](x)).float()
