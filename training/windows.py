"""Shards → windows of T frames and T-1 actions. Windows of pixels never cross the end of an episode."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
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
        return self._only([ref.behaviour in behaviours for _, ref in self.episodes])

    def real(self) -> Windows:
        """Only the episodes of the game itself, none that was dreamed; all of them where there is none."""
        return self._only([ref.source == "real" for _, ref in self.episodes])

    def of_game(self, game: str) -> Windows:
        """Only the episodes of one game, where a mixture has several."""
        return self._only([dataset.manifest.game == game for dataset, _ in self.episodes])

    def some(self, most: int) -> Windows:
        """Episodes spread evenly over all of them, with about `most` frames together; all where there are no more."""
        apart = -(-self.frames // most)
        return self._taken(np.arange(0, len(self.episodes), apart)) if apart > 1 else self

    def _only(self, wanted: list[bool]) -> Windows:
        return self._taken(np.flatnonzero(wanted)) if any(wanted) else self

    def _taken(self, episodes: NDArray[np.int64]) -> Windows:
        """The same data sets with only these episodes of them, by number."""
        part = copy.copy(self)
        part.episodes = [self.episodes[episode] for episode in episodes]
        part.lengths = self.lengths[episodes]
        return part

    @property
    def frames(self) -> int:
        """Number of frames in all episodes together."""
        return int(self.lengths.sum())

    def draw(self, rng: np.random.Generator, batch: int, length: int) -> NDArray[np.int64]:
        """int64 [B, 2]: episode and first frame of `batch` windows of `length` frames, evenly over all."""
        room = self.room(length)
        place = rng.integers(int(room.sum()), size=batch)
        edges = np.cumsum(room)
        episode = np.searchsorted(edges, place, side="right")
        return np.stack([episode, place - (edges[episode] - room[episode])], axis=1)

    def room(self, length: int) -> NDArray[np.int64]:
        """int64 [E]: how many windows of `length` frames each episode has. Raises ValueError where none has any."""
        room = np.maximum(self.lengths - length + 1, 0)
        if not room.any():
            longest = int(self.lengths.max())
            raise ValueError(f"longest episode has {longest} frames, a window needs {length}; collect longer episodes")
        return room

    def by_share(self, odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The odds of the episodes [E] as they should be; a mixture gives each game its share of them."""
        return odds

    def column(self, name: str) -> Iterator[NDArray[Any]]:
        """One column of each episode in turn, [T] or [T, K]; read once for episodes of a shard that stand together."""
        last, found = None, np.empty(0)
        for dataset, ref in self.episodes:
            if last != (dataset.folder, ref.shard):
                last, found = (dataset.folder, ref.shard), dataset.columns(ref.shard, (name,))[name]
            first = ref.start - ref.index
            yield found[first : first + ref.steps]

    def over(self) -> NDArray[np.int64]:
        """int64 [E]: the episodes at whose end the game itself was over, and not only the recording."""
        return np.flatnonzero(np.fromiter((ends[-1] for ends in self.column("ends")), bool, len(self.episodes)))

    def read(self, places: NDArray[np.int64], length: int) -> Window:
        """The windows at `places` [B, 2], with their real actions; by as many threads as torch computes with."""
        size = self.datasets[0].manifest
        frames = np.empty((len(places), length, 3, size.height, size.width), np.uint8)

        def fill(row: int) -> NDArray[Any]:
            dataset, ref = self.episodes[places[row, 0]]
            seen = np.empty((length, size.height, size.width, 3), np.uint8)
            actions = dataset.fill(ref, int(places[row, 1]), seen)
            # OpenCV takes colours apart several times faster than a copy with other strides does.
            for channel, plane in enumerate(cv2.split(seen.reshape(-1, size.width, 3))):
                frames[row, :, channel] = plane.reshape(length, size.height, size.width)
            return actions

        threads = min(torch.get_num_threads(), len(places))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                actions = list(pool.map(fill, range(len(places))))
        else:
            actions = list(map(fill, range(len(places))))
        return Window(torch.from_numpy(frames), torch.from_numpy(np.stack(actions)))

    def frames_apart(self, count: int) -> Iterator[NDArray[np.uint8]]:
        """About `count` frames, uint8 [H, W, C], evenly spread over all episodes."""
        apart = max(1, self.frames // count)
        begin = 0
        for dataset, ref in self.episodes:
            wanted = range(-begin % apart, ref.frames, apart)
            begin += ref.frames
            if len(wanted):
                yield from dataset.read(ref).frames[wanted.start :: apart]

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


def open_datasets(paths: tuple[str | Path, ...], game: str | None = None, mix: bool = False) -> list[Dataset]:
    """Open data sets that belong together: one game, one frame size, one list of actions, or a ValueError.

    game: of the first one at least. mix: games may differ, and with them the actions.
    """
    if not paths:
        raise ValueError("no data set given; record one: dreamcade collect pong, then use --data DIR")
    datasets = [Dataset.open(path) for path in paths]
    first = datasets[0].manifest
    for path, dataset in zip(paths, datasets, strict=True):
        found = dataset.manifest
        if found.continuous:
            shape = f"{len(found.action_names)} numbers a step"
            raise ValueError(f"{path} holds continuous actions, {shape}; worlds are learned from games with action ids")
        if game is not None and found.game != game and not (mix and dataset is not datasets[0]):
            hint = f"use --data with frames of {game}" + (", or --mix" if dataset is not datasets[0] else "")
            raise ValueError(f"{path} holds {found.game!r}, expected {game!r}; {hint}")
        if found.game != first.game and not mix:
            hint = "a world is of one game; --mix lets one learn several"
            raise ValueError(f"{path} holds {found.game!r}, {paths[0]} holds {first.game!r}; {hint}")
        if (found.height, found.width) != (first.height, first.width):
            size, want = f"{found.height}x{found.width}", f"{first.height}x{first.width}"
            raise ValueError(f"{path} has frames of {size}, {paths[0]} of {want}; sizes must agree")
        if found.action_names != first.action_names and not mix:
            names, want = ", ".join(found.action_names), ", ".join(first.action_names)
            raise ValueError(f"{path} has the actions {names}, {paths[0]} has {want}; actions must agree")
    return datasets
