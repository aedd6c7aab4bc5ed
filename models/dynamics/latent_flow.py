"""Latent flow: the next latents of a frozen autoencoder, drawn by a rectified flow.

Data path: past latents [B, T, D, H', W'], the actions [B, T] that they are left by, noise [B, D, H', W'] and a time → a
backbone → the clean next latents, or the way from them to the noise → after a few steps the next latents.

Straight paths from data at time 0 to noise at time 1: z = (1 - t) x + t n, velocity n - x (rectified flow, arXiv
2209.03003; flow matching, arXiv 2210.02747). By default the network tells the clean latents and not the velocity: where
the past leaves no doubt, its first guess is then its last one already, and two to four steps are enough for live play.
The velocity, and a sampler that looks at the middle of each step's time as the reference does, are to be had by config.

Trained at first on real pasts (teacher forcing), later in a share of the batches on its own dream of the last frames
(scheduled sampling, arXiv 1506.03099). Actions are now and then left out, so that at play what they ask for can be
emphasised (guidance without a classifier, arXiv 2207.12598).
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
class LatentFlowConfig:
    """backbone: what predicts; tells: "clean" latents or "velocity"; ahead: frames that may be dreamed before the one
    that is trained on, plus one; own_from, own_share: share of training after which, and of the batches in which, the
    past is the own dream; forget: how often actions are not known; blind: how often the next frame is all noise, as in
    the first step at play; times: how other times are drawn, evenly or as "logit-normal" (arXiv 2403.03206);
    objectives: further ones.

    steps, temperature, guidance: at play, unless the dials say otherwise; middle: whether a step looks at the time in
    its middle.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    tells: Literal["clean", "velocity"] = "clean"
    ahead: int = 4
    own_from: float = 0.4
    own_share: float = 0.5
    forget: float = 0.1
    blind: float = 0.25
    times: Literal["even", "logit-normal"] = "even"
    steps: int = 4
    temperature: float = 1.0
    guidance: float = 1.0
    middle: bool = False
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)

    def __post_init__(self) -> None:
        if self.tells not in ("clean", "velocity"):
            raise ValueError(f"tells must be clean or velocity, found {self.tells!r}")
        if self.times not in ("even", "logit-normal"):
            raise ValueError(f"times must be even or logit-normal, found {self.times!r}")
        for name in ("own_from", "own_share", "forget", "blind"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")
        if self.ahead < 1:
            raise ValueError(f"ahead must be 1 or more, found {self.ahead}")
        self.sampling()  # which knows its own bounds

    @classmethod
    def sized(cls, size: Size) -> LatentFlowConfig:
        """One dial: everything that follows from how large it may be."""
        return cls(backbone=BackboneConfig.sized(size))

    def build(self, tokenizer: Any, actions: int) -> LatentFlow:
        """The dynamics over the latents of an autoencoder."""
        return LatentFlow(self, tokenizer.config.latent, tokenizer.grid, actions)

    @property
    def history(self) -> int:
        """Frames that are seen."""
        return self.backbone.history

    def sampling(self) -> Sampling | None:
        """Dials to begin with."""
        return Sampling(steps=self.steps, temperature=self.temperature, guidance=self.guidance)


class LatentFlow(LatentDynamics):
    """The dynamics, on standardised latents."""

    noisy = True

    def __init__(self, config: LatentFlowConfig, channels: int, grid: tuple[int, int], actions: int) -> None:
        super().__init__()
        self.config, self.actions, self.history = config, actions, config.backbone.history
        self.backbone = config.backbone.build(channels, grid, actions, noisy=True)
        self.objectives = Objectives(config.objectives, channels, actions)

    def clean(self, past: Tensor, actions: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """The clean next latents [B, D, H', W'] that noisy ones at time [B] are taken for."""
        told = self.backbone(past, actions, noisy, time)
        if self.config.tells == "clean":
            return past[:, -1] + told
        return noisy - time[:, None, None, None] * told

    def guided(self, past: Tensor, actions: Tensor, noisy: Tensor, time: Tensor, guidance: float) -> Tensor:
        """The same with the last action emphasised as `guidance` says."""
        told = self.clean(past, actions, noisy, time)
        if guidance == 1:
            return told
        nothing = actions.clone()
        nothing[:, -1] = self.actions
        without = self.clean(past, nothing, noisy, time)
        return without + guidance * (told - without)

    def next(
        self, past: Tensor, actions: Tensor, noise: Tensor | None = None, steps: int = 1, guidance: float = 1.0
    ) -> Tensor:
        """See `LatentDynamics`: Euler steps of equal length from noise at time 1 to data at time 0."""
        assert noise is not None, "a flow begins from noise"
        noisy = clean = noise
        for step in range(steps):
            now, later = 1 - step / steps, 1 - (step + 1) / steps
            looked = (now + later) / 2 if self.config.middle else now
            time = torch.full((len(noise),), looked, device=noise.device)
            clean = self.guided(past, actions, noisy, time, guidance)
            noisy = noisy + (clean - noisy) / (now if self.config.tells == "clean" else looked) * (now - later)
        return noisy if self.config.middle else clean

    def loss(self, latents: Tensor, actions: Tensor, progress: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what the network tells of one next frame. latents: [B, T, D, H', W'], T = history + ahead;
        actions: [B, T-1]; progress: share of training done. Raises ValueError where the window is too short."""
        config, history = self.config, self.history
        check_batch(latents, actions, self.actions)
        room = latents.shape[1] - history
        if room < 1:
            raise ValueError(f"windows of {latents.shape[1]} frames are too short; use {history + 1} or more")
        at, own = history + int(torch.randint(room, ())), progress >= config.own_from
        past, taken, truth = pairs(latents, actions, history, at)
        asked = forgotten(taken, self.actions, config.forget)
        if own and bool(torch.rand(()) < config.own_share):
            past = self._dreamed(latents, actions, at)
        noise = torch.randn_like(truth)
        time = self._times(len(truth), truth.device)
        part = time[:, None, None, None]
        noisy = (1 - part) * truth + part * noise
        told = self.backbone(past, asked, noisy, time)
        clean = past[:, -1] + told if config.tells == "clean" else noisy - part * told
        error = F.mse_loss(clean, truth) if config.tells == "clean" else F.mse_loss(told, noise - truth)
        extra, logs = self.objectives.loss(past[:, -1], truth, clean, asked[:, -1], progress)
        with torch.no_grad():
            off, blind = (clean - truth).square().mean(dim=(1, 2, 3)), time == 1
            logs |= {"blind_mse": off[blind].mean(), "shown_mse": off[~blind].mean()}
            logs["copy_mse"] = F.mse_loss(latents[:, at - 1], truth)
        return error + extra, logs

    def _times(self, batch: int, device: torch.device) -> Tensor:
        even = torch.rand(batch, device=device)
        time = even if self.config.times == "even" else torch.randn(batch, device=device).sigmoid()
        return torch.where(torch.rand(batch, device=device) < self.config.blind, 1.0, time.clamp(min=1e-3))

    @torch.no_grad()
    def _dreamed(self, latents: Tensor, actions: Tensor, at: int) -> Tensor:
        """The past before frame `at`, of which all after the first frames are dreamed in two steps."""
        past = latents[:, : self.history]
        for now in range(self.history, at):
            asked = actions[:, now - self.history : now]
            told = self.next(past, asked, torch.randn_like(past[:, 0]), 2)
            past = torch.cat([past[:, 1:], told[:, None]], dim=1)
        return past


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentFlowFamily:
    """The three parts, in the order in which they are trained."""

    tokenizer: ConvAutoencoderConfig = field(default_factory=ConvAutoencoderConfig)
    latent_actions: OfFrames = field(default_factory=PatchActionConfig)
    dynamics: LatentFlowConfig = field(default_factory=LatentFlowConfig)

    @classmethod
    def sized(cls, size: Size) -> LatentFlowFamily:
        """One dial for all parts."""
        return cls(
            tokenizer=ConvAutoencoderConfig.sized(size),
            latent_actions=PatchActionConfig.sized(size),
            dynamics=LatentFlowConfig.sized(size),
        )

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": 2, "dynamics": self.dynamics.backbone.history + 1}

    def build(self, spec: WorldSpec) -> LatentWorld:
        """The world that this config describes, untrained."""
        world: LatentWorld = assembled(LatentWorld, self, spec)
        return world
