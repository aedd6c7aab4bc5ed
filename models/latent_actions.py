"""The LAM: which of a few codes explains each change. Unsupervised.

Data path: frames [B, T, C, H, W] → pairs (before, after) → convolutions, pooled over the frame → one of
eight codes a transition; beside it tokens [B, T-1, N] → causal ST-transformer → features that know the
past → a head that must tell the tokens of frame t+1 from a feature and the code.

Genie (arXiv 2402.15391, §2.1) with these departures, each against a measured failure. The encoder sees
only the pair and no history, so that a code names a change and not a surprise, and it is convolutional and
sees only what changed, so that the same move is the same code wherever it happens. The code enters at the head
alone, so that every code can be tried on every transition for little: no straight-through gradient is needed. It
rebuilds the tokens of the frame rather than its pixels, because a one-pixel ball weighs nothing in a squared error.

Training has three phases. *Free*: the decoder learns, without codes, what can be told without them (the
ball, the opponent), from the past in half of the batches and from the present frame alone in the others.
*Sorting*: its memory is frozen, and the codes part ways by expectation-maximisation (Neal and Hinton 1998), with
posteriors partly balanced over the batch (Sinkhorn-Knopp, as in SwAV, arXiv 2006.09882) so that none falls
out of use. *Choosing* minimises the cost expected under the encoder's own choice: all costs are known, so the
gradient is exact.

What a code has to tell is what the past did not: each place weighs as much as the decoder that knows the past
was wrong about it, so that a ball that flies on weighs little. But with a code the decoder sees the present frame
alone, or codes would come to mean "as before" and "the other way", which the past makes clear and a player
at the keys does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import STBlock, check_heads, shifted
from models.frames import to_float
from models.quantizers import perplexity
from models.tokenizer import Size, Tokenizer
from models.world import WorldSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentActionConfig:
    """codes: how many latent actions. width, heads, depth, reach: of the decoder; channels: of the encoder, and
    layers its convolutions: with three a move of some ten pixels is only seen at one end, and left is taken for right;
    anywhere: whether it sees nothing but pixels that changed, in training shifted by some pixels, so that it cannot
    tell where something happens: a code that means left here and right there is no action.

    free_share, sort_share: shares of training in which the decoder learns without codes, and in which codes
    are sorted; what remains is for choosing. balance: how far the use of the codes is evened out in
    sorting, from 0, not at all, to 1, wholly; even: weight of the divergence of their use from an even one in
    choosing; sharpness: what the costs are multiplied with before the posterior, more than 1 for codes that
    part ways soon; extra: unchanged places a frame, on average, that the loss looks at beside the changed
    ones; watch: share of the unchanged places that show something, which it looks at too: with few of them a code
    that moves a paddle which stood still costs less than it should, and comes to mean both; tries: transitions of a
    batch on which every code is tried.
    """

    codes: int = 8
    width: int = 96
    heads: int = 4
    depth: int = 3
    reach: int = 5
    channels: int = 24
    layers: int = 3
    anywhere: bool = False
    free_share: float = 0.45
    sort_share: float = 0.08
    balance: float = 0.5
    even: float = 0.2
    sharpness: float = 4.0
    extra: float = 2.0
    watch: float = 0.25
    tries: int = 160

    def __post_init__(self) -> None:
        if not 2 <= self.codes <= 64:
            raise ValueError(f"number of latent actions must be in [2, 64], found {self.codes}")
        check_heads(self.width, self.heads)
        if not 0 <= self.watch <= 1:
            raise ValueError(f"watch must be in [0, 1], found {self.watch}")
        if self.layers < 3:
            raise ValueError(f"layers must be 3 or more, found {self.layers}")
        if not 0 <= self.free_share < 1 or not 0 <= self.sort_share < 1 - self.free_share or not 0 <= self.balance <= 1:
            shares = f"free_share {self.free_share} and sort_share {self.sort_share} must be in [0, 1) and leave a rest"
            raise ValueError(f"{shares}, balance {self.balance} must be in [0, 1]")

    @classmethod
    def sized(cls, size: Size) -> LatentActionConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "heads": 2, "depth": 1, "channels": 8},
            "small": {},
            "base": {"width": 256, "heads": 8, "depth": 6, "channels": 48},
            "paper": {"width": 1024, "heads": 16, "depth": 20, "channels": 96, "reach": 16},
        }
        return cls(layers=4, anywhere=True, **dials[size])


STRIDE = 8
"""Pixels from one place of the encoder's last layer to the next."""


class ChangeEncoder(nn.Module):
    """Two frames → logits over the codes, by convolutions and a sum over the frame."""

    def __init__(self, channels: int, config: LatentActionConfig) -> None:
        super().__init__()
        width, layers, codes = config.channels, config.layers, config.codes
        self.anywhere = config.anywhere
        wider = [(nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.GELU()) for _ in range(layers - 3)]
        self.see = nn.Sequential(
            nn.Conv2d(9, width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(width, 2 * width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.GELU(),
            *(each for pair in wider for each in pair),
        )  # fmt: skip
        self.tell = nn.Sequential(
            nn.LayerNorm(8 * width), nn.Linear(8 * width, 4 * width), nn.GELU(), nn.Linear(4 * width, codes)
        )
        assert channels == 3, "frames are RGB"

    def forward(self, frames: Tensor) -> Tensor:
        """float [B, T, C, H, W] in [0, 1] → logits [B, T-1, A]."""
        before, after = frames[:, :-1], frames[:, 1:]
        pair = torch.cat([before - 0.5, after - 0.5, 4 * (after - before)], dim=2).flatten(0, 1)
        changed = (before != after).any(dim=2).flatten(0, 1)[:, None].float()  # [B·(T-1), 1, H, W]
        if self.anywhere:
            pair = pair * changed
            right, down = torch.randint(0, STRIDE, (2,)).tolist() if self.training else (0, 0)
            room = (right, STRIDE - right, down, STRIDE - down)
            pair, changed = F.pad(pair, room), F.pad(changed, room)
        seen = self.see(pair)
        near = F.adaptive_max_pool2d(changed, seen.shape[-2:])
        moving = seen * near
        pooled = torch.cat([moving.sum(dim=(2, 3)) / 8, moving.amax(dim=(2, 3))], dim=1)
        return self.tell(pooled).unflatten(0, before.shape[:2]).float()


class LatentActionModel(nn.Module):
    """Reads codes off real frames. Needs a fitted tokenizer, whose tokens its decoder rebuilds."""

    def __init__(self, config: LatentActionConfig, spec: WorldSpec, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        width = config.width
        self.encoder = ChangeEncoder(spec.channels, config)
        features = tokenizer.features()
        self.register_buffer("features", features, persistent=False)
        self.features: Tensor
        self.look = nn.Linear(features.shape[1], width)
        self.embed = nn.Embedding(tokenizer.size, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.place = nn.Parameter(0.02 * torch.randn(tokenizer.grid[0] * tokenizer.grid[1], width))
        self.earlier = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            STBlock(width, config.heads, config.reach, tokenizer.grid) for _ in range(config.depth)
        )
        self.norm, self.stay = nn.LayerNorm(width), nn.Linear(width, 1)
        self.no_code = nn.Parameter(0.5 * torch.randn(2 * width))
        self.code = nn.Embedding(config.codes, 2 * width)  # added to the former
        self.mix = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        nn.init.normal_(self.code.weight, std=0.25)

    @torch.no_grad()
    def infer(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1] in [0, A)."""
        return self.encoder(to_float(frames)).argmax(-1)

    def table(self) -> Tensor:
        """float [V, D]: every token's embedding, part learned, part from what it looks like."""
        return F.rms_norm(self.embed.weight + self.look(self.features), (self.config.width,))

    def remember(self, tokens: Tensor, table: Tensor) -> Tensor:
        """Frames 1…T-1, int64 [B, T-1, N] → features that know the past [B, T-1, N, D]."""
        x = F.embedding(tokens, table) + self.earlier(F.embedding(shifted(tokens), table)) + self.place
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x)

    def see(self, present: Tensor, table: Tensor) -> Tensor:
        """Frames int64 [B, N] → features that know nothing but each of them [B, N, D]."""
        return self.remember(present[:, None], table)[:, 0]

    def tell(self, x: Tensor, codes: Tensor | None, present: Tensor, table: Tensor) -> Tensor:
        """Features [K, D], a code [K] (or none) and the present token [K] of K places → logits of the next [K, V]."""
        style = self.no_code if codes is None else self.no_code + self.code(codes)
        scale, shift = style.chunk(2, dim=-1)
        x = x + self.mix(x * (1 + scale) + shift)
        logits = x @ table.T * table.shape[1] ** -0.5
        return logits.scatter_add(1, present[:, None], self.stay(x).to(logits.dtype))

    def loss(self, frames: Tensor, tokens: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the next frame's tokens, without codes or expected over them.

        frames: uint8 [B, T, C, H, W]; tokens: int64 [B, T, N] of the same frames; progress: share of
        training done, which decides the phase.
        """
        free = progress < self.config.free_share
        past, future = tokens[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(0, 1)  # [B·(T-1), N]
        with torch.set_grad_enabled(free):  # what is known of the past is settled before codes come in
            table = self.table()
            now = free and bool(torch.rand(()) < 0.5)
            x = self.see(past, table) if now else self.remember(tokens[:, :-1], table).flatten(0, 1)
        pairs = torch.stack([frames[:, :-1], frames[:, 1:]], dim=2).flatten(0, 1)
        changed = past != future
        tried = torch.randperm(len(past), device=past.device)[: len(past) if free else self.config.tries]
        places = changed | self._watched(tokens)
        x, past, future, changed, places, pairs = (each[tried] for each in (x, past, future, changed, places, pairs))
        row = places.nonzero()[:, 0]  # which transition each of the K places belongs to
        present, target, moved = past[places], future[places], changed[places]
        total = moved.sum().clamp(min=1)

        def entropy(x: Tensor, code: int | None) -> Tensor:
            codes = None if code is None else torch.full_like(target, code)
            return F.cross_entropy(self.tell(x, codes, present, table).float(), target, reduction="none")

        alone = entropy(x[places], None)
        if free:
            return alone.sum() / total, {"present_ce" if now else "free_ce": alone.detach()[moved].mean()}
        logs = {"free_ce": alone.detach()[moved].mean()}
        unknown = -torch.expm1(-alone.detach())[:, None]  # how wrong the past was about each place, [K, 1]
        with torch.no_grad():
            x = self.see(past, table)[places]
            untold = unknown[:, 0] * entropy(x, None)
        each = unknown * torch.stack([entropy(x, code) for code in range(self.config.codes)], dim=1)  # [K, A]
        cost = each.new_zeros(len(past), self.config.codes).index_add(0, row, each)
        logits = self.encoder(to_float(pairs.to(x.device)))[:, 0]  # [K, A]
        if progress < self.config.free_share + self.config.sort_share:
            share = posterior(cost.detach() * self.config.sharpness, logits.detach(), self.config.balance)
            read = F.cross_entropy(logits, share)
        else:
            share = logits.softmax(-1)
            use = share.mean(dim=0)
            read = self.config.even * (use * (use * self.config.codes).clamp(min=1e-6).log()).sum()
        rebuild = ((share * cost).sum() + alone.sum()) / total
        code = logits.argmax(-1)
        weight = unknown[moved].sum().clamp(min=1e-6)
        logs |= {
            "untold_ce": untold[moved].sum() / weight,
            "code_ce": each.detach().gather(1, code[row][:, None])[moved].sum() / weight,
            "sure": share.detach().amax(-1).mean(),
            "perplexity": torch.tensor(perplexity(torch.bincount(code, minlength=self.config.codes))),
        }
        return rebuild + read, logs

    @torch.no_grad()
    def gain(self, frames: Tensor, tokens: Tensor) -> dict[str, float]:
        """What the codes are worth to this model's own decoder, on changed tokens, from the present frame alone.

        frames: uint8 [B, T, C, H, W], tokens: int64 [B, T, N] of them. Returns cross-entropies in nats with
        the codes read off the frames, with the same codes shuffled over the batch and with no code, and
        `gain`, shuffled over inferred.
        """
        table, codes = self.table(), self.infer(frames).flatten()
        past, future = tokens[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(0, 1)
        changed = past != future
        x, row = self.see(past, table)[changed], changed.nonzero()[:, 0]
        order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0)).to(codes.device)
        tried = {"inferred": codes, "shuffled": codes[order], "none": None}
        found = {
            name: float(
                F.cross_entropy(
                    self.tell(x, None if given is None else given[row], past[changed], table), future[changed]
                )
            )
            for name, given in tried.items()
        }
        return {**found, "gain": found["shuffled"] / max(found["inferred"], 1e-9)}

    def _watched(self, tokens: Tensor) -> Tensor:
        """bool [B·(T-1), N]: some places that the loss looks at whether they change or not: the share `watch`
        of those where, before or after, there is not what mostly is there in this batch, and a few others."""
        usual = tokens.flatten(0, 1).mode(dim=0).values
        seen = tokens != usual
        shown = (seen[:, :-1] | seen[:, 1:]).flatten(0, 1)
        rate = torch.where(shown, self.config.watch, min(0.25, self.config.extra / tokens.shape[2]))
        return torch.rand(shown.shape, device=tokens.device) < rate


def posterior(cost: Tensor, logits: Tensor, balance: float) -> Tensor:
    """How much each code is to blame for each transition: [K, A], rows sum to one.

    Bayes with the encoder's reading as the prior, and columns evened out as far as `balance` says, from 0 to 1.
    """
    score = -cost + logits.log_softmax(-1)
    even = torch.zeros(score.shape[1], device=score.device)
    for _ in range(5):
        share = (score + even).softmax(dim=-1)
        even = even - (share.mean(dim=0) * score.shape[1]).clamp(min=1e-4).log()
    return (score + balance * even).softmax(dim=-1)
