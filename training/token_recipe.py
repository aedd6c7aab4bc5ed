"""How the parts of a world of tokens are trained: a tokenizer on frames, then dynamics on its tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models.dynamics.context import Other, familiarity
from models.dynamics.maskgit import MaskGIT
from models.dynamics.regression import Regression
from models.dynamics.token_world import TokenWorld
from models.frames import SHADES
from models.tokenizer import PatchTokenizer
from models.world import Window
from training.action_recipe import train_actions
from training.augment import augmented
from training.elsewhere import Elsewhere
from training.loop import Part
from training.pipeline import Pipeline
from training.previews import dream_sheet, reconstruction_sheet
from training.regression_artifacts import write_artifacts
from training.token_cache import TokenCache, read_codes, tokenize
from training.windows import Windows

train_lam = train_actions


def train_tokenizer(pipeline: Pipeline) -> None:
    """Collect the patches of all frames, or train a learned tokenizer on windows of them."""
    tokenizer, held_out = _world(pipeline).tokenizer, pipeline.data.held_out
    if isinstance(tokenizer, PatchTokenizer):
        values = tokenizer.fit(pipeline.data.train.clips())
        pipeline.run.report("tokenizer", 1, values)
        pipeline.say(f"tokenizer: {values['distinct']:.0f} distinct patches cover {values['covered']:.4%} of all")
        pipeline.run.preview("tokenizer-000001", reconstruction_sheet(tokenizer, held_out))
        return
    config = pipeline.experiment.tokenizer
    draw = pipeline.drawing(pipeline.data.train, config)

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        window = pipeline.data.train.read(draw(rng, config.batch, config.length), config.length)
        frames = augmented(window.frames, pipeline.experiment.augment, rng)
        return tokenizer.loss(Window(frames.to(pipeline.device)))  # type: ignore[operator]  # learned ones have it

    preview = lambda module: reconstruction_sheet(module, held_out)  # noqa: E731
    pipeline.fit(Part("tokenizer", tokenizer, loss, preview, tokenizer.size), config)


def train_dynamics(pipeline: Pipeline) -> None:
    """Train the dynamics on tokens and on the codes that the LAM reads."""
    world, config = _world(pipeline), pipeline.experiment.dynamics
    dynamics, cache = world.dynamics, _tokens(pipeline)
    _count(pipeline, cache)
    if pipeline.only_count:
        return
    cache = read_codes(cache, world.latent_actions, pipeline.cache, pipeline.device)
    draw, imagine = pipeline.drawing(cache.windows, config, cache.codes), _imagining(pipeline, cache)
    sizes = _sizes(pipeline, cache)

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        batch, length = sizes(progress)
        across = pipeline.experiment.across if cache.can_cross(length) else 0.0
        count = int(rng.binomial(batch, across)) if across else 0
        tokens, codes = cache.read(draw(rng, batch - count, length), length)
        assert codes is not None
        if count:
            more = cache.read_across(rng, count, length)
            tokens, codes = torch.cat([tokens, more[0]]), torch.cat([codes, more[1]])
        other = [Other(*(each.to(pipeline.device) for each in found)) for found in imagine(tokens, codes, rng)]
        return dynamics.loss(tokens.to(pipeline.device), codes.to(pipeline.device), progress, *other)

    def preview(module: nn.Module) -> Tensor:
        return dream_sheet(world, module, pipeline.data.held_out)

    pipeline.fit_dynamics(Part("dynamics", dynamics, loss, preview), config, cache)
    if isinstance(dynamics, Regression):
        write_artifacts(pipeline)


def _sizes(pipeline: Pipeline, cache: TokenCache) -> Callable[[float], tuple[int, int]]:
    """What tells, by the share of training that is done, how many windows a batch has and how many frames a window."""
    config, experiment = pipeline.experiment.dynamics, pipeline.experiment
    late = experiment.late_length
    if not late or int(cache.windows.lengths.max()) < late:
        return lambda progress: (config.batch, config.length)
    fewer = max(2, round(config.batch * config.length / late))
    return lambda progress: (fewer, late) if progress >= experiment.late_from else (config.batch, config.length)


def _count(pipeline: Pipeline, cache: TokenCache) -> None:
    """Tell the dynamics what is not learned but counted: which tokens come where, and which changes of colour."""
    world, dynamics = _world(pipeline), _world(pipeline).dynamics
    if not isinstance(dynamics, MaskGIT):
        return
    if dynamics.config.familiar:
        here = torch.from_numpy(cache.seen(world.tokenizer.size))
        dynamics.learn_places(familiarity(here, dynamics.grid).to(pipeline.device))
    if dynamics.changes is None:
        return
    if dynamics.changes.shades is None:
        pipeline.say(f"dynamics: no changes of colour counted; that takes patches of at most {SHADES} colours")
        return
    shades, wide = dynamics.changes.shades.cpu(), world.tokenizer.config.patch[1]
    dynamics.changes.learn(cache.changes(shades, dynamics.grid, wide))


def _imagining(pipeline: Pipeline, cache: TokenCache) -> Callable[..., tuple[Other, ...]]:
    """What tells, of tokens [B, T, N] and codes [B, T-1] and with a numpy generator, what other codes would have done;
    nothing where the dynamics do not learn from that."""
    dynamics = _world(pipeline).dynamics
    if not isinstance(dynamics, MaskGIT) or not dynamics.config.imagined:
        return lambda tokens, codes, rng: ()
    config, whose = dynamics.config, pipeline.experiment.lam_behaviours
    elsewhere = Elsewhere(cache, dynamics.actions, whose, dynamics.grid)
    pipeline.say(f"dynamics: codes decide {len(elsewhere.places)} of {cache.tokens.shape[1]} places")
    return lambda tokens, codes, rng: (elsewhere.ask(tokens, codes, config.imagined, config.action_noise, rng),)


def _world(pipeline: Pipeline) -> TokenWorld:
    assert isinstance(pipeline.world, TokenWorld), "the family decides the recipe"
    return pipeline.world


def _tokens(pipeline: Pipeline, windows: Windows | None = None) -> TokenCache:
    return tokenize(windows or pipeline.data.train, _world(pipeline).tokenizer, pipeline.cache, pipeline.device)
