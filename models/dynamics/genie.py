"""Genie's dynamics as in the paper, at our size, for comparison: the whole transformer in every pass.

Data path: tokens [B, T, N] of which some are hidden, the action that led to each frame added to it → causal
ST-transformer → logits [B, T, N, V].

Genie (arXiv 2402.15391, §2.1): the share of hidden tokens is drawn from U(0.5, 1) for each window, actions are added to
the embeddings, and a frame is drawn in 25 passes of MaskGIT (arXiv 2202.04200): all hidden tokens are drawn at
temperature 2, and a number of the likeliest of them that follows a cosine is kept. Nothing is trained on dreams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import KeysValues, Past, STBlock, check_heads
from models.dynamics.context import Memory, across_games
from models.dynamics.token_world import TokenWorld
from models.given_actions import RealActions
from models.learned_world import assembled
from models.motion_actions import MotionActionConfig
from models.pixel_actions import PixelActionConfig
from models.tokenizer import Size, TokenizerConfig
from models.world import Luck, Sampling, State, WorldSpec, check_action, uniform


@dataclass(frozen=True, kw_only=True, slots=True)
class GenieConfig:
    """width, heads, depth: of the transformer; reach: frames that temporal attention looks over; passes, temperature:
    at play."""

    width: int = 128
    heads: int = 4
    depth: int = 6
    reach: int = 8
    passes: int = 25
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)
        if self.reach < 2 or self.depth < 1 or self.passes < 1 or self.temperature < 0:
            found = f"reach {self.reach} must be 2 or more; depth {self.depth} and passes {self.passes} 1 or more"
            raise ValueError(f"{found}; temperature {self.temperature} 0 or more")

    @classmethod
    def sized(cls, size: Size) -> GenieConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "heads": 2, "depth": 2, "reach": 4, "passes": 4},
            "small": {},
            "base": {"width": 384, "heads": 8, "depth": 10, "reach": 16},
            "paper": {"width": 512, "heads": 8, "depth": 12, "reach": 16},
        }
        return cls(**dials[size])


class Genie(nn.Module):
    """The dynamics. vocabulary: V; grid: rows and columns of tokens; actions: A."""

    def __init__(self, config: GenieConfig, vocabulary: int, grid: tuple[int, int], actions: int) -> None:
        super().__init__()
        self.config, self.actions, self.grid = config, actions, grid
        self.embed = nn.Embedding(vocabulary + 1, config.width)  # the last one: hidden
        nn.init.normal_(self.embed.weight, std=0.02)
        self.place = nn.Parameter(0.02 * torch.randn(grid[0] * grid[1], config.width))
        self.action = nn.Embedding(actions + 1, config.width)  # the last one: whatever led to the first frame
        self.blocks = nn.ModuleList(
            STBlock(config.width, config.heads, config.reach, grid) for _ in range(config.depth)
        )
        self.norm, self.head = nn.LayerNorm(config.width), nn.Linear(config.width, vocabulary)

    def features(
        self, tokens: Tensor, hidden: Tensor | None, led: Tensor, past: Sequence[Past] | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """tokens [B, T, N], which of them are hidden (or none), the action that led to each frame [B, T] → features
        [B, T, N, D], and keys and values a block. Without `past` the frames are each other's past."""
        shown = tokens if hidden is None else torch.where(hidden, self.embed.num_embeddings - 1, tokens)
        x = self.embed(shown) + self.place + self.action(led)[:, :, None]
        kept = []
        for index, block in enumerate(self.blocks):
            x, own = block(x, None, past[index] if past else None)
            kept.append(own)
        return self.norm(x), kept

    def loss(self, tokens: Tensor, actions: Tensor, progress: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the hidden tokens. tokens: [B, T, N], actions: [B, T-1], -1 between games."""
        _, actions = across_games(actions)
        rate = 0.5 + 0.5 * torch.rand(len(tokens), 1, 1, device=tokens.device)
        hidden = torch.rand(tokens.shape, device=tokens.device) < rate
        hidden[:, 0] = False
        x, _ = self.features(tokens, hidden, self._led(actions))
        logits = self.head(x[hidden]).float()
        entropy = F.cross_entropy(logits, tokens[hidden], reduction="none")
        changed = torch.zeros_like(hidden)
        changed[:, 1:] = tokens[:, 1:] != tokens[:, :-1]
        moved, right = changed[hidden], logits.detach().argmax(-1) == tokens[hidden]
        return entropy.mean(), {
            "changed_accuracy": right[moved].float().mean(),
            "changed_ce": entropy.detach()[moved].mean(),
            "still_accuracy": right[~moved].float().mean(),
        }

    def _led(self, actions: Tensor) -> Tensor:
        """Actions [B, T-1] between T frames → the action that led to each: [B, T]."""
        return F.pad(actions, (1, 0), value=self.actions)

    def remember(self, tokens: Tensor, actions: Tensor) -> Memory:
        """Frames [B, T, N] and the actions [B, T-1] between them → memory of all of them."""
        _, kept = self.features(tokens, None, self._led(actions))
        return Memory.of(kept, self.config.reach - 1)

    def draw(self, memory: Memory, action: Tensor, temperature: float, chance: Tensor) -> tuple[Tensor, Tensor, Memory]:
        """The next frame under an action [B]: tokens [B, N], entropies [B, N], and a memory that holds it too.

        chance: uniform numbers [B, P, N], one a token and pass. temperature divides the logits; 0 takes the likeliest.
        """
        past, (batch, passes, places) = memory.past(), chance.shape
        grid = torch.zeros(batch, places, dtype=torch.int64, device=chance.device)
        entropy, hidden = torch.zeros_like(chance[:, 0]), torch.ones_like(grid, dtype=torch.bool)
        for step in range(passes):
            x, _ = self.features(grid[:, None], hidden[:, None], action[:, None], past)
            logits = self.head(x[:, 0]).float()
            share = (logits / (temperature or 1.0)).softmax(-1)
            total = share.cumsum(-1)
            drawn = torch.searchsorted(total, chance[:, step, :, None] * total[..., -1:], right=True)[..., 0]
            drawn = drawn.clamp(max=share.shape[-1] - 1) if temperature else logits.argmax(-1)
            sure = share.gather(-1, drawn[..., None])[..., 0].masked_fill(~hidden, 2.0)
            grid = torch.where(hidden, drawn, grid)
            entropy = torch.where(hidden, torch.special.entr(share).sum(-1), entropy)
            open_still = math.floor(places * math.cos(math.pi / 2 * (step + 1) / passes)) if step < passes - 1 else 0
            fixed = sure.topk(max(1, places - open_still), dim=-1).indices
            hidden = torch.ones_like(hidden).scatter(1, fixed, False)
        _, kept = self.features(grid[:, None], None, action[:, None], past)
        return grid, entropy, memory.with_frame(kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenieFamily:
    """The three parts of a Genie world, in the order in which they are trained."""

    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(kind="vq", codes=1024))
    latent_actions: PixelActionConfig | MotionActionConfig | RealActions = field(default_factory=PixelActionConfig)
    dynamics: GenieConfig = field(default_factory=GenieConfig)

    @classmethod
    def sized(cls, size: Size) -> GenieFamily:
        """One dial for all parts."""
        tokenizer = TokenizerConfig.sized(size)
        return cls(
            tokenizer=replace(tokenizer, kind="vq", codes=min(tokenizer.codes, 1024)),
            latent_actions=PixelActionConfig.sized(size),
            dynamics=GenieConfig.sized(size),
        )

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": 2, "dynamics": 2}

    def build(self, spec: WorldSpec) -> GenieWorld:
        """The world that this config describes, untrained."""
        world: GenieWorld = assembled(GenieWorld, self, spec)
        return world


class GenieWorld(TokenWorld):
    """Its memory holds the present frame, too."""

    def __init__(self, config: GenieFamily, spec: WorldSpec, sampling: Sampling | None = None) -> None:
        usual = Sampling(steps=config.dynamics.passes, temperature=config.dynamics.temperature)
        super().__init__(config, spec, sampling or usual)

    def fresh_dynamics(self) -> Genie:
        """Untrained dynamics over the present tokenizer."""
        return Genie(self.config.dynamics, self.tokenizer.size, self.tokenizer.grid, len(self.spec.actions))

    def remember(self, tokens: Tensor, actions: Tensor) -> Memory:
        """What attention may look back at after frames [B, T, N]; actions: [B, T-1] between them."""
        memory: Memory = self.dynamics.remember(tokens, actions)
        return memory

    @torch.inference_mode()
    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        grid = state["grid"]
        check_action(action, self.dynamics.actions, len(grid))
        chance = uniform((len(grid), self.sampling.steps, grid.shape[1]), rng).to(grid.device)
        memory = Memory(state["keys"], state["values"], state["filled"])
        drawn, entropy, memory = self.dynamics.draw(memory, action.to(grid.device), self.sampling.temperature, chance)
        return self.gone_on(state, drawn, entropy, memory)
