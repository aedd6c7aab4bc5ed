"""Shards → windows of T frames and T-1 actions. Windows of pixels never cross the end of an episode."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from collectors.shards import Dataset, EpisodeRef, split_of
from models.world import Window


class Windows:
    """The episodes of one split of one or more data sets, from which windows are drawn.

    split: "train", "validation", "test" or "all"; by hash of the episode's seed, so that adding
    shards moves no episode from one to another.
    """

    def __init__(self, datasets: list[Dataset], split: str = "train") -> None:
        self.datasets = datasets
        self.episodes: list[tuple[Dataset, EpisodeRef]] = [
            (dataset, ref)
            for dataset in datasets
            for ref in dataset.episodes
            if split == "all" or split_of(ref.seed, dataset.manifest.game) == split
        ]
        if not self.episodes:
            total = sum(len(dataset.episodes) for dataset in datasets)
            raise ValueError(f"no episodes in the {split} split of {total} episodes; collect more frames")
        self.lengths = np.array([ref.frames for _, ref in self.episodes])

    def played_by(self, behaviours: Sequence[str]) -> Windows:
        """Only the episodes of these behaviours; all of them where there is none."""
        return self._only([(dataset, ref) for dataset, ref in self.episodes if ref.behaviour in behaviours])

    def real(self) -> Windows:
        """Only the episodes of the game itself, none that was dreamed; all of them where there is none."""
        return self._only([(dataset, ref) for dataset, ref in self.episodes if ref.source == "real"])

    def _only(self, kept: list[tuple[Dataset, EpisodeRef]]) -> Windows:
        part = copy.copy(self)
        part.episodes = kept or self.episodes
        part.lengths = np.array([ref.frames for _, ref in part.episodes])
        return part

    @property
    def frames(self) -> int:
        """Number of frames in all episodes together."""
        return int(self.lengths.sum())

    def draw(self, rng: np.random.Generator, batch: int, length: int) -> NDArray[np.int64]:
        """int64 [B, 2]: episode and first frame of `batch` windows of `length` frames, evenly over all."""
        room = np.maximum(self.lengths - length + 1, 0)
        if not room.any():
            longest = int(self.lengths.max())
            raise ValueError(f"longest episode has {longest} frames, a window needs {length}; collect longer episodes")
        place = rng.integers(int(room.sum()), size=batch)
        edges = np.cumsum(room)
        episode = np.searchsorted(edges, place, side="right")
        return np.stack([episode, place - (edges[episode] - room[episode])], axis=1)

    def over(self) -> NDArray[np.int64]:
        """int64 [E]: the episodes at whose end the game itself was over, and not only the recording."""
        last = (dataset.read(ref, ref.frames - 2, ref.frames).ends[-1] for dataset, ref in self.episodes)
        return np.flatnonzero(np.fromiter(last, bool, len(self.episodes)))

    def read(self, places: NDArray[np.int64], length: int) -> Window:
        """The windows at `places` [B, 2], with their real actions."""
        frames, actions = [], []
        for episode, start in places.tolist():
            dataset, ref = self.episodes[episode]
            part = dataset.read(ref, start, start + length)
            frames.append(part.frames)
            actions.append(part.actions)
        return Window(to_channels_first(np.stack(frames)), torch.from_numpy(np.stack(actions)))

    def clips(self, length: int = 500) -> Iterator[Tensor]:
        """Every frame once, in clips uint8 [T, C, H, W] of at most `length` frames, episode by episode."""
        for index in range(len(self.episodes)):
            yield from (clip for _, clip in self.clips_of(index, length))

    def clips_of(self, index: int, length: int, overlap: int = 0) -> Iterator[tuple[int, Tensor]]:
        """One episode in clips that begin `overlap` frames early: (frames to skip, uint8 [T, C, H, W])."""
        dataset, ref = self.episodes[index]
        for start in range(0, ref.frames, length):
            early = max(0, start - overlap)
            stop = min(ref.frames, start + length)
            if stop - early < 2:
                early = stop - 2  # an episode is read with at least one transition
            part = dataset.read(ref, early, stop)
            yield start - early, to_channels_first(part.frames)


def to_channels_first(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 [..., H, W, C] → tensor [..., C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3)))


def open_datasets(paths: tuple[str | Path, ...], game: str | None = None) -> list[Dataset]:
    """Open data sets that belong together: one game, one frame size, one list of actions, or a ValueError."""
    if not paths:
        raise ValueError("no data set given; record one: dreamcade collect pong, then use --data DIR")
    datasets = [Dataset.open(path) for path in paths]
    first = datasets[0].manifest
    for path, dataset in zip(paths, datasets, strict=True):
        found = dataset.manifest
        if game is not None and found.game != game:
            raise ValueError(f"{path} holds {found.game!r}, expected {game!r}; use --data with frames of {game}")
        if found.game != first.game:
            raise ValueError(f"{path} holds {found.game!r}, {paths[0]} holds {first.game!r}; a world is of one game")
        if (found.height, found.width) != (first.height, first.width):
            size, want = f"{found.height}x{found.width}", f"{first.height}x{first.width}"
            raise ValueError(f"{path} has frames of {size}, {paths[0]} of {want}; sizes must agree")
        if found.action_names != first.action_names:
            names, want = ", ".join(found.action_names), ", ".join(first.action_names)
            raise ValueError(f"{path} has the actions {names}, {paths[0]} has {want}; actions must agree")
    return datasets
