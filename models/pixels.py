"""Frames as they are, where other worlds have a tokenizer: for families that predict pixels.

Data path: frames uint8 [B, T, C, H, W] → float [B, T, C, H, W] in [0, 1], of one channel where the game is gray → back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.frames import to_float, to_uint8
from models.world import WorldSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelsConfig:
    """gray: whether the game has no colours, so that one channel will do."""

    gray: bool = False

    def build(self, spec: WorldSpec) -> Pixels:
        """What turns frames into numbers."""
        return Pixels(self, spec)


class Pixels(nn.Module):
    """Nothing to learn and nothing lost, but for colours where `gray` says that there are none."""

    fits = True

    def __init__(self, config: PixelsConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.channels = 1 if config.gray else spec.channels
        self.grid = (spec.height, spec.width)

    def fit(self, clips: Iterable[Tensor]) -> dict[str, float]:
        """There is nothing to fit."""
        return {"channels": float(self.channels)}

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → float of the same shape, or of one channel."""
        seen = to_float(frames)
        return seen.mean(dim=2, keepdim=True) if self.config.gray else seen

    def decode(self, latents: Tensor) -> Tensor:
        """float [B, T, 1 or C, H, W] → [B, T, C, H, W]."""
        return latents.expand(-1, -1, self.spec.channels, -1, -1)

    def reconstruct(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → the same, without colours where the game has none."""
        return to_uint8(self.decode(self.encode(frames)))


def is_gray(frames: Tensor) -> bool:
    """Whether frames uint8 [..., C, H, W] have no colours."""
    return bool(torch.equal(frames[..., :1, :, :].expand_as(frames), frames))
