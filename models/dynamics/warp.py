"""Warp: the next frame as the present one moved, masked and completed, drawn in a few steps.

Data path: latents [B, T, D, H', W'] → frames → `Transport`: a memory of the past, shifts of the whole picture under the
action, then a noisy next frame made clean in a few steps → the next frame → its latents.

For games that scroll. There a token codebook has no hold, because hardly a patch is seen twice, but most of the next
frame is in the present one, a little to the side: video prediction by transformation (STP: arXiv 1605.07157)
copies it as it is, and only what comes into view is generated (copy or generate: arXiv 2605.16457). What has been seen
lies on a canvas larger than the frame (`canvas.py`), and whatever is not there may not be copied.

What is generated is drawn by a rectified flow that predicts the clean frame (arXiv 2209.03003). Where the past
leaves no doubt, the first of its steps gives what the last one gives.

In training the past has faults that dreams have: it is blurred as by being moved there and back, it is noisy, in a
share of the batches it is the model's own dream of the last frames, and in a share of the windows it is short. The real
next frame is moved to where the dream is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.action_models import action_model
from models.autoencoder import AutoencoderConfig, PatchAutoencoder
from models.canvas import Canvas
from models.displacement import REACH, displacements
from models.dynamics.config import WarpConfig
from models.dynamics.context import swapped
from models.frames import to_uint8
from models.given_actions import RealActions, with_actions
from models.learned_world import LearnedWorld, assembled
from models.motion_actions import HISTORY, MotionActionConfig, astray, at_best, error, surprise
from models.tokenizer import Size
from models.transport import Memory, Transport, shift
from models.world import Luck, Sampling, State, Window, WorldSpec, check_action, uniform

FLOOR = 2e-4
"""Squared error that counts as none. Less than for codes: the grain of a wall that stands still is to be kept."""
FAR = 4.0
"""Pixels by which a dream may have left the game and still be told of its next frame."""
WORST = 0.3
"""Weight of the worst places beside the mean."""
NOISE = 0.25
"""Standard deviation of the noise that a frame begins as; about that of the frames themselves."""


class Past(NamedTuple):
    """frames: float [B, T, C, H, W] around zero, the last T, the present one at the end; canvas: what was seen
    around them; moved: pixels [B, 2] by which the picture moved from the frame before to the present one."""

    frames: Tensor
    canvas: Canvas
    moved: Tensor


class Plan(NamedTuple):
    """What a next frame may be made of: shifts [B, K, 2], the first that of the picture as a whole; candidates
    [B, K + 1, C, H, W]; seen: bool [B, K, H, W], where the shifted ones may be chosen."""

    memory: Memory
    shifts: Tensor
    candidates: Tensor
    seen: Tensor


class Warp(nn.Module):
    """The dynamics, on frames [B, T, C, H, W] around zero."""

    def __init__(self, config: WarpConfig, spec: WorldSpec, actions: int) -> None:
        super().__init__()
        self.config, self.actions = config, actions
        self.net = Transport(config.history, actions, config.width, config.moves, channels=spec.channels, noisy=True)

    @property
    def length(self) -> int:
        """Frames of a training window."""
        return self.config.span + self.config.ahead

    def loss(
        self, frames: Tensor, actions: Tensor, moved: Tensor, progress: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cost of the frame after a past, as in `motion_actions.py`. frames: float [B, T, C, H, W] around zero,
        T = span + ahead; actions: int64 [B, T-1]; moved: how far the picture moved in each step, pixels [B, T-1, 2];
        progress: share of training done.

        Raises ValueError where the window has another length.
        """
        config = self.config
        if frames.shape[1] != self.length:
            found = f"windows of {frames.shape[1]} frames do not fit"
            raise ValueError(f"{found}; use --set dynamics.length={self.length}")
        past, dreamed = self._past(frames[:, : config.span], moved[:, : config.span - 1], progress), 0
        if progress >= config.own_from and config.ahead > 1 and bool(torch.rand(()) < config.own_share):
            dreamed = int(torch.randint(1, config.ahead, ()))
        drift = torch.zeros_like(past.moved)
        for step in range(config.span - 1, config.span - 1 + dreamed):
            past = self._dreamed_on(past, actions[:, step])
            drift = drift + past.moved - moved[:, step]
        if progress >= config.own_from:
            actions = swapped(actions, self.actions, config.action_noise)
        at = config.span + dreamed
        action, (truth, shown) = actions[:, at - 1], self._drifted(frames[:, at], drift)
        time = torch.rand(len(truth), device=truth.device)
        time = torch.where(torch.rand_like(time) < config.blind, 1.0, time)
        mixed = time[:, None, None, None]
        noisy = (1 - mixed) * truth + mixed * NOISE * torch.randn_like(truth)
        plan = self.plan(past, action)
        told = self.told(plan, action, noisy, time)
        truth = torch.where(shown, truth, told.detach())
        cost = self.cost(told, truth, plan, moved[:, at - 1])
        near, blind = drift.abs().amax(dim=1) <= FAR, time == 1
        with torch.no_grad():
            fine = (told - truth).square().mean(dim=(1, 2, 3))
            logs = {
                "blind_mse": fine[blind].mean(),
                "shown_mse": fine[~blind].mean(),
                "copy_mse": (frames[:, at - 1] - frames[:, at]).square().mean(),
                "missed": (plan.shifts[:, 0] - moved[:, at - 1]).abs().sum(dim=1).median(),
                "near": near.float().mean(),
            }
        return (cost * near).sum() / near.sum().clamp(min=1), logs

    def cost(self, told: Tensor, truth: Tensor, plan: Plan, now: Tensor) -> Tensor:
        """What it costs, in nats, to have told this of frames [B, C, H, W] that moved by `now` [B, 2]: [B]."""
        told_off = error(told[:, None], truth[:, None])[:, 0]
        best_off = at_best(plan.candidates[:, None], truth[:, None], plan.seen[:, None])[:, 0]
        pictures = surprise(told_off + WORST * worst(told, truth), FLOOR) + surprise(best_off, FLOOR)
        return pictures + self.config.follow * astray(plan.shifts[:, 0], now)

    def _drifted(self, truth: Tensor, drift: Tensor) -> tuple[Tensor, Tensor]:
        """The real next frame [B, C, H, W] as a dream would have it that has moved by `drift` [B, 2] pixels more than
        the game, and which of it there is: bool [B, 1, H, W].

        A dream that is half a pixel beside the game is not wrong. Nor could it know, and told of the frame as it is, it
        would learn to blur.
        """
        if not bool(drift.any()):
            return truth, torch.ones_like(truth[:, :1], dtype=torch.bool)
        shown = shift(torch.ones_like(truth[:, :1]), drift, beyond="zeros") > 0.99
        return shift(truth, drift, sharp=True), shown

    def _past(self, frames: Tensor, moved: Tensor, progress: float) -> Past:
        """What training takes for the past of frames [B, T, C, H, W] that moved by [B, T-1, 2]: in some of the windows
        short, and late in training with faults."""
        config, last = self.config, frames.shape[1] - 1
        recent = frames[:, -config.history :]
        if progress >= config.own_from:
            recent = self._faulty(recent)
        recent, first = self._shortened(recent)
        canvas, at = Canvas.begin(frames[:, last % config.apart], config.margin), last % config.apart
        while at < last:
            canvas = canvas.moved(moved[:, at : at + config.apart].sum(dim=1))
            at += config.apart
            canvas = canvas.with_frame(frames[:, at])
        forgotten = (first > 0)[:, None, None, None]
        fresh = Canvas.begin(recent[:, -1], config.margin)
        canvas = canvas.with_frame(recent[:, -1])
        canvas = Canvas(*(torch.where(forgotten, new, old) for new, old in zip(fresh, canvas, strict=True)))
        alone = (first == config.history - 1)[:, None]
        last_moved = torch.where(alone, 0.0, moved[:, -1])
        if progress >= config.own_from:
            jitter = config.jitter * torch.rand(len(moved), 1, device=moved.device)
            last_moved = last_moved + jitter * torch.randn_like(last_moved)
        return Past(recent, canvas, last_moved)

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

    def _shortened(self, past: Tensor) -> tuple[Tensor, Tensor]:
        """In some of the windows the oldest frames are not there: the oldest that is stands in for them. And how many
        are not there, int64 [B]."""
        batch, frames = past.shape[:2]
        first = torch.randint(1, frames, (batch, 1), device=past.device)
        first = torch.where(torch.rand(batch, 1, device=past.device) < self.config.short, first, 0)
        index = torch.maximum(torch.arange(frames, device=past.device)[None], first)
        return past[torch.arange(batch, device=past.device)[:, None], index], first[:, 0]

    @torch.no_grad()
    def _dreamed_on(self, past: Past, action: Tensor) -> Past:
        """The past one frame later, dreamed in two steps."""
        return self.draw(past, action, NOISE * torch.randn_like(past.frames[:, -1]), 2)

    def plan(self, past: Past, action: Tensor) -> Plan:
        """What the next frame may be made of, under an action int64 [B]. Nothing moves further than was ever read."""
        memory = self.net.remember(past.frames)
        shifts = self.net.shifts(memory, action, past.moved).clamp(-REACH, REACH)
        views = [past.canvas.through(shifts[:, k], self.config.margin) for k in range(self.config.moves)]
        pictures, seen = zip(*views, strict=True)
        candidates = torch.stack([past.frames[:, -1], *pictures], dim=1)
        return Plan(memory, shifts, candidates, torch.stack(seen, dim=1))

    def told(self, plan: Plan, action: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """The clean next frame [B, C, H, W] that a noisy one is taken for; time [B]: how noisy it is, in [0, 1]."""
        return self.net.tell(plan.memory, plan.candidates, plan.shifts, action, noisy, time, plan.seen)

    def draw(self, past: Past, action: Tensor, noise: Tensor, steps: int) -> Past:
        """The past one frame later: the next frame is drawn from noise [B, C, H, W] by Euler steps along straight
        paths, and the canvas moves with it."""
        plan = self.plan(past, action)
        noisy, clean = noise, noise
        for step in range(steps):
            now, later = 1 - step / steps, 1 - (step + 1) / steps
            clean = self.told(plan, action, noisy, torch.full((len(noise),), now, device=noise.device))
            noisy = clean + (noisy - clean) * (later / now)
        frames = torch.cat([past.frames[:, 1:], clean[:, None]], dim=1)
        return Past(frames, past.canvas.moved(plan.shifts[:, 0]).with_frame(clean), plan.shifts[:, 0])


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
    latent_actions: MotionActionConfig | RealActions = field(default_factory=MotionActionConfig)
    dynamics: WarpConfig = field(default_factory=WarpConfig)

    @classmethod
    def sized(cls, size: Size) -> WarpFamily:
        """One dial for all parts."""
        return cls(latent_actions=MotionActionConfig.sized(size), dynamics=WarpConfig.sized(size))

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": HISTORY + 1, "dynamics": self.dynamics.span + self.dynamics.ahead}

    def build(self, spec: WorldSpec) -> WarpWorld:
        """The world that this config describes, untrained."""
        world: WarpWorld = assembled(WarpWorld, self, spec)
        return world


class WarpWorld(LearnedWorld):
    """Autoencoder, LAM and dynamics as one playable thing.

    State: `latents` float [B, T, D, rows, columns], the last frames, the present one at the end; `canvas` float
    [B, C + 1, H + 2 M, W + 2 M], what has been seen around it, and where; `moved` [B, 2], how far the picture moved.
    """

    def __init__(self, config: WarpFamily, spec: WorldSpec, sampling: Sampling | None = None) -> None:
        super().__init__()
        if spec.height % 4 or spec.width % 4:
            raise ValueError(f"frames must be of multiples of 4 pixels, found {spec.height}x{spec.width}")
        self.config, self.sampling = config, sampling or Sampling(steps=3, temperature=1.0)
        self.spec = with_actions(spec, config.latent_actions)
        self.tokenizer = PatchAutoencoder(config.tokenizer, spec)
        self.latent_actions = action_model(config.latent_actions, spec)
        self.dynamics = Warp(config.dynamics, spec, len(self.spec.actions))

    def centred(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → what the dynamics see of them: through the latents, around zero."""
        return self.tokenizer.decode(self.tokenizer.encode(frames)) - 0.5

    @torch.inference_mode()
    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """Remember the last frames of a window; where there are few, the oldest stands in for those before it."""
        frames = self.frames_of(window)
        config = self.config.dynamics
        frames = frames[:, -config.span :]
        steps = displacements(frames) if frames.shape[1] > 1 else torch.zeros(len(frames), 1, 2, device=frames.device)
        latents = self.tokenizer.encode(frames)
        seen = self.tokenizer.decode(latents) - 0.5
        canvas = Canvas.begin(seen[:, 0], config.margin)
        for at in range(1, frames.shape[1]):
            canvas = canvas.moved(steps[:, at - 1]).with_frame(seen[:, at])
        lack = latents[:, :1].expand(-1, max(0, config.history - latents.shape[1]), -1, -1, -1)
        latents = torch.cat([lack, latents], dim=1)[:, -config.history :]
        return {"latents": latents, "canvas": torch.cat(canvas, dim=1), "moved": steps[:, -1]}

    @torch.inference_mode()
    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Dream one frame ahead. action: int64 [B]."""
        latents = state["latents"]
        check_action(action, self.dynamics.actions, len(latents))
        frames = self.tokenizer.decode(latents) - 0.5
        chance = uniform((len(frames), *frames.shape[2:]), rng).to(frames.device)
        bell = (2 * chance.clamp(1e-6, 1 - 1e-6) - 1).erfinv() * 2**0.5
        noise = NOISE * self.sampling.temperature * bell
        canvas = Canvas(state["canvas"][:, :-1], state["canvas"][:, -1:])
        past = Past(frames, canvas, state["moved"])
        later = self.dynamics.draw(past, action.to(frames.device), noise, self.sampling.steps)
        present = self.tokenizer.encode(later.frames[:, -1:].clamp(-0.5, 0.5) + 0.5)
        return {
            "latents": torch.cat([latents[:, 1:], present], dim=1),
            "canvas": torch.cat(later.canvas, dim=1),
            "moved": later.moved,
        }

    @torch.inference_mode()
    def render(self, state: State) -> Tensor:
        """uint8 [B, C, H, W], the present frame."""
        return to_uint8(self.tokenizer.decode(state["latents"][:, -1:])[:, 0])

    @torch.inference_mode()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same through the latents."""
        return self.tokenizer.reconstruct(frames.to(self.device()))
