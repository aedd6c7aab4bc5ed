"""Windows of several games, or of several data sets of one, each with its share whatever its size."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.windows import Windows


class Mixture(Windows):
    """Several windows as one: a draw takes one of them by its weight, then a window of it, evenly.

    Frames must be of one size. Actions keep the ids that they have in their game. Raises ValueError naming what
    does not fit.
    """

    def __init__(self, parts: Sequence[Windows], weights: Sequence[float]) -> None:
        check_weights(weights, len(parts))
        self.datasets = [dataset for part in parts for dataset in part.datasets]
        first = self.datasets[0].manifest
        for dataset in self.datasets:
            found = dataset.manifest
            if (found.height, found.width) != (first.height, first.width):
                size, want = f"{found.height}x{found.width}", f"{first.height}x{first.width}"
                raise ValueError(
                    f"{found.game} has frames of {size}, {first.game} of {want}; collect both with one --size"
                )
        self.episodes = [episode for part in parts for episode in part.episodes]
        self.lengths = np.concatenate([part.lengths for part in parts])
        self.shares = np.asarray(weights, np.float64) / sum(weights)
        self.owners = np.repeat(np.arange(len(parts)), [len(part.episodes) for part in parts])

    def draw(self, rng: np.random.Generator, batch: int, length: int) -> NDArray[np.int64]:
        """int64 [B, 2]: episode and first frame of `batch` windows of `length` frames, by share, then evenly."""
        room = self.room(length)
        edges = np.cumsum(self.by_share(room.astype(np.float64)))
        last = np.flatnonzero(room)[-1]
        episode = np.minimum(np.searchsorted(edges, rng.random(batch) * edges[-1], side="right"), last)
        return np.stack([episode, rng.integers(room[episode])], axis=1)

    def by_share(self, odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The odds of the episodes [E], scaled so that those of each part together are its share."""
        totals = np.bincount(self.owners, odds, len(self.shares))
        return odds * np.divide(self.shares, totals, out=np.zeros_like(totals), where=totals > 0)[self.owners]

    def _taken(self, episodes: NDArray[np.int64]) -> Windows:
        part = super()._taken(episodes)
        assert isinstance(part, Mixture), "a copy is of the same class"
        part.owners = self.owners[episodes]
        return part


def check_weights(weights: Sequence[float], count: int) -> None:
    """Raise ValueError unless there is one positive weight for each of `count` parts."""
    if len(weights) != count:
        raise ValueError(f"{count} data sets need {count} weights, found {len(weights)}; give one for each --data")
    for weight in weights:
        if not 0 < weight < float("inf"):
            raise ValueError(f"weights must be positive numbers, found {weight}; leave a data set away to ignore it")


def weighted(windows: Windows, weights: Sequence[float]) -> Windows:
    """The same windows with a weight for each of their data sets; unchanged without weights."""
    if not weights:
        return windows
    check_weights(weights, len(windows.datasets))
    parts = []
    for dataset in windows.datasets:
        part = copy.copy(windows)
        part.datasets = [dataset]
        part.episodes = [episode for episode in windows.episodes if episode[0] is dataset]
        part.lengths = np.array([ref.frames for _, ref in part.episodes], np.int64)
        if not part.episodes:
            raise ValueError(f"{dataset.folder} has no episode to train on; collect more frames or leave it away")
        parts.append(part)
    return Mixture(parts, weights)
