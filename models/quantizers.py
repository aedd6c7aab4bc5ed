"""Vectors to codes and back: VQ with EMA and restart, FSQ, and the codebook of seen patches.

Sources: VQ-VAE (arXiv 1711.00937) with EMA updates (its appendix A.1) and restart of dead codes
(Jukebox, arXiv 2005.00341, §3.1); FSQ (arXiv 2309.15505); patch codebook: nearest seen patch
(arXiv 2502.01591).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Quantized(NamedTuple):
    """codes: int64 [...]; vectors: [..., D] with the gradient passed straight through; loss: scalar."""

    codes: Tensor
    vectors: Tensor
    loss: Tensor


def perplexity(counts: Tensor) -> float:
    """exp of the entropy of a histogram [V]: how many codes are in use, evenly counted."""
    share = counts.double() / counts.sum().clamp(min=1)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


class VectorQuantizer(nn.Module):
    """Nearest of V learned vectors. The codebook follows an EMA, so only the commitment loss has a gradient."""

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, dim: int, decay: float = 0.99, commitment: float = 0.25) -> None:
        super().__init__()
        self.decay, self.commitment, self.size, self.dim = decay, commitment, codes, dim
        start = torch.randn(codes, dim) / math.sqrt(dim)
        self.register_buffer("codebook", start)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", start.clone())
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: Tensor) -> Quantized:
        """[..., D] → codes, quantized vectors, commitment loss. In training mode the codebook moves."""
        flat = latents.reshape(-1, self.dim).float()
        if self.training and not bool(self.started):
            self._start(flat.detach())
        codes = self.nearest(flat)
        vectors = F.embedding(codes, self.codebook).reshape(latents.shape)
        loss = self.commitment * F.mse_loss(latents.float(), vectors)
        if self.training:
            self._follow(flat.detach(), codes)
        through = latents + (vectors - latents).detach()
        return Quantized(codes.reshape(latents.shape[:-1]), through, loss)

    def nearest(self, flat: Tensor) -> Tensor:
        """[K, D] → int64 [K], the closest codebook row."""
        return (flat @ self.codebook.T * 2 - self.codebook.square().sum(-1)).argmax(dim=-1)

    def lookup(self, codes: Tensor) -> Tensor:
        """int64 [...] → [..., D]."""
        return F.embedding(codes, self.codebook)

    @torch.no_grad()
    def _start(self, flat: Tensor) -> None:
        """Begin from distinct vectors of the first batch instead of from noise."""
        distinct = torch.unique(flat.round(decimals=3), dim=0)
        pick = torch.randint(len(distinct), (self.size,))
        self.codebook.copy_(distinct[pick] + 1e-3 * torch.randn(self.size, self.dim).to(flat))
        self.sums.copy_(self.codebook)
        self.started: Tensor
        self.started.fill_(True)

    @torch.no_grad()
    def _follow(self, flat: Tensor, codes: Tensor) -> None:
        """One EMA update; codes that hardly anyone uses move to rarely served vectors of this batch."""
        counts = torch.bincount(codes, minlength=self.size).to(flat.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, flat)
        self.counts.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        dead = (self.counts < 0.01).nonzero()[:, 0]
        if len(dead):
            gap = (flat - self.codebook[codes]).square().sum(-1)
            pick = torch.multinomial(gap + 1e-8, min(len(dead), len(flat)), replacement=False)
            dead = dead[: len(pick)]
            self.sums[dead], self.counts[dead] = flat[pick], 1.0
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])


class FiniteScalarQuantizer(nn.Module):
    """Each of the few dimensions is rounded to one of `levels[d]` values: no codebook to collapse."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        if any(level < 2 for level in levels):
            raise ValueError(f"fsq levels must be 2 or more, found {levels}")
        self.dim, self.size = len(levels), math.prod(levels)
        self.register_buffer("levels", torch.tensor(levels))
        strides = [math.prod(levels[:d]) for d in range(len(levels))]
        self.register_buffer("strides", torch.tensor(strides))
        self.levels: Tensor
        self.strides: Tensor

    def forward(self, latents: Tensor) -> Quantized:
        """[..., D] → codes, vectors in [-1, 1], zero loss."""
        half = (self.levels - 1) / 2
        bounded = torch.sigmoid(2 * latents.float()) * 2 * half  # [..., D] in [0, levels - 1]
        digit = bounded + (bounded.round() - bounded).detach()
        codes = (digit.detach().round().long() * self.strides).sum(-1)
        return Quantized(codes, (digit / half - 1).to(latents.dtype), latents.new_zeros(()))

    def lookup(self, codes: Tensor) -> Tensor:
        """int64 [...] → [..., D] in [-1, 1]."""
        digits = codes[..., None] // self.strides % self.levels
        return digits / ((self.levels - 1) / 2) - 1


class PatchCodebook(nn.Module):
    """A code is a patch that was seen. Exact for patches in the book, otherwise the likeliest neighbour.

    Neighbours are compared after a 3×3 box blur: between raw patches, dropping a one-pixel ball costs
    less than showing it one pixel aside.
    """

    patches: Tensor
    counts: Tensor
    _keys: Tensor

    def __init__(self, codes: int, patch: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.size, self.patch, self.channels = codes, patch, channels
        dim = channels * patch[0] * patch[1]
        self.register_buffer("patches", torch.zeros(codes, dim, dtype=torch.uint8))
        self.register_buffer("counts", torch.zeros(codes, dtype=torch.int64))
        generator = torch.Generator().manual_seed(7)
        weights = torch.randint(-(2**40), 2**40, (dim,), generator=generator) * 2 + 1
        self.register_buffer("hash_weights", weights, persistent=False)
        self.hash_weights: Tensor
        self._sorted: tuple[Tensor, Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]  # torch left it untyped
            lambda book, _: book._forget()
        )

    def _forget(self) -> None:
        self._sorted = None

    def fit(self, patches: Tensor, counts: Tensor) -> None:
        """patches: uint8 [K, D] distinct, counts: int64 [K]; the most frequent become the book, at most as
        many as there is room for, and the room that is left over is given up."""
        order = counts.argsort(descending=True, stable=True)[: self.size]
        self.make_room(len(order))
        self.patches.copy_(patches[order])
        self.counts.copy_(counts[order])

    def make_room(self, codes: int) -> None:
        """Empty the book and let it hold this many patches."""
        self.size, self._sorted = codes, None
        self.patches = self.patches.new_zeros(codes, self.patches.shape[1])
        self.counts = self.counts.new_zeros(codes)

    def hash(self, patches: Tensor) -> Tensor:
        """uint8 [..., D] → int64 [...]: equal patches have equal keys."""
        return (patches.long() * self.hash_weights).sum(-1)

    def encode(self, patches: Tensor) -> Tensor:
        """uint8 [..., D] → codes int64 [...]."""
        flat = patches.reshape(-1, patches.shape[-1])
        if self._sorted is None or self._sorted[0].device != flat.device:
            self._sorted = self._index()
        keys, codes, _ = self._sorted
        key = self.hash(flat)
        place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        found = codes[place]
        missed = (keys[place] != key).nonzero()[:, 0]
        if len(missed):
            distinct, where = torch.unique(flat[missed], dim=0, return_inverse=True)
            found = found.index_copy(0, missed, self._nearest(distinct)[where])
        return found.reshape(patches.shape[:-1])

    def _index(self) -> tuple[Tensor, Tensor, Tensor]:
        used = int((self.counts > 0).sum())
        if not used:
            raise ValueError("the patch codebook is empty; fit it on frames first")
        keys, order = self.hash(self.patches[:used]).sort()
        return keys, order, self._blur(self.patches[:used])

    def _nearest(self, flat: Tensor) -> Tensor:
        assert self._sorted is not None
        book = self._sorted[2]
        found = [torch.cdist(self._blur(part), book).argmin(dim=-1) for part in torch.split(flat, 1024)]
        return torch.cat(found)

    def _blur(self, patches: Tensor) -> Tensor:
        image = patches.reshape(len(patches), self.channels, *self.patch).float() / 255
        padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
        return F.avg_pool2d(padded, 3, stride=1).flatten(1)

    def lookup(self, codes: Tensor) -> Tensor:
        """int64 [...] → uint8 [..., D]."""
        return self.patches[codes]
