"""What is measured of a family beyond the scorecard: whole roll-outs, what sampling brings, what its parts are worth.

Everything on held-out play, from the same clips for every world, with the actions that the world reads off the true
frames or, under real actions, with those that were recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.conv_autoencoder import ConvAutoencoder
from models.dynamics.regression import RegressionWorld
from models.world import Samples, World, repeat
from training.held_out import Play
from training.metrics import mean_interval, mse, psnr
from training.rebuilding import clips as some_clips
from training.rebuilding import measure
from training.rollouts import Clips, choose_spots, generator, read_clips, roll, start_state

FURTHEST = 32
"""Frames of a whole roll-out."""
DRAWN = 8
"""Samples of which the best and the mean are looked at."""
AT = 10
"""Frames after which they are."""
FEW_CLIPS = 8
"""Clips that are dreamed of so often at once; the states of token worlds are large."""
FEW = (1, 2, 4, 16)
"""Numbers of sampling steps that are compared."""


def whole_rollouts(world: World, play: Play, clips: int, seed: int) -> dict[str, Any]:
    """Mean over frames 1 … FURTHEST of squared error and PSNR in dB, of the world and of the last real frame copied,
    with intervals over clips."""
    context = world.spec.context
    spots = choose_spots(play, context + FURTHEST, clips, seed + 6)
    found: dict[str, list[NDArray[np.float64]]] = {"world": [], "copy_last_frame": []}
    for batch in read_clips(world, play, None, spots, context + FURTHEST):
        start = start_state(world, batch, generator(seed))
        dreamed = torch.stack(roll(world, start, batch.actions[:, context - 1 :], generator(seed)), dim=1).cpu()
        truth = batch.frames[:, context:].cpu()
        still = batch.frames[:, context - 1 : context].cpu().expand_as(truth)
        for row, guess in (("world", dreamed), ("copy_last_frame", still)):
            found[row].append(_over_time(truth, guess))
    return {
        row: {
            name: mean_interval(np.concatenate(parts)[:, index], seed=seed).data()
            for index, name in enumerate(("mse", "psnr"))
        }
        for row, parts in found.items()
    }


def _over_time(truth: Tensor, guess: Tensor) -> NDArray[np.float64]:
    """Squared error and PSNR of frames uint8 [B, T, C, H, W], averaged over T: [B, 2]."""
    shape = truth.shape[:2]
    both = [metric(truth.flatten(0, 1), guess.flatten(0, 1)).reshape(shape).mean(dim=1) for metric in (mse, psnr)]
    return torch.stack(both, dim=1).double().numpy()


def drawn_often(world: World, play: Play, clips: int, seed: int) -> dict[str, Any]:
    """Of DRAWN dreams from each clip, after AT frames: squared error of the `best` and of their `mean` picture, mean
    error of `each`, and their `diversity`, the mean squared difference of two. Where nothing is drawn, `each` alone."""
    context, samples_each = world.spec.context, DRAWN if isinstance(world, Samples) else 1
    best, mean, each, apart = [], [], [], []
    rng = generator(seed)
    for batch in _few_clips(world, play, clips, seed):
        start = repeat(start_state(world, batch, rng), samples_each)
        actions = batch.actions[:, context - 1 :].repeat_interleave(samples_each, dim=0)
        last = roll(world, start, actions, rng)[-1].cpu().float() / 255
        samples = last.reshape(-1, samples_each, *last.shape[1:])  # [B, K, C, H, W]
        truth = batch.frames[:, context - 1 + AT].cpu().float()[:, None] / 255
        off = (samples - truth).square().mean(dim=(2, 3, 4))
        middle = samples.mean(dim=1)
        best.append(off.amin(dim=1))
        each.append(off.mean(dim=1))
        mean.append((middle - truth[:, 0]).square().mean(dim=(1, 2, 3)))
        spread = (samples - middle[:, None]).square().mean(dim=(1, 2, 3, 4))
        apart.append(2 * spread * samples_each / max(1, samples_each - 1))
    names = {"each": each}
    names |= {"best": best, "mean": mean, "diversity": apart} if samples_each > 1 else {}
    figures = {name: mean_interval(torch.cat(part).double().numpy(), seed=seed).data() for name, part in names.items()}
    return {"samples": samples_each, "after": AT, **figures}


def _few_clips(world: World, play: Play, clips: int, seed: int) -> Iterator[Clips]:
    """Clips for AT frames, so few at a time that DRAWN states of each fit into memory."""
    length = world.spec.context + AT
    spots = choose_spots(play, length, clips, seed + 7)
    for first in range(0, len(spots), FEW_CLIPS):
        yield from read_clips(world, play, None, spots[first : first + FEW_CLIPS], length)


def few_steps(world: World, play: Play, clips: int, seed: int) -> dict[str, Any] | None:
    """Squared error after AT frames with FEW numbers of sampling steps; None for a world that has no such dial."""
    if not isinstance(world, Samples) or getattr(world, "in_one_step", False):
        return None
    found = {}
    for steps in FEW:
        dialled = world.with_sampling(replace(world.sampling, steps=steps))
        context, off = world.spec.context, []
        for batch in read_clips(dialled, play, None, choose_spots(play, context + AT, clips, seed + 7), context + AT):
            start = start_state(dialled, batch, generator(seed))
            last = roll(dialled, start, batch.actions[:, context - 1 :], generator(seed))[-1]
            off.append(mse(batch.frames[:, context - 1 + AT].cpu(), last.cpu()).double().numpy())
        found[str(steps)] = mean_interval(np.concatenate(off), seed=seed).data()
    return {"after": AT, "mse": found}


def autoencoder(world: Any, play: Play, most: int, seed: int) -> dict[str, Any] | None:
    """How well its autoencoder rebuilds frames, and its latents; None for a world without one."""
    if not isinstance(world.tokenizer, ConvAutoencoder):
        return None
    return measure(world.tokenizer, play, most, seed, lambda line: None)[0]


@torch.inference_mode()
def regressed(world: Any, play: Play, most: int, seed: int) -> dict[str, Any] | None:
    """Of a regression world: squared error of the next frame's vectors and of the present ones copied, and by how much
    the one is below the other; None for others."""
    if not isinstance(world, RegressionWorld):
        return None
    off, still = [], []
    for frames, actions in _transitions(world, play, most):
        tokens = world.tokenizer.encode(frames[None])
        _, logs = world.dynamics.loss(tokens, actions[None])
        off.append(float(logs["mse"]))
        still.append(float(logs["copy_mse"]))
    below = 1 - np.array(off).mean() / max(np.array(still).mean(), 1e-12)
    return {
        "mse": mean_interval(np.array(off), seed=seed).data(),
        "copy_mse": mean_interval(np.array(still), seed=seed).data(),
        "below_copy": float(below),
    }


def _transitions(world: Any, play: Play, most: int) -> Sequence[tuple[Tensor, Tensor]]:
    """Clips of held-out play uint8 [T, C, H, W] and the actions [T-1] that the world is told in them."""
    if hasattr(world, "infer_actions"):
        return [(clip, world.infer_actions(clip[None])[0]) for clip in some_clips(play, most, 16)]
    each, found = max(2, most // len(play.episodes)), []
    for ref in play.episodes:
        for start in range(0, min(each, ref.frames - 1), 16):
            part = play.read(ref, start, min(start + 16, ref.frames))
            if len(part.actions):
                pixels = torch.from_numpy(part.frames.transpose(0, 3, 1, 2).copy())
                found.append((pixels, torch.from_numpy(part.actions.astype(np.int64))))
    return found
