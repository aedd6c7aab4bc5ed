"""Named experiments as functions: what is trained, how long, on what. Variants use `replace`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from models.dynamics.autoregressive import AutoregressiveFamily
from models.dynamics.config import MaskGITConfig, WarpConfig
from models.dynamics.genie import GenieFamily
from models.dynamics.latent_flow import LatentFlowFamily
from models.dynamics.latent_predictor import LatentPredictorFamily
from models.dynamics.maskgit import MaskGITFamily
from models.dynamics.one_pass import OnePassFamily
from models.dynamics.pixel_film import PixelFiLMFamily
from models.dynamics.regression import RegressionFamily
from models.dynamics.warp import WarpFamily
from models.latent_actions import LatentActionConfig
from models.motion_actions import HISTORY, MotionActionConfig
from models.pixel_actions import PixelActionConfig
from models.tokenizer import Size, TokenizerConfig
from training.augment import AugmentConfig
from training.loop import LoopConfig
from training.optim import OptimConfig

PATCHES = range(16, 3, -1)
ENOUGH = 30.0
"""Minutes of training from which on it pays less to learn codes."""

Family = (
    MaskGITFamily
    | AutoregressiveFamily
    | OnePassFamily
    | WarpFamily
    | GenieFamily
    | RegressionFamily
    | PixelFiLMFamily
    | LatentPredictorFamily
    | LatentFlowFamily
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Everything that decides what a run makes, but for its data.

    lam_behaviours: whose play the LAM learns from, where the data has any of it. Play that follows from
    the picture or from its own past may tell a decoder with a memory what comes next, so that the codes
    need not; random play is not measured to be better than mixed.
    across: share of the dynamics' windows in which a game ends and the next one begins. Recordings stop where
    a game is over; a dream does not, and without these it would go on into what no game ever shows.
    late_length, late_from: from this share of the dynamics' training on their windows have so many frames, with fewer
    of them in a batch for that; 0: none do. What must be counted, as the frames until a serve, can only be learned from
    windows that are longer than that.
    weights: how often windows come from each data set, in their order; none: each by its size.
    shares: of the time, for tokenizer, LAM and dynamics, where time decides how long each trains.
    augment: what is done to the frames that a learned tokenizer trains on. The other parts see tokens of frames as
    they are.
    """

    game: str
    family: Family = field(default_factory=MaskGITFamily)
    tokenizer: LoopConfig = field(default_factory=LoopConfig)
    lam: LoopConfig = field(default_factory=LoopConfig)
    dynamics: LoopConfig = field(default_factory=LoopConfig)
    seed: int = 0
    lam_behaviours: tuple[str, ...] = ("random",)
    across: float = 0.15
    late_length: int = 0
    late_from: float = 0.75
    weights: tuple[float, ...] = ()
    shares: tuple[float, float, float] = (0.0, 0.3, 0.7)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        for name in ("across", "late_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")
        if self.late_length < 0:
            raise ValueError(f"late_length must be 0 or more, found {self.late_length}")
        if len(self.shares) != 3 or min(self.shares) < 0 or not 0.99 < sum(self.shares) < 1.01:
            raise ValueError(f"shares must be three numbers from 0 that add up to 1, found {self.shares}")

    def within(self, minutes: float) -> Experiment:
        """The same, trained for so many minutes, whatever its steps are. Of what is more than ENOUGH, two
        thirds of the LAM's share go to the dynamics: codes are found soon."""
        tokenizer, lam, dynamics = (minutes * share for share in self.shares)
        spared = 2 / 3 * self.shares[1] * max(0.0, minutes - ENOUGH)
        given = {"tokenizer": tokenizer, "lam": lam - spared, "dynamics": dynamics + spared}
        return replace(self, **{name: replace(getattr(self, name), minutes=time) for name, time in given.items()})


def best_patch(height: int, width: int) -> tuple[int, int]:
    """The patch whose grid has between 48 and 100 tokens and is closest to 64 of them."""
    return fitting_patches(height, width)[0]


def fitting_patches(height: int, width: int) -> list[tuple[int, int]]:
    """The patches whose grids have between 48 and 100 tokens, the one closest to 64 first; at least the closest one.

    Raises ValueError where none of 4 to 16 pixels divides the frame.
    """
    fits = [(p, q) for p in PATCHES for q in PATCHES if height % p == 0 and width % q == 0]
    if not fits:
        raise ValueError(f"no patch of 4 to 16 pixels divides a frame of {height}x{width}; collect with another --size")
    tokens = {(p, q): height * width // (p * q) for p, q in fits}
    fits.sort(key=lambda pq: (abs(tokens[pq] - 64), abs(pq[0] - pq[1])))
    return [patch for patch in fits if 48 <= tokens[patch] <= 100] or fits[:1]


def maskgit(game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """The default for any game: patch codebook, eight codes, MaskGIT."""
    family = MaskGITFamily.sized(size)
    family = replace(family, tokenizer=replace(family.tokenizer, patch=best_patch(height, width)))
    if size == "tiny":
        short = LoopConfig(steps=20, batch=4, length=6, report_every=5, keep_every=10, optim=OptimConfig(warmup=5))
        return Experiment(game=game, family=family, tokenizer=short, lam=short, dynamics=short)
    return Experiment(
        game=game,
        family=family,
        tokenizer=LoopConfig(steps=2000, batch=16, length=4, optim=OptimConfig(lr=1e-3)),
        lam=LoopConfig(steps=1500, batch=32, length=6, optim=OptimConfig(lr=3e-3, average=0.99)),
        # a serve in Pong waits for 16 frames; what a window does not show whole is not learned
        dynamics=LoopConfig(steps=3100, batch=11, length=24, optim=OptimConfig(lr=3e-3, decay=0.6)),
    )


def warp(game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """For games that scroll: eight codes, and dynamics that move the picture and complete it."""
    family = WarpFamily.sized(size)
    length = _span(family.dynamics)
    if size == "tiny":
        short = LoopConfig(steps=20, batch=4, length=3, report_every=5, keep_every=10, optim=OptimConfig(warmup=5))
        return Experiment(game=game, family=family, tokenizer=short, lam=short, dynamics=replace(short, length=length))
    return Experiment(
        game=game,
        family=family,
        lam=LoopConfig(steps=1500, batch=48, length=3, optim=OptimConfig(lr=2e-3, average=0.99)),
        dynamics=LoopConfig(steps=3000, batch=32, length=length, optim=OptimConfig(lr=2e-3, decay=0.6)),
        lam_behaviours=("random", "sticky", "scripted"),
    )


def _span(dynamics: WarpConfig) -> int:
    """Frames that windows of these dynamics must have."""
    return dynamics.span + dynamics.ahead


def further(game: str, family: Family) -> Experiment:
    """The default for dynamics that go on learning: faults in the context from the first step on, and a
    learning rate that only falls."""
    lam = LoopConfig()  # which is not trained
    if isinstance(family, WarpFamily):
        batch, length = 32, _span(family.dynamics)
    elif isinstance(family.tokenizer, TokenizerConfig):
        batch, length = 11, 24
    else:
        batch, length = 32, family.least_lengths()["dynamics"]
        length += family.dynamics.ahead - (not isinstance(family, PixelFiLMFamily))
    if isinstance(family.latent_actions, MotionActionConfig):
        lam = LoopConfig(length=HISTORY + 1)
    dynamics: Any = family.dynamics
    if hasattr(dynamics, "own_from"):  # the others see no faults at all
        dynamics = replace(dynamics, own_from=0.0)
    return Experiment(
        game=game,
        family=replace(family, dynamics=dynamics),
        lam=lam,
        dynamics=LoopConfig(steps=800, batch=batch, length=length, optim=OptimConfig(lr=1e-3, decay=1.0)),
        shares=(0.0, 0.0, 1.0),
    )


def maskgit_vq(game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """Genie's own tokenizer: ST-ViViT with VQ."""
    return _with_tokenizer(
        maskgit(game, height, width, size), replace(TokenizerConfig.sized(size), kind="vq", codes=1024)
    )


def maskgit_fsq(game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """ST-ViViT with FSQ."""
    return _with_tokenizer(maskgit(game, height, width, size), replace(TokenizerConfig.sized(size), kind="fsq"))


def genie(game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """Genie as in the paper, at this size: VQ tokenizer, LAM on pixels with VQ, MaskGIT over whole windows."""
    return _genie(game, height, width, size, GenieFamily.sized(size))


def tinyworlds(game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """As TinyWorlds has it: FSQ for the tokens, three signs for the actions, MaskGIT at temperature 1."""
    family = GenieFamily.sized(size)
    family = replace(
        family,
        tokenizer=replace(family.tokenizer, kind="fsq", levels=(4, 4, 4, 4, 4)),
        latent_actions=replace(PixelActionConfig.sized(size), kind="signs"),
        dynamics=replace(family.dynamics, temperature=1.0),
    )
    return _genie(game, height, width, size, family)


def _genie(game: str, height: int, width: int, size: Size, family: GenieFamily) -> Experiment:
    patch, lam = best_patch(height, width), family.latent_actions
    assert isinstance(lam, PixelActionConfig), "a preset with a LAM on pixels"
    family = replace(
        family,
        tokenizer=replace(family.tokenizer, patch=patch),
        latent_actions=replace(lam, patch=patch),
    )
    shares = (0.35, 0.2, 0.45)
    if size == "tiny":
        short = LoopConfig(steps=20, batch=4, length=6, report_every=5, keep_every=10, optim=OptimConfig(warmup=5))
        return Experiment(game=game, family=family, tokenizer=short, lam=short, dynamics=short, shares=shares)
    return Experiment(
        game=game,
        family=family,
        tokenizer=LoopConfig(steps=4000, batch=16, length=4, optim=OptimConfig(lr=1e-3)),
        lam=LoopConfig(steps=1500, batch=16, length=8, optim=OptimConfig(lr=1e-3)),
        dynamics=LoopConfig(steps=3100, batch=16, length=16, optim=OptimConfig(lr=1e-3)),
        shares=shares,
        across=0.0,
    )


def one_pass(game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """Our tokens and codes, but all tokens of a frame drawn at once, each for itself."""
    base = maskgit(game, height, width, size)
    assert isinstance(base.family, MaskGITFamily), "a preset with tokens"
    return replace(base, family=replace(base.family, dynamics=replace(base.family.dynamics, whole=1.0, passes=1)))


def _with_tokenizer(base: Experiment, tokenizer: TokenizerConfig) -> Experiment:
    assert isinstance(base.family, MaskGITFamily), "a preset with tokens"
    patch = base.family.tokenizer.patch
    return replace(base, family=replace(base.family, tokenizer=replace(tokenizer, patch=patch)))


PRESETS: dict[str, Callable[..., Experiment]] = {
    "maskgit": maskgit,
    "maskgit-vq": maskgit_vq,
    "maskgit-fsq": maskgit_fsq,
    "one-pass": one_pass,
    "warp": warp,
    "genie": genie,
    "tinyworlds": tinyworlds,
}


def preset(name: str, game: str, height: int, width: int, size: Size = "small") -> Experiment:
    """The named experiment for a game and frame size. Raises ValueError listing the presets."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name](game, height, width, size)


__all__ = ["PRESETS", "Experiment", "LatentActionConfig", "MaskGITConfig", "best_patch", "further", "preset"]
