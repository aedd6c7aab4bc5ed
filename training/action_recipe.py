"""How actions come about, whatever the dynamics are: a LAM is trained, or the recorded ones are taken as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.given_actions import GivenActions
from models.latent_actions import LatentActionModel
from models.motion_actions import MotionActionModel
from models.patch_actions import PatchActionModel
from models.pixel_actions import PixelActionModel
from training.loop import Part
from training.pipeline import Pipeline
from training.previews import code_sheet, motion_sheet, pixel_code_sheet
from training.token_cache import tokenize

MISSED = 2048
"""Transitions whose displacement, as far as it was not expected, decides where the codes begin."""


def train_actions(pipeline: Pipeline) -> None:
    """Train the LAM that the world has. Where actions are real there is nothing to train."""
    lam = pipeline.world.latent_actions
    if isinstance(lam, GivenActions):
        pipeline.say(f"lam: none; the recorded actions are used: {', '.join(pipeline.world.spec.actions)}")
    elif isinstance(lam, MotionActionModel):
        _of_motion(pipeline, lam)
    elif isinstance(lam, PatchActionModel):
        lam.eyes.fit(pipeline.data.train.clips())
        torch.manual_seed(pipeline.experiment.seed)  # whatever was trained before, or read back
        lam.open_eyes()
        lam.look()
        pipeline.say(f"lam: looks through {lam.eyes.size} patches")
        _of_tokens(pipeline, lam, lam.eyes)
    else:
        _of_tokens(pipeline, lam, pipeline.world.tokenizer)


def _of_tokens(pipeline: Pipeline, lam: nn.Module, eyes: nn.Module) -> None:
    """On frames and on the tokens of the same frames; one that looks at pixels gets no tokens."""
    config = pipeline.experiment.lam
    windows = pipeline.data.train.played_by(pipeline.experiment.lam_behaviours)
    reads = not isinstance(lam, PixelActionModel)
    cache = tokenize(windows, eyes, pipeline.cache, pipeline.device) if reads else None  # type: ignore[arg-type]  # a LAM that reads tokens has a tokenizer
    draw = pipeline.drawing(windows, config)

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        places = draw(rng, config.batch, config.length)
        frames = windows.read(places, config.length).frames
        tokens = cache.read(places, config.length)[0].to(pipeline.device) if cache is not None else None
        told: tuple[Tensor, dict[str, Tensor]] = lam.loss(frames.to(pipeline.device), tokens, progress)  # type: ignore[operator]  # all LAMs have it
        return told

    def preview(module: nn.Module) -> Tensor:
        if isinstance(module, PixelActionModel):
            return pixel_code_sheet(module, pipeline.data.held_out)
        if isinstance(module, PatchActionModel):
            return code_sheet(module.model, module.eyes, pipeline.data.held_out)
        assert isinstance(module, LatentActionModel)
        return code_sheet(module, eyes, pipeline.data.held_out)  # type: ignore[arg-type]  # as above

    codes: int = lam.config.codes  # type: ignore[union-attr, assignment]  # all LAMs have a config
    pipeline.fit(Part("lam", lam, loss, preview, codes), config)


def _of_motion(pipeline: Pipeline, lam: MotionActionModel) -> None:
    """On frames alone."""
    config = pipeline.experiment.lam
    windows = pipeline.data.train.played_by(pipeline.experiment.lam_behaviours)
    draw = pipeline.drawing(windows, config)

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        if progress >= lam.config.free_share and not bool(lam.spread_out):
            lam.spread(windows.read(draw(rng, MISSED, config.length), config.length).frames.to(pipeline.device))
        window = windows.read(draw(rng, config.batch, config.length), config.length)
        return lam.loss(window.frames.to(pipeline.device), progress)

    def preview(module: nn.Module) -> Tensor:
        assert isinstance(module, MotionActionModel)
        return motion_sheet(module, pipeline.data.held_out)

    pipeline.fit(Part("lam", lam, loss, preview, lam.config.codes), config)
