"""One experiment a family, fitted to what the frames look like: `dreamcade train GAME --family F --actions A`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from models.action_models import OfFrames, OfTokens
from models.dynamics.autoregressive import AutoregressiveFamily
from models.dynamics.latent_flow import LatentFlowFamily
from models.dynamics.latent_predictor import LatentPredictorFamily
from models.dynamics.one_pass import OnePassFamily
from models.dynamics.pixel_film import PixelFiLMFamily
from models.dynamics.regression import RegressionFamily
from models.given_actions import RealActions
from models.latent_actions import LatentActionConfig
from models.motion_actions import HISTORY, MotionActionConfig
from models.patch_actions import PatchActionConfig
from models.pixels import is_gray
from models.registry import ALIASES, FAMILIES, family
from models.tokenizer import Size, TokenizerConfig
from training.choice import fitting_patch, fitting_preset
from training.loop import LoopConfig
from training.optim import OptimConfig
from training.presets import Experiment, best_patch, preset
from training.windows import Windows

Actions = Literal["latent", "real"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What frames look like. scrolls: hardly a patch of one episode is seen in another; gray: there are no colours;
    patch: the size of patch that suits them."""

    height: int
    width: int
    scrolls: bool
    gray: bool
    patch: tuple[int, int]

    @classmethod
    def of(cls, windows: Windows) -> Look:
        """As some frames of all episodes show it."""
        found = windows.datasets[0].manifest
        scrolls = fitting_preset(windows)[0] == "warp"
        some = (torch.from_numpy(frame).permute(2, 0, 1) for frame in windows.frames_apart(64))
        return cls(
            height=found.height,
            width=found.width,
            scrolls=scrolls,
            gray=all(is_gray(frame) for frame in some),
            patch=best_patch(found.height, found.width) if scrolls else fitting_patch(windows),
        )


def family_experiment(
    name: str, game: str, look: Look, size: Size = "small", actions: Actions = "latent"
) -> Experiment:
    """The experiment of a family by its registered name, or another name of it. Raises ValueError listing the known."""
    family(name)
    known = ALIASES.get(name, name)
    if known in ("warp", "genie", "maskgit"):
        found = _preset(known, game, look, size)
    else:
        found = MAKERS[known](game, look, size)
    return with_real_actions(found) if actions == "real" else found


def with_real_actions(experiment: Experiment) -> Experiment:
    """The same under the recorded actions; the time for learning actions goes to the dynamics."""
    tokenizer, lam, dynamics = experiment.shares
    return replace(
        experiment,
        family=replace(experiment.family, latent_actions=RealActions()),
        shares=(tokenizer, 0.0, lam + dynamics),
    )


def _preset(name: str, game: str, look: Look, size: Size) -> Experiment:
    """A family that has a preset of its own."""
    found = preset(name, game, look.height, look.width, size)
    return _of_tokens(found, look, size) if name == "maskgit" else found


def _of_tokens(found: Experiment, look: Look, size: Size) -> Experiment:
    """An experiment of tokens with the tokenizer and the LAM that suit the frames: seen patches where they come again,
    else a learned one."""
    experiment, lam_loop = found, _lam_loop(look, size)
    actions: OfTokens = MotionActionConfig.sized(size) if look.scrolls else LatentActionConfig.sized(size)
    tokenizer: Any = replace(TokenizerConfig.sized(size), patch=look.patch)
    dynamics: Any = experiment.family.dynamics
    if look.scrolls:
        tokenizer = replace(tokenizer, kind="fsq")
        dynamics = replace(dynamics, imagined=0.0, familiar=False)  # which count tokens that come again
        experiment = replace(experiment, shares=(0.3, 0.2, 0.5))
    whole: Any = experiment.family
    whole = replace(whole, tokenizer=tokenizer, latent_actions=actions, dynamics=dynamics)
    return replace(experiment, family=whole, lam=lam_loop)


def _lam_loop(look: Look, size: Size) -> LoopConfig:
    """How the LAM is trained that suits the frames."""
    found = preset("warp" if look.scrolls else "maskgit", "", look.height, look.width, size).lam
    return replace(found, length=HISTORY + 1) if look.scrolls else found


def _one_pass(game: str, look: Look, size: Size) -> Experiment:
    return _of_tokens(replace(_preset("maskgit", game, look, size), family=OnePassFamily.sized(size)), look, size)


def _autoregressive(game: str, look: Look, size: Size) -> Experiment:
    base = _preset("maskgit", game, look, size)
    return _of_tokens(replace(base, family=AutoregressiveFamily.sized(size)), look, size)


def _regression(game: str, look: Look, size: Size) -> Experiment:
    base, whole = preset("maskgit", game, look.height, look.width, size), RegressionFamily.sized(size)
    fits = look.height % 8 == 0 and look.width % 8 == 0
    tokenizer = replace(whole.tokenizer, patch=(8, 8) if fits else best_patch(look.height, look.width))
    if size == "tiny":
        dynamics = base.dynamics
    else:
        dynamics = LoopConfig(steps=5000, batch=32, length=8, report_every=10, optim=OptimConfig(lr=1e-3))
    return replace(
        base,
        family=replace(whole, tokenizer=tokenizer, latent_actions=_eyes(look, size)),
        lam=_lam_loop(look, size),
        dynamics=dynamics,
        shares=(0.45, 0.25, 0.3),
        across=0.0,
    )


def _eyes(look: Look, size: Size) -> Any:
    """The LAM of a world without tokens of seen patches."""
    if look.scrolls:
        return MotionActionConfig.sized(size)
    found = PatchActionConfig.sized(size)
    return replace(found, eyes=replace(found.eyes, patch=look.patch))


def _of_latents(game: str, look: Look, size: Size, whole: Any, length: int) -> Experiment:
    actions: OfFrames = _eyes(look, size)
    tokenizer = replace(whole.tokenizer, gray=look.gray)
    short = LoopConfig(steps=20, batch=4, length=1, report_every=5, keep_every=10, optim=OptimConfig(warmup=5))
    tiny = size == "tiny"
    return Experiment(
        game=game,
        family=replace(whole, tokenizer=tokenizer, latent_actions=actions),
        tokenizer=short if tiny else LoopConfig(steps=2000, batch=32, length=1, keep_every=200, optim=AUTOENCODER),
        lam=_lam_loop(look, size),
        dynamics=replace(short, length=length) if tiny else LoopConfig(steps=3000, length=length, optim=LATENTS),
        lam_behaviours=("random", "sticky", "scripted") if look.scrolls else ("random",),
        across=0.0,
        shares=(0.3, 0.2, 0.5),
    )


AUTOENCODER = OptimConfig(lr=1e-3, schedule="onecycle", rise=0.05, muon=False, average=0.99)
LATENTS = OptimConfig(lr=1e-3, decay=0.6)
PIXELS = OptimConfig(lr=3e-3, schedule="onecycle", muon=False, weight_decay=0.0, average=0.99)


def _predictor(game: str, look: Look, size: Size) -> Experiment:
    whole = LatentPredictorFamily.sized(size)
    return _of_latents(game, look, size, whole, whole.dynamics.backbone.history + whole.dynamics.ahead)


def _flow(game: str, look: Look, size: Size) -> Experiment:
    whole = LatentFlowFamily.sized(size)
    return _of_latents(game, look, size, whole, whole.dynamics.backbone.history + whole.dynamics.ahead)


def _pixel_film(game: str, look: Look, size: Size) -> Experiment:
    whole = PixelFiLMFamily.sized(size)
    whole = replace(whole, dynamics=replace(whole.dynamics, scrolls=look.scrolls))
    found = _of_latents(game, look, size, whole, whole.dynamics.past + whole.dynamics.ahead + whole.dynamics.future)
    if size != "tiny":
        found = replace(found, dynamics=replace(found.dynamics, batch=16, optim=PIXELS))
    return replace(found, shares=(0.0, 0.25, 0.75))


MAKERS: dict[str, Callable[[str, Look, Size], Experiment]] = {
    "autoregressive": _autoregressive,
    "latent_flow": _flow,
    "latent_predictor": _predictor,
    "one_pass": _one_pass,
    "pixel_film": _pixel_film,
    "regression": _regression,
}
assert {*MAKERS, "genie", "maskgit", "warp"} == set(FAMILIES), "every family has an experiment"
