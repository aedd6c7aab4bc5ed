"""Frames ↔ tokens, behind one interface: a codebook of seen patches, or an ST-ViViT with VQ or FSQ.

Data path: frames uint8 [B, T, C, H, W] → patches [B, T, N, D] → tokens int64 [B, T, N] → back.
ST-ViViT as in Genie (arXiv 2402.15391, §2.1): causal in time, so token t tells of frames up to t only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from models.blocks import STBlock, check_heads
from models.frames import check_patch, patchify, shades_of, to_float, to_uint8, unpatchify
from models.quantizers import FiniteScalarQuantizer, PatchCodebook, VectorQuantizer, perplexity
from models.world import Window, WorldSpec

Size = Literal["tiny", "small", "base", "paper"]

WAVES = 6
"""Frequencies per direction that a patch is described by, beside its pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig:
    """kind: "patch" (a code is a seen patch), "vq" or "fsq" (learned).

    patch: rows and columns of pixels a token; codes: vocabulary of "vq", most
    there may be of "patch"; levels: values
    per dimension of "fsq"; width, heads, encoder_depth, decoder_depth, reach (frames that temporal
    attention looks over, itself included), latent (dimensions at the quantizer): of the transformer.
    foreground: extra weight of a pixel per unit of distance from that place's mean; worst: weight of
    the worst pixel of each patch in the loss.
    """

    kind: Literal["patch", "vq", "fsq"] = "patch"
    patch: tuple[int, int] = (8, 8)
    codes: int = 4096
    levels: tuple[int, ...] = (8, 6, 5, 5)
    width: int = 128
    heads: int = 4
    encoder_depth: int = 3
    decoder_depth: int = 4
    reach: int = 4
    latent: int = 32
    foreground: float = 20.0
    worst: float = 0.02

    def __post_init__(self) -> None:
        if self.kind not in ("patch", "vq", "fsq"):
            raise ValueError(f"tokenizer kind must be patch, vq or fsq, found {self.kind!r}")
        if min(self.patch) < 1 or self.codes < 2 or self.reach < 1:
            raise ValueError(f"patch {self.patch}, codes {self.codes} and reach {self.reach} must be positive")
        check_heads(self.width, self.heads)

    @classmethod
    def sized(cls, size: Size) -> TokenizerConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"codes": 512, "width": 32, "encoder_depth": 1, "decoder_depth": 1, "latent": 8},
            "small": {"codes": 4096},
            "base": {"codes": 8192, "width": 256, "heads": 8, "encoder_depth": 6, "decoder_depth": 6},
            "paper": {"codes": 1024, "width": 512, "heads": 8, "encoder_depth": 12, "decoder_depth": 20, "reach": 16},
        }
        return cls(**dials[size])  # type: ignore[arg-type]  # one literal table, checked by __post_init__

    def build(self, spec: WorldSpec) -> Tokenizer:
        """The tokenizer that this config describes, untrained."""
        return PatchTokenizer(self, spec) if self.kind == "patch" else STTokenizer(self, spec)


class Tokenizer(nn.Module):
    """What all tokenizers promise.

    size: vocabulary V; grid: rows and columns of tokens, N = rows · columns; reach: how many frames
    a token or a pixel may depend on (1: each frame alone).
    """

    size: int
    grid: tuple[int, int]
    reach: int
    fits: bool = False  # true: learns by `fit`, not by gradient

    def __init__(self, config: TokenizerConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.grid = check_patch(spec.height, spec.width, config.patch)

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → int64 [B, T, N]."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def decode(self, tokens: Tensor) -> Tensor:
        """int64 [B, T, N] → uint8 [B, T, C, H, W]."""
        raise TypeError(f"{type(self).__name__} does not decode")

    def decode_last(self, tokens: Tensor) -> Tensor:
        """int64 [B, T, N] → uint8 [B, C, H, W], the last of these frames alone."""
        return self.decode(tokens)[:, -1]

    def features(self) -> Tensor:
        """float [V, F]: what each token looks like, for models that read tokens."""
        raise TypeError(f"{type(self).__name__} has no features")

    def shades(self) -> Tensor | None:
        """int64 [V, P]: which colour each pixel of a token has; None where there is no telling."""
        return None

    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the tokens."""
        return self.decode(self.encode(frames))


class PatchTokenizer(Tokenizer):
    """Each frame cut into patches, each patch looked up in a book of patches that were seen.

    `config.codes` is the most that the book may hold before `fit`, and what it holds after.
    """

    fits = True

    def __init__(self, config: TokenizerConfig, spec: WorldSpec) -> None:
        super().__init__(config, spec)
        self.size, self.reach = config.codes, 1
        self.book = PatchCodebook(config.codes, config.patch, spec.channels)

    def fit(self, clips: Iterable[Tensor]) -> dict[str, float]:
        """Count the distinct patches of clips uint8 [T, C, H, W] and keep the most frequent."""
        seen: dict[int, int] = {}
        looks: dict[int, Tensor] = {}
        for clip in clips:
            patches = patchify(clip[None].to(self.book.patches.device), self.config.patch).flatten(0, 2)
            keys, where, counts = torch.unique(self.book.hash(patches), return_inverse=True, return_counts=True)
            first = torch.full((len(keys),), len(where), device=keys.device).scatter_reduce(
                0, where, torch.arange(len(where), device=keys.device), reduce="amin", include_self=True
            )
            for key, count, place in zip(keys.tolist(), counts.tolist(), first.tolist(), strict=True):
                if key not in seen:
                    looks[key] = patches[place].clone()
                seen[key] = seen.get(key, 0) + count
        if not seen:
            raise ValueError("no frames to fit the patch codebook on")
        self.book.fit(torch.stack(list(looks.values())), torch.tensor([seen[key] for key in looks]))
        self._resized()
        kept = self.book.counts.sum().item() / sum(seen.values())
        return {"distinct": float(len(seen)), "kept": float(self.size), "covered": kept}

    def make_room(self, codes: int) -> None:
        """Forget everything and hold this many patches, for weights of that size."""
        self.book.make_room(codes)
        self._resized()

    def _resized(self) -> None:
        self.size = self.book.size
        self.config = replace(self.config, codes=self.size)

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → int64 [B, T, N]."""
        return self.book.encode(patchify(frames, self.config.patch))

    def decode(self, tokens: Tensor) -> Tensor:
        """int64 [B, T, N] → uint8 [B, T, C, H, W]."""
        return unpatchify(self.book.lookup(tokens), self.config.patch, self.spec.height)

    def features(self) -> Tensor:
        """float [V, F]: how each patch differs from the commonest one, as pixels and as slow waves.

        The waves are the lowest frequencies of a cosine transform (DCT-II) of each patch brought to one norm:
        two patches that show a small thing a pixel apart are close in them, and in their pixels they are not.
        """
        looks = to_float(self.book.patches) - to_float(self.book.patches[:1])
        pixels = looks / looks.norm(dim=-1).mean().clamp(min=1e-6)
        shapes = looks / looks.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        image = shapes.unflatten(1, (self.spec.channels, *self.config.patch))  # [V, C, rows, columns]
        down, right = (_cosines(side, min(side, WAVES)).to(image) for side in self.config.patch)
        waves = torch.einsum("vcpq,pi,qj->vcij", image, down, right).flatten(1)
        return 4 * torch.cat([pixels, waves], dim=1)

    def shades(self) -> Tensor | None:
        """int64 [V, P]: which colour each pixel of a patch has, see `frames.shades_of`."""
        return shades_of(self.book.patches, self.spec.channels)


def _cosines(side: int, waves: int) -> Tensor:
    """float [side, waves]: the first rows of an orthonormal DCT-II of `side` samples, as columns."""
    place, wave = torch.arange(side)[:, None] + 0.5, torch.arange(waves)[None]
    norm = torch.where(wave == 0, 1 / side, 2 / side).sqrt()
    return norm * torch.cos(torch.pi / side * place * wave)


class STTokenizer(Tokenizer):
    """ST-ViViT: patches → causal ST-transformer → quantizer → causal ST-transformer → pixels."""

    def __init__(self, config: TokenizerConfig, spec: WorldSpec) -> None:
        super().__init__(config, spec)
        pixels = spec.channels * config.patch[0] * config.patch[1]
        tokens, width = self.grid[0] * self.grid[1], config.width
        vq = config.kind == "vq"
        self.quantizer = VectorQuantizer(config.codes, config.latent) if vq else FiniteScalarQuantizer(config.levels)
        self.size, latent = self.quantizer.size, self.quantizer.dim
        self.reach = 1 + (config.reach - 1) * (config.encoder_depth + config.decoder_depth)
        self.patch_in, self.latent_out = nn.Linear(pixels, width), nn.Linear(width, latent)
        self.latent_in, self.patch_out = nn.Linear(latent, width), nn.Linear(width, pixels)
        self.place = nn.ParameterList(nn.Parameter(0.02 * torch.randn(tokens, width)) for _ in range(2))
        depths = (config.encoder_depth, config.decoder_depth)
        self.encoder, self.decoder = (
            nn.ModuleList(STBlock(width, config.heads, config.reach, self.grid) for _ in range(depth))
            for depth in depths
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def latents(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → [B, T, N, D] before the quantizer."""
        x = self.patch_in(patchify(to_float(frames), self.config.patch) - 0.5) + self.place[0]
        for block in self.encoder:
            x, _ = block(x)
        return self.latent_out(self.norms[0](x))

    def pixels(self, vectors: Tensor, frames: int | None = None) -> Tensor:
        """Quantized [B, T, N, D] → float [B, T, C, H, W] in [0, 1].

        frames: how many of the last ones are wanted; those before them are read as far back as each block looks, and
        are not right themselves.
        """
        look = (self.config.reach - 1) * len(self.decoder)
        x = self.latent_in(vectors if frames is None else vectors[:, -frames - look :]) + self.place[1]
        for block in self.decoder:
            x, _ = block(x if frames is None else x[:, -frames - look :])
            look -= self.config.reach - 1
        patches = self.patch_out(self.norms[1](x)).float().sigmoid()
        return unpatchify(patches, self.config.patch, self.spec.height)

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → int64 [B, T, N]."""
        was, self.quantizer.training = self.quantizer.training, False
        codes = cast(Tensor, self.quantizer(self.latents(frames)).codes)
        self.quantizer.training = was
        return codes

    def decode(self, tokens: Tensor) -> Tensor:
        """int64 [B, T, N] → uint8 [B, T, C, H, W]."""
        return to_uint8(self.pixels(self.quantizer.lookup(tokens)))

    def decode_last(self, tokens: Tensor) -> Tensor:
        """int64 [B, T, N] → uint8 [B, C, H, W], the last of these frames alone."""
        return to_uint8(self.pixels(self.quantizer.lookup(tokens), frames=1)[:, -1])

    def features(self) -> Tensor:
        """float [V, D]: the codebook's vectors."""
        device = self.place[0].device
        return self.quantizer.lookup(torch.arange(self.size, device=device)).float()

    def loss(self, window: Window) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted squared error plus the worst pixel of each patch plus the quantizer's own loss."""
        target = to_float(window.frames)
        quantized = self.quantizer(self.latents(window.frames))
        output = self.pixels(quantized.vectors)
        error = (output - target).square()
        away = (target - target.mean(dim=(0, 1), keepdim=True)).abs().amax(dim=2, keepdim=True)
        weight = 1 + self.config.foreground * away
        worst = patchify(error, self.config.patch).amax(dim=-1).mean()
        total = (weight * error).mean() + self.config.worst * worst + quantized.loss
        counts = torch.bincount(quantized.codes.flatten(), minlength=self.size)
        logs = {
            "psnr": -10 * torch.log10(error.detach().mean()),
            "worst": worst.detach(),
            "perplexity": torch.tensor(perplexity(counts)),
            "used": (counts > 0).float().sum(),
        }
        return total, logs
