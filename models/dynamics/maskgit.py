"""MaskGIT: the next frame's tokens, guessed a few at a time, the surest first.

Data path: tokens [B, T, N], actions [B, T-1] → two streams through one causal ST-transformer → logits
of the hidden tokens [K, V]. The *clean* stream reads the past and leaves keys and values; the *masked*
stream holds, for every frame, some of its tokens and guesses the rest from the clean past, the code
and the tokens that it still sees. Genie (arXiv 2402.15391, §2.1, §6.6 of MaskGIT arXiv 2202.04200)
masks the context as well; here the past is always whole, exactly as it is at play, so that nothing is
learned for a case that never comes.

At play the number of tokens fixed in one pass follows their entropy (EB-Sampler, arXiv 2505.24857): as
many as are jointly sure, so that a frame in which nothing is in doubt takes one pass, and two places
where the ball might be are never filled at once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.blocks import KeysValues, Past, STBlock, causal_offset
from models.latent_actions import LatentActionConfig, LatentActionModel
from models.sampling import sample, surest
from models.tokenizer import Size, Tokenizer, TokenizerConfig
from models.world import Sampling, State, Window, WorldSpec, check_action


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskGITConfig:
    """width, heads, depth: of the transformer; reach: frames that temporal attention looks over;
    first: number of the first frame to be guessed, the ones before it are context only.

    whole: share of frames trained fully masked, as at play (the others at a rate U(0.5, 1));
    own_share: share of batches whose past is partly replaced by the model's own guesses; own_rate:
    at most this share of the tokens; easy: of the tokens that do not change, one in `easy` is trained
    on, with weight `easy`, which leaves the expected loss as it is and saves most of its cost.
    """

    width: int = 128
    heads: int = 4
    depth: int = 4
    reach: int = 8
    first: int = 3
    whole: float = 0.5
    own_share: float = 0.15
    own_rate: float = 0.3
    easy: int = 8

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        if self.reach < 2 or self.depth < 1 or self.easy < 1 or self.first < 1:
            raise ValueError(f"reach {self.reach} must be 2 or more; depth, easy and first 1 or more")
        for name in ("whole", "own_share", "own_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")

    @classmethod
    def sized(cls, size: Size) -> MaskGITConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "heads": 2, "depth": 2, "reach": 4, "first": 1},
            "small": {},
            "base": {"width": 384, "heads": 8, "depth": 8, "reach": 16},
            "paper": {"width": 512, "heads": 8, "depth": 12, "reach": 16},
        }
        return cls(**dials[size])


class MaskGIT(nn.Module):
    """The dynamics. features: float [V, F], what each token looks like; grid: rows and columns; actions: A."""

    def __init__(self, config: MaskGITConfig, features: Tensor, grid: tuple[int, int], actions: int) -> None:
        super().__init__()
        self.config, self.actions = config, actions
        width, tokens = config.width, grid[0] * grid[1]
        self.register_buffer("features", features, persistent=False)
        self.features: Tensor
        self.look = nn.Linear(features.shape[1], width)
        self.embed = nn.Embedding(len(features), width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.before, self.earlier = nn.Linear(width, width), nn.Linear(width, width)
        self.action = nn.Embedding(actions + 1, width)  # the last one: no action, before the first frame
        self.blocks = nn.ModuleList(
            STBlock(width, config.heads, config.reach, grid, conditioned=True) for _ in range(config.depth)
        )
        self.norm, self.head, self.stay = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 1)

    def table(self) -> Tensor:
        """float [V, D]: every token's embedding, part learned, part from what it looks like."""
        return self.embed.weight + self.look(self.features)

    def read(
        self, tokens: Tensor, first: Tensor, actions: Tensor, table: Tensor, past: Sequence[Past] | None = None
    ) -> list[KeysValues]:
        """The clean stream: tokens [B, T, N], actions [B, T] that led to them → keys and values a block.

        first: the frame before the first one [B, N].
        """
        condition = self.action(actions)  # [B, T, D]
        earlier = torch.cat([first[:, None], tokens[:, :-1]], dim=1)
        x = F.embedding(tokens, table) + self.earlier(F.embedding(earlier, table)) + self.place + condition[:, :, None]
        kept = []
        for index, block in enumerate(self.blocks):
            x, own = block(x, condition, past[index] if past else None)
            kept.append(own)
        return kept

    def guess(
        self, tokens: Tensor, masked: Tensor, before: Tensor, actions: Tensor, table: Tensor, past: Sequence[Past]
    ) -> Tensor:
        """The masked stream: tokens [B, T, N], of which `masked` are hidden → features [B, T, N, D].

        before: the frames one earlier [B, T, N]; actions: [B, T], what led from there to here.
        """
        condition = self.action(actions)
        seen = F.embedding(tokens, table)
        x = torch.where(masked[..., None], self.hidden, seen) + self.before(F.embedding(before, table))
        x = x + self.place + condition[:, :, None]
        for index, block in enumerate(self.blocks):
            x, _ = block(x, condition, past[index])
        return self.norm(x)

    def logits(self, x: Tensor, before: Tensor, table: Tensor) -> Tensor:
        """features [..., D] and the token that was there before [...] → logits [..., V]."""
        logits = self.head(x) @ table.T * table.shape[1] ** -0.5
        return logits.scatter_add(-1, before[..., None], self.stay(x).to(logits.dtype))

    def loss(self, tokens: Tensor, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy on hidden tokens, never on the prompt. tokens: [B, T, N], actions: [B, T-1].

        Raises ValueError where the window has no frame to guess.
        """
        if tokens.shape[1] <= self.config.first:
            raise ValueError(f"windows of {tokens.shape[1]} frames are too short; use {self.config.first + 1} or more")
        table = self.table()
        context, first = tokens[:, :-1], self.config.first
        if torch.rand(()) < self.config.own_share:
            context = self._own_context(tokens, actions, table.detach())
        future, before = tokens[:, first:], context[:, first - 1 :]
        masked = self._mask(future)
        features = self._both_streams(context, future, masked, actions, table)
        changed = future != tokens[:, first - 1 : -1]
        hard = changed | (future != before)
        drawn = masked & (hard | (torch.rand(masked.shape, device=masked.device) < 1 / self.config.easy))
        logits = self.logits(features[drawn], before[drawn], table).float()
        entropy = F.cross_entropy(logits, future[drawn], reduction="none")
        weight = torch.where(hard[drawn], 1.0, float(self.config.easy))
        loss = (entropy * weight).sum() / (hard & masked).sum().clamp(min=1)
        right = logits.detach().argmax(-1) == future[drawn]
        moved = changed[drawn]
        logs = {
            "changed_accuracy": right[moved].float().mean(),
            "changed_ce": entropy.detach()[moved].mean(),
            "still_accuracy": right[~hard[drawn]].float().mean(),
        }
        return loss, logs

    def _both_streams(self, context: Tensor, future: Tensor, masked: Tensor, actions: Tensor, table: Tensor) -> Tensor:
        """context: frames 0…T-2, future: frames F…T-1 → features of the future frames [B, T-F, N, D]."""
        first = context.shape[1] - future.shape[1] + 1
        none = torch.full_like(actions[:, :1], self.actions)
        kept = self.read(context, context[:, 0], torch.cat([none, actions[:, :-1]], dim=1), table)
        offset = causal_offset(context.shape[1], context.device)[first - 1 :] + 1
        past = [Past(own, offset) for own in kept]
        return self.guess(future, masked, context[:, first - 1 :], actions[:, first - 1 :], table, past)

    def _mask(self, future: Tensor) -> Tensor:
        """bool [B, T, N]: Bernoulli at a rate U(0.5, 1) a frame, or everything."""
        shape = (*future.shape[:2], 1)
        rate = 0.5 + 0.5 * torch.rand(shape, device=future.device)
        rate = torch.where(torch.rand(shape, device=future.device) < self.config.whole, 1.0, rate)
        return torch.rand(future.shape, device=future.device) < rate

    @torch.no_grad()
    def _own_context(self, tokens: Tensor, actions: Tensor, table: Tensor) -> Tensor:
        """Frames 0…T-2, in which some tokens are the model's own one-pass guesses."""
        context, first = tokens[:, :-1], self.config.first
        future, before = tokens[:, first:], context[:, first - 1 :]
        masked = torch.ones_like(future, dtype=torch.bool)
        features = self._both_streams(context, future, masked, actions, table)
        doubt = (torch.rand(future.shape, device=future.device) < 0.25) | (future != before)
        logits = self.logits(features[doubt], before[doubt], table).float()
        guess = future.clone()
        guess[doubt] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        rate = self.config.own_rate * torch.rand((len(tokens), 1, 1), device=tokens.device)
        swap = torch.rand(future.shape, device=tokens.device) < rate
        own = torch.where(swap, guess, future)
        return torch.cat([tokens[:, :first], own[:, :-1]], dim=1)

    def draw(
        self,
        before: Tensor,
        action: Tensor,
        past: Sequence[Past],
        table: Tensor,
        steps: int,
        temperature: float,
        chance: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One frame: before [B, N], action [B] → tokens [B, N] and the entropy each was drawn at [B, N].

        chance: uniform numbers [B, steps, N]. temperature divides the logits; 0 takes the likeliest.
        """
        grid, masked = before.clone(), torch.ones_like(before, dtype=torch.bool)
        entropy = torch.zeros(before.shape, device=before.device)
        for step in range(steps):
            x = self.guess(grid[:, None], masked[:, None], before[:, None], action[:, None], table, past)
            logits = self.logits(x[:, 0], before, table).float()
            drawn, doubt = sample(logits, temperature, chance[:, step])
            fixed = masked & (surest(doubt, masked) if step < steps - 1 else masked)
            grid, entropy = torch.where(fixed, drawn, grid), torch.where(fixed, doubt, entropy)
            masked = masked & ~fixed
            if not bool(masked.any()):
                break
        return grid, entropy


def past_of(keys: Tensor, values: Tensor, filled: Tensor) -> list[Past]:
    """A state's cache [B, blocks, N, heads, T, D] as one `Past` a block, for one present frame.

    filled: int64 [B], how many of the last T frames there are.
    """
    reach = keys.shape[4]
    offset = torch.arange(reach, 0, -1, device=keys.device)
    seen = torch.where(offset[None] <= filled[:, None], offset[None], 0)
    seen = rearrange(seen, "b t -> b 1 t")
    return [Past(KeysValues(keys[:, i], values[:, i]), seen) for i in range(keys.shape[1])]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskGITFamily:
    """The three parts of a MaskGIT world, in the order in which they are trained."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    latent_actions: LatentActionConfig = field(default_factory=LatentActionConfig)
    dynamics: MaskGITConfig = field(default_factory=MaskGITConfig)

    @classmethod
    def sized(cls, size: Size) -> MaskGITFamily:
        """One dial for all parts."""
        return cls(
            tokenizer=TokenizerConfig.sized(size),
            latent_actions=LatentActionConfig.sized(size),
            dynamics=MaskGITConfig.sized(size),
        )

    def build(self, spec: WorldSpec) -> MaskGITWorld:
        """The world that this config describes, untrained."""
        return MaskGITWorld(self, spec)


class MaskGITWorld(nn.Module):
    """Tokenizer, LAM and dynamics as one playable thing.

    State: `grid` int64 [B, N], the present; `history` int64 [B, R, N], the frames that its decoding
    depends on; `keys`, `values` float [B, blocks, N, heads, T, D] and `filled` int64 [B], what the past
    offers to attention; `entropy` float [B, N].
    """

    def __init__(self, config: MaskGITFamily, spec: WorldSpec, sampling: Sampling | None = None) -> None:
        super().__init__()
        codes = config.latent_actions.codes
        self.config, self.sampling = config, sampling or Sampling()
        self.spec = spec if spec.actions else replace(spec, actions=tuple(f"latent {code}" for code in range(codes)))
        self.tokenizer: Tokenizer = config.tokenizer.build(spec)
        self.latent_actions = LatentActionModel(config.latent_actions, spec, self.tokenizer)
        self.dynamics = self.fresh_dynamics()
        self._table: Tensor | None = None

    def fresh_dynamics(self) -> MaskGIT:
        """Untrained dynamics over the present tokenizer."""
        features, codes = self.tokenizer.features(), self.config.latent_actions.codes
        return MaskGIT(self.config.dynamics, features, self.tokenizer.grid, codes)

    def link(self) -> None:
        """Tell the other parts what the tokens look like now. To be called when the tokenizer changed."""
        features = self.tokenizer.features()
        self.latent_actions.features = self.dynamics.features = features.to(self.dynamics.place.device)
        self._table = None

    def with_spec(self, spec: WorldSpec) -> MaskGITWorld:
        """The same weights under another spec, for example one with a measured action table."""
        other = copy.copy(self)
        other.spec = spec
        return other

    def with_sampling(self, sampling: Sampling) -> MaskGITWorld:
        """The same weights under other dials; the state stays valid."""
        other = copy.copy(self)
        other.sampling = sampling
        return other

    @torch.inference_mode()
    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """Remember the frames of a window; codes are read off the frames where none are given."""
        frames = window.frames.to(self.dynamics.place.device)
        if frames.shape[1] < self.spec.context:
            raise ValueError(
                f"window has {frames.shape[1]} frames but {self.spec.game!r} needs a context of {self.spec.context}"
            )
        actions = window.actions
        if actions is None:
            actions = self.infer_actions(frames)
        tokens = self.tokenizer.encode(frames)  # [B, T, N]
        kept = self.dynamics.read(tokens, tokens[:, 0], self._led_to(actions), self.table())
        reach = self.dynamics.config.reach - 1
        keys, values = (torch.stack([own[i] for own in kept], dim=1)[..., -reach:, :] for i in (0, 1))
        filled = torch.full((len(frames),), keys.shape[4], device=frames.device)
        lack = reach - keys.shape[4]
        history = self.tokenizer.reach
        pad = tokens[:, :1].expand(-1, max(0, history - tokens.shape[1]), -1)
        return {
            "grid": tokens[:, -1],
            "history": torch.cat([pad, tokens], dim=1)[:, -history:],
            "keys": F.pad(keys, (0, 0, lack, 0)),
            "values": F.pad(values, (0, 0, lack, 0)),
            "filled": filled,
            "entropy": torch.zeros(tokens[:, -1].shape, device=frames.device),
        }

    def _led_to(self, actions: Tensor) -> Tensor:
        """Codes [B, T-1] between frames → codes [B, T] that led to each frame, none to the first."""
        return F.pad(actions.to(self.dynamics.place.device), (1, 0), value=self.dynamics.actions)

    def table(self) -> Tensor:
        """The dynamics' token table, made once."""
        if self._table is None or self.training:
            self._table = self.dynamics.table()
        return self._table

    @torch.inference_mode()
    def step(self, state: State, action: Tensor, rng: torch.Generator | None = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        grid = state["grid"]
        check_action(action, self.dynamics.actions, len(grid))
        action = action.to(grid.device)
        steps = self.sampling.steps
        chance = torch.rand((len(grid), steps, grid.shape[1]), generator=rng).to(grid.device)
        past, table = past_of(state["keys"], state["values"], state["filled"]), self.table()
        drawn, entropy = self.dynamics.draw(grid, action, past, table, steps, self.sampling.temperature, chance)
        kept = self.dynamics.read(drawn[:, None], grid, action[:, None], table, past)
        keys, values = (
            torch.cat([state[name][..., 1:, :], torch.stack([own[i] for own in kept], dim=1)], dim=4)
            for i, name in enumerate(("keys", "values"))
        )
        return {
            "grid": drawn,
            "history": torch.cat([state["history"][:, 1:], drawn[:, None]], dim=1),
            "keys": keys,
            "values": values,
            "filled": (state["filled"] + 1).clamp(max=keys.shape[4]),
            "entropy": entropy,
        }

    @torch.inference_mode()
    def render(self, state: State) -> Tensor:
        """uint8 [B, C, H, W], the present frame decoded together with the frames it depends on."""
        return self.tokenizer.decode(state["history"])[:, -1]

    @torch.inference_mode()
    def infer_actions(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1]."""
        return self.latent_actions.infer(frames.to(self.dynamics.place.device))

    @torch.inference_mode()
    def code_gain(self, frames: Tensor) -> dict[str, float]:
        """uint8 [B, T, C, H, W] → what the codes are worth to the LAM's own decoder."""
        frames = frames.to(self.dynamics.place.device)
        return self.latent_actions.gain(frames, self.tokenizer.encode(frames))

    @torch.inference_mode()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the tokens."""
        return self.tokenizer.reconstruct(frames.to(self.dynamics.place.device))

    def uncertainty(self, state: State) -> Tensor:
        """Entropy in nats of each token when it was drawn: [B, rows, columns]."""
        return state["entropy"].reshape(-1, *self.tokenizer.grid)
