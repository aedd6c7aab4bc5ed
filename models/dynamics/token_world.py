"""What all worlds of tokens share: tokenizer, LAM and dynamics as one playable thing, whatever the dynamics are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from models.action_models import action_model
from models.dynamics.context import Memory
from models.given_actions import actions_between, with_actions
from models.latent_actions import LatentActionModel
from models.learned_world import LearnedWorld
from models.tokenizer import Tokenizer
from models.world import Luck, Sampling, State, Window, WorldSpec


class TokenWorld(LearnedWorld):
    """Tokenizer, LAM and dynamics. A family says how the last two are made, how a dream begins and how it goes on.

    State: `grid` int64 [B, N], the present; `history` int64 [B, R, N], the frames that its decoding depends on; `keys`,
    `values` float [B, blocks, N, heads, T, D] and `filled` int64 [B], what earlier frames offer to attention;
    `entropy` float [B, N], in nats, at which each token was drawn; and what a family adds.
    """

    tokenizer: Tokenizer

    def __init__(self, config: Any, spec: WorldSpec, sampling: Sampling | None) -> None:
        super().__init__()
        self.config = config
        if sampling is not None:  # or there are no dials
            self.sampling = sampling
        self.spec = with_actions(spec, config.latent_actions)
        self.tokenizer = config.tokenizer.build(spec)
        self.latent_actions = self.fresh_latent_actions()
        self.dynamics = self.fresh_dynamics()

    def fresh_latent_actions(self) -> nn.Module:
        """An untrained LAM over the present tokenizer."""
        return action_model(self.config.latent_actions, self.spec, self.tokenizer)

    def fresh_dynamics(self) -> nn.Module:
        """Untrained dynamics over the present tokenizer."""
        raise TypeError(f"{type(self).__name__} does not say what its dynamics are")

    def remember(self, tokens: Tensor, actions: Tensor) -> Memory:
        """What attention may look back at when frames [B, T, N] are known and the actions [B, T-1] between them."""
        raise TypeError(f"{type(self).__name__} does not remember")

    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        raise TypeError(f"{type(self).__name__} does not step")

    def link(self) -> None:
        """Tell the other parts what the tokens look like now. To be called when the tokenizer changed.

        Where its vocabulary became another one, the other parts start anew.
        """
        if self.tokenizer.config != self.config.tokenizer:
            device = next(self.dynamics.parameters()).device
            self.config = replace(self.config, tokenizer=self.tokenizer.config)
            self.latent_actions = self.fresh_latent_actions().to(device)
            self.dynamics = self.fresh_dynamics().to(device)
        super().link()
        if isinstance(self.latent_actions, LatentActionModel):
            self.latent_actions.features = self.tokenizer.features().to(self.device())
        self.forget()

    @torch.inference_mode()
    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """Remember the frames of a window; codes are read off the frames where none are given."""
        frames = self.frames_of(window)
        actions = actions_between(Window(frames, window.actions), self)
        tokens = self.tokenizer.encode(frames)  # [B, T, N]
        memory = self.remember(tokens, actions.to(frames.device))
        history = self.tokenizer.reach
        pad = tokens[:, :1].expand(-1, max(0, history - tokens.shape[1]), -1)
        return {
            "grid": tokens[:, -1],
            "earlier": tokens[:, max(0, tokens.shape[1] - 2)],
            "history": torch.cat([pad, tokens], dim=1)[:, -history:],
            **memory._asdict(),
            "entropy": torch.zeros(tokens[:, -1].shape, device=frames.device),
        }

    def gone_on(self, state: State, drawn: Tensor, entropy: Tensor, memory: Memory) -> State:
        """The state one frame later, whose tokens are `drawn` [B, N] at `entropy` [B, N]."""
        return {
            "grid": drawn,
            "earlier": state["grid"],
            "history": torch.cat([state["history"][:, 1:], drawn[:, None]], dim=1),
            **memory._asdict(),
            "entropy": entropy,
        }

    @torch.inference_mode()
    def render(self, state: State) -> Tensor:
        """uint8 [B, C, H, W], the present frame decoded together with the frames it depends on."""
        return self.tokenizer.decode_last(state["history"])

    def gain_inputs(self, frames: Tensor) -> tuple[Tensor, ...]:
        """The tokens [B, T, N] of frames uint8 [B, T, C, H, W], where the LAM rebuilds them."""
        return (self.tokenizer.encode(frames),) if isinstance(self.latent_actions, LatentActionModel) else ()

    @torch.inference_mode()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the tokens."""
        return self.tokenizer.reconstruct(frames.to(self.device()))

    def uncertainty(self, state: State) -> Tensor:
        """Entropy in nats of each token when it was drawn: [B, rows, columns]."""
        return state["entropy"].reshape(-1, *self.tokenizer.grid)
