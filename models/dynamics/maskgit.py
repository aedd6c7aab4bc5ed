"""MaskGIT: the next frame's tokens, guessed a few at a time, the surest first.

Data path: tokens [B, T, N], actions [B, T-1] that each frame is left by → *trunk*, a causal ST-transformer →
what is known of each next frame [B, T-1, N, D] → *filler*, blocks over that and its tokens so far → logits [K, V].

Genie (arXiv 2402.15391, §2.1; MaskGIT arXiv 2202.04200) masks the context as well and runs the whole
transformer in every pass. Here the past is always whole, as it is at play, and is thought through once a
frame; only the filler, half as deep and without attention over time, is repeated.

In the last part of training the past has faults. In some batches it is the model's own dream, as long as that
stays within one token of the real frames, which remain the targets (DAgger, arXiv 1011.0686); one that went
another way would only teach jumps. In the others, things are erased, so that what always is there comes back
when it is lost. What stands still in the game is not mended: a brick that a dream took away stays away. And some
actions are swapped: read off real frames, "down" never stands beside a paddle that is at the bottom already,
but whoever plays will press it there. Training may also bring actions along that were not taken, with what they did
elsewhere, from the beginning on.

Whether a new game begins is drawn before any token, once for the whole frame, and all places are told of it.

Most tokens belong to some places of the picture. A rare one, as a ball in a hole of a wall, is too rare for the
weights to know where; so it is counted, and where a token was never seen it is less likely by a fixed factor.

At play as many tokens are fixed in one pass as are jointly sure by their entropy (EB-Sampler, arXiv
2505.24857), so that two places where the ball might be are never filled at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.action_models import OfTokens
from models.blocks import KeysValues, Past, STBlock, shifted
from models.dynamics.changes import Changes
from models.dynamics.config import MaskGITConfig
from models.dynamics.context import Memory, Other, across_games, erased, mendable, swapped
from models.dynamics.token_world import TokenWorld
from models.latent_actions import LatentActionConfig
from models.learned_world import assembled
from models.sampling import sample, surest
from models.tokenizer import Size, TokenizerConfig
from models.world import Luck, Sampling, State, WorldSpec, check_action, uniform


class MaskGIT(nn.Module):
    """The dynamics. features: float [V, F], what each token looks like; grid: rows and columns; actions: A; pixels:
    a token's, where it is a patch."""

    def __init__(
        self, config: MaskGITConfig, features: Tensor, grid: tuple[int, int], actions: int, pixels: int = 0
    ) -> None:
        super().__init__()
        self.config, self.actions, self.grid = config, actions, grid
        width, tokens = config.width, grid[0] * grid[1]
        self.register_buffer("features", features, persistent=False)
        self.features: Tensor
        self.look = nn.Linear(features.shape[1], width)
        self.embed = nn.Embedding(len(features), width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.earlier = nn.Linear(width, width)
        self.action = nn.Embedding(actions, width)
        self.trunk = nn.ModuleList(self._block(grid, config.reach) for _ in range(config.depth))
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.foretold, self.where = nn.LayerNorm(width), nn.Parameter(0.02 * torch.randn(tokens, width))
        self.fill = nn.ModuleList(self._block(grid, 1) for _ in range(config.fill_depth))
        self.norm, self.head, self.stay = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 1)
        if config.games:
            self.opening, self.ends = nn.Parameter(0.02 * torch.randn(tokens, width)), nn.Linear(width, 1)
        if config.familiar:
            self.register_buffer("prior", torch.zeros(tokens, len(features), dtype=torch.float16))
        self.prior: Tensor
        self.changes = Changes(tokens, pixels, len(features)) if config.changes else None

    def learn_places(self, prior: Tensor) -> None:
        """Take over what is known of where tokens are to be seen, a sum to their logits, float [N, V]; see
        `context.familiarity`. Of what was known before, the better is kept."""
        had = bool(self.prior.any())
        self.prior.copy_(torch.maximum(self.prior, prior.to(self.prior)) if had else prior)

    def _block(self, grid: tuple[int, int], reach: int) -> STBlock:
        return STBlock(self.config.width, self.config.heads, reach, grid, conditioned=True)

    def table(self) -> Tensor:
        """float [V, D]: every token's embedding, part learned, part from what it looks like."""
        return F.rms_norm(self.embed.weight + self.look(self.features), (self.config.width,))

    def meant(self, actions: Tensor) -> Tensor:
        """Actions [...] → what they ask for [..., D]; at play as far from the mean of all as `insist` says."""
        asked = self.action.weight
        if not self.training and self.config.insist != 1:
            usual = asked.mean(dim=0)
            asked = usual + self.config.insist * (asked - usual)
        return F.embedding(actions, asked)

    def foretell(
        self, tokens: Tensor, earlier: Tensor, actions: Tensor, table: Tensor, past: Sequence[Past] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """The trunk: frames [B, T, N], the ones before them, the actions [B, T] that they are left by →
        what is known of the frames after them [B, T, N, D], and keys and values a block.

        Without `past` the frames of `tokens` are each other's past.
        """
        condition = self.meant(actions)  # [B, T, D]
        x = F.embedding(tokens, table) + self.earlier(F.embedding(earlier, table)) + self.place + condition[:, :, None]
        kept = []
        for index, block in enumerate(self.trunk):
            x, own = block(x, condition, past[index] if past else None)
            kept.append(own)
        return self.foretold(x), kept

    def end(self, known: Tensor) -> Tensor:
        """What is known of the next frames [..., N, D] → logits that a new game begins with them [...]."""
        logits: Tensor = self.ends(known.mean(dim=-2))[..., 0]
        return logits.float()

    def opened(self, known: Tensor, begins: Tensor) -> Tensor:
        """What is known [..., N, D], and that a new game begins where `begins` [...]."""
        return torch.where(begins[..., None, None], known + self.opening, known)

    def guess(self, known: Tensor, tokens: Tensor, masked: Tensor, actions: Tensor, table: Tensor) -> Tensor:
        """The filler: what is known [B, T, N, D], tokens [B, T, N] of which `masked` are hidden → features."""
        condition = self.meant(actions)
        x = self._half_known(known, tokens, masked, table)
        for block in self.fill:
            x, _ = block(x, condition)
        return self.norm(x)

    def _half_known(self, known: Tensor, tokens: Tensor, masked: Tensor, table: Tensor) -> Tensor:
        return known + torch.where(masked[..., None], self.hidden, F.embedding(tokens, table)) + self.where

    def logits(self, x: Tensor, before: Tensor, place: Tensor, table: Tensor) -> Tensor:
        """features [..., D], the token that was there before [...], which may stay, and the place [...] → logits
        [..., V]."""
        logits = self.head(x) @ table.T * table.shape[1] ** -0.5
        if self.config.familiar:
            prior = F.embedding(place, self.prior)
            logits = logits + prior.scatter(-1, before[..., None], 0.0).to(logits.dtype)
        return logits.scatter_add(-1, before[..., None], self.stay(x).to(logits.dtype))

    def loss(
        self, tokens: Tensor, actions: Tensor, progress: float = 0.0, other: Other | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy on hidden tokens, never on the prompt. tokens: [B, T, N], actions: [B, T-1], -1 between games.

        progress: share of training done; other: the same play with some other actions and what these would have done.
        Raises ValueError where the window has no frame to guess.
        """
        first = self.config.first
        if tokens.shape[1] <= first:
            raise ValueError(f"windows of {tokens.shape[1]} frames are too short; use {first + 1} or more")
        table, context, told = self.table(), tokens[:, :-1], None
        begins, actions = across_games(actions)
        if progress >= self.config.own_from:
            context, told = self._spoilt(tokens, actions, begins, table.detach())
            if other is None:
                actions = swapped(actions, self.actions, self.config.action_noise)
        following = tokens[:, 1:]
        if other is not None:
            actions, following = torch.where(other.chosen, other.actions, actions), other.future
        known, _ = self.foretell(context, shifted(context), actions, table)
        known, before, future = known[:, first - 1 :], context[:, first - 1 :], following[:, first - 1 :]
        begins, end = begins[:, first - 1 :], known.new_zeros(())
        if self.config.games:
            end = F.binary_cross_entropy_with_logits(self.end(known), begins.float())
            known = self.opened(known, begins)
        features, masked = self.attempt(known, future, actions[:, first - 1 :], table)
        changed = future != tokens[:, first - 1 : -1]
        hard = changed | (future != before)
        drawn = masked & (hard | (torch.rand(masked.shape, device=masked.device) < 1 / self.config.easy))
        if told is not None:
            drawn = drawn & told[:, first - 1 :]
        logits = self.logits(features[drawn], before[drawn], drawn.nonzero()[:, -1], table).float()
        entropy = F.cross_entropy(logits, future[drawn], reduction="none")
        counted = hard[drawn]
        weight = torch.where(counted, 1.0, float(self.config.easy))
        loss = (entropy * weight).sum() / counted.sum().clamp(min=1)
        right = logits.detach().argmax(-1) == future[drawn]
        moved = changed[drawn]
        logs = {
            "changed_accuracy": right[moved].float().mean(),
            "changed_ce": entropy.detach()[moved].mean(),
            "still_accuracy": right[~counted].float().mean(),
        }
        if self.config.games:
            logs["end_ce"] = end.detach()
        return loss + end, logs

    def attempt(self, known: Tensor, future: Tensor, actions: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """What training asks of the filler: frames [B, T, N] and what is known of them [B, T, N, D] → features
        [B, T, N, D], and for which of the tokens they are a guess, bool [B, T, N]."""
        masked = self._mask(future)
        return self.guess(known, future, masked, actions, table), masked

    def _mask(self, future: Tensor) -> Tensor:
        """bool [B, T, N]: Bernoulli at a rate U(0.5, 1) a frame, or everything."""
        shape = (*future.shape[:2], 1)
        rate = 0.5 + 0.5 * torch.rand(shape, device=future.device)
        rate = torch.where(torch.rand(shape, device=future.device) < self.config.whole, 1.0, rate)
        return torch.rand(future.shape, device=future.device) < rate

    def _spoilt(self, tokens: Tensor, actions: Tensor, begins: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """A context with faults in it, int64 [B, T-1, N], and where it may still tell of the next frame, bool
        [B, T-1, N]: in frames up to which a dream has never been more than one token away from the game, and
        there, `mendable` faults alone; all of a new game may be told."""
        real, future, all_new = tokens[:, :-1], tokens[:, 1:], begins[..., None]
        if torch.rand(()) < self.config.own_share:
            context = self._own_dream(tokens, actions, begins, table)
            near = (context != real).sum(dim=-1) <= 1
            return context, near.cumprod(dim=1).bool()[..., None] & (mendable(context, real, future) | all_new)
        context = erased(real, self.grid, self.config.erased)
        return context, mendable(context, real, future) | all_new

    @torch.no_grad()
    def _own_dream(self, tokens: Tensor, actions: Tensor, begins: Tensor, table: Tensor) -> Tensor:
        """Frames 0…T-2, of which all after the context are dreamed, with new games where the game has them:
        [B, T-1, N]."""
        first, frames = self.config.first, tokens.shape[1]
        memory = self.remember(tokens[:, :first], actions[:, : first - 1], table)
        dreamed = list(tokens[:, :first].unbind(1))
        for t in range(first, frames - 1):
            passes = 1 if self.config.whole >= 1 else 2
            chance = torch.rand((len(tokens), passes, tokens.shape[2]), device=tokens.device)
            earlier = dreamed[max(0, t - 2)]
            known, memory = self.advance(dreamed[-1], earlier, actions[:, t - 1], memory, table)
            known = self.opened(known, begins[:, t - 1]) if self.config.games else known
            drawn, _ = self.draw(known, dreamed[-1], actions[:, t - 1], table, 1.0, chance)
            dreamed.append(drawn)
        return torch.stack(dreamed, dim=1)

    def remember(self, tokens: Tensor, actions: Tensor, table: Tensor) -> Memory:
        """All frames but the last, tokens [B, T, N] and the actions [B, T-1] between them → memory."""
        reach, past = self.config.reach - 1, tokens[:, :-1]
        batch, frames, places = past.shape
        if not frames:
            return Memory.empty(self.place, batch, len(self.trunk), places, reach, self.config.heads)
        _, kept = self.foretell(past, shifted(past), actions, table)
        return Memory.of(kept, reach)

    def advance(
        self, present: Tensor, earlier: Tensor, action: Tensor, memory: Memory, table: Tensor
    ) -> tuple[Tensor, Memory]:
        """The present frame [B, N], the one before it and the action [B] → what is known of the next frame
        [B, N, D], and a memory that holds the present one too."""
        past = memory.past()
        known, kept = self.foretell(present[:, None], earlier[:, None], action[:, None], table, past)
        return known[:, 0], memory.with_frame(kept)

    def _guess_open(self, known: Tensor, grid: Tensor, masked: Tensor, action: Tensor, table: Tensor) -> Tensor:
        """The filler on one frame [B, N], for the frames that still have hidden places: features of those [K, D].

        Once they are few, the last block is asked for them alone.
        """
        rows = masked.any(dim=1)
        if not bool(rows.all()):
            known, grid, masked, action = known[rows], grid[rows], masked[rows], action[rows]
        hidden = masked.sum(dim=1)
        most = int(hidden.max())
        if 2 * most > grid.shape[1]:
            x = self.guess(known[:, None], grid[:, None], masked[:, None], action[:, None], table)[:, 0]
            return x[masked]
        condition = self.meant(action)
        x = self._half_known(known, grid, masked, table)[:, None]
        for block in self.fill[:-1]:
            x, _ = block(x, condition[:, None])
        places = masked.to(torch.int8).sort(dim=1, descending=True, stable=True).indices[:, :most]
        x = self.norm(cast(STBlock, self.fill[-1]).at(x[:, 0], condition, places))
        return x[torch.arange(most, device=x.device) < hidden[:, None]]

    def draw(
        self,
        known: Tensor,
        before: Tensor,
        action: Tensor,
        table: Tensor,
        temperature: float,
        chance: Tensor,
        begins: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One frame: what the trunk knows of it [B, N, D], before [B, N], action [B] → tokens [B, N] and the
        entropy each was drawn at [B, N]. begins: bool [B], where it is the first of a new game.

        chance: uniform numbers [B, K, N] for at most K passes. temperature divides the logits; 0 takes the
        likeliest.
        """
        steps = chance.shape[1]
        grid, masked = before.clone(), torch.ones_like(before, dtype=torch.bool)
        entropy = torch.zeros(before.shape, device=before.device)
        for step in range(steps):
            x = self._guess_open(known, grid, masked, action, table)
            row, place = masked.nonzero(as_tuple=True)
            logits = self.logits(x, before[masked], place, table).float()
            if self.changes is not None and not self.training:
                logits = self.changes(logits, place, before[masked], None if begins is None else begins[row])
            least, sure = (0.0, 1.0) if self.training else (self.config.least, self.config.sure)
            drawn, doubt = sample(logits, temperature, chance[:, step][masked], least=least, sure=sure)
            guessed, unsure = grid.masked_scatter(masked, drawn), entropy.masked_scatter(masked, doubt)
            fixed = masked & (surest(unsure, masked) if step < steps - 1 else masked)
            grid, entropy = torch.where(fixed, guessed, grid), torch.where(fixed, unsure, entropy)
            masked = masked & ~fixed
            if not bool(masked.any()):
                break
        return grid, entropy


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskGITFamily:
    """The three parts of a MaskGIT world, in the order in which they are trained."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    latent_actions: OfTokens = field(default_factory=LatentActionConfig)
    dynamics: MaskGITConfig = field(default_factory=MaskGITConfig)

    @classmethod
    def sized(cls, size: Size) -> MaskGITFamily:
        """One dial for all parts."""
        return cls(
            tokenizer=TokenizerConfig.sized(size),
            latent_actions=LatentActionConfig.sized(size),
            dynamics=MaskGITConfig.sized(size),
        )

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": 2, "dynamics": self.dynamics.first + 1}

    def build(self, spec: WorldSpec) -> MaskGITWorld:
        """The world that this config describes, untrained."""
        world: MaskGITWorld = assembled(MaskGITWorld, self, spec)
        return world


class MaskGITWorld(TokenWorld):
    """The state holds `earlier`, the frame before the present one, too."""

    def __init__(self, config: MaskGITFamily, spec: WorldSpec, sampling: Sampling | None = None) -> None:
        usual = Sampling(steps=config.dynamics.passes, temperature=config.dynamics.temperature)
        super().__init__(config, spec, sampling or usual)
        if self.in_one_step:
            self.sampling = replace(self.sampling, steps=1)
        self._table: Tensor | None = None

    @property
    def in_one_step(self) -> bool:
        """Whether the dynamics never learned to fill in beside tokens that are there."""
        return bool(self.config.dynamics.whole >= 1)

    def fresh_dynamics(self) -> MaskGIT:
        """Untrained dynamics over the present tokenizer."""
        features, actions = self.tokenizer.features(), len(self.spec.actions)
        rows, columns = self.tokenizer.config.patch
        return MaskGIT(self.config.dynamics, features, self.tokenizer.grid, actions, rows * columns)

    def link(self) -> None:
        """Tell the other parts what the tokens look like now. To be called when the tokenizer changed.

        Where its vocabulary became another one, the other parts start anew.
        """
        super().link()
        self.dynamics.features = self.tokenizer.features().to(self.device())
        if self.dynamics.changes is not None:
            shades = self.tokenizer.shades()
            self.dynamics.changes.shades = None if shades is None else shades.to(self.device())

    def forget(self) -> None:
        """Drop the token table; the dynamics' weights are others now."""
        self._table = None

    def table(self) -> Tensor:
        """The dynamics' token table, made once."""
        if self._table is None or self.training:
            self._table = self.dynamics.table()
        return self._table

    def remember(self, tokens: Tensor, actions: Tensor) -> Memory:
        """What attention may look back at from the last of frames [B, T, N]; actions: [B, T-1] between them."""
        memory: Memory = self.dynamics.remember(tokens, actions, self.table())
        return memory

    @torch.inference_mode()
    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        grid = state["grid"]
        check_action(action, self.dynamics.actions, len(grid))
        action = action.to(grid.device)
        chance = uniform((len(grid), self.sampling.steps, grid.shape[1]), rng).to(grid.device)
        memory, table = Memory(state["keys"], state["values"], state["filled"]), self.table()
        known, memory = self.dynamics.advance(grid, state["earlier"], action, memory, table)
        begins = None
        if self.dynamics.config.games:
            begins = uniform((len(grid),), rng).to(grid.device) < self.dynamics.end(known).sigmoid()
            known = self.dynamics.opened(known, begins)
        drawn, entropy = self.dynamics.draw(known, grid, action, table, self.sampling.temperature, chance, begins)
        return self.gone_on(state, drawn, entropy, memory)
