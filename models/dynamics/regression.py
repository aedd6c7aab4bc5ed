"""Regression: the next frame's codebook vectors, told at once by their mean and snapped to the codebook at play.

Data path: tokens [B, T, N] → their codebook vectors [B, T, N, D], to each of a frame the vector of the action that it
is left by is added → causal ST-transformer → vectors of the next frames [B, T, N, D] → the nearest tokens.

As in the first TinyWorlds (nano-genie): squared error of the next frame's vectors. Its faults are not copied: the
prediction is snapped before it is fed back and decoded, or dreams blur; and each frame has its own action, the last one
too, so that the frame after it can be asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.action_models import OfTokens
from models.blocks import KeysValues, Past, STBlock, check_heads
from models.dynamics.context import Memory, across_games
from models.dynamics.token_world import TokenWorld
from models.latent_actions import LatentActionConfig
from models.learned_world import assembled
from models.objectives import Objectives, ObjectivesConfig
from models.tokenizer import Size, TokenizerConfig
from models.world import Luck, State, WorldSpec, check_action


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressionConfig:
    """width, heads, hidden, depth: of the transformer, hidden that of the layers for each place; reach: frames that
    temporal attention looks over; objectives: further ones, but not how frames look, as vectors are snapped before
    they are decoded."""

    width: int = 128
    heads: int = 4
    hidden: int = 512
    depth: int = 2
    reach: int = 4
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)
        if self.reach < 2 or self.depth < 1:
            raise ValueError(f"reach {self.reach} must be 2 or more, depth {self.depth} 1 or more")
        if self.hidden % self.width:
            raise ValueError(f"hidden {self.hidden} must be a multiple of width {self.width}")
        if self.objectives.perceptual:
            raise ValueError("regression has no gradient through snapped frames; leave objectives.perceptual at 0")

    @classmethod
    def sized(cls, size: Size) -> RegressionConfig:
        """One dial: everything that follows from how large it may be."""
        dials: dict[str, dict[str, Any]] = {
            "tiny": {"width": 32, "heads": 2, "hidden": 128, "depth": 2},
            "small": {},
            "base": {"width": 384, "heads": 8, "hidden": 1536, "depth": 6, "reach": 8},
            "paper": {"width": 512, "heads": 8, "hidden": 2048, "depth": 12, "reach": 16},
        }
        return cls(**dials[size])


class Regression(nn.Module):
    """The dynamics. features: float [V, D], the vector of each token; grid: rows and columns; actions: A."""

    def __init__(self, config: RegressionConfig, features: Tensor, grid: tuple[int, int], actions: int) -> None:
        super().__init__()
        self.config, self.actions, self.grid = config, actions, grid
        self.register_buffer("features", features, persistent=False)
        self.features: Tensor
        latent = features.shape[1]
        self.action = nn.Embedding(actions, latent)
        self.see = nn.Linear(latent, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(grid[0] * grid[1], config.width))
        self.blocks = nn.ModuleList(
            STBlock(config.width, config.heads, config.reach, grid, expand=config.hidden // config.width)
            for _ in range(config.depth)
        )
        self.norm, self.tell = nn.LayerNorm(config.width), nn.Linear(config.width, latent)
        nn.init.normal_(self.tell.weight, std=0.01)  # at first nearly everything stays as it is
        nn.init.zeros_(self.tell.bias)
        self.objectives = Objectives(config.objectives, latent, actions)

    def foretell(
        self, tokens: Tensor, actions: Tensor, past: Sequence[Past] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """Frames [B, T, N] and the actions [B, T] that they are left by → vectors of the frames after them
        [B, T, N, D], and keys and values a block. Without `past` the frames are each other's past."""
        vectors, kept = F.embedding(tokens, self.features), []
        x = self.see(vectors + self.action(actions)[:, :, None]) + self.place
        for index, block in enumerate(self.blocks):
            x, own = block(x, None, past[index] if past else None)
            kept.append(own)
        return vectors + self.tell(self.norm(x)).float(), kept

    def loss(self, tokens: Tensor, actions: Tensor, progress: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the next frames' vectors, in units of these vectors' variance. tokens: [B, T, N]; actions:
        [B, T-1], -1 between games. Raises ValueError where the window has no frame to tell."""
        if tokens.shape[1] < 2:
            raise ValueError(f"windows of {tokens.shape[1]} frames are too short; use 2 or more")
        begins, actions = across_games(actions)
        told, _ = self.foretell(tokens[:, :-1], actions)
        vectors = F.embedding(tokens, self.features)
        counted = (~begins)[:, :, None, None].float()  # nobody could tell how a new game begins
        off = ((told - vectors[:, 1:]).square() * counted).mean()
        still = ((vectors[:, :-1] - vectors[:, 1:]).square() * counted).mean()
        moved, asked = vectors.var(), self.action.weight.detach()
        logs = {
            "mse": off.detach(),
            "copy_mse": still,
            "below_copy": 1 - off.detach() / still.clamp(min=1e-9),
            "latent_variance": moved,
            "action_variance": asked.var(),
            "output_mean": told.detach().mean(),
            "output_variance": told.detach().var(),
        }
        extra, more = self._further(vectors, told, actions, ~begins, progress)
        return off / moved.clamp(min=1e-6) + extra, logs | more

    def _further(
        self, vectors: Tensor, told: Tensor, actions: Tensor, inside: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The further objectives of frames `inside` [B, T-1] a game: vectors [B, T, N, D], told ones [B, T-1, N, D]."""
        if not (self.config.objectives.adversarial or self.config.objectives.consistency):
            return told.new_zeros(()), {}
        rows = self.grid[0]
        both = (vectors[:, :-1], vectors[:, 1:], told)
        now, truth, guess = (rearrange(x[inside], "k (r s) d -> k d r s", r=rows) for x in both)
        return self.objectives.loss(now, truth, guess, actions[inside], progress)

    def nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [B, N, D] → the nearest tokens [B, N], and how unsure that is [B, N]: the entropy in nats of tokens
        weighted by their squared distance in units of the nearest one's, so that what lies between two is unsure."""
        far = torch.cdist(vectors, self.features.expand(len(vectors), -1, -1)).square()
        share = (-far / far.amin(-1, keepdim=True).clamp(min=1e-6)).softmax(-1)
        return far.argmin(-1), torch.special.entr(share).sum(-1)

    def remember(self, tokens: Tensor, actions: Tensor) -> Memory:
        """All frames but the last, tokens [B, T, N], and the actions [B, T-1] between them → memory."""
        reach, past = self.config.reach - 1, tokens[:, :-1]
        batch, frames, places = past.shape
        if not frames:
            return Memory.empty(self.place, batch, len(self.blocks), places, reach, self.config.heads)
        return Memory.of(self.foretell(past, actions)[1], reach)

    def advance(self, present: Tensor, action: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """The present frame [B, N] and the action [B] → tokens of the next one and how unsure they are, [B, N] each,
        and a memory that holds the present one too."""
        told, kept = self.foretell(present[:, None], action[:, None], memory.past())
        tokens, doubt = self.nearest(told[:, 0])
        return tokens, doubt, memory.with_frame(kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressionFamily:
    """The three parts of a regression world, in the order in which they are trained."""

    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(kind="vq", codes=1024, latent=16))
    latent_actions: OfTokens = field(default_factory=LatentActionConfig)
    dynamics: RegressionConfig = field(default_factory=RegressionConfig)

    @classmethod
    def sized(cls, size: Size) -> RegressionFamily:
        """One dial for all parts."""
        tokenizer = replace(TokenizerConfig.sized(size), kind="vq", codes=1024, latent=16, patch=(8, 8))
        if size == "small":
            tokenizer = replace(tokenizer, encoder_depth=2, decoder_depth=2)
        return cls(
            tokenizer=tokenizer,
            latent_actions=LatentActionConfig.sized(size),
            dynamics=RegressionConfig.sized(size),
        )

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": 2, "dynamics": 2}

    def build(self, spec: WorldSpec) -> RegressionWorld:
        """The world that this config describes, untrained."""
        world: RegressionWorld = assembled(RegressionWorld, self, spec)
        return world


class RegressionWorld(TokenWorld):
    """Nothing is drawn; the nearest token is taken."""

    def __init__(self, config: RegressionFamily, spec: WorldSpec) -> None:
        super().__init__(config, spec, None)

    def fresh_dynamics(self) -> Regression:
        """Untrained dynamics over the present tokenizer."""
        return Regression(self.config.dynamics, self.tokenizer.features(), self.tokenizer.grid, len(self.spec.actions))

    def link(self) -> None:
        """Tell the other parts what the tokens look like now."""
        super().link()
        self.dynamics.features = self.tokenizer.features().to(self.device())

    def remember(self, tokens: Tensor, actions: Tensor) -> Memory:
        """What attention may look back at from the last of frames [B, T, N]; actions: [B, T-1] between them."""
        memory: Memory = self.dynamics.remember(tokens, actions)
        return memory

    @torch.inference_mode()
    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        grid = state["grid"]
        check_action(action, self.dynamics.actions, len(grid))
        memory = Memory(state["keys"], state["values"], state["filled"])
        following, doubt, memory = self.dynamics.advance(grid, action.to(grid.device), memory)
        return self.gone_on(state, following, doubt, memory)
