"""What decides the size of dynamics and how they learn: MaskGIT and warp."""

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
    imagined: share of the actions that are replaced by another one together with what it did elsewhere, where the same
    was to be seen; `action_noise` is then about those that were never seen there;
    passes, temperature: at most so many passes a frame at play, and how freely tokens are drawn, unless the dials say
    otherwise;
    insist: how much more than in training an action counts at play, where it may ask for what no player could do: to
    turn round at full speed;
    easy: of the tokens that do not change, one in `easy` is trained on, with weight `easy`, which leaves
    the expected loss as it is and saves most of its cost;
    games: whether it is drawn first, once for all places, if a new game begins; each for itself they would now and then
    begin one whose wall lacks a brick of the old one's;
    least: at play, where no token is likely, how likely one must be to be drawn, as a share of the likeliest; see
    `sampling.sample`;
    familiar: whether tokens are unlikely, by a factor that is counted and not learned, where play never showed them;
    sure: at play a temperature below 1 holds only where no token is as likely as this. Elsewhere tokens are drawn as
    often as they are likely: what happens seldom, a serve, would else happen too seldom. 1: everywhere;
    changes: whether at play a pixel hardly ever changes its colour as play never showed it; see `changes.Changes`. For
    games in which things only vanish: it keeps bricks from coming back, and in Pong fewer points are made.
    """

    width: int = 128
    heads: int = 4
    depth: int = 4
    fill_depth: int = 2
    reach: int = 8
    first: int = 3
    whole: float = 0.5
    own_from: float = 0.4
    own_share: float = 0.3
    erased: float = 0.1
    action_noise: float = 0.01
    easy: int = 8
    passes: int = 24
    temperature: float = 0.8
    insist: float = 1.0
    least: float = 0.0
    sure: float = 1.0
    imagined: float = 0.0
    games: bool = False
    familiar: bool = False
    changes: bool = False

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)
        if self.reach < 2 or self.depth < 1 or min(self.easy, self.first, self.passes) < 1:
            raise ValueError(f"reach {self.reach} must be 2 or more; depth, easy, first and passes 1 or more")
        for name in ("whole", "own_from", "own_share", "erased", "action_noise", "imagined", "least", "sure"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")
        if self.insist < 0:
            raise ValueError(f"insist must be 0 or more, found {self.insist}")

    @classmethod
    def sized(cls, size: Size) -> MaskGITConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 32, "heads": 2, "depth": 2, "reach": 4, "first": 1},
            "small": {"reach": 20},
            "base": {"width": 384, "heads": 8, "depth": 8, "reach": 20},
            "paper": {"width": 512, "heads": 8, "depth": 12, "reach": 20},
        }
        return cls(games=True, imagined=0.15, familiar=True, changes=False, sure=0.8, **dials[size])


@dataclass(frozen=True, kw_only=True, slots=True)
class WarpConfig:
    """width: of the convolutions; history: frames that are seen; moves: shifts of the picture that may be combined;
    margin: pixels around the frame in which what has left it is remembered.

    span: frames of a training window up to the present, of which every `apart`-th is put on the canvas; ahead: frames
    after them, of which all but the last may be dreamed. follow: weight of how far the displacement is missed; blind:
    share of training at which the next frame is all noise, as in the first step at play. own_from: share of training
    after which the past has faults; own_share: how often it is then the model's own dream; blurred: how often it is
    blurred; grain: standard deviation, at most, of its noise; jitter: the same, in pixels, of the last displacement, or
    what stands would begin to fall for a tenth of a pixel; short: how often frames of it are missing; action_noise: how
    often an action is another one than it was, from then on, so that a key that is held does not go on to jump.
    """

    width: int = 96
    history: int = 4
    moves: int = 2
    margin: int = 16
    span: int = 13
    apart: int = 4
    ahead: int = 6
    follow: float = 0.25
    blind: float = 0.5
    own_from: float = 0.4
    own_share: float = 0.5
    blurred: float = 0.5
    grain: float = 0.03
    jitter: float = 0.4
    short: float = 0.15
    action_noise: float = 0.1

    def __post_init__(self) -> None:
        if self.history < 2 or self.width % 8:
            raise ValueError(f"history {self.history} must be 2 or more, width {self.width} a multiple of 8")
        for name in ("moves", "margin", "apart", "ahead"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, found {getattr(self, name)}")
        if self.span < self.history:
            raise ValueError(f"span {self.span} must be at least history {self.history}")
        for name in ("blind", "own_from", "own_share", "blurred", "grain", "short", "action_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")
        if self.jitter < 0:
            raise ValueError(f"jitter must be 0 or more, found {self.jitter}")

    @classmethod
    def sized(cls, size: Size) -> WarpConfig:
        """One dial: everything that follows from how large it may be."""
        dials = {
            "tiny": {"width": 16, "ahead": 2, "span": 5, "margin": 4},
            "small": {},
            "base": {"width": 192},
            "paper": {"width": 320},
        }
        return cls(**dials[size])
