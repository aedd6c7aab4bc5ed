"""How the parts of a world of continuous latents are trained: an autoencoder, then dynamics on its latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from models.conv_autoencoder import ConvAutoencoder
from models.dynamics.latent_world import LatentDynamics, LatentWorld
from models.objectives import Objectives
from models.world import Window
from training.action_recipe import train_actions
from training.augment import augmented
from training.latent_cache import LatentCache, encode_all
from training.loop import Part
from training.metrics import mse, psnr, ssim
from training.pipeline import Pipeline
from training.previews import dream_sheet, reconstruction_sheet
from training.runs import VALIDATION, write_bytes
from training.token_cache import TokenCache, codes_of
from training.windows import Windows

APART = 10
"""One frame in so many is looked at when the latents are measured."""
JUDGED = 256
"""Held-out frames by which the best checkpoint of an autoencoder is chosen."""

train_lam = train_actions


def train_tokenizer(pipeline: Pipeline) -> None:
    """Train the autoencoder, keep its best checkpoint, and measure its latents; pixels need nothing."""
    tokenizer, held_out = _world(pipeline).tokenizer, pipeline.data.held_out
    if not isinstance(tokenizer, ConvAutoencoder):
        pipeline.run.report("tokenizer", 1, tokenizer.fit(iter(())))
        return
    config, best = pipeline.experiment.tokenizer, Best(pipeline)
    draw = pipeline.drawing(pipeline.data.train, config)

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        window = pipeline.data.train.read(draw(rng, config.batch, max(2, config.length)), max(2, config.length))
        frames = augmented(window.frames[:, : config.length], pipeline.experiment.augment, rng)
        return tokenizer.loss(Window(frames.to(pipeline.device)))

    preview = lambda module: reconstruction_sheet(module, held_out)  # noqa: E731
    pipeline.fit(Part("tokenizer", tokenizer, loss, preview, kept=best.saw), config)
    best.read_into(tokenizer)
    found = tokenizer.measure(clip[::APART] for clip in pipeline.data.train.clips())
    pipeline.say(
        f"tokenizer: {best.score:.1f} dB on held-out frames; latents of variance {found['variance']:.2f} and mean"
        f" norm {found['mean_norm']:.2f}"
    )


class Best:
    """Keeps the weights of a module that rebuild held-out frames best, over interruptions too: `best_ckpt.safetensors`
    beside the run's metrics, and in `val_metrics.jsonl` PSNR in dB, SSIM, squared error, and variance and norm of the
    mean of the latents at every checkpoint."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.run, self.device = pipeline.run, pipeline.device
        windows, rng = pipeline.data.held_out, np.random.default_rng(2)
        self.frames = windows.read(windows.draw(rng, JUDGED, 2), 2).frames[:, :1]
        told = self._lines() if pipeline.run.load_resume("tokenizer") is not None else []
        self.score = max((line["psnr"] for line in told), default=-1.0)
        if not told:
            self.path.unlink(missing_ok=True)

    @property
    def path(self) -> Path:
        """Where the best weights are."""
        return self.run.folder / "best_ckpt.safetensors"

    def saw(self, module: nn.Module, step: int, done: bool = True) -> None:
        """Measure a checkpoint and keep it if it is the best so far."""
        assert isinstance(module, ConvAutoencoder)
        with torch.inference_mode():
            parts = [part.to(self.device) for part in torch.split(self.frames, 32)]
            guess = torch.cat([module.reconstruct(part).cpu() for part in parts])[:, 0]
            latents = torch.cat([module.latents(part).cpu() for part in parts])
        truth = self.frames[:, 0]
        score = float(psnr(truth, guess).mean())
        line = {"psnr": score, "ssim": float(ssim(truth, guess).mean())}
        line |= {"mse": float(mse(truth, guess).mean()), "latent_variance": float(latents.var())}
        line |= {"latent_mean_norm": float(latents.mean(dim=(0, 2, 3)).norm())}
        self.run.report("tokenizer", step, line, VALIDATION)
        if score > self.score:
            self.score = score
            weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
            write_bytes(self.path, save(weights))

    def read_into(self, module: nn.Module) -> None:
        """Take the best weights."""
        module.load_state_dict(load_file(self.path))

    def _lines(self) -> list[dict[str, Any]]:
        return [line for line in self.run.reported(VALIDATION) if line.get("part", "tokenizer") == "tokenizer"]


def train_dynamics(pipeline: Pipeline) -> None:
    """Train the dynamics on latents and on the actions that the LAM reads, or that were recorded."""
    world, config = _world(pipeline), pipeline.experiment.dynamics
    dynamics, cache = world.dynamics, latents_of(pipeline, pipeline.data.train)
    draw = pipeline.drawing(cache.windows, config, cache.codes)
    for module in dynamics.modules():
        if isinstance(module, Objectives):
            module.look, module.decode = pipeline.look, world.tokenizer.decode

    def loss(rng: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        latents, codes = cache.read(draw(rng, config.batch, config.length), config.length)
        return dynamics.loss(latents.to(pipeline.device), codes.to(pipeline.device), progress)

    def preview(module: nn.Module) -> Tensor:
        assert isinstance(module, LatentDynamics)
        return dream_sheet(world, module, pipeline.data.held_out)

    told = TokenCache(cache.windows, np.zeros((0, 0), np.int32), cache.codes)
    pipeline.fit_dynamics(Part("dynamics", dynamics, loss, preview), config, told)


def latents_of(pipeline: Pipeline, windows: Windows) -> LatentCache:
    """All frames as latents, with the actions between them."""
    world = _world(pipeline)
    codes = codes_of(windows, world.latent_actions, pipeline.cache, pipeline.device)
    if isinstance(world.tokenizer, ConvAutoencoder):
        return LatentCache(windows, None, encode_all(windows, world.tokenizer, pipeline.cache, pipeline.device), codes)
    return LatentCache(windows, world.tokenizer, None, codes)


def _world(pipeline: Pipeline) -> LatentWorld:
    assert isinstance(pipeline.world, LatentWorld), "the family decides the recipe"
    return pipeline.world
