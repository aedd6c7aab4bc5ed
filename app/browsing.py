"""Looking through a data set: a cursor over its episodes and frames, what is known of each, and marks. No window.

Frames stay on disk until they are shown; what was read last is kept, a few dozen megabytes at most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app import recorder
from app.marks import Marks, key_of
from app.names import ActionNames
from collectors.editing import Progress, drop_episodes
from collectors.manifest import Manifest
from collectors.shards import Dataset, EpisodeRef, split_of
from models.world import InfersActions, World, WorldSpec

Frame = NDArray[np.uint8]
Key = TypeVar("Key")
Value = TypeVar("Value")

BLOCK, BLOCK_BYTES, BLOCKS = 128, 4 << 20, 8  # frames read at once, at most so many bytes; blocks kept
CODES, PAST, READ = 16, 3, 6  # transitions whose codes are read at once, frames before them; episodes kept
STRIPS, SHARDS = 4, 64  # thumbnails of so many episodes, and columns of so many shards, are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One episode in a line. total: the sum of its rewards; ended: the game was over, not merely cut off."""

    number: int
    seed: int
    behaviour: str
    steps: int
    total: float
    ended: bool
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What is known of one frame: the step that led to it, and what is on it.

    action, code: names, or None at the first frame; code also without a world that reads codes; total: the rewards
    so far; objects: name → (y, x) in pixels, or None for one that is hidden.
    """

    frame: int
    action: str | None
    reward: float
    total: float
    end: bool
    code: str | None
    objects: tuple[tuple[str, tuple[float, float] | None], ...]


class Browser:
    """A cursor in a data set. world: reads its latent codes off the frames, if it can.

    Raises ValueError for a world of another frame size, and for a damaged file of marks.
    """

    def __init__(self, dataset: Dataset, world: World | None = None) -> None:
        if world is not None:
            check_size(dataset.manifest, world.spec)
        self.world = world
        self.names = None if world is None else ActionNames(world.spec)
        self.marks = Marks(dataset.folder)
        self.episode, self.frame, self.playing = 0, 0, False
        self._enter(dataset)

    def _enter(self, dataset: Dataset) -> None:
        """Look at a data set with nothing read of it yet."""
        self.dataset = dataset
        self._blocks: OrderedDict[tuple[int, int], Frame] = OrderedDict()
        self._codes: OrderedDict[int, NDArray[np.int64]] = OrderedDict()
        self._strips: OrderedDict[tuple[int, int], list[tuple[int, Frame]]] = OrderedDict()
        self._columns: OrderedDict[int, dict[str, NDArray[Any]]] = OrderedDict()
        rows, columns = dataset.manifest.height, dataset.manifest.width
        self._block = max(2, min(BLOCK, BLOCK_BYTES // (rows * columns * 3)))
        self._marked = {episode for episode in range(len(dataset.episodes)) if self._key(episode) in self.marks}

    @property
    def ref(self) -> EpisodeRef:
        """The episode at the cursor."""
        return self.dataset.episodes[self.episode]

    @property
    def last(self) -> int:
        """The last frame of the episode at the cursor."""
        return self.ref.frames - 1

    @property
    def reads_codes(self) -> bool:
        """Whether the world can tell latent codes."""
        return isinstance(self.world, InfersActions)

    def go(self, episode: int, frame: int = 0) -> None:
        """To a frame of an episode. Raises ValueError where there is no such episode or frame."""
        self.check(episode)
        frames = self.dataset.episodes[episode].frames
        if not 0 <= frame < frames:
            raise ValueError(f"frame {frame} is outside [0, {frames}) of episode {episode}")
        self.episode, self.frame = episode, frame

    def check(self, episode: int) -> int:
        """The number itself, or a ValueError if there is no such episode."""
        if not 0 <= episode < len(self.dataset.episodes):
            raise ValueError(f"episode {episode} is outside [0, {len(self.dataset.episodes)})")
        return episode

    def move(self, frames: int) -> None:
        """So many frames ahead, or back; not beyond the episode."""
        self.frame = min(self.last, max(0, self.frame + frames))

    def turn(self, episodes: int) -> None:
        """So many episodes ahead, or back, to the first frame; at the end nothing happens."""
        wanted = min(len(self.dataset.episodes) - 1, max(0, self.episode + episodes))
        if wanted != self.episode:
            self.go(wanted)

    def play(self) -> None:
        """Let the episode run, or stop it; at its end it runs from its beginning."""
        self.playing = not self.playing
        if self.playing and self.frame == self.last:
            self.frame = 0

    def tick(self) -> None:
        """While playing: one frame ahead, and stop at the end."""
        if self.playing:
            self.move(1)
            self.playing = self.frame < self.last

    def picture(self, frame: int | None = None, episode: int | None = None) -> Frame:
        """A frame, uint8 [H, W, 3]; the one at the cursor if nothing else is asked for."""
        frame = self.frame if frame is None else frame
        key = (self.episode if episode is None else episode, frame // self._block)
        block = self._blocks.get(key)
        if block is None:
            ref, start = self.dataset.episodes[key[0]], key[1] * self._block
            stop = min(ref.frames, start + self._block)
            early = min(start, stop - 2)  # an episode is read with at least one transition
            block = self.dataset.read(ref, early, stop).frames[start - early :]
        _keep(self._blocks, key, block, BLOCKS)
        shown: Frame = block[frame % self._block]
        return shown

    def moment(self) -> Moment:
        """What is known of the frame at the cursor."""
        ref, manifest, at = self.ref, self.dataset.manifest, self.frame
        columns, first = self._shard(ref.shard), ref.start - ref.index
        rewards = columns["rewards"][first : first + at]
        objects: list[tuple[str, tuple[float, float] | None]] = []
        if manifest.object_names:
            for name, (visible, y, x) in zip(
                manifest.object_names, columns["objects"][ref.start + at].tolist(), strict=True
            ):
                objects.append((name, (y, x) if visible > 0.5 else None))
        code = self.code()
        return Moment(
            frame=at,
            action=manifest.action_names[int(columns["actions"][first + at - 1])] if at else None,
            reward=float(rewards[-1]) if at else 0.0,
            total=float(rewards.sum()),
            end=bool(columns["ends"][first + at - 1]) if at else False,
            code=None if code is None else self.titled(code),
            objects=tuple(objects),
        )

    def code(self) -> int | None:
        """The latent code that the world reads off the step to the frame at the cursor; None if there is none."""
        return self._code_of(self.frame - 1) if self.frame and self.reads_codes else None

    def codes(self) -> NDArray[np.int64]:
        """The latent codes of all T steps of the episode at the cursor: int64 [T]. For a world that reads codes."""
        return np.array([self._code_of(step) for step in range(self.ref.steps)], np.int64)

    def titled(self, code: int) -> str:
        """A code's number, as it is on its key, and what the world calls it."""
        return f"{code + 1} {self.names.title(code)}" if self.names is not None else str(code + 1)

    def rewards(self) -> list[tuple[int, float]]:
        """(frame, reward) wherever a reward of the episode at the cursor is not zero."""
        ref = self.ref
        first = ref.start - ref.index
        values = self._shard(ref.shard)["rewards"][first : first + ref.steps]
        return [(int(step) + 1, float(values[step])) for step in np.flatnonzero(values)]

    def strip(self, count: int) -> list[tuple[int, Frame]]:
        """Up to `count` frames spread over the episode at the cursor, each with its number."""
        key = (self.episode, count)
        strip = self._strips.get(key)
        if strip is None:
            moments = np.unique(np.linspace(0, self.last, count).round().astype(int)).tolist()
            strip = [(frame, self._lone(frame)) for frame in moments]
        _keep(self._strips, key, strip, STRIPS)
        return strip

    def clip(self, context: int) -> Tensor:
        """The last `context` frames up to the cursor, uint8 [T, C, H, W], the first repeated where there are too few:
        what a world can dream on from."""
        frames = [self.picture(max(0, frame)) for frame in range(self.frame - context + 1, self.frame + 1)]
        return _channels_first(np.stack(frames))

    def summary(self, episode: int) -> Summary:
        """An episode in a line."""
        ref = self.dataset.episodes[self.check(episode)]
        columns, first = self._shard(ref.shard), ref.start - ref.index
        return Summary(
            number=episode,
            seed=ref.seed,
            behaviour=ref.behaviour,
            steps=ref.steps,
            total=float(columns["rewards"][first : first + ref.steps].sum()),
            ended=bool(columns["ends"][first + ref.steps - 1]),
            split=split_of(ref.seed, self.dataset.manifest.game),
        )

    def is_marked(self, episode: int) -> bool:
        """Whether an episode is marked."""
        return episode in self._marked

    def marked(self) -> list[int]:
        """The numbers of all marked episodes."""
        return sorted(self._marked)

    def mark(self) -> bool:
        """Mark the episode at the cursor, or take its mark away. Returns whether it is marked now."""
        marked = self.marks.toggle(self._key(self.episode))
        self._marked ^= {self.episode}
        return marked

    def export(self, episode: int, out: str | Path) -> Path:
        """Write an episode as x.mp4, x.gif, x.npz or folder/; see `recorder.record`."""
        ref = self.dataset.episodes[self.check(episode)]
        first = ref.start - ref.index
        actions = self._shard(ref.shard)["actions"][first : first + ref.steps].tolist()
        frames: Iterator[Frame] = (self.picture(frame, episode) for frame in range(ref.frames))
        return recorder.record(out, frames, actions, self.dataset.manifest.fps)

    def drop(self, episodes: Collection[int], progress: Progress | None = None) -> Manifest:
        """Delete episodes from the data set for good; marks on the others stay. See `editing.drop_episodes`."""
        gone = sorted({self.check(episode) for episode in episodes})
        refs = [self.dataset.episodes[episode] for episode in gone]
        kept = [episode - sum(other < episode for other in gone) for episode in self.marked() if episode not in gone]
        old = self.dataset
        old.close()
        edited = drop_episodes(old.folder, refs, expected=old.manifest, progress=progress)
        old.close()  # whoever watched the progress may have looked at it
        self._enter(Dataset.open(old.folder))
        self._marked = set(kept)
        stays, before = self.episode not in gone, sum(other < self.episode for other in gone)
        self.episode = min(len(self.dataset.episodes) - 1, self.episode - before)
        self.frame, self.playing = self.frame if stays else 0, False
        self.marks.become(self._key(episode) for episode in kept)
        return edited

    def close(self) -> None:
        """Let go of the data set's files."""
        self.dataset.close()

    def _key(self, episode: int) -> str:
        return key_of(self.dataset.manifest, self.dataset.episodes[episode])

    def _code_of(self, step: int) -> int:
        """The code of a step of the episode at the cursor; with it those of the steps around it are read."""
        assert isinstance(self.world, InfersActions), "the world reads codes"
        known = self._codes.get(self.episode)
        known = np.full(self.ref.steps, -1, np.int64) if known is None else known
        _keep(self._codes, self.episode, known, READ)
        if known[step] < 0:
            first = step // CODES * CODES
            stop, early = min(self.ref.steps, first + CODES), max(0, first - PAST)
            frames = np.stack([self.picture(frame) for frame in range(early, stop + 1)])
            with torch.inference_mode():
                found = self.world.infer_actions(_channels_first(frames)[None])[0].cpu().numpy()
            known[first:stop] = found[first - early :]
        return int(known[step])

    def _shard(self, index: int) -> dict[str, NDArray[Any]]:
        """All columns of a shard but its frames; they are small."""
        columns = self._columns.get(index)
        if columns is None:
            names = ("actions", "rewards", "ends", *(("objects",) if self.dataset.manifest.object_names else ()))
            columns = self.dataset.columns(index, names)
        _keep(self._columns, index, columns, SHARDS)
        return columns

    def _lone(self, frame: int) -> Frame:
        """One frame of the episode at the cursor, read without what is around it."""
        start = min(frame, self.last - 1)
        found: Frame = self.dataset.read(self.ref, start, start + 2).frames[frame - start]
        return found


def check_size(manifest: Manifest, spec: WorldSpec) -> None:
    """Raise ValueError unless a world sees frames of a data set's size."""
    found, wanted = (spec.channels, spec.height, spec.width), (3, manifest.height, manifest.width)
    if found != wanted:
        shown, asked = (" x ".join(map(str, size)) for size in (found, wanted))
        raise ValueError(
            f"world '{spec.game}' sees frames of {shown}, the data set has {asked}; choose another --world"
        )


def _channels_first(frames: Frame) -> Tensor:
    """uint8 [T, H, W, 3] → [T, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


def _keep(kept: OrderedDict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Note something as used last, and forget what was not used for longest."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
