"""How tokens are drawn from logits: a few sure ones at a time, so that they agree with each other."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(logits: Tensor, temperature: float, chance: Tensor, floor: float = 0.005) -> tuple[Tensor, Tensor]:
    """Draw a token a place: logits [B, N, V], chance [B, N] uniform → tokens and entropies [B, N].

    Tokens less likely than `floor` are never drawn: 64 places with a tail of some thousandths each would
    spoil one frame in five.
    """
    share = logits.softmax(dim=-1)  # [B, N, V]
    entropy = torch.special.entr(share).sum(-1)
    if temperature == 0:
        return logits.argmax(-1), entropy
    if temperature != 1:
        share = (logits / temperature).softmax(dim=-1)
    share = torch.where(share < floor, 0.0, share)
    total = share.cumsum(dim=-1)
    drawn = torch.searchsorted(total, (chance * total[..., -1])[..., None], right=True)[..., 0]
    drawn = drawn.clamp(max=logits.shape[-1] - 1)
    some = total[..., -1] > 0
    return drawn if bool(some.all()) else torch.where(some, drawn, logits.argmax(-1)), entropy


def surest(entropy: Tensor, masked: Tensor, bound: float = 0.005) -> Tensor:
    """Which of the masked places [B, N] to fix now: the surest ones, while what they could know of each
    other, at most the sum of their entropies less the largest, stays within `bound` nats."""
    sorted_entropy, order = entropy.masked_fill(~masked, float("inf")).sort(dim=-1)
    before = sorted_entropy.cumsum(dim=-1) - sorted_entropy
    take = (before.nan_to_num(nan=float("inf")) <= bound) & sorted_entropy.isfinite()
    return torch.zeros_like(masked).scatter(-1, order, take)
