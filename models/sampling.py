"""How tokens are drawn from logits: a few sure ones at a time, so that they agree with each other."""

from __future__ import annotations

import torch
from torch import Tensor

UNSURE = 0.6
"""A place is unsure where no token is as likely as that."""

SELDOM = 0.02
"""At places that are drawn at temperature 1 because they are sure: what is less likely than that does not happen
seldom, it is what the weights do not know."""


def sample(
    logits: Tensor,
    temperature: float,
    chance: Tensor,
    floor: float = 0.005,
    least: float = 0.0,
    sure: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Draw a token a place: logits [B, N, V], chance [B, N] uniform → tokens, and the entropy of what each was drawn
    from, both [B, N].

    Tokens less likely than `floor` are never drawn: 64 places with a tail of some thousandths each would
    spoil one frame in five. Nor do they count for the entropy: a place with only one token left is sure. At
    temperature 0 the entropy is that of temperature 1.

    At unsure places tokens less likely than `least` times the likeliest one are not drawn either (min-p, arXiv
    2407.01082): there the tail is what the weights do not know. Elsewhere it is what happens seldom, as a serve.

    Where a token is at least as likely as `sure`, a temperature below 1 does not count, so that what happens seldom
    does not happen more seldom still; instead tokens less likely than `SELDOM` are never drawn there.
    """
    lowest: float | Tensor = floor
    if sure < 1 and 0 < temperature < 1:
        settled = logits.softmax(dim=-1).amax(dim=-1, keepdim=True) >= sure  # [B, N, 1]
        logits = torch.where(settled, logits, logits / temperature)
        lowest = torch.where(settled, max(floor, SELDOM), floor)
    elif temperature not in (0, 1):
        logits = logits / temperature
    share = logits.softmax(dim=-1)  # [B, N, V]
    kept = torch.where(share < lowest, 0.0, share)
    if least:
        top = share.amax(dim=-1, keepdim=True)
        kept = torch.where((share < least * top) & (top < UNSURE), 0.0, kept)
    mass = kept.sum(dim=-1)
    mean = (kept * logits).sum(dim=-1) / mass
    entropy = (mass.log() + logits.logsumexp(dim=-1) - mean).clamp(min=0)
    some = mass > 0
    if not bool(some.all()):
        entropy = torch.where(some, entropy, torch.special.entr(share).sum(dim=-1))
    if temperature == 0:
        return logits.argmax(-1), entropy
    total = kept.cumsum(dim=-1)
    drawn = torch.searchsorted(total, (chance * total[..., -1])[..., None], right=True)[..., 0]
    drawn = drawn.clamp(max=logits.shape[-1] - 1)
    return drawn if bool(some.all()) else torch.where(some, drawn, logits.argmax(-1)), entropy


def surest(entropy: Tensor, masked: Tensor, bound: float = 0.005) -> Tensor:
    """Which of the masked places [B, N] to fix now: the surest ones, while what they could know of each
    other, at most the sum of their entropies less the largest, stays within `bound` nats."""
    sorted_entropy, order = entropy.masked_fill(~masked, float("inf")).sort(dim=-1)
    before = sorted_entropy.cumsum(dim=-1) - sorted_entropy
    take = (before.nan_to_num(nan=float("inf")) <= bound) & sorted_entropy.isfinite()
    return torch.zeros_like(masked).scatter(-1, order, take)
