"""Can anybody tell dreams from the game? A classifier two-sample test on clips of 16 frames.

A classifier learns to tell clips of real play from dreamed ones and is asked about others (Lopez-Paz and Oquab 2017,
arXiv 1610.06545). Half of its answers right, as by chance, means that dreams are as good as real as far as it can see.
How far that is, the controls say: real play against other real play, and against pictures that stand still.

It looks with random kernels over space and time: how strong each answers at most, and in which share of all places it
answers more than it does in 50, 95, 99 and 99.9 % of those of real play (ROCKET: Dempster, Petitjean, Webb 2020, arXiv
1910.13051). Only a ridge regression over that is trained, so that a few hundred clips are enough: networks that had to
learn their kernels from as many did not find a second ball.

Both kinds of clips come from the same starts under the same codes, so that a perfect world could not be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.world import World
from training.frechet import distance, frechet
from training.held_out import Play
from training.metrics import Figure, balanced_interval
from training.rollouts import choose_spots, generator, read_clips, start_state

LENGTH = 16
"""Frames of a clip."""

HORIZONS = (16, 64, 256)
"""Frames after the last real one at which clips begin."""

FOLDS = 4
QUANTILES = (0.5, 0.95, 0.99, 0.999)
RIDGES = tuple(float(10.0**power) for power in range(-1, 6))
Say = Callable[[str], None]
Features = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """kernels: random ones, each over 3 frames and 5x5 pixels; stride: pixels and frames from one place to the next."""

    kernels: int = 128
    stride: int = 2

    def __post_init__(self) -> None:
        for name in ("kernels", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")


class Judge:
    """Looks at clips. What it looks for is random and the same for the same seed.

    real: some clips of real play, uint8 [N, T, C, H, W], that decide what counts as a strong answer.
    """

    def __init__(self, real: Tensor, config: JudgeConfig, seed: int) -> None:
        luck = torch.Generator().manual_seed(seed)
        kernels = torch.randn(config.kernels, real.shape[2], 3, 5, 5, generator=luck)
        self._kernels = kernels - kernels.mean(dim=(2, 3, 4), keepdim=True)
        self._stride = config.stride
        answers = torch.cat([self._answers(clip).flatten(1) for clip in real[:: max(1, len(real) // 24)]], dim=1)
        kept = answers[:, torch.randperm(answers.shape[1], generator=luck)[:100_000]]
        self._marks = kept.quantile(torch.tensor(QUANTILES), dim=1).T  # [kernels, marks]

    def look(self, clips: Tensor) -> Features:
        """uint8 [N, T, C, H, W] → what was seen of each, float [N, features]."""
        return np.stack([self._seen(clip) for clip in clips]).astype(np.float64)

    def _seen(self, clip: Tensor) -> NDArray[np.float32]:
        answers = self._answers(clip).flatten(1)  # [kernels, places]
        shares = [(answers > mark[:, None] + 1e-4).float().mean(dim=1) for mark in self._marks.unbind(1)]
        return torch.stack([*shares, answers.amax(dim=1), answers.amin(dim=1)]).flatten().numpy()

    def _answers(self, clip: Tensor) -> Tensor:
        """uint8 [T, C, H, W] → [kernels, T', H', W']."""
        pixels = clip.transpose(0, 1)[None].float() / 255.0
        return F.conv3d(pixels, self._kernels, stride=self._stride)[0]


def told_apart(
    real: Features, other: Features, owners: tuple[NDArray[np.int64], NDArray[np.int64]], *, seed: int = 0
) -> Figure:
    """Share of clips that are named rightly, both kinds weighing the same, with a bootstrap over their owners.

    real, other: what was seen of each clip [N, features]; owners: int64 [N] each, the episode that a clip is from.
    Clips of one owner are never in training and test at once: every owner is asked about once, by a judge who did not
    see it. Raises ValueError where there are fewer owners than FOLDS.
    """
    seen, kinds = np.concatenate([real, other]), np.repeat([0, 1], [len(real), len(other)])
    names, blocks = np.unique(np.concatenate(owners), return_inverse=True)
    if len(names) < FOLDS:
        raise ValueError(f"a two-sample test needs clips of {FOLDS} episodes, found {len(names)}; record more")
    folds = np.random.default_rng(seed).permutation(len(names))[blocks] % FOLDS
    right = np.zeros(len(seen), np.bool_)
    for fold in range(FOLDS):
        asked = folds == fold
        right[asked] = (_ridge(seen[~asked], kinds[~asked], seen[asked]) > 0) == kinds[asked]
    hits, totals = np.zeros((2, len(names), 2))
    np.add.at(totals, (blocks, kinds), 1)
    np.add.at(hits, (blocks[right], kinds[right]), 1)
    return balanced_interval(hits, totals, n=len(seen), seed=seed)


def _ridge(seen: Features, kinds: NDArray[np.int64], asked: Features) -> NDArray[np.float64]:
    """Ridge regression on the kinds as -1 and 1, its strength chosen by leaving one out: predictions for `asked`."""
    mean, spread = seen.mean(0), seen.std(0)
    used = spread > 1e-12
    known, new = ((part[:, used] - mean[used]) / spread[used] for part in (seen, asked))
    signs = np.where(kinds == 1, 1.0, -1.0)
    truth = signs - signs.mean()
    values, vectors = np.linalg.eigh(known @ known.T)
    turned = vectors.T @ truth
    best, weights = np.inf, np.zeros(len(truth))
    for ridge in RIDGES:
        shrunk = 1 / (values.clip(0) + ridge)
        duals = vectors @ (shrunk * turned)
        left_out = duals / np.maximum((vectors**2) @ shrunk, 1e-12)  # the error on each clip if it were left out
        error = float(np.square(left_out).mean())
        if error < best:
            best, weights = error, duals
    return new @ (known.T @ weights)


def two_sample(
    world: World,
    play: Play,
    *,
    clips: int = 128,
    horizons: Sequence[int] = HORIZONS,
    config: JudgeConfig | None = None,
    i3d: Callable[[Tensor], Features] | None = None,
    seed: int = 0,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """For each horizon: `world`, dreamed clips against those that really followed; and the controls `real`, clips of
    the same episodes at other times, and `copy`, the last real frame standing still. `frechet` has the distances of the
    same clips, see `frechet.py`; `fvd`, with features `i3d` of clips uint8 [N, T, C, H, W], the ones that are named so.

    Horizons for which fewer than FOLDS episodes are long enough are left out.
    """
    config, context = config or JudgeConfig(), world.spec.context
    found: dict[str, Any] = {"length": LENGTH, "clips": clips, "world": {}, "real": {}, "copy": {}, "frechet": {}}
    judge: Judge | None = None
    for horizon in horizons:
        span = context + horizon + LENGTH
        if sum(reference.frames >= span for reference in play.episodes) < FOLDS:
            continue
        spots = choose_spots(play, span, clips, seed + 6)
        owners = np.array([episode for episode, _ in spots])
        if len(np.unique(owners)) < FOLDS:
            continue
        real, dreamed, still = [], [], []
        rng = generator(seed + 9)
        for batch in read_clips(world, play, None, spots, span):
            real.append(batch.frames[:, -LENGTH:].cpu())
            still.append(batch.frames[:, context - 1 : context].expand(-1, LENGTH, -1, -1, -1).cpu())
            state = start_state(world, batch, rng)
            shown = []
            for step in range(span - context):
                state = world.step(state, batch.actions[:, context - 1 + step], rng)
                if step >= horizon:
                    shown.append(world.render(state).cpu())
            dreamed.append(torch.stack(shown, dim=1))
            say(f"two-sample test after {horizon} frames: {sum(map(len, dreamed))} of {len(spots)} dreams")
        whole = torch.cat(real)
        judge = judge or Judge(whole, config, seed)
        truth = judge.look(whole)
        both = (owners, owners)
        kinds = {"world": torch.cat(dreamed), "copy": torch.cat(still), "real": _others(play, spots, seed)}
        seen = {name: judge.look(shown) for name, shown in kinds.items()}
        for name, features in seen.items():
            found[name][str(horizon)] = told_apart(truth, features, both, seed=seed).data()
        found["frechet"][str(horizon)] = {name: frechet(truth, features) for name, features in seen.items()}
        if i3d is not None:
            known = i3d(whole)
            apart = {name: distance(known, i3d(shown)) for name, shown in kinds.items()}
            found.setdefault("fvd", {})[str(horizon)] = apart
    return found


def _others(play: Play, spots: list[tuple[int, int]], seed: int) -> Tensor:
    """Other clips of the same episodes, uint8 [N, LENGTH, C, H, W], each from anywhere in its episode."""
    rng = np.random.default_rng(seed + 10)
    places = [(number, int(rng.integers(play.episodes[number].frames - LENGTH + 1))) for number, _ in spots]
    clips = [play.read(play.episodes[number], first, first + LENGTH).frames for number, first in places]
    return torch.from_numpy(np.stack(clips).transpose(0, 1, 4, 2, 3).copy())
