"""The present frame moved as a whole, for decoders of pixels to draw upon where a game scrolls.

What is pooled over a picture hardly tells up from down; so the next movement is told as a change of the last one, which
is read off the pixels (`displacement.py`). Spatial transformer predictor: Finn, Goodfellow, Levine 2016 (arXiv
1605.07157, §3), with one shift for each of the next frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.displacement import displacement
from models.transport import shift

HIDDEN = 128
LOOK = 32
PLACES = 5


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
        last, before = travelled(past), travelled(past[:, :-1])
        speeds = [scale for step in (last, last - before) for scale in (step / 4, step.tanh())]
        more = self.move(torch.cat([self.look(x), condition, *speeds], dim=1)).float()
        return (last[:, None] + more.unflatten(1, (-1, 2))).cumsum(dim=1)


@torch.no_grad()
def travelled(frames: Tensor) -> Tensor:
    """Pixels [B, 2] by which the picture moved in the last step of frames [B, T, C, H, W] in [0, 1]; none where there
    is but one."""
    if frames.shape[1] < 2:
        return frames.new_zeros(len(frames), 2)
    return displacement(255 * frames[:, -2], 255 * frames[:, -1])


def scrolled(present: Tensor, by: Tensor) -> Tensor:
    """A frame [B, C, H, W] moved by pixels [B, K, 2], the edge repeated → [B, K, C, H, W] in [0, 1]."""
    each = [shift(present.float(), by[:, k], sharp=k == 0) for k in range(by.shape[1])]
    return torch.stack(each, dim=1).clamp(0, 1)


def astray(told: Tensor, frames: Tensor) -> Tensor:
    """By how many pixels the first of the movements [B, K, 2] is beside that of two frames [B, 2, C, H, W]: a number,
    of which little errors count less (Huber's)."""
    return F.smooth_l1_loss(told[:, 0], travelled(frames), beta=0.5)
