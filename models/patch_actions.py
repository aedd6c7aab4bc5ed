"""The LAM for worlds without tokens: it looks at the game through a patch codebook of its own.

Data path: frames [B, T, C, H, W] → its patches' tokens [B, T, N] → the LAM of `latent_actions.py` → codes [B, T-1].
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from models.latent_actions import LatentActionConfig, LatentActionModel
from models.tokenizer import PatchTokenizer, Size, TokenizerConfig
from models.world import WorldSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchActionConfig:
    """eyes: the patch codebook that it looks through; model: the LAM itself."""

    eyes: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: LatentActionConfig = field(default_factory=LatentActionConfig)

    def __post_init__(self) -> None:
        if self.eyes.kind != "patch":
            raise ValueError(f"the LAM looks through a patch codebook, found kind {self.eyes.kind!r}")

    @property
    def codes(self) -> int:
        """How many latent actions."""
        return self.model.codes

    @classmethod
    def sized(cls, size: Size) -> PatchActionConfig:
        """One dial: everything that follows from how large it may be."""
        return cls(eyes=TokenizerConfig.sized(size), model=LatentActionConfig.sized(size))


class PatchActionModel(nn.Module):
    """Reads codes off real frames. Its codebook is to be fitted before it is trained."""

    def __init__(self, config: PatchActionConfig, spec: WorldSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.eyes = PatchTokenizer(config.eyes, spec)
        self.model = LatentActionModel(config.model, spec, self.eyes)

    def open_eyes(self) -> None:
        """Take over what the codebook holds now; the LAM over it starts anew."""
        device = self.eyes.book.patches.device
        self.config = replace(self.config, eyes=self.eyes.config)
        self.model = LatentActionModel(self.config.model, self.spec, self.eyes).to(device)

    def make_room(self, codes: int) -> None:
        """Forget everything and hold this many patches, for weights of that size."""
        self.eyes.make_room(codes)
        self.open_eyes()

    def look(self) -> None:
        """Tell the LAM what the tokens look like, after weights were read."""
        self.model.features = self.eyes.features().to(self.eyes.book.patches.device)

    @torch.no_grad()
    def infer(self, frames: Tensor) -> Tensor:
        """uint8 [B, T, C, H, W] → codes int64 [B, T-1] in [0, A)."""
        return self.model.infer(frames)

    def loss(self, frames: Tensor, tokens: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `LatentActionModel.loss`; tokens are those of the own codebook."""
        return self.model.loss(frames, tokens, progress)

    @torch.no_grad()
    def gain(self, frames: Tensor) -> dict[str, float]:
        """What the codes are worth to its own decoder; see `LatentActionModel.gain`."""
        return self.model.gain(frames, self.eyes.encode(frames))
