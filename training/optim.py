"""Optimisers, learning-rate schedule and averaged weights."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

HIDDEN = re.compile(r"(^|\.)(blocks|trunk|fill)\.")
"""Where the matrices are that Muon is for: in the blocks of transformers, whatever holds these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """lr: peak learning rate; warmup: steps; decay: share of the run, at its end, in which lr falls to
    `floor` times the peak (warm-up, stable, decay); muon: Muon for the matrices of the blocks, AdamW for
    the rest; average: decay of the averaged weights that are kept.

    schedule: "stable", as said, or "onecycle" (arXiv 1708.07120): along half a cosine from a share `begin` of the peak
    up to it in a share `rise` of the run, and along another one down to a share `end`; warmup and decay say nothing
    then.
    """

    lr: float = 2e-3
    warmup: int = 50
    decay: float = 0.4
    floor: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    muon: bool = True
    average: float = 0.998
    schedule: Literal["stable", "onecycle"] = "stable"
    rise: float = 0.3
    begin: float = 0.04
    end: float = 4e-6

    def __post_init__(self) -> None:
        if self.lr <= 0 or not 0 <= self.decay <= 1 or not 0 <= self.average < 1:
            found = f"lr {self.lr} must be positive, decay {self.decay} in [0, 1], average {self.average} in [0, 1)"
            raise ValueError(found)
        if self.schedule not in ("stable", "onecycle") or not 0 < self.rise < 1:
            found = f"schedule must be stable or onecycle, found {self.schedule!r}"
            raise ValueError(f"{found}; rise must be in (0, 1), found {self.rise}")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate as a share of the peak, at `step` of `steps`."""
        if self.schedule == "onecycle":
            share = min(1.0, step / max(1, steps))
            up = share < self.rise
            part = share / self.rise if up else (share - self.rise) / (1 - self.rise)
            low, bend = (self.begin if up else self.end), 0.5 - 0.5 * math.cos(math.pi * part)
            return low + (1 - low) * (bend if up else 1 - bend)
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        left = (steps - step) / max(1.0, self.decay * steps)
        fall = self.floor + (1 - self.floor) * min(1.0, left)
        return rise * fall


class Optimiser:
    """Muon (Jordan 2024) on the hidden matrices and AdamW on everything else, stepped as one."""

    def __init__(self, module: nn.Module, config: OptimConfig) -> None:
        self.config = config
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            hidden = config.muon and parameter.ndim == 2 and HIDDEN.search(name) and "bias" not in name
            (matrices if hidden else rest).append(parameter)
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay)
        ]
        if matrices:
            muon = torch.optim.Muon(
                matrices, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
            self.parts.append(muon)
        self.parameters = matrices + rest

    def step(self, rate: float) -> float:
        """Clip, step, clear. Returns the norm of the gradient before clipping."""
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.clip))
        if math.isfinite(norm):
            for part in self.parts:
                for group in part.param_groups:
                    group["lr"] = self.config.lr * rate
                part.step()
        for part in self.parts:
            part.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> list[dict[str, object]]:
        """The states of both optimisers."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, object]]) -> None:
        """Take up the states where `state_dict` left them."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


class Average:
    """An exponential average of a module's weights, warmed up so that the start is forgotten soon."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = copy.deepcopy(module).requires_grad_(False).eval(), decay

    @torch.no_grad()
    def follow(self, module: nn.Module, step: int) -> None:
        """Move towards the module's present weights; buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for own, other in zip(self.module.parameters(), module.parameters(), strict=True):
            own.lerp_(other, 1 - decay)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
