"""Frames ↔ continuous latents by convolutions, trained by gradient; with a variational variant.

Data path: frames uint8 [B, T, C, H, W] → padded to a multiple of the factor → strided convolutions → latents
[B, T, D, H', W'], `factor` times coarser → convolutions that grow again → sigmoid → frames.

Latents are standardised: once the weights are settled, mean and deviation of each channel over real play are measured
and kept with them, and whatever is learned over the latents sees numbers around 0 with deviation 1 (rectified flows
assume that; arXiv 2112.10752 scales its latents for the same reason).

Loss: Huber, with a weight for what stands out from the mean picture, as in the token autoencoder, because a ball of two
pixels weighs nothing by itself; what structural similarity lacks to one, which measures each place by its own contrast,
because a light player on a light sky weighs little in squares; and a pull of the latents' variance towards one, so that
they neither collapse nor explode. The variational variant (arXiv 1312.6114) draws latents from a Gaussian and pays its
divergence from the standard one instead. Everything is computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.frames import to_float, to_uint8
from models.tokenizer import Size
from models.world import Window, WorldSpec

AT_ONCE = 32
"""Frames that are encoded or decoded together; more only take memory."""
LOOK = 7
"""Pixels along a side of the window in which structural similarity is looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvAutoencoderConfig:
    """factor: how much coarser latents are than frames, 8 or 16; width: channels after the first convolution, doubled
    at each further one up to four times; latent: D; decoder: how it grows, "upsample_conv" (nearest, then a
    convolution) or "conv_transpose"; gray: whether the game has no colours, so that one channel will do.

    variational: draw latents from a Gaussian; beta: weight of its divergence. delta: error from which Huber is linear;
    variance: weight of the pull of the latents' variance towards `target`; foreground: extra weight of a pixel per unit
    of distance from that place's mean; structure: weight of 1 − SSIM.
    """

    factor: int = 8
    width: int = 32
    latent: int = 16
    decoder: Literal["upsample_conv", "conv_transpose"] = "upsample_conv"
    gray: bool = False
    variational: bool = False
    beta: float = 1e-4
    delta: float = 1.0
    variance: float = 1e-4
    target: float = 1.0
    foreground: float = 20.0
    structure: float = 0.02

    def __post_init__(self) -> None:
        if self.factor not in (8, 16):
            raise ValueError(f"factor of the autoencoder must be 8 or 16, found {self.factor}")
        if self.width < 8 or self.width % 8 or self.latent < 1:
            raise ValueError(
                f"width must be a multiple of 8 and latent 1 or more, found {self.width} and {self.latent}"
            )
        if self.decoder not in ("upsample_conv", "conv_transpose"):
            raise ValueError(f"decoder must be upsample_conv or conv_transpose, found {self.decoder!r}")
        for name in ("beta", "variance", "foreground", "structure"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, found {getattr(self, name)}")
        if self.delta <= 0 or self.target <= 0:
            raise ValueError(f"delta and target must be above 0, found {self.delta} and {self.target}")

    @classmethod
    def sized(cls, size: Size) -> ConvAutoencoderConfig:
        """One dial: everything that follows from how large it may be."""
        widths = {"tiny": 16, "small": 32, "base": 64, "paper": 128}
        return cls(width=widths[size])

    def build(self, spec: WorldSpec) -> ConvAutoencoder:
        """The autoencoder that this config describes, untrained."""
        return ConvAutoencoder(self, spec)


def similarity(truth: Tensor, told: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) in even windows of LOOK pixels, to be learned by: [K, C, H, W] in [0, 1]
    twice → scalar. The scorecard's has a Gaussian window."""
    means = F.avg_pool2d(torch.cat([truth, told, truth * truth, told * told, truth * told]), LOOK, stride=1)
    one, other, squares, others, product = means.chunk(5)
    both, level, change = one * other, 0.01**2, 0.03**2
    above = (2 * both + level) * (2 * (product - both) + change)
    below = (one.square() + other.square() + level) * (squares - one.square() + others - other.square() + change)
    return (above / below).mean()


def _normed(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, width)


class ConvAutoencoder(nn.Module):
    """Convolutions down and up again. Latents that come out of `encode` are standardised."""

    fits = False  # learns by gradient

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: ConvAutoencoderConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.channels = 1 if config.gray else spec.channels
        self.grid = (-(-spec.height // config.factor), -(-spec.width // config.factor))
        steps = config.factor.bit_length() - 1
        widths = [config.width * min(4, 2**step) for step in range(steps)]
        down: list[nn.Module] = []
        for before, after in zip([self.channels, *widths[:-1]], widths, strict=True):
            down += [nn.Conv2d(before, after, 4, stride=2, padding=1), _normed(after), nn.SiLU()]
        self.encoder = nn.Sequential(*down)
        self.latent_head = nn.Conv2d(widths[-1], config.latent * (1 + config.variational), 1)
        self.latent_in = nn.Conv2d(config.latent, widths[-1], 1)
        up: list[nn.Module] = []
        for before, after in zip(widths[::-1], [*widths[-2::-1], config.width], strict=True):
            if config.decoder == "upsample_conv":
                up += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
            else:
                up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
            up += [_normed(after), nn.SiLU()]
        self.decoder = nn.Sequential(*up, nn.Conv2d(config.width, self.channels, 3, padding=1))
        self.register_buffer("mean", torch.zeros(config.latent, 1, 1))
        self.register_buffer("deviation", torch.ones(config.latent, 1, 1))

    def raw(self, frames: Tensor) -> Tensor:
        """Frames float [K, C, H, W] in [0, 1] → what the encoder says of their latents, [K, D or 2 D, H', W']."""
        rows, columns = (side * self.config.factor for side in self.grid)
        room = (0, columns - frames.shape[-1], 0, rows - frames.shape[-2])
        padded = F.pad(frames, room, mode="replicate") if any(room) else frames
        return self.latent_head(self.encoder((padded - 0.5).contiguous(memory_format=torch.channels_last)))

    def pixels(self, latents: Tensor) -> Tensor:
        """Latents [K, D, H', W'] as the encoder makes them → frames float [K, C, H, W] in [0, 1]."""
        x = self.latent_in(latents).contiguous(memory_format=torch.channels_last)
        frames: Tensor = self.decoder(x)[..., : self.spec.height, : self.spec.width].sigmoid()
        return frames.contiguous()

    def seen(self, frames: Tensor) -> Tensor:
        """uint8 or float in [0, 1] [B, T, C, H, W] → float [B·T, C, H, W], of one channel where the game is gray."""
        flat = (to_float(frames) if frames.dtype == torch.uint8 else frames).flatten(0, 1)
        return flat.mean(dim=1, keepdim=True) if self.config.gray else flat

    def latents(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → latents as the encoder makes them, [B·T, D, H', W']; of the variational one means."""
        return self.raw(self.seen(frames))[:, : self.config.latent]

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → standardised latents float [B, T, D, H', W']; of the variational one, their means."""
        with torch.autocast(frames.device.type, enabled=False):
            parts = [self.raw(part)[:, : self.config.latent] for part in torch.split(self.seen(frames), AT_ONCE)]
            latents = (torch.cat(parts) - self.mean) / self.deviation
            return latents.reshape(*frames.shape[:2], *latents.shape[1:])

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised latents [B, T, D, H', W'] → float [B, T, C, H, W] in [0, 1]; a gray game's in equal channels."""
        with torch.autocast(latents.device.type, enabled=False):
            flat = latents.flatten(0, 1).float() * self.deviation + self.mean
            frames = torch.cat([self.pixels(part) for part in torch.split(flat, AT_ONCE)])
        shown = frames.expand(-1, self.spec.channels, -1, -1)
        return shown.reshape(*latents.shape[:2], *shown.shape[1:])

    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the latents."""
        return to_uint8(self.decode(self.encode(frames)))

    def loss(self, window: Window) -> tuple[Tensor, dict[str, Tensor]]:
        """Huber of the pixels and what keeps the latents in bounds; see the module."""
        config = self.config
        with torch.autocast(window.frames.device.type, enabled=False):
            target = self.seen(window.frames)
            latents, spread = self.raw(target), None
            if config.variational:
                latents, spread = latents.chunk(2, dim=1)
                spread = spread.clamp(-10, 10)  # logarithm of the variance
                told = self.pixels(latents + (0.5 * spread).exp() * torch.randn_like(latents))
            else:
                told = self.pixels(latents)
            away = (target - target.mean(dim=0)).abs().amax(dim=1, keepdim=True)
            weight = 1 + config.foreground * away
            rebuilt = (F.huber_loss(told, target, delta=config.delta, reduction="none") * weight).mean() / weight.mean()
            if config.structure:
                rebuilt = rebuilt + config.structure * (1 - similarity(target, told))
            if spread is None:
                bound = config.variance * (latents.var() - config.target).square()
            else:
                bound = config.beta * 0.5 * (latents.square() + spread.exp() - 1 - spread).mean()
            logs = {
                "psnr": -10 * torch.log10(F.mse_loss(told.detach(), target).clamp(min=1e-10)),
                "latent_variance": latents.detach().var(),
                "latent_norm": latents.detach().mean(dim=(0, 2, 3)).norm(),
            }
            return rebuilt + bound, logs

    @torch.no_grad()
    def measure(self, clips: Iterable[Tensor]) -> dict[str, float]:
        """Measure mean and deviation of each latent channel over clips uint8 [T, C, H, W], from then on used to
        standardise. Returns the `variance` of all latents and the norm of their `mean`."""
        count, total, squares = 0, self.mean[:, 0, 0].double() * 0, self.mean[:, 0, 0].double() * 0
        for clip in clips:
            for part in torch.split(self.seen(clip[None].to(self.mean.device)), AT_ONCE):
                latents = self.raw(part)[:, : self.config.latent].transpose(0, 1).flatten(1).double()
                count, total = count + latents.shape[1], total + latents.sum(dim=1)
                squares = squares + latents.square().sum(dim=1)
        if not count:
            raise ValueError("no frames to measure the latents on; collect some first")
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        self.mean.copy_(mean[:, None, None])
        self.deviation.copy_(variance.sqrt().clamp(min=1e-4)[:, None, None])
        between = (mean - mean.mean()).square().mean()  # channels differ in their means, too
        return {"variance": float(variance.mean() + between), "mean_norm": float(mean.norm())}
