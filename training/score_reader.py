"""Does the score on the screen go up by one at a time? Digits read by comparison with real frames, for scoring only.

Nobody draws the digits here: what each score looks like is learned from recorded play, whose rewards say how it stands.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.held_out import Play

Area = tuple[int, int, int, int]  # first row, one past the last, first column, one past the last

SETTLED = 4
"""Frames for which a score must stay to count as shown."""

SLOWEST = 8
"""Frames within which a score must have changed to another."""


class ScoreReader:
    """Reads scores off frames. scores: where each stands, and the sign of the reward that raises it."""

    def __init__(self, scores: Mapping[str, tuple[Area, int]], play: Play) -> None:
        """Learn the pictures from whole recorded episodes, which begin at 0:0."""
        self.areas = areas = {name: area for name, (area, _) in scores.items()}
        votes: dict[str, defaultdict[bytes, Counter[int]]] = {name: defaultdict(Counter) for name in areas}
        for reference in play.episodes:
            episode = play.read(reference)
            for name, area in areas.items():
                points = np.concatenate([[0], np.cumsum(np.sign(episode.rewards) == scores[name][1])])
                for picture, point in zip(_cut(episode.frames, area), points, strict=True):
                    votes[name][picture.tobytes()][int(point)] += 1
        self._known = {
            name: {picture: points.most_common(1)[0][0] for picture, points in found.items()}
            for name, found in votes.items()
        }

    def read(self, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
        """uint8 [N, H, W, 3] → int64 [N, sides] in the order of `areas`; -1 for a picture that no real frame shows."""
        sides = [
            [self._known[name].get(picture.tobytes(), -1) for picture in _cut(frames, area)]
            for name, area in self.areas.items()
        ]
        return np.array(sides, np.int64).reshape(len(self.areas), len(frames)).T


def score_changes(read: NDArray[np.int64], last: int) -> list[bool]:
    """For every change of the score in int64 [N, sides], whether it was a legal one.

    Legal: within SLOWEST frames one side has one point more, or all have none where the game was over: a side had
    `last` points. A score that comes apart and comes back is an illegal change, too.
    """
    shown = [(at, at + n, score) for at, n, score in _runs(read) if n >= SETTLED and min(score) >= 0]
    out = list[bool]()
    for (_, left, before), (reached, _, after) in pairwise(shown):
        steps = np.subtract(after, before)
        point = steps.sum() == 1 and (steps >= 0).all()
        again = max(before) >= last and not any(after)
        out.append(bool((point or again) and reached - left <= SLOWEST))
    return out


def _runs(read: NDArray[np.int64]) -> list[tuple[int, int, tuple[int, ...]]]:
    """(start, length, score) of every stretch of frames that show the same."""
    if not len(read):
        return []
    starts = np.concatenate([[0], 1 + np.flatnonzero((read[1:] != read[:-1]).any(1))])
    lengths = np.diff(np.concatenate([starts, [len(read)]]))
    return [(int(s), int(n), tuple(read[s].tolist())) for s, n in zip(starts, lengths, strict=True)]


def _cut(frames: NDArray[np.uint8], area: Area) -> NDArray[np.uint8]:
    top, bottom, left, right = area
    return np.ascontiguousarray(frames[:, top:bottom, left:right])
