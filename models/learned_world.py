"""What all worlds that were learned share, whatever they are made of."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.given_actions import RealActions
from models.patch_actions import PatchActionModel
from models.world import Sampling, Window, WorldSpec


class LearnedWorld(nn.Module):
    """Tokenizer, LAM and dynamics, trained in this order, under a spec and dials that may be others."""

    config: Any
    tokenizer: Any
    latent_actions: Any
    dynamics: Any
    spec: WorldSpec
    sampling: Sampling

    def frames_of(self, window: Window) -> Tensor:
        """The frames of a window to begin from, uint8 [B, T, C, H, W], where the weights are.

        Raises ValueError where they are fewer than the context.
        """
        frames = window.frames.to(next(self.dynamics.parameters()).device)
        if frames.shape[1] < self.spec.context:
            raise ValueError(
                f"window has {frames.shape[1]} frames but {self.spec.game!r} needs a context of {self.spec.context}"
            )
        return frames

    def link(self) -> None:
        """Tell the other parts that the tokenizer changed, and take over what the LAM's own eyes see."""
        if isinstance(self.latent_actions, PatchActionModel):
            self.config = replace(self.config, latent_actions=self.latent_actions.config)
            self.latent_actions.look()

    def forget(self) -> None:
        """Drop what was computed from the dynamics' weights; they are others now."""

    def gain_inputs(self, frames: Tensor) -> tuple[Tensor, ...]:
        """What the LAM wants to see beside frames uint8 [B, T, C, H, W] to tell what its codes are worth."""
        return ()

    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.dynamics.parameters()).device

    def with_spec(self, spec: WorldSpec) -> Self:
        """The same weights under another spec, for example one with a measured action table."""
        other = copy.copy(self)
        other.spec = spec
        return other

    @property
    def in_one_step(self) -> bool:
        """Whether a frame is drawn in one step, whatever the dial says, which then stays at one."""
        return False

    def with_sampling(self, sampling: Sampling) -> Self:
        """The same weights under other dials; the state stays valid."""
        other = copy.copy(self)
        other.sampling = replace(sampling, steps=1) if self.in_one_step else sampling
        return other


class ReadsCodes:
    """What a learned world can do that has a LAM."""

    latent_actions: Any

    @torch.inference_mode()
    def infer_actions(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1]."""
        assert isinstance(self, LearnedWorld), "a part of worlds"
        found: Tensor = self.latent_actions.infer(frames.to(self.device()))
        return found

    @torch.inference_mode()
    def code_gain(self, frames: Tensor) -> dict[str, float]:
        """uint8 [B, T, C, H, W] → what the codes are worth to the LAM's own decoder."""
        assert isinstance(self, LearnedWorld), "a part of worlds"
        frames = frames.to(self.device())
        found: dict[str, float] = self.latent_actions.gain(frames, *self.gain_inputs(frames))
        return found


READING: dict[str, type[LearnedWorld]] = {}
"""Kinds of worlds that read codes, by their names; each is made once."""


def reading(kind: type[LearnedWorld]) -> type[LearnedWorld]:
    """A kind of world, and that it reads codes off frames."""
    name = f"{kind.__name__}WithCodes"
    return READING.setdefault(f"{kind.__module__}.{name}", type(name, (ReadsCodes, kind), {}))


def assembled(kind: type[LearnedWorld], config: Any, spec: WorldSpec) -> Any:
    """An untrained world of a kind, which reads codes off frames unless it knows the player's own actions."""
    real = isinstance(config.latent_actions, RealActions)
    return (kind if real else reading(kind))(config, spec)
