"""Frames ↔ continuous latents by one linear map a patch: what a patch of the game usually is made of.

Data path: frames uint8 [B, T, C, H, W] → patches → the D directions in which the game's patches vary most →
latents float [B, T, D, H', W'] → back. Principal component analysis: of all linear maps to D numbers the
one that loses least. Nothing is trained by gradient, and what is decoded and encoded again is the same.

The directions are orthonormal and share one scale, so that a squared error of latents is a squared error of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from models.frames import check_patch, to_float, to_uint8
from models.world import WorldSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig:
    """patch: rows and columns of pixels that one latent stands for; latent: how many numbers it has."""

    patch: tuple[int, int] = (4, 4)
    latent: int = 32

    def __post_init__(self) -> None:
        most = 3 * self.patch[0] * self.patch[1]
        if not 1 <= self.latent <= most:
            raise ValueError(f"latent must be in [1, {most}] for patches of {self.patch}, found {self.latent}")

    def build(self, spec: WorldSpec) -> PatchAutoencoder:
        """The autoencoder that this config describes, not yet fitted."""
        return PatchAutoencoder(self, spec)


class PatchAutoencoder(nn.Module):
    """Principal components of patches. To be fitted before use."""

    fits = True  # learns by `fit`, not by gradient

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(self, config: AutoencoderConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config = config
        self.grid = check_patch(spec.height, spec.width, config.patch)
        size = spec.channels * config.patch[0] * config.patch[1]
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.eye(size)[:, : config.latent].clone())
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, clips: Iterable[Tensor]) -> dict[str, float]:
        """clips: uint8 [T, C, H, W]. Returns `kept`, the share of the variance that is kept, and `psnr` in dB."""
        size = len(self.mean)
        count, total, product = 0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
        for clip in clips:
            flat = self._patches(clip[None]).flatten(0, -2).double()
            count, total, product = count + len(flat), total + flat.sum(0), product + flat.T @ flat
        if not count:
            raise ValueError("no frames to fit the autoencoder on; collect some first")
        mean = total / count
        share, directions = torch.linalg.eigh(product / count - mean[:, None] * mean)
        share, directions = share.flip(0).clamp(min=0), directions.flip(1)
        kept = share[: self.config.latent]
        self.mean.copy_(mean)
        self.basis.copy_(directions[:, : self.config.latent])
        self.scale.copy_((kept.mean() + 1e-12).rsqrt())
        lost = float(share[self.config.latent :].sum()) / size
        return {
            "kept": float(kept.sum() / share.sum().clamp(min=1e-12)),
            "psnr": -10 * math.log10(lost + 1e-10),
        }

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 or float in [0, 1] [B, T, C, H, W] → latents [B, T, D, rows, columns]."""
        latents = (self._patches(frames) - self.mean) @ self.basis * self.scale
        return rearrange(latents, "b t r s d -> b t d r s")

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, T, D, rows, columns] → float [B, T, C, H, W], about in [0, 1]."""
        patches = rearrange(latents, "b t d r s -> b t r s d") / self.scale @ self.basis.T + self.mean
        p, q = self.config.patch
        return rearrange(patches, "b t r s (c p q) -> b t c (r p) (s q)", p=p, q=q)

    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the latents."""
        return to_uint8(self.decode(self.encode(frames)))

    def _patches(self, frames: Tensor) -> Tensor:
        p, q = self.config.patch
        seen = to_float(frames) if frames.dtype == torch.uint8 else frames
        return rearrange(seen, "b t c (r p) (s q) -> b t r s (c p q)", p=p, q=q)
