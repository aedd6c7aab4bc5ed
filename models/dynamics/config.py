"""What decides the size of MaskGIT dynamics and how they learn."""

from __future__ import annotations

from dataclasses import dataclass

from models.blocks import check_heads
from models.tokenizer import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskGITConfig:
    """width, heads, depth: of the trunk; fill_depth: blocks of the filler; reach: frames that temporal
    attention looks over; first: number of the first frame to be guessed, the ones before it are context only.

    whole: share of frames trained fully masked, as at play (the others at a rate U(0.5, 1)); own_from:
    share of training after which the context has faults in it: a share `own_share` of the batches has the
    model's own dream as context, in the others a share `erased` of the windows lacks a part of the picture,
    and a share `action_noise` of the actions is another one than it was;
    passes: at most so many passes a frame at play, unless the dials say otherwise;
    easy: of the tokens that do not change, one in `easy` is trained on, with weight `easy`, which leaves
    the expected loss as it is and saves most of its cost.
    """

    width: int = 128
    heads: int = 4
    depth: int = 4
    fill_depth: int = 2
    reach: int = 8
    first: int = 3
    whole: float = 0.5
    own_from: float = 0.6
    own_share: float = 0.3
    erased: float = 0.2
    action_noise: float = 0.01
    easy: int = 8
    passes: int = 24

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)
        if self.reach < 2 or self.depth < 1 or min(self.easy, self.first, self.passes) < 1:
            raise ValueError(f"reach {self.reach} must be 2 or more; depth, easy, first and passes 1 or more")
        for name in ("whole", "own_from", "own_share", "erased", "action_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")

    @classmethod
    def sized(cls, size: Size) -> MaskGITConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "heads": 2, "depth": 2, "reach": 4, "first": 1},
            "small": {},
            "base": {"width": 384, "heads": 8, "depth": 8, "reach": 16},
            "paper": {"width": 512, "heads": 8, "depth": 12, "reach": 16},
        }
        return cls(**dials[size])
