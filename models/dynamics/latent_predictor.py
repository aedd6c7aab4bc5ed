"""Latent predictor: the next latents of a frozen autoencoder, told at once. Deterministic.

Data path: past latents [B, T, D, H', W'] and the actions [B, T] that they are left by → a backbone → how the next
latents differ from the present ones → the next latents [B, D, H', W'].

Trained at first on real pasts alone (teacher forcing); later it goes on from its own frames for some steps, with the
gradient passing through all of them, so that it learns not to drift. What cannot be known it tells as an average.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.action_models import OfFrames
from models.backbones import BackboneConfig
from models.conv_autoencoder import ConvAutoencoderConfig
from models.dynamics.latent_world import LatentDynamics, LatentWorld, check_batch, forgotten, pairs
from models.learned_world import assembled
from models.objectives import Objectives, ObjectivesConfig
from models.patch_actions import PatchActionConfig
from models.tokenizer import Size
from models.world import Sampling, WorldSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentPredictorConfig:
    """backbone: what predicts; error: "huber" or "l2"; ahead: frames told one after the other in training; own_from:
    share of training after which they are told from the own ones; forget: how often past actions are not known;
    objectives: further ones."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    error: Literal["huber", "l2"] = "huber"
    ahead: int = 4
    own_from: float = 0.4
    forget: float = 0.1
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)

    def __post_init__(self) -> None:
        if self.error not in ("huber", "l2"):
            raise ValueError(f"error must be huber or l2, found {self.error!r}")
        if self.ahead < 1 or not 0 <= self.own_from <= 1 or not 0 <= self.forget <= 1:
            found = f"ahead {self.ahead} must be 1 or more"
            raise ValueError(f"{found}, own_from {self.own_from} and forget {self.forget} in [0, 1]")

    @classmethod
    def sized(cls, size: Size) -> LatentPredictorConfig:
        """One dial: everything that follows from how large it may be."""
        return cls(backbone=BackboneConfig.sized(size))

    def build(self, tokenizer: Any, actions: int) -> LatentPredictor:
        """The dynamics over the latents of an autoencoder."""
        return LatentPredictor(self, tokenizer.config.latent, tokenizer.grid, actions)

    @property
    def history(self) -> int:
        """Frames that are seen."""
        return self.backbone.history

    def sampling(self) -> Sampling | None:
        """There is nothing to be drawn."""
        return None


class LatentPredictor(LatentDynamics):
    """The dynamics, on standardised latents."""

    def __init__(self, config: LatentPredictorConfig, channels: int, grid: tuple[int, int], actions: int) -> None:
        super().__init__()
        self.config, self.actions, self.history = config, actions, config.backbone.history
        self.backbone = config.backbone.build(channels, grid, actions, noisy=False)
        self.objectives = Objectives(config.objectives, channels, actions)

    def next(
        self, past: Tensor, actions: Tensor, noise: Tensor | None = None, steps: int = 1, guidance: float = 1.0
    ) -> Tensor:
        """See `LatentDynamics`."""
        return past[:, -1] + self.backbone(past, actions)

    def loss(self, latents: Tensor, actions: Tensor, progress: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Error of the frames after the past. latents: [B, T, D, H', W'], T = history + ahead; actions: [B, T-1];
        progress: share of training done. Raises ValueError where the window is too short."""
        config, history = self.config, self.history
        check_batch(latents, actions, self.actions)
        if latents.shape[1] <= history:
            raise ValueError(f"windows of {latents.shape[1]} frames are too short; use {history + 1} or more")
        own, costs, extra = progress >= config.own_from, [], latents.new_zeros(())
        logs: dict[str, Tensor] = {}
        seen = latents[:, :history]
        for at in range(history, latents.shape[1]):
            past, asked, truth = pairs(latents, actions, history, at)
            past = seen if own else past
            heard = torch.cat([forgotten(asked, self.actions, config.forget)[:, :-1], asked[:, -1:]], dim=1)
            told = self.next(past, heard)
            costs.append(self._error(told, truth))
            seen = torch.cat([seen[:, 1:], told[:, None]], dim=1)
            if at == history:
                extra, logs = self.objectives.loss(past[:, -1], truth, told, asked[:, -1], progress)
                logs |= {"mse": F.mse_loss(told.detach(), truth), "copy_mse": F.mse_loss(past[:, -1].detach(), truth)}
        logs["last_cost"] = costs[-1].detach()
        return torch.stack(costs).mean() + extra, logs

    def _error(self, told: Tensor, truth: Tensor) -> Tensor:
        return F.huber_loss(told, truth) if self.config.error == "huber" else F.mse_loss(told, truth)


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentPredictorFamily:
    """The three parts, in the order in which they are trained."""

    tokenizer: ConvAutoencoderConfig = field(default_factory=ConvAutoencoderConfig)
    latent_actions: OfFrames = field(default_factory=PatchActionConfig)
    dynamics: LatentPredictorConfig = field(default_factory=LatentPredictorConfig)

    @classmethod
    def sized(cls, size: Size) -> LatentPredictorFamily:
        """One dial for all parts."""
        return cls(
            tokenizer=ConvAutoencoderConfig.sized(size),
            latent_actions=PatchActionConfig.sized(size),
            dynamics=LatentPredictorConfig.sized(size),
        )

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": 2, "dynamics": self.dynamics.backbone.history + 1}

    def build(self, spec: WorldSpec) -> LatentWorld:
        """The world that this config describes, untrained."""
        world: LatentWorld = assembled(LatentWorld, self, spec)
        return world
