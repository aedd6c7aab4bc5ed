"""One pass: all tokens of the next frame at once, each for itself. What MaskGIT is to be compared with.

Data path: as in `maskgit.py`, but everything is masked in training and drawn in a single pass at play, so that no token
knows which of several possible ones its neighbour has become.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from models.dynamics.maskgit import MaskGITFamily
from models.tokenizer import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class OnePassFamily(MaskGITFamily):
    """The parts of a MaskGIT world, whose dynamics draw a frame in one pass."""

    kind: Literal["one_pass"] = "one_pass"

    @classmethod
    def sized(cls, size: Size) -> Self:
        """One dial for all parts."""
        whole = MaskGITFamily.sized(size)
        return cls(
            tokenizer=whole.tokenizer,
            latent_actions=whole.latent_actions,
            dynamics=replace(whole.dynamics, whole=1.0, passes=1),
        )
