"""What all worlds that were learned share, whatever they are made of."""

from __future__ import annotations

import copy
from typing import Any, Self

from torch import Tensor, nn

from models.world import Sampling, Window, WorldSpec


class LearnedWorld(nn.Module):
    """Tokenizer, LAM and dynamics, trained in this order, under a spec and dials that may be others."""

    tokenizer: Any
    latent_actions: Any
    dynamics: Any
    spec: WorldSpec
    sampling: Sampling

    def frames_of(self, window: Window) -> Tensor:
        """The frames of a window to begin from, uint8 [B, T, C, H, W], where the weights are.

        Raises ValueError where they are fewer than the context.
        """
        frames = window.frames.to(next(self.dynamics.parameters()).device)
        if frames.shape[1] < self.spec.context:
            raise ValueError(
                f"window has {frames.shape[1]} frames but {self.spec.game!r} needs a context of {self.spec.context}"
            )
        return frames

    def link(self) -> None:
        """Tell the other parts that the tokenizer changed."""

    def forget(self) -> None:
        """Drop what was computed from the dynamics' weights; they are others now."""

    def with_spec(self, spec: WorldSpec) -> Self:
        """The same weights under another spec, for example one with a measured action table."""
        other = copy.copy(self)
        other.spec = spec
        return other

    def with_sampling(self, sampling: Sampling) -> Self:
        """The same weights under other dials; the state stays valid."""
        other = copy.copy(self)
        other.sampling = sampling
        return other
