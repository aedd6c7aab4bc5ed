"""Pixel FiLM: the next frames as pixels, by an encoder and a decoder of convolutions. The baseline of the others.

Data path: past frames [B, T, C, H, W] and two planes of coordinates → strided convolutions, each scaled and shifted by
past and future actions → the same upwards → logits of the next K frames [B, K, C, H, W]. With `fold`, squares of
pixels are channels of one place at both ends.

Coordinates as planes: CoordConv (arXiv 1807.03247); scale and shift: FiLM (arXiv 1709.07871), before each group norm.
The loss is binary cross-entropy of shades, weighted where something moves. With `skips` the decoder also sees what the
encoder saw at each size (U-Net, arXiv 1505.04597), without which all that stands still must be drawn anew. With
`residual` what is told is added to the logits of the present frame, so that the untrained network copies it. With
`changes` it is also told which pixels change at all, and at play those that hardly will stay as they are to the bit, or
what stands still would be worn away by one faint fault after the other. With `scrolls` the decoder is shown the present
frame moved as a whole, and draws for each pixel upon it or upon the frame as it is, or the edges of a picture in motion
dissolve (`scroll.py`).

Several frames are told at once from several future actions. At play only the first of these is known; so in training
the later ones are often left out, and only the first frame is kept at play. Later in training the past is in a share of
the batches the own dream of its last frames, or a fault of one frame would grow in the next (scheduled sampling, arXiv
1506.03099).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.action_models import OfFrames
from models.dynamics.latent_world import LatentDynamics, LatentWorld, check_batch
from models.dynamics.scroll import Scroll, astray, scrolled
from models.learned_world import assembled
from models.objectives import Objectives, ObjectivesConfig
from models.patch_actions import PatchActionConfig
from models.pixels import Pixels, PixelsConfig
from models.tokenizer import Size
from models.world import Sampling, WorldSpec

DARKEST = 1 / 255
"""Shades nearer to 0 or 1 than this count as this far away where logits are taken of them."""
FOLLOW = 0.05
"""Weight of a pixel by which the picture is thought to move wrongly."""
FAINT = 1.5 / 255
"""What changes by less than this stands still."""
STRIDES = {1: (2, 2, 2, 1), 2: (1, 2, 2, 1), 4: (1, 2, 2, 1)}
"""Of the encoder's convolutions, by how many pixels are one place already at its entrance."""
KEEN = 4.0
"""How much faster than shades it is learned which pixels are moved."""
DOUBT = 0.25
"""Chance of a change from which on a pixel is drawn at play."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelFiLMConfig:
    """past, past_actions, future: frames that are seen, actions before the present frame, frames that are told; widths:
    channels of the encoder's four convolutions; up: of the decoder's; action: numbers that an action is described by;
    hidden: of the layer between these and each scale and shift; fold: squares of so many pixels to a side are one place
    with as many more channels; skips, residual, scrolls: see the module; changes: weight of the loss of what changes, 0
    for none.

    motion: extra weight of pixels near which something moves; tau: by how much they must change for that; near: pixels
    around them; forget: how often the later future actions are not known; lost: how often those of the past are not, as
    where a dream begins from a picture; ahead: frames that may be dreamed before
    those that are told; own_from, own_share: share of training after which, and of the batches in which, they are;
    objectives: further ones, of the next frame.
    """

    past: int = 4
    past_actions: int = 3
    future: int = 4
    widths: tuple[int, ...] = (32, 64, 128, 256)
    up: tuple[int, ...] = (128, 64, 32, 32)
    action: int = 64
    hidden: int = 128
    fold: int = 1
    skips: bool = True
    residual: bool = False
    changes: float = 0.0
    scrolls: bool = False
    motion: float = 5.0
    tau: float = 0.02
    near: int = 4
    forget: float = 0.5
    lost: float = 0.1
    ahead: int = 4
    own_from: float = 0.4
    own_share: float = 0.5
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)

    def __post_init__(self) -> None:
        if self.scrolls and not self.residual:
            raise ValueError("scrolls moves the present frame, which is not drawn upon where residual is false")
        if self.past < 1 or self.future < 1 or self.past_actions < 0:
            found = f"past {self.past} and future {self.future} must be 1 or more"
            raise ValueError(f"{found}, past_actions {self.past_actions} 0 or more")
        if self.past_actions > self.past - 1:
            found = f"n_past_actions must be <= n_past_frames - 1, found past_actions {self.past_actions}"
            raise ValueError(f"{found} and past {self.past}")
        if len(self.widths) != 4 or len(self.up) != 4 or any(width < 8 or width % 8 for width in self.widths + self.up):
            raise ValueError(f"widths and up must be four multiples of 8, found {self.widths} and {self.up}")
        if self.fold not in STRIDES:
            raise ValueError(f"fold must be one of {list(STRIDES)}, found {self.fold}")
        if min(self.motion, self.tau, self.near, self.changes) < 0:
            found = f"motion {self.motion}, tau {self.tau}, near {self.near} and changes {self.changes}"
            raise ValueError(f"{found} must be 0 or more")
        if not 0 <= self.forget <= 1 or not 0 <= self.lost <= 1:
            raise ValueError(f"forget {self.forget} and lost {self.lost} must be in [0, 1]")
        if self.ahead < 0 or not 0 <= self.own_from <= 1 or not 0 <= self.own_share <= 1:
            found = f"ahead {self.ahead} must be 0 or more"
            raise ValueError(f"{found}, own_from {self.own_from} and own_share {self.own_share} in [0, 1]")

    @classmethod
    def sized(cls, size: Size) -> PixelFiLMConfig:
        """One dial: everything that follows from how large it may be."""
        dials: dict[str, dict[str, Any]] = {
            "tiny": {"widths": (16, 32, 32, 32), "up": (32, 32, 16, 16), "action": 16, "hidden": 32, "future": 2},
            "small": {"widths": (64, 128, 256, 256), "up": (128, 128, 128, 128)},
            "base": {"widths": (64, 128, 256, 512), "up": (256, 128, 64, 64)},
            "paper": {"widths": (64, 128, 256, 512), "up": (256, 128, 64, 64)},
        }
        return cls(fold=4, residual=True, changes=0.2, **dials[size])

    def build(self, tokenizer: Pixels, actions: int) -> PixelFiLM:
        """The dynamics over frames of so many channels. Raises ValueError where frames that scroll have odd sides."""
        if self.scrolls and any(side % 2 for side in tokenizer.grid):
            height, width = tokenizer.grid
            found = f"what scrolls must have even sides, found {height}x{width}"
            raise ValueError(f"{found}; use --set family.dynamics.scrolls=false")
        return PixelFiLM(self, tokenizer.channels, actions)

    @property
    def history(self) -> int:
        """Frames that are seen."""
        return self.past

    def sampling(self) -> Sampling | None:
        """There is nothing to be drawn."""
        return None


class FilmConv(nn.Module):
    """A convolution whose output is scaled and shifted by a condition, then normed."""

    def __init__(self, before: int, after: int, config: PixelFiLMConfig, condition: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 4 if stride == 2 else 3, stride=stride, padding=1)
        self.film = nn.Sequential(nn.Linear(condition, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 2 * after))
        nn.init.normal_(self.film[-1].weight, std=1e-3)  # type: ignore[arg-type]  # a Linear's weight is a tensor
        nn.init.zeros_(self.film[-1].bias)  # type: ignore[arg-type]  # as above
        self.norm = nn.GroupNorm(8, after)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[B, D, H, W] and [B, D] → another number of channels, half as large where the stride is 2."""
        scale, move = self.film(condition)[..., None, None].chunk(2, dim=1)
        return F.relu(self.norm((1 + scale) * self.conv(x) + move))


class Told(NamedTuple):
    """Logits of the next frames' shades [B, K, C, H, W]; with `changes`, of whether each pixel differs from the present
    one [B, K, 1, H, W]; with `scrolls`, pixels by which they lie beside the present one [B, K, 2]."""

    shades: Tensor
    change: Tensor | None
    by: Tensor | None


class PixelFiLM(LatentDynamics):
    """The dynamics, on frames in [0, 1]."""

    def __init__(self, config: PixelFiLMConfig, channels: int, actions: int) -> None:
        super().__init__()
        self.config, self.actions, self.history, self.channels = config, actions, config.past, channels
        condition = (config.past_actions + config.future) * config.action
        self.whole = 2 if config.fold == 1 else 1  # the first block upwards at the size of what is seen
        self.action = nn.Embedding(actions + 1, config.action)
        down, up = config.widths, config.up
        seen = config.fold**2 * (channels * config.past + 2)
        self.down = nn.ModuleList(
            FilmConv(before, after, config, condition, stride)
            for before, after, stride in zip((seen, *down[:3]), down, STRIDES[config.fold], strict=True)
        )
        beside = [down[1], down[0], 0, 0] if config.skips else [0, 0, 0, 0]
        beside[self.whole] += seen * config.skips + config.fold**2 * channels * config.future * config.scrolls
        self.up = nn.ModuleList(
            FilmConv(before + more, after, config, condition)
            for before, more, after in zip((down[3], *up[:3]), beside, up, strict=True)
        )
        self.scroll = Scroll(down[3], condition, config.future) if config.scrolls else None
        told = (channels + bool(config.changes) + config.scrolls) * config.future
        self.out = nn.Conv2d(up[3], config.fold**2 * told, 3, padding=1)
        if config.residual:
            nn.init.normal_(self.out.weight, std=1e-4)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # it has one
        self.objectives = Objectives(config.objectives, channels, actions)

    def logits(self, past: Tensor, actions: Tensor) -> Told:
        """Frames [B, T, C, H, W] in [0, 1], past and future actions [B, past_actions + K] → logits of the next ones."""
        height, width = past.shape[-2:]
        rows = torch.linspace(-1, 1, height, device=past.device)[:, None].expand(height, width)
        columns = torch.linspace(-1, 1, width, device=past.device).expand(height, width)
        place = torch.stack([rows, columns]).expand(len(past), -1, -1, -1)
        x = self._folded(torch.cat([past.flatten(1, 2) - 0.5, place], dim=1))
        x = x.contiguous(memory_format=torch.channels_last)
        if torch.is_autocast_enabled(past.device.type):
            x = x.to(torch.get_autocast_dtype(past.device.type))  # or it is turned once for every use
        condition, kept = self.action(actions).flatten(1), [x]
        for block in self.down:
            x = block(x, condition)
            kept.append(x)
        by = self.scroll(x, condition, past) if self.scroll is not None else None
        moved = None if by is None else scrolled(past[:, -1], by)
        sizes = [like.shape[-2:] for like in (kept[2], kept[1], kept[0], kept[0])]
        for level, block in enumerate(self.up):
            size = sizes[level]
            if x.shape[-2:] != size:
                with torch.autocast(x.device.type, enabled=False):  # which would make floats of them and back
                    x = F.interpolate(x, size=size)
            beside = [kept[2 - level]] if self.config.skips and level < 2 else []
            if level == self.whole:
                beside += [kept[0]] if self.config.skips else []
                beside += [] if moved is None else [self._folded(moved.flatten(1, 2) - 0.5).to(x.dtype)]
            x = block(torch.cat([x, *beside], dim=1), condition)
        unfolded = F.pixel_shuffle(self.out(x).float(), self.config.fold)[..., :height, :width]
        told = unfolded.reshape(len(past), self.config.future, -1, height, width)
        base, present = told[:, :, : self.channels], past[:, -1:].float()
        change = told[:, :, self.channels : self.channels + 1] if self.config.changes else None
        if moved is not None:
            present = torch.lerp(present.expand_as(moved), moved, (KEEN * told[:, :, -1:]).sigmoid())
        return Told(base + present.logit(DARKEST) if self.config.residual else base, change, by)

    def _folded(self, x: Tensor) -> Tensor:
        """Squares of `fold` pixels as channels; the edge is repeated where the last ones are not whole."""
        lack = [-size % self.config.fold for size in x.shape[-2:]]
        x = F.pad(x, (0, lack[1], 0, lack[0]), mode="replicate") if any(lack) else x
        return F.pixel_unshuffle(x, self.config.fold)

    def _asked(self, actions: Tensor, future: Tensor) -> Tensor:
        """The actions [B, T-1] before the present frame and later ones [B, K], as the network wants them."""
        before = (
            actions[:, actions.shape[1] - self.config.past_actions :] if self.config.past_actions else future[:, :0]
        )
        return torch.cat([before, future], dim=1)

    def next(
        self, past: Tensor, actions: Tensor, noise: Tensor | None = None, steps: int = 1, guidance: float = 1.0
    ) -> Tensor:
        """See `LatentDynamics`; actions after the next one are not known."""
        future = torch.full((len(past), self.config.future), self.actions, device=past.device)
        future[:, 0] = actions[:, -1]
        told, change, _ = self.logits(past, self._asked(actions[:, :-1], future))
        shown = told[:, 0].sigmoid()
        return shown if change is None else torch.where(change[:, 0].sigmoid() > DOUBT, shown, past[:, -1])

    def loss(self, frames: Tensor, actions: Tensor, progress: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted cross-entropy of some frames after the past. frames: float [B, T, C, H, W] in [0, 1], T = past +
        ahead + future; actions: [B, T-1]; progress: share of training done. Raises ValueError where T is too short."""
        config, now = self.config, self.config.past
        check_batch(frames, actions, self.actions, bounded=True)
        room = frames.shape[1] - now - config.future
        if room < 0:
            wanted = now + config.future
            found = f"n_past_frames + n_future_frames must be <= the length of windows (got {frames.shape[1]})"
            raise ValueError(f"{found}; use --set dynamics.length={wanted} or more")
        at, own = now + int(torch.randint(room + 1, ())), progress >= config.own_from
        last, truth, past = frames[:, at - 1], frames[:, at : at + config.future], frames[:, at - now : at]
        if own and bool(torch.rand(()) < config.own_share):
            past = self._dreamed(frames, actions, at)
        future = actions[:, at - 1 : at - 1 + config.future].clone()
        rate = torch.rand(len(future), 1, device=future.device) < config.forget
        future[:, 1:] = torch.where(rate, self.actions, future[:, 1:])
        lost = torch.rand(len(future), 1, device=future.device) < config.lost
        before = torch.where(lost, self.actions, actions[:, at - now : at - 1])
        told, change, by = self.logits(past, self._asked(before, future))
        moving = ((truth - last[:, None]).abs().amax(dim=2) > config.tau).float()  # [B, K, H, W]
        spread = _dilated(moving, config.near)[:, :, None]
        weight = 1 + config.motion * spread
        entropy = F.binary_cross_entropy_with_logits(told, truth, reduction="none")
        loss, shown = (entropy * weight).mean() / weight.mean(), told.sigmoid()
        if change is not None:  # whatever the dream has made of it: what stands still in the game is left as it is
            differs = ((truth - last[:, None]).abs().amax(dim=2, keepdim=True) > FAINT).float()
            loss = loss + config.changes * F.binary_cross_entropy_with_logits(change, differs)
        missed = None if by is None else astray(by, frames[:, at - 1 : at + 1])
        loss = loss if missed is None else loss + FOLLOW * missed
        extra, logs = self.objectives.loss(past[:, -1], truth[:, 0], shown[:, 0], future[:, 0], progress)
        with torch.no_grad():
            off = (shown - truth).square()
            logs |= {
                "mse": off.mean(),
                "next_mse": off[:, 0].mean(),
                "copy_mse": (last - truth[:, 0]).square().mean(),
                "moving_mse": (off * moving[:, :, None]).sum() / (moving.sum() * off.shape[2]).clamp(min=1),
            }
            logs |= {} if missed is None else {"missed": missed.detach()}
        return loss + extra, logs

    @torch.no_grad()
    def _dreamed(self, frames: Tensor, actions: Tensor, at: int) -> Tensor:
        """The past before frame `at`, of which all after the first frames are dreamed."""
        past = frames[:, : self.history]
        for now in range(self.history, at):
            told = self.next(past, actions[:, now - self.history : now])
            past = torch.cat([past[:, 1:], told[:, None]], dim=1)
        return past


def _dilated(masks: Tensor, near: int) -> Tensor:
    """The largest of the pixels up to `near` away, rows first and columns then. masks: [B, K, H, W]."""
    rows = F.max_pool2d(masks, (2 * near + 1, 1), stride=1, padding=(near, 0))
    return F.max_pool2d(rows, (1, 2 * near + 1), stride=1, padding=(0, near))


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelFiLMFamily:
    """The parts in the order in which they are trained; pixels need no training."""

    tokenizer: PixelsConfig = field(default_factory=PixelsConfig)
    latent_actions: OfFrames = field(default_factory=PatchActionConfig)
    dynamics: PixelFiLMConfig = field(default_factory=PixelFiLMConfig)

    @classmethod
    def sized(cls, size: Size) -> PixelFiLMFamily:
        """One dial for all parts."""
        return cls(latent_actions=PatchActionConfig.sized(size), dynamics=PixelFiLMConfig.sized(size))

    def least_lengths(self) -> dict[str, int]:
        """Frames that windows need at least, by part."""
        return {"lam": 2, "dynamics": self.dynamics.past + self.dynamics.future}

    def build(self, spec: WorldSpec) -> LatentWorld:
        """The world that this config describes, untrained."""
        world: LatentWorld = assembled(LatentWorld, self, spec)
        return world
