"""The present frame moved as a whole, for decoders of pixels to draw upon where a game scrolls.

The last two movements are read off the pixels (`displacement.py`); the next one is told as a change of the last, from
these, from the actions and from what is where in the picture, such as the ground below a player. Spatial transformer
predictor: Finn, Goodfellow, Levine 2016 (arXiv 1605.07157, §3), with one shift for each of the next frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.displacement import displacements
from models.transport import shift

HIDDEN = 128
"""Of the layer that the movement is told by."""
LOOK, PLACES = 32, 5
"""Channels of what is where, and places to each side."""


class Scroll(nn.Module):
    """features: channels that it is told from; condition: numbers that describe the actions; future: frames, K."""

    def __init__(self, features: int, condition: int, future: int) -> None:
        super().__init__()
        known = PLACES**2 * LOOK + condition + 8
        self.look = nn.Sequential(
            nn.Conv2d(features, LOOK, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(PLACES), nn.Flatten()
        )
        self.move = nn.Sequential(nn.Linear(known, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 2 * future))
        nn.init.normal_(self.move[-1].weight, std=1e-3)  # type: ignore[arg-type]  # a Linear's weight is a tensor
        nn.init.zeros_(self.move[-1].bias)  # type: ignore[arg-type]  # as above

    def forward(self, x: Tensor, condition: Tensor, past: Tensor) -> Tensor:
        """Features [B, D, h, w], condition [B, D'], frames [B, T, C, H, W] in [0, 1] → pixels right and down by which
        each of the next frames lies beside the present one: float [B, K, 2]."""
        before, last = travelled(past, 2).unbind(dim=1)
        speeds = [scale for step in (last, last - before) for scale in (step / 4, step.tanh())]
        more = self.move(torch.cat([self.look(x), condition, *speeds], dim=1)).float()
        return (last[:, None] + more.unflatten(1, (-1, 2))).cumsum(dim=1)


@torch.no_grad()
def travelled(frames: Tensor, steps: int = 1) -> Tensor:
    """Pixels by which the picture moved in each of the last steps of frames [B, T, C, H, W] in [0, 1]: float
    [B, steps, 2]. Before the first frame it is taken to have moved as after it, and not at all where there is but one.
    """
    known = min(steps, frames.shape[1] - 1)
    if not known:
        return torch.zeros(len(frames), steps, 2, device=frames.device)
    found = displacements(255 * frames[:, -known - 1 :])
    return torch.cat([found[:, :1].expand(-1, steps - known, -1), found], dim=1)


def scrolled(present: Tensor, by: Tensor) -> Tensor:
    """A frame [B, C, H, W] moved by pixels [B, K, 2], the edge repeated → [B, K, C, H, W] in [0, 1]."""
    each = [shift(present.float(), by[:, k], sharp=k == 0) for k in range(by.shape[1])]
    return torch.stack(each, dim=1).clamp(0, 1)


def astray(told: Tensor, frames: Tensor) -> Tensor:
    """By how many pixels the first of the movements [B, K, 2] is beside that of two frames [B, 2, C, H, W]: a number,
    of which little errors count less (Huber's)."""
    return F.smooth_l1_loss(told[:, 0], travelled(frames)[:, 0], beta=0.5)
