"""Further objectives that dynamics over latents may be given, each by its weight: how things look, whether a judge can
tell them from real ones, and whether they show the action that was asked for.

Data path: the present latents, the true next and the told next [B, D, H', W'] each, the action [B] → a loss.

*Perceptual*: LPIPS (arXiv 1801.03924) of the decoded frames; needs published weights. *Adversarial*: a judge of places
sees the present and a next frame and says of each place whether it is real (PatchGAN, arXiv 1611.07004; hinge loss,
arXiv 1802.05957). Judge and dynamics are trained in one step, each with the other's weights fixed.
*Consistency*: what reads the action off the real transition must read it off the told one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

Look = Callable[[Tensor, Tensor], Tensor]
"""Frames float [B, C, H, W] in [0, 1], twice → how differently they look [B], with a gradient."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectivesConfig:
    """perceptual, adversarial, consistency: weights, 0 for none; begin: share of training from which on they count;
    width: of judge and reader."""

    perceptual: float = 0.0
    adversarial: float = 0.0
    consistency: float = 0.0
    begin: float = 0.5
    width: int = 64

    def __post_init__(self) -> None:
        for name in ("perceptual", "adversarial", "consistency"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, found {getattr(self, name)}")
        if not 0 <= self.begin <= 1 or self.width < 8 or self.width % 8:
            raise ValueError(f"begin {self.begin} must be in [0, 1], width {self.width} a multiple of 8")


def fixed(net: nn.Module, x: Tensor) -> Tensor:
    """What a network says of x, with a gradient for x and none for its weights."""
    found: Tensor = functional_call(net, {name: weight.detach() for name, weight in net.named_parameters()}, (x,))
    return found


def _convolutions(channels: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.LeakyReLU(0.2),
        nn.Conv2d(width, out, 3, padding=1),
    )  # fmt: skip


class Objectives(nn.Module):
    """Judge and reader, as far as their weights ask for them. look: LPIPS or its like, set by whoever has weights."""

    def __init__(self, config: ObjectivesConfig, channels: int, actions: int) -> None:
        super().__init__()
        self.config, self.actions = config, actions
        self.judge = _convolutions(2 * channels, config.width, 1) if config.adversarial else None
        self.reader = _convolutions(2 * channels, config.width, actions) if config.consistency else None
        self.look: Look | None = None
        self.decode: Callable[[Tensor], Tensor] | None = None

    def loss(
        self, present: Tensor, truth: Tensor, told: Tensor, action: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is to be added to a loss. Raises ValueError where LPIPS is asked for and nobody brought its weights."""
        config, logs = self.config, dict[str, Tensor]()
        total = told.new_zeros(())
        counts = 1.0 if progress >= config.begin else 0.0
        if self.judge is not None:
            real = self.judge(torch.cat([present, truth], dim=1))
            false = self.judge(torch.cat([present, told.detach()], dim=1))
            hinge = F.relu(1 - real).mean() + F.relu(1 + false).mean()
            taken = fixed(self.judge, torch.cat([present, told], dim=1)).mean()  # for how real it is taken
            total = total + counts * (hinge - config.adversarial * taken)
            logs |= {"judge": hinge.detach(), "taken": taken.detach()}
        if self.reader is not None:
            known = action < self.actions
            read = self.reader(torch.cat([present, truth], dim=1)).amax(dim=(2, 3))[known]
            shown = fixed(self.reader, torch.cat([present, told], dim=1)).amax(dim=(2, 3))[known]
            off = [F.cross_entropy(logits, action[known]) if len(logits) else total * 0 for logits in (read, shown)]
            total = total + off[0] + config.consistency * counts * off[1]
            logs |= {"action_ce": off[0].detach(), "action_ce_told": off[1].detach()}
        if config.perceptual and counts:
            if self.look is None or self.decode is None:
                raise ValueError("perceptual > 0 needs the weights of LPIPS; give their folder with --weights-dir")
            seen = [self.decode(latents[:, None])[:, 0] for latents in (truth, told)]
            looks = self.look(*seen).mean()
            total = total + config.perceptual * looks
            logs["lpips"] = looks.detach()
        return total, logs
