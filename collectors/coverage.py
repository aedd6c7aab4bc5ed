"""How much of a game a data set shows: different patches, different states, how evenly actions are pressed.

Everything is counted in one pass over the shards, in memory that does not grow with the data set. The figures of two
data sets can be compared where both have the same game, frame size and number of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.cells import Grid, cells
from collectors.episode import Episode
from collectors.fingerprints import Distinct, fingerprints, patch_fingerprints
from collectors.shards import Dataset

Progress = Callable[[int, int], None]

COARSE = Grid(rows=8, columns=11, levels=8)
FINE = Grid(rows=21, columns=16, levels=16)
RANGES = 8  # of a number in [-1, 1], to count how evenly it is used
STRETCH_BYTES = 4 << 20  # of frames that are read at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What was counted.

    patches: different squares of 8x8 pixels, at places that are multiples of 8; coarse_states, states: different
    cells, see COARSE and FINE; distinct_frames: frames of which no two are equal, pixel for pixel. action_entropy:
    of the shares of actions, in bits; action_perplexity: 2 to the power of it, so many actions would be as balanced
    if all were pressed equally often; actions: how many there are. Where an action is some numbers in [-1, 1], each of
    them falls into one of 8 ranges that count as its actions, and entropy is the mean over the numbers.
    still: the share of steps in which nothing on the screen changed. exact: whether the counts are, or are estimates
    within 1 % or so.
    """

    frames: int
    steps: int
    patches: int
    coarse_states: int
    states: int
    distinct_frames: int
    actions: int
    action_entropy: float
    action_perplexity: float
    still: float
    exact: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


class Counter:
    """Counts while episodes come in. actions: how many ids there are, or numbers in an action."""

    def __init__(self, actions: int) -> None:
        self._actions = actions
        self._pressed = np.zeros((0, 0), np.int64)  # of each number, or in one row of ids: how often
        self._steps = 0
        self._frames = self._still = 0
        self._patches, self._coarse, self._states, self._whole = Distinct(), Distinct(), Distinct(), Distinct()

    def add(self, episode: Episode, going_on: bool = False) -> None:
        """Count an episode, or a stretch of one; going_on: its first frame was the last one of the stretch before."""
        frames = np.ascontiguousarray(episode.frames)
        flat = frames.reshape(len(frames), -1)
        self._frames += len(frames) - going_on
        self._still += int((flat[1:] == flat[:-1]).all(axis=1).sum())
        pressed = _pressed(episode.actions, self._actions)
        self._pressed = pressed + (self._pressed if self._steps else 0)
        self._steps += episode.steps
        self._patches.add(patch_fingerprints(frames))
        self._coarse.add(fingerprints(cells(frames, COARSE)))
        self._states.add(fingerprints(cells(frames, FINE)))
        self._whole.add(fingerprints(flat))

    def coverage(self) -> Coverage:
        """What was counted so far. Raises ValueError when nothing was."""
        steps = self._steps
        if not steps:
            raise ValueError("coverage needs at least one step, found none")
        shares = self._pressed / steps
        entropy = max(0.0, float(-(shares * np.log2(np.maximum(shares, 1e-300))).sum(axis=1).mean()))
        counts = (self._patches, self._coarse, self._states, self._whole)
        return Coverage(
            frames=self._frames,
            steps=steps,
            patches=self._patches.count,
            coarse_states=self._coarse.count,
            states=self._states.count,
            distinct_frames=self._whole.count,
            actions=self._pressed.shape[1],
            action_entropy=round(entropy, 4),
            action_perplexity=round(2**entropy, 4),
            still=round(self._still / steps, 6),
            exact=all(one.exact for one in counts),
        )


def _pressed(actions: NDArray[Any], count: int) -> NDArray[np.int64]:
    """How often each id stands in int64 [T], or each range of each number in float32 [T, A]: int64 [rows, actions]."""
    if actions.ndim == 1:
        return np.bincount(actions, minlength=count)[None]
    ranges = np.clip(((actions + 1) * (RANGES / 2)).astype(np.int64), 0, RANGES - 1)
    return np.stack([np.bincount(column, minlength=RANGES) for column in ranges.T])


def coverage_of(dataset: Dataset, progress: Progress | None = None) -> Coverage:
    """Count a whole data set. `progress(done, total)` is called in frames. Raises ValueError on damaged shards."""
    manifest = dataset.manifest
    counter = Counter(len(manifest.action_names))
    stretch = max(2, STRETCH_BYTES // (manifest.height * manifest.width * 3))
    done, tell = 0, progress or _silent
    for ref in dataset.episodes:
        for start in range(0, ref.frames - 1, stretch - 1):
            part = dataset.read(ref, start, min(start + stretch, ref.frames))
            counter.add(part, going_on=start > 0)
            done += len(part.frames) - (start > 0)
            tell(done, manifest.frames)
    return counter.coverage()


def _silent(done: int, total: int) -> None:
    """Say nothing."""
