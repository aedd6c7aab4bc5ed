"""How the parts of a world of moving pictures are trained: an autoencoder fitted, then dynamics on frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from models.dynamics.warp import Warp, WarpWorld
from training.action_recipe import train_actions
from training.loop import Part
from training.pipeline import Pipeline
from training.previews import dream_sheet, reconstruction_sheet
from training.token_cache import FINE, read_motion

APART = 10
"""One frame in so many is looked at by the autoencoder; those between are much the same."""

train_lam = train_actions


def train_tokenizer(pipeline: Pipeline) -> None:
    """Fit the autoencoder."""
    tokenizer = _world(pipeline).tokenizer

    def clips() -> Iterator[Tensor]:
        return (clip[::APART] for clip in pipeline.data.train.clips())

    values = tokenizer.fit(clips())
    pipeline.run.report("tokenizer", 1, values)
    pipeline.say(f"tokenizer: {tokenizer.config.latent} numbers a patch keep {values['kept']:.3%} of what varies")
    pipeline.run.preview("tokenizer-000001", reconstruction_sheet(tokenizer, pipeline.data.held_out))


def train_dynamics(pipeline: Pipeline) -> None:
    """Train the dynamics on frames as they come out of the autoencoder, on codes and on displacements."""
    world, config, windows = _world(pipeline), pipeline.experiment.dynamics, pipeline.data.train
    cache = read_motion(windows, world.latent_actions, pipeline.cache, pipeline.device)
    draw = pipeline.drawing(windows, config, cache.codes)

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        places = draw(rng, config.batch, config.length)
        frames, (motion, codes) = windows.read(places, config.length).frames, cache.read(places, config.length)
        assert codes is not None
        moved = (motion[:, :-1] / FINE).to(pipeline.device)
        with torch.no_grad():
            seen = world.centred(frames.to(pipeline.device))
        return world.dynamics.loss(seen, codes.to(pipeline.device), moved, progress)

    def preview(module: nn.Module) -> Tensor:
        assert isinstance(module, Warp)
        return dream_sheet(world, module, pipeline.data.held_out)

    pipeline.fit_dynamics(Part("dynamics", world.dynamics, loss, preview), config, cache)


def _world(pipeline: Pipeline) -> WarpWorld:
    assert isinstance(pipeline.world, WarpWorld), "the family decides the recipe"
    return pipeline.world
