"""The LAM of moving pictures: which of a few codes explains each change, where all of a picture may move at once.

Data path: frames [B, T, C, H, W] → a small `Transport` tells each frame from the two before it, without a code → how
the frame differs from that → one of eight codes; and the same `Transport` tells the frame again with the code.

Trained as the other LAM is, in three phases, *free*, *sorting* and *choosing*, and for the same reasons, but for two
things. What a code costs is the logarithm of the squared error of the picture, fine and coarse, rather than the
cross-entropy of its tokens: where everything scrolls, hardly a patch is seen twice. And the encoder sees what was
expected beside what came. In a game with inertia one step's displacement is mostly that of the step before; what
the player does is the small rest, and how far a picture is off is read from products of its error and its slopes
(Lucas and Kanade 1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

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
    tries: transitions a batch on which every code is tried.
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


class SurpriseEncoder(nn.Module):
    """The frame that was expected and the frame that came → logits over the codes."""

    def __init__(self, channels: int, width: int, codes: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3 * channels + 5, width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(width, 2 * width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.GELU(),
        )  # fmt: skip
        self.tell = nn.Sequential(
            nn.LayerNorm(8 * width), nn.Linear(8 * width, 4 * width), nn.GELU(), nn.Linear(4 * width, codes)
        )

    def forward(self, expected: Tensor, came: Tensor) -> Tensor:
        """float [B, C, H, W] around zero, twice → logits [B, A]."""
        off = came - expected
        down, right = (F.pad(expected.diff(dim=axis), pad) for axis, pad in ((2, (0, 0, 0, 1)), (3, (0, 1))))
        pairs = ((off, down), (off, right), (down, down), (right, right), (down, right))
        products = torch.stack([(one * two).sum(dim=1) for one, two in pairs], dim=1)
        x = self.see(torch.cat([expected, came, 4 * off, (PRODUCT * products).clamp(-4, 4)], dim=1))
        return self.tell(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)).float()


class MotionActionModel(nn.Module):
    """Reads codes off real frames."""

    def __init__(self, config: MotionActionConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.encoder = SurpriseEncoder(spec.channels, config.channels, config.codes)
        self.decoder = Transport(
            HISTORY, config.codes, config.width, config.moves, channels=spec.channels, push=config.push
        )

    @torch.no_grad()
    def infer(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1] in [0, A). The first frame is taken to stand still."""
        seen = to_float(frames) - 0.5
        seen = torch.cat([seen[:, :1], seen], dim=1)
        before = torch.stack([seen[:, :-2], seen[:, 1:-1]], dim=2).flatten(0, 1)  # [B·(T-1), 2, C, H, W]
        came, batch = seen[:, 2:].flatten(0, 1), len(frames)
        parts = zip(torch.split(before, AT_ONCE), torch.split(came, AT_ONCE), strict=True)
        codes = torch.cat([self.encoder(self.tell(past, None), now).argmax(-1) for past, now in parts])
        return rearrange(codes, "(b t) -> b t", b=batch)

    def tell(self, before: Tensor, codes: Tensor | None) -> Tensor:
        """Frames float [B, 2, C, H, W] around zero and codes [B] (or none) → the frame after them [B, C, H, W]."""
        return self._told(before, codes, 1)[0][:, 0]

    def _told(self, before: Tensor, codes: Tensor | None, times: int) -> tuple[Tensor, Tensor]:
        """The same under several codes each, and what it was made from: codes int64 [B * K] → [B, K, C, H, W] and
        [B, K, moves + 1, C, H, W]."""
        memory = self.decoder.remember(before)
        memory = type(memory)(*(part.repeat_interleave(times, dim=0) for part in memory))
        present = before[:, -1].repeat_interleave(times, dim=0)
        if codes is None:
            codes = torch.full((len(present),), self.config.codes, device=present.device)
        shifts = self.decoder.shifts(memory, codes)
        candidates = self.decoder.candidates(present, shifts)
        told = self.decoder.tell(memory, candidates, shifts, codes)
        return (
            rearrange(told, "(b k) c h w -> b k c h w", k=times),
            rearrange(candidates, "(b k) m c h w -> b k m c h w", k=times),
        )

    def loss(self, frames: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Cost of the third of three frames, without a code or expected over them. frames: uint8 [B, 3, C, H, W].

        progress: share of training done, which decides the phase. Raises ValueError for windows of another length.
        """
        config = self.config
        if frames.shape[1] != HISTORY + 1:
            raise ValueError(f"windows of {frames.shape[1]} frames do not fit; use --set lam.length={HISTORY + 1}")
        free = progress < config.free_share
        seen = to_float(frames if free else frames[: config.tries]) - 0.5
        before, truth = seen[:, :-1], seen[:, -1:]
        expected, offered = self._told(before, None, 1)
        alone = error(expected, truth)[:, 0]
        logs = {"free_mse": alone.detach().mean(), "free_cost": surprise(alone.detach()).mean()}
        untold = (surprise(alone) + surprise(at_best(offered, truth)[:, 0])).mean()
        if free:
            return untold, logs
        codes = torch.arange(config.codes, device=seen.device).repeat(len(seen))
        told, offered = self._told(before, codes, config.codes)
        each = error(told, truth)  # [B, A]
        cost = surprise(each) + surprise(at_best(offered, truth))
        logits = self.encoder(expected[:, 0].detach(), truth[:, 0])
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
        return (share * cost).sum(1).mean() + untold + read, logs

    @torch.no_grad()
    def gain(self, frames: Tensor) -> dict[str, float]:
        """What the codes are worth to this model's own decoder: squared errors of the next frame with the codes read
        off the frames, with the same codes shuffled and with none, and `gain`, shuffled over inferred.

        frames: uint8 [B, T, C, H, W].
        """
        codes = self.infer(frames)[:, 1:].flatten()
        clips = torch.stack([to_float(frames)[:, t : t + HISTORY + 1] for t in range(frames.shape[1] - HISTORY)], dim=1)
        clips = clips.flatten(0, 1) - 0.5
        order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0)).to(codes.device)
        tried = {"inferred": codes, "shuffled": codes[order], "none": None}
        found = {
            name: float(F.mse_loss(self.tell(clips[:, :-1], given), clips[:, -1])) for name, given in tried.items()
        }
        return {**found, "gain": found["shuffled"] / max(found["inferred"], 1e-9)}


def at_best(offered: Tensor, truth: Tensor) -> Tensor:
    """Squared error of the truth [B, 1, C, H, W] where each place of it is taken from the picture that fits there best,
    of [B, K, moves + 1, C, H, W] → [B, K].

    Costs are told by this too: a decoder that has found no use for moved pictures yet chooses none of them, and all
    codes would be alike to it for ever.
    """
    off = (offered - truth[:, :, None]).square().mean(dim=3)  # [B, K, moves + 1, H, W]
    smooth = F.avg_pool2d(off.flatten(0, 1), PLACE, stride=1, padding=PLACE // 2, count_include_pad=False)
    return smooth.amin(dim=1).mean(dim=(1, 2)).reshape(off.shape[:2])


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
