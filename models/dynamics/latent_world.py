"""What worlds of continuous latents share: autoencoder (or bare pixels), actions and dynamics as one playable thing.

State: `latents` float [B, T, D, H', W'], the last T frames, the present one at the end; `actions` int64 [B, T-1], those
between them, where A stands for one that is not known. Nothing is decoded and encoded again between steps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from models.action_models import action_model
from models.frames import to_uint8
from models.given_actions import actions_between, with_actions
from models.learned_world import LearnedWorld
from models.world import Luck, Sampling, State, Window, WorldSpec, check_action, uniform


class LatentDynamics(nn.Module):
    """Dynamics over latents. history: frames that they see; actions: A; noisy: whether the next frame is drawn."""

    history: int
    actions: int
    noisy: bool = False

    def next(
        self, past: Tensor, actions: Tensor, noise: Tensor | None = None, steps: int = 1, guidance: float = 1.0
    ) -> Tensor:
        """Latents [B, T, D, H', W'] and the actions [B, T] that they are left by → the next ones [B, D, H', W'].

        noise: float [B, D, H', W'], what a drawn frame begins as; steps, guidance: of a sampler.
        """
        raise TypeError(f"{type(self).__name__} does not predict")


class LatentWorld(LearnedWorld):
    """Its tokenizer turns frames into latents and back; a family says which dynamics go with it."""

    def __init__(self, config: Any, spec: WorldSpec, sampling: Sampling | None = None) -> None:
        super().__init__()
        self.config, self.spec = config, with_actions(spec, config.latent_actions)
        self.tokenizer = config.tokenizer.build(spec)
        self.latent_actions = action_model(config.latent_actions, self.spec)
        self.dynamics = config.dynamics.build(self.tokenizer, len(self.spec.actions))
        usual = config.dynamics.sampling()
        if usual is not None:
            self.sampling = sampling or usual

    @torch.inference_mode()
    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """Remember the last frames of a window; where there are few, the oldest stands in for those before it."""
        frames, history = self.frames_of(window), self.dynamics.history
        reads = hasattr(self, "infer_actions")
        if window.actions is None and not reads:  # what was pressed in a picture that somebody brings, nobody knows
            actions = torch.full((len(frames), frames.shape[1] - 1), self.dynamics.actions, device=frames.device)
        else:
            given = None if window.actions is None else window.actions.to(frames.device)
            actions = actions_between(Window(frames, given), self)
        latents = self.tokenizer.encode(frames[:, -history:])
        lack = max(0, history - latents.shape[1])
        latents = torch.cat([latents[:, :1].expand(-1, lack, -1, -1, -1), latents], dim=1)
        unknown = actions.new_full((len(actions), lack), self.dynamics.actions)
        past = history - 1 - lack  # actions between the frames that are there
        known = actions[:, actions.shape[1] - past :] if past else actions[:, :0]
        return {"latents": latents, "actions": torch.cat([unknown, known], dim=1)}

    @torch.inference_mode()
    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        latents = state["latents"]
        check_action(action, self.dynamics.actions, len(latents))
        actions = torch.cat([state["actions"], action.to(latents.device)[:, None]], dim=1)
        noise, steps, guidance = None, 1, 1.0
        if self.dynamics.noisy:
            chance = uniform((len(latents), *latents.shape[2:]), rng).to(latents.device)
            noise = self.sampling.temperature * (2 * chance.clamp(1e-6, 1 - 1e-6) - 1).erfinv() * 2**0.5
            steps, guidance = self.sampling.steps, self.sampling.guidance
        following = self.dynamics.next(latents, actions, noise, steps, guidance)
        return {"latents": torch.cat([latents[:, 1:], following[:, None]], dim=1), "actions": actions[:, 1:]}

    @torch.inference_mode()
    def render(self, state: State) -> Tensor:
        """uint8 [B, C, H, W], the present frame."""
        return to_uint8(self.tokenizer.decode(state["latents"][:, -1:])[:, 0])

    @torch.inference_mode()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the latents."""
        return self.tokenizer.reconstruct(frames.to(self.device()))


def check_batch(latents: Tensor, actions: Tensor, count: int, bounded: bool = False) -> None:
    """Raise ValueError, naming the tensor, what was expected and what was found, unless latents are float
    [B, T, D, H', W'] and finite, where `bounded` in [0, 1], and actions int64 [B, T-1] in [0, count], of which `count`
    itself stands for one that is not known."""
    if not latents.is_floating_point() or latents.ndim != 5:
        raise ValueError(f"latents must be float [B, T, D, H, W], found {latents.dtype} {list(latents.shape)}")
    want = (latents.shape[0], latents.shape[1] - 1)
    if actions.dtype != torch.int64 or tuple(actions.shape) != want:
        raise ValueError(f"actions must be int64 {list(want)}, found {actions.dtype} {list(actions.shape)}")
    if actions.numel() and not 0 <= int(actions.min()) <= int(actions.max()) <= count:
        raise ValueError(f"actions must be in [0, {count}], found {int(actions.min())} to {int(actions.max())}")
    low, high = float(latents.min()), float(latents.max())
    if not math.isfinite(low + high) or (bounded and not 0 <= low <= high <= 1):
        raise ValueError(f"latents must be {'in [0, 1]' if bounded else 'finite'}, found {low:g} to {high:g}")


def pairs(latents: Tensor, actions: Tensor, history: int, at: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of windows [B, T, D, H', W'] with actions [B, T-1]: the past before frame `at`, the actions that it is left by,
    and frame `at` itself."""
    return latents[:, at - history : at], actions[:, at - history : at], latents[:, at]


def forgotten(actions: Tensor, unknown: int, rate: float) -> Tensor:
    """Actions [B, T] of which, in a share `rate` of the rows, all but the last are not known, as after a picture that
    has no past; and in as many others the last one, as guidance wants to ask for it."""
    past, last = (torch.rand(len(actions), 1, device=actions.device) < rate for _ in range(2))
    return torch.where(torch.cat([past.expand(-1, actions.shape[1] - 1), last], dim=1), unknown, actions)
