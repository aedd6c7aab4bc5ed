"""Warp: the next frame as the present one moved, masked and completed, drawn in a few steps.

Data path: latents [B, T, D, H', W'] → frames → `Transport`: a memory of the past, shifts of the whole picture under the
action, then a noisy next frame made clean in a few steps → the next frame → its latents.

For games that scroll. There a token codebook has no hold, because hardly a patch is seen twice, but most of the next
frame is in the present one, a little to the side: video prediction by transformation (STP: arXiv 1605.07157)
copies it as it is, and only what comes into view is generated (copy or generate: arXiv 2605.16457).

What is generated is drawn by a rectified flow that predicts the clean frame (arXiv 2209.03003). Where the past
leaves no doubt, the first of its steps gives what the last one gives.

In training the past has faults that dreams have: it is blurred as by being moved there and back, it is noisy, in a
share of the batches it is the model's own dream of the last frames, and in a share of the windows it is short.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.autoencoder import AutoencoderConfig, PatchAutoencoder
from models.frames import to_uint8
from models.motion_actions import HISTORY, MotionActionConfig, MotionActionModel, at_best, error, surprise
from models.tokenizer import Size
from models.transport import Transport, shift
from models.world import Luck, Sampling, State, Window, WorldSpec, check_action, uniform

FLOOR = 2e-4
"""Squared error that counts as none. Less than for codes: the grain of a wall that stands still is to be kept."""
WORST = 0.3
"""Weight of the worst places beside the mean."""
NOISE = 0.25
"""Standard deviation of the noise that a frame begins as; about that of the frames themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WarpConfig:
    """width: of the convolutions; history: frames that are seen; moves: shifts of the picture that may be combined.

    ahead: frames of a training window after the history, of which all but the last may be dreamed. blind: share of
    training at which the next frame is all noise, as in the first step at play. own_from: share of training after
    which the past has faults; own_share: how often it is then the model's own dream; blurred: how often it is
    blurred; grain: standard deviation, at most, of its noise; short: how often frames of it are missing.
    """

    width: int = 96
    history: int = 4
    moves: int = 2
    ahead: int = 6
    blind: float = 0.5
    own_from: float = 0.4
    own_share: float = 0.5
    blurred: float = 0.5
    grain: float = 0.03
    short: float = 0.15

    def __post_init__(self) -> None:
        if self.history < 2 or self.ahead < 1 or self.moves < 1 or self.width % 8:
            found = f"history {self.history} must be 2 or more, ahead {self.ahead} and moves {self.moves} 1 or more"
            raise ValueError(f"{found}, width {self.width} a multiple of 8")
        for name in ("blind", "own_from", "own_share", "blurred", "grain", "short"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")

    @classmethod
    def sized(cls, size: Size) -> WarpConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {"tiny": {"width": 16, "ahead": 2}, "small": {}, "base": {"width": 192}, "paper": {"width": 320}}
        return cls(**dials[size])


class Warp(nn.Module):
    """The dynamics, on frames [B, T, C, H, W] around zero."""

    def __init__(self, config: WarpConfig, spec: WorldSpec, actions: int) -> None:
        super().__init__()
        self.config, self.actions = config, actions
        self.net = Transport(config.history, actions, config.width, config.moves, channels=spec.channels, noisy=True)

    def loss(self, frames: Tensor, actions: Tensor, progress: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Cost of the frame after a history, as in `motion_actions.py`. frames: float [B, T, C, H, W] around zero,
        T = history + ahead; actions: int64 [B, T-1]; progress: share of training done.

        Raises ValueError where the window has another length.
        """
        config = self.config
        if frames.shape[1] != config.history + config.ahead:
            want = config.history + config.ahead
            raise ValueError(f"windows of {frames.shape[1]} frames do not fit; use --set dynamics.length={want}")
        past, dreamed = frames[:, : config.history], 0
        if progress >= config.own_from:
            past = self._faulty(past)
            if config.ahead > 1 and bool(torch.rand(()) < config.own_share):
                dreamed = int(torch.randint(1, config.ahead, ()))
        past = self._shortened(past)
        for step in range(dreamed):
            past = self._dreamed_on(past, actions[:, config.history - 1 + step])
        at = config.history + dreamed
        before, truth, action = frames[:, at - 1], frames[:, at], actions[:, at - 1]
        time = torch.rand(len(past), device=past.device)
        time = torch.where(torch.rand_like(time) < config.blind, 1.0, time)
        mixed = time[:, None, None, None]
        noisy = (1 - mixed) * truth + mixed * NOISE * torch.randn_like(truth)
        memory = self.net.remember(past)
        shifts = self.net.shifts(memory, action)
        candidates = self.net.candidates(past[:, -1], shifts)
        told = self.net.tell(memory, candidates, shifts, action, noisy, time)
        told_off, best_off = error(told[:, None], truth[:, None]), at_best(candidates[:, None], truth[:, None])
        cost = surprise(told_off + WORST * worst(told, truth), FLOOR) + surprise(best_off, FLOOR)
        blind = time == 1
        with torch.no_grad():
            fine = (told - truth).square().mean(dim=(1, 2, 3))
            logs = {
                "blind_mse": fine[blind].mean(),
                "shown_mse": fine[~blind].mean(),
                "copy_mse": (before - truth).square().mean(),
            }
        return cost.mean(), logs

    def _faulty(self, past: Tensor) -> Tensor:
        """Some of the windows blurred, all of them noisy: [B, T, C, H, W]."""
        batch, frames = past.shape[:2]
        blurred = past.flatten(0, 1)
        for _ in range(int(torch.randint(1, 4, ()))):
            by = torch.rand(batch, 2, device=past.device).repeat_interleave(frames, dim=0)
            blurred = shift(shift(blurred, by), -by)
        blurred = blurred.reshape(past.shape)
        chosen = torch.rand(batch, 1, 1, 1, 1, device=past.device) < self.config.blurred
        grain = self.config.grain * torch.rand(batch, 1, 1, 1, 1, device=past.device)
        return torch.where(chosen, blurred, past) + grain * torch.randn_like(past)

    def _shortened(self, past: Tensor) -> Tensor:
        """In some of the windows the oldest frames are not there: the oldest that is stands in for them."""
        batch, frames = past.shape[:2]
        first = torch.randint(1, frames, (batch, 1), device=past.device)
        first = torch.where(torch.rand(batch, 1, device=past.device) < self.config.short, first, 0)
        index = torch.maximum(torch.arange(frames, device=past.device)[None], first)
        return past[torch.arange(batch, device=past.device)[:, None], index]

    @torch.no_grad()
    def _dreamed_on(self, past: Tensor, action: Tensor) -> Tensor:
        """The history one frame later, dreamed in two steps."""
        drawn = self.draw(past, action, NOISE * torch.randn_like(past[:, -1]), 2)
        return torch.cat([past[:, 1:], drawn[:, None]], dim=1)

    def draw(self, past: Tensor, action: Tensor, noise: Tensor, steps: int) -> Tensor:
        """The next frame [B, C, H, W] after a history, from noise, by Euler steps along straight paths."""
        memory = self.net.remember(past)
        shifts = self.net.shifts(memory, action)
        candidates = self.net.candidates(past[:, -1], shifts)
        noisy, clean = noise, noise
        for step in range(steps):
            now, later = 1 - step / steps, 1 - (step + 1) / steps
            time = torch.full((len(past),), now, device=past.device)
            clean = self.net.tell(memory, candidates, shifts, action, noisy, time)
            noisy = clean + (noisy - clean) * (later / now)
        return clean


def worst(told: Tensor, truth: Tensor) -> Tensor:
    """Squared error of the worst places of frames [B, C, H, W], 4x4 pixels each and one in 32 of all: [B].

    Whoever is played fills a hundredth of a frame. By the mean alone, what it leaves behind when the picture moves on
    is not worth drawing over, and a trail of players follows it (compare the worst pixel of Δ-IRIS, arXiv 2406.19320).
    """
    off = F.avg_pool2d((told - truth).square().mean(dim=1), 4).flatten(1)
    return off.topk(max(1, off.shape[1] // 32), dim=1).values.mean(dim=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class WarpFamily:
    """The three parts of a warp world, in the order in which they are trained."""

    tokenizer: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    latent_actions: MotionActionConfig = field(default_factory=MotionActionConfig)
    dynamics: WarpConfig = field(default_factory=WarpConfig)

    @classmethod
    def sized(cls, size: Size) -> WarpFamily:
        """One dial for all parts."""
        return cls(latent_actions=MotionActionConfig.sized(size), dynamics=WarpConfig.sized(size))

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": HISTORY + 1, "dynamics": self.dynamics.history + self.dynamics.ahead}

    def build(self, spec: WorldSpec) -> WarpWorld:
        """The world that this config describes, untrained."""
        return WarpWorld(self, spec)


class WarpWorld(nn.Module):
    """Autoencoder, LAM and dynamics as one playable thing.

    State: `latents` float [B, T, D, rows, columns], the last frames, the present one at the end.
    """

    def __init__(self, config: WarpFamily, spec: WorldSpec, sampling: Sampling | None = None) -> None:
        super().__init__()
        if spec.height % 8 or spec.width % 8:
            raise ValueError(f"frames must be of multiples of 8 pixels, found {spec.height}x{spec.width}")
        codes = config.latent_actions.codes
        self.config, self.sampling = config, sampling or Sampling(steps=3, temperature=1.0)
        self.spec = spec if spec.actions else replace(spec, actions=tuple(f"latent {code}" for code in range(codes)))
        self.tokenizer = PatchAutoencoder(config.tokenizer, spec)
        self.latent_actions = MotionActionModel(config.latent_actions, spec)
        self.dynamics = Warp(config.dynamics, spec, codes)

    def link(self) -> None:
        """Nothing to tell the other parts: they work on frames."""

    def forget(self) -> None:
        """Nothing is computed ahead from the dynamics' weights."""

    def with_spec(self, spec: WorldSpec) -> WarpWorld:
        """The same weights under another spec, for example one with a measured action table."""
        other = copy.copy(self)
        other.spec = spec
        return other

    def with_sampling(self, sampling: Sampling) -> WarpWorld:
        """The same weights under other dials; the state stays valid."""
        other = copy.copy(self)
        other.sampling = sampling
        return other

    def centred(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → what the dynamics see of them: through the latents, around zero."""
        return self.tokenizer.decode(self.tokenizer.encode(frames)) - 0.5

    @torch.inference_mode()
    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """Remember the last frames of a window; where there are few, the oldest stands in for those before it."""
        frames = window.frames.to(self._device())
        if frames.shape[1] < self.spec.context:
            raise ValueError(
                f"window has {frames.shape[1]} frames but {self.spec.game!r} needs a context of {self.spec.context}"
            )
        history = self.config.dynamics.history
        frames = frames[:, -history:]
        lack = frames[:, :1].expand(-1, history - frames.shape[1], -1, -1, -1)
        return {"latents": self.tokenizer.encode(torch.cat([lack, frames], dim=1))}

    @torch.inference_mode()
    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        latents = state["latents"]
        check_action(action, self.dynamics.actions, len(latents))
        past = self.tokenizer.decode(latents) - 0.5
        chance = uniform((len(past), *past.shape[2:]), rng).to(past.device)
        bell = (2 * chance.clamp(1e-6, 1 - 1e-6) - 1).erfinv() * 2**0.5
        noise = NOISE * self.sampling.temperature * bell
        drawn = self.dynamics.draw(past, action.to(past.device), noise, self.sampling.steps)
        present = self.tokenizer.encode((drawn.clamp(-0.5, 0.5) + 0.5)[:, None])
        return {"latents": torch.cat([latents[:, 1:], present], dim=1)}

    @torch.inference_mode()
    def render(self, state: State) -> Tensor:
        """uint8 [B, C, H, W], the present frame."""
        return to_uint8(self.tokenizer.decode(state["latents"][:, -1:])[:, 0])

    @torch.inference_mode()
    def infer_actions(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1]."""
        return self.latent_actions.infer(frames.to(self._device()))

    @torch.inference_mode()
    def code_gain(self, frames: Tensor) -> dict[str, float]:
        """uint8 [B, T, C, H, W] → what the codes are worth to the LAM's own decoder."""
        return self.latent_actions.gain(frames.to(self._device()))

    @torch.inference_mode()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the latents."""
        return self.tokenizer.reconstruct(frames.to(self._device()))

    def _device(self) -> torch.device:
        return self.tokenizer.mean.device
