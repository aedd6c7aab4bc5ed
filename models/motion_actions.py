"""The LAM of moving pictures: which of a few codes explains each change, where all of a picture may move at once.

Data path: frames [B, T, C, H, W] → a small `Transport` tells each frame from the two before it and from how far the
picture moved between them, without a code → how the frame and its movement differ from that → one of eight codes; and
the same `Transport` tells the frame again with the code.

Trained as the other LAM is, in three phases, *free*, *sorting* and *choosing*, and for the same reasons, but for two
things. What a code costs is the logarithm of the squared error of the picture, fine and coarse, rather than the
cross-entropy of its tokens: where everything scrolls, hardly a patch is seen twice. And the encoder sees what was
expected beside what came. In a game with inertia one step's displacement is mostly that of the step before; what
the player does is the small rest. How far a picture is off is read from products of its error and its slopes
(Lucas and Kanade 1981), and from the displacement itself, which also has a cost of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.displacement import displacements
from models.frames import to_float
from models.latent_actions import posterior
from models.quantizers import perplexity
from models.tokenizer import Size
from models.transport import Transport
from models.world import WorldSpec

HISTORY = 2
FLOOR = 2e-3
"""Squared error that counts as none."""
PRODUCT = 64.0
"""Scale of the products of slopes and errors, which are small numbers."""
NEAR = 0.3
"""Pixels, right and down together, by which a displacement may be missed without cost."""
AT_ONCE = 64
"""Transitions whose codes are read together; more only take memory."""
PLACE = 5
"""Pixels, across and down, of a place that is taken from one picture as a whole."""
COARSE = 4
"""Pixels that are averaged for the coarse error, which tells which way to move even from far away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionActionConfig:
    """codes: how many latent actions. width: of the decoder; moves: shifts of the whole picture that it may combine;
    channels: of the encoder; push: pixels by which the codes differ before they are sorted.

    free_share, sort_share: shares of training in which the decoder learns without codes, and in which codes are
    sorted; balance: how far their use is evened out in sorting; even: weight of the divergence of their use from an
    even one in choosing; sharpness: what costs are multiplied with before the posterior;
    tries: transitions a batch on which every code is tried; follow: weight of how far the displacement is missed.
    """

    codes: int = 8
    width: int = 48
    moves: int = 2
    channels: int = 16
    push: float = 1.5
    free_share: float = 0.4
    sort_share: float = 0.1
    balance: float = 0.5
    even: float = 0.2
    sharpness: float = 16.0
    tries: int = 16
    follow: float = 0.5

    def __post_init__(self) -> None:
        if not 2 <= self.codes <= 64:
            raise ValueError(f"number of latent actions must be in [2, 64], found {self.codes}")
        if not 0 <= self.free_share < 1 or not 0 <= self.sort_share < 1 - self.free_share or not 0 <= self.balance <= 1:
            shares = f"free_share {self.free_share} and sort_share {self.sort_share} must be in [0, 1) and leave a rest"
            raise ValueError(f"{shares}, balance {self.balance} must be in [0, 1]")
        if self.moves < 1 or self.tries < 1 or self.width % 8:
            found = f"moves {self.moves} and tries {self.tries} must be 1 or more"
            raise ValueError(f"{found}, width {self.width} a multiple of 8")

    @classmethod
    def sized(cls, size: Size) -> MotionActionConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 16, "channels": 8},
            "small": {},
            "base": {"width": 128, "channels": 48},
            "paper": {"width": 256, "channels": 96},
        }
        return cls(**dials[size])


class Motion(NamedTuple):
    """How far the picture moved in the step before, was expected to move in this one, and moved: pixels [B, 2] each,
    right and down."""

    before: Tensor
    foreseen: Tensor
    now: Tensor


class SurpriseEncoder(nn.Module):
    """The frame that was expected and the frame that came → logits over the codes."""

    def __init__(self, channels: int, width: int, codes: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3 * channels + 5, width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(width, 2 * width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.GELU(),
        )  # fmt: skip
        self.norm = nn.LayerNorm(8 * width)
        self.tell = nn.Sequential(nn.Linear(8 * width + 10, 4 * width), nn.GELU(), nn.Linear(4 * width, codes))

    def forward(self, expected: Tensor, came: Tensor, motion: Motion) -> Tensor:
        """float [B, C, H, W] around zero, twice, and how both moved → logits [B, A]."""
        off = came - expected
        down, right = (F.pad(expected.diff(dim=axis), pad) for axis, pad in ((2, (0, 0, 0, 1)), (3, (0, 1))))
        pairs = ((off, down), (off, right), (down, down), (right, right), (down, right))
        products = torch.stack([(one * two).sum(dim=1) for one, two in pairs], dim=1)
        x = self.see(torch.cat([expected, came, 4 * off, (PRODUCT * products).clamp(-4, 4)], dim=1))
        pooled = self.norm(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))
        before, foreseen, now = motion
        off_by = now - foreseen
        told = [before / 4, now / 4, off_by / 4, (2 * off_by).tanh(), (now - before).tanh()]
        return self.tell(torch.cat([pooled, *told], dim=1)).float()


class Told(NamedTuple):
    """Next frames [B, K, C, H, W] under K codes each, the pictures [B, K, moves + 1, C, H, W] that they were made from,
    and how far the picture as a whole moves [B, K, 2]."""

    frames: Tensor
    offered: Tensor
    shifts: Tensor


class MotionActionModel(nn.Module):
    """Reads codes off real frames."""

    def __init__(self, config: MotionActionConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.encoder = SurpriseEncoder(spec.channels, config.channels, config.codes)
        self.decoder = Transport(
            HISTORY, config.codes, config.width, config.moves, channels=spec.channels, push=config.push
        )
        self.register_buffer("spread_out", torch.zeros(()))
        self.spread_out: Tensor

    @torch.no_grad()
    def spread(self, frames: Tensor) -> None:
        """Let the codes push the picture to where it goes without being expected there: the centres of k clusters of
        displacements that were missed. frames: uint8 [B, 3, C, H, W], many more than there are codes."""
        beyond = []
        for some in torch.split(frames, AT_ONCE):
            was, now = displacements(some).unbind(1)
            beyond.append(now - self._told(to_float(some[:, :2]) - 0.5, None, was, 1).shifts[:, 0])
        bent = (torch.cat(beyond) / NEAR).asinh().cpu().numpy().astype(np.float32)
        cv2.setRNGSeed(0)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-4)
        first = np.zeros((len(bent), 1), np.int32)
        centres = cv2.kmeans(bent, self.config.codes, first, stop, 10, cv2.KMEANS_PP_CENTERS)[2]
        self.decoder.push.weight[: self.config.codes] = NEAR * torch.from_numpy(centres).to(frames.device).sinh()
        self.spread_out.fill_(1)

    @torch.no_grad()
    def infer(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1] in [0, A). The first frame is taken to stand still."""
        return self.read(frames)[0]

    @torch.no_grad()
    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1] and displacements float [B, T-1, 2], see `displacement`."""
        moved = displacements(frames)
        was = torch.cat([torch.zeros_like(moved[:, :1]), moved[:, :-1]], dim=1)
        seen = to_float(frames) - 0.5
        seen = torch.cat([seen[:, :1], seen], dim=1)
        before = torch.stack([seen[:, :-2], seen[:, 1:-1]], dim=2).flatten(0, 1)  # [B·(T-1), 2, C, H, W]
        parts = zip(
            *(torch.split(part.flatten(0, 1), AT_ONCE) for part in (seen[:, 2:], was, moved)),
            torch.split(before, AT_ONCE), strict=True,
        )  # fmt: skip
        codes = []
        for came, last, now, past in parts:
            told = self._told(past, None, last, 1)
            codes.append(self.encoder(told.frames[:, 0], came, Motion(last, told.shifts[:, 0], now)).argmax(-1))
        return rearrange(torch.cat(codes), "(b t) -> b t", b=len(frames)), moved

    def tell(self, before: Tensor, codes: Tensor | None, moved: Tensor) -> Tensor:
        """Frames float [B, 2, C, H, W] around zero, codes [B] (or none) and how far the picture moved between them
        [B, 2] → the frame after them [B, C, H, W]."""
        return self._told(before, codes, moved, 1).frames[:, 0]

    def _told(self, before: Tensor, codes: Tensor | None, moved: Tensor, times: int) -> Told:
        """The same under several codes each, int64 [B * K], and what it was made from."""
        memory = self.decoder.remember(before)
        memory = type(memory)(*(part.repeat_interleave(times, dim=0) for part in memory))
        present = before[:, -1].repeat_interleave(times, dim=0)
        if codes is None:
            codes = torch.full((len(present),), self.config.codes, device=present.device)
        shifts = self.decoder.shifts(memory, codes, moved.repeat_interleave(times, dim=0))
        candidates = self.decoder.candidates(present, shifts)
        told = self.decoder.tell(memory, candidates, shifts, codes)
        return Told(
            rearrange(told, "(b k) c h w -> b k c h w", k=times),
            rearrange(candidates, "(b k) m c h w -> b k m c h w", k=times),
            rearrange(shifts[:, 0], "(b k) s -> b k s", k=times),
        )

    def loss(self, frames: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Cost of the third of three frames, without a code or expected over them. frames: uint8 [B, 3, C, H, W].

        progress: share of training done, which decides the phase. Raises ValueError for windows of another length.
        """
        config = self.config
        if frames.shape[1] != HISTORY + 1:
            raise ValueError(f"windows of {frames.shape[1]} frames do not fit; use --set lam.length={HISTORY + 1}")
        free = progress < config.free_share
        frames = frames if free else frames[: config.tries]
        was, now = displacements(frames).unbind(1)
        seen = to_float(frames) - 0.5
        before, truth = seen[:, :-1], seen[:, -1:]
        expected = self._told(before, None, was, 1)
        alone = error(expected.frames, truth)[:, 0]
        logs = {"free_mse": alone.detach().mean(), "free_cost": surprise(alone.detach()).mean()}
        untold = self._pictures(expected, truth)[:, 0] + config.follow * missed(expected.shifts[:, 0], now)
        if free:
            return untold.mean(), logs
        codes = torch.arange(config.codes, device=seen.device).repeat(len(seen))
        told = self._told(before, codes, was, config.codes)
        each = error(told.frames, truth)  # [B, A]
        cost = self._pictures(told, truth) + self.config.follow * astray(told.shifts, now[:, None])
        logits = self.encoder(
            expected.frames[:, 0].detach(), truth[:, 0], Motion(was, expected.shifts[:, 0].detach(), now)
        )
        if progress < config.free_share + config.sort_share:
            share = posterior(cost.detach() * config.sharpness, logits.detach(), config.balance)
            read = F.cross_entropy(logits, share)
        else:
            share = logits.softmax(-1)
            use = share.mean(dim=0)
            read = config.even * (use * (use * config.codes).clamp(min=1e-6).log()).sum()
        code = logits.argmax(-1)
        logs |= {
            "code_mse": each.detach().gather(1, code[:, None]).mean(),
            "code_cost": cost.detach().gather(1, code[:, None]).mean(),
            "best_cost": cost.detach().amin(1).mean(),
            "sure": share.detach().amax(-1).mean(),
            "perplexity": torch.tensor(perplexity(torch.bincount(code, minlength=config.codes))),
        }
        return (share * cost).sum(1).mean() + untold.mean() + read, logs

    def _pictures(self, told: Told, truth: Tensor) -> Tensor:
        """What it costs to have told these pictures of frames [B, 1, C, H, W]: [B, K]."""
        return surprise(error(told.frames, truth)) + surprise(at_best(told.offered, truth))

    @torch.no_grad()
    def gain(self, frames: Tensor) -> dict[str, float]:
        """What the codes are worth to this model's own decoder: squared errors of the next frame with the codes read
        off the frames, with the same codes shuffled and with none, and `gain`, shuffled over inferred.

        frames: uint8 [B, T, C, H, W].
        """
        read, moved = self.read(frames)
        codes, moved = read[:, 1:].flatten(), moved[:, :-1].flatten(0, 1)
        clips = torch.stack([to_float(frames)[:, t : t + HISTORY + 1] for t in range(frames.shape[1] - HISTORY)], dim=1)
        clips = clips.flatten(0, 1) - 0.5
        order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0)).to(codes.device)
        tried = {"inferred": codes, "shuffled": codes[order], "none": None}
        found = {
            name: float(F.mse_loss(self.tell(clips[:, :-1], given, moved), clips[:, -1]))
            for name, given in tried.items()
        }
        return {**found, "gain": found["shuffled"] / max(found["inferred"], 1e-9)}


def at_best(offered: Tensor, truth: Tensor, seen: Tensor | None = None) -> Tensor:
    """Squared error of the truth [B, 1, C, H, W] where each place of it is taken from the picture that fits there best,
    of [B, K, moves + 1, C, H, W] → [B, K]. seen: bool [B, K, moves, H, W], where all but the first may be taken.

    Costs are told by this too: a decoder that has found no use for moved pictures yet chooses none of them, and all
    codes would be alike to it for ever.
    """
    off = (offered - truth[:, :, None]).square().mean(dim=3)  # [B, K, moves + 1, H, W]
    if seen is not None:
        off = torch.cat([off[:, :, :1], off[:, :, 1:] + 1.0 * ~seen], dim=2)
    smooth = F.avg_pool2d(off.flatten(0, 1), PLACE, stride=1, padding=PLACE // 2, count_include_pad=False)
    return smooth.amin(dim=1).mean(dim=(1, 2)).reshape(off.shape[:2])


def astray(shifts: Tensor, now: Tensor) -> Tensor:
    """What displacements [..., 2] cost that should be `now`, in nats for each of the two: [...]."""
    return ((shifts - now).square().sum(dim=-1) + NEAR**2).log()


def missed(shifts: Tensor, now: Tensor) -> Tensor:
    """What displacements [..., 2] cost that were told without an action: [...], as Huber has it. By what `astray` says,
    one of several ways would be expected, and not what lies between them."""
    return F.smooth_l1_loss(shifts, now, reduction="none").sum(dim=-1)


def surprise(error: Tensor, floor: float = FLOOR) -> Tensor:
    """What an error costs, in nats per unit of freedom: the likelihood of a Gaussian whose width is not known.

    A jump moves a picture by eight pixels and a step to the side by one; by squared error codes would tell of jumps
    alone.
    """
    return 0.5 * (error + floor).log()


def error(told: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of pictures [B, K, C, H, W], fine and, twice as heavy, coarse → [B, K]."""
    fine = (told - truth).square().mean(dim=(2, 3, 4))
    coarse = F.avg_pool2d((told - truth).flatten(0, 1), COARSE).square().mean(dim=(1, 2, 3))
    return fine + 2 * coarse.reshape(fine.shape)
