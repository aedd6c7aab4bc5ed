"""Which windows are drawn: evenly, or more often those in which something rare or much happens.

motion    half of the odds evenly, half by how much of the picture changes
actions   each real action as often as any other
codes     each latent code as often as any other; once the latent actions are learned

A window's odds are the sum of its transitions'. They follow from the data alone, so that the same generator
still draws the same windows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.token_cache import CLIP, fingerprint, save_array
from training.windows import Windows

Balance = Literal["none", "motion", "actions", "codes"]
Draw = Callable[[np.random.Generator, int, int], NDArray[np.int64]]
"""Generator, number of windows, frames a window → episode and first frame of each, int64 [B, 2]."""

MOST = 20.0
"""How many times as often as evenly the rarest action may come: a handful of windows is not to be all there is."""


def drawing(windows: Windows, balance: Balance, folder: Path, codes: NDArray[np.int64] | None = None) -> Draw:
    """How windows are drawn. folder: where what is measured of the frames is kept; codes: int64 [frames], of each
    transition, -1 at the last frame of an episode. Raises ValueError where the data has nothing to balance by."""
    if balance == "none":
        return windows.draw
    if balance == "motion":
        found = motion(windows, folder)
        return WeightedDraw(windows, 1 + found / max(float(found.mean()), 1e-12)).draw
    if balance == "codes" and codes is None:
        raise ValueError("balance=codes needs latent codes, and none are learned yet; use motion or actions")
    return WeightedDraw(
        windows, even_weights(codes if balance == "codes" and codes is not None else acts(windows))
    ).draw


class WeightedDraw:
    """Draws windows by weights float [frames], that of a frame being the one of the transition that leaves it."""

    def __init__(self, windows: Windows, weights: NDArray[np.floating[Any]]) -> None:
        self.windows, self.weights = windows, weights.astype(np.float32)
        self.firsts = np.concatenate([[0], np.cumsum(windows.lengths)[:-1]])
        self._odds: dict[int, NDArray[np.float64]] = {}

    def draw(self, rng: np.random.Generator, batch: int, length: int) -> NDArray[np.int64]:
        """int64 [B, 2]: episode and first frame of `batch` windows of `length` frames."""
        odds = self._episode_odds(length)
        edges = np.cumsum(odds)
        last = np.flatnonzero(odds)[-1]
        spots = rng.random(batch) * edges[-1]
        episodes = np.minimum(np.searchsorted(edges, spots, side="right"), last)
        within = (spots - (edges - odds)[episodes]) / odds[episodes]
        starts = [self._start(*spot, length) for spot in zip(episodes.tolist(), within.tolist(), strict=True)]
        return np.stack([episodes, np.array(starts, np.int64)], axis=1)

    def _start(self, episode: int, share: float, length: int) -> int:
        """The first frame of the window at a share of an episode's odds."""
        edges = np.cumsum(self._window_odds(episode, length))
        return int(min(np.searchsorted(edges, share * edges[-1], side="right"), len(edges) - 1))

    def _window_odds(self, episode: int, length: int) -> NDArray[np.float64]:
        """float64: the odds of each window of an episode, none where it is too short."""
        first, frames = int(self.firsts[episode]), int(self.windows.lengths[episode])
        steps = max(1, length - 1)
        sums = np.concatenate([[0.0], np.cumsum(self.weights[first : first + frames - 1], dtype=np.float64)])
        return sums[steps:] - sums[: max(0, frames - steps)]

    def _episode_odds(self, length: int) -> NDArray[np.float64]:
        if length not in self._odds:
            self.windows.room(length)
            each = (self._window_odds(episode, length).sum() for episode in range(len(self.windows.lengths)))
            found = np.fromiter(each, np.float64, len(self.windows.lengths))
            self._odds[length] = self.windows.by_share(found)
        return self._odds[length]


def even_weights(classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 [frames]: weights under which every class of transitions comes equally often; 0 where it is -1."""
    known = classes >= 0
    counts = np.bincount(classes[known])
    even = known.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(known, np.minimum(even, MOST)[classes], 0).astype(np.float32)


def acts(windows: Windows) -> NDArray[np.int64]:
    """int64 [frames]: the real action that each frame is left by, -1 at the last frame of an episode."""
    parts = []
    for actions in windows.column("actions"):
        if actions.ndim != 1:
            game = windows.datasets[0].manifest.game
            raise ValueError(f"the actions of {game} are continuous and cannot be counted; use balance=motion or codes")
        parts.append(np.append(actions.astype(np.int64), -1))
    return np.concatenate(parts)


@torch.inference_mode()
def motion(windows: Windows, folder: Path) -> NDArray[np.float32]:
    """float32 [frames]: the share of the pixels that are another colour in the next frame, 0 at the last frame of an
    episode. Measured once and kept in a folder."""
    path = folder / f"motion-{fingerprint(None, windows)}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for index in tqdm(range(len(windows.episodes)), desc="motion", unit="episode", leave=False):
            for skip, clip in windows.clips_of(index, CLIP, overlap=1):
                changed = (clip[1:] != clip[:-1]).any(dim=1).float().mean(dim=(1, 2))
                parts.append(changed[max(0, skip - 1) :].numpy())
            parts.append(np.zeros(1, np.float32))
        save_array(path, np.concatenate(parts))
    return np.load(path, mmap_mode="r")
