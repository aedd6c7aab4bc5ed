"""Is the ball still there, once, and are the paddles whole? Objects found in pixels, for scoring only.

A probe knows one game's colours and places and works on real, reconstructed and dreamed frames
alike, so thresholds lie half-way between colours. Games without a probe have no object rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Mask = NDArray[np.bool_]

CHUNK = 512
"""Frames looked at together: bounds the memory of the label image."""

MAX_BALLS = 8
"""Centres kept for one frame; more balls than this are counted, not placed."""

LARGEST_BALL = 6
"""Pixels; a larger thing where only the ball should be is a blob."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paddle:
    """One paddle in N frames. Numbers are rows of the stored frame, or columns where it moves along those.

    visible: bool [N]; at: float32 [N], its centre, NaN where hidden; first, last: int64 [N], -1 where hidden;
    length: int64 [N], rows or columns covered; pieces: int64 [N], runs of them.
    """

    visible: NDArray[np.bool_]
    at: NDArray[np.float32]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    length: NDArray[np.int64]
    pieces: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objects:
    """What is to be seen in N frames.

    balls: int64 [N]; centres: float32 [N, MAX_BALLS, 2], (y, x), NaN where there is none; blobs: int64 [N], things
    in the ball's place that are too large for one; paddles: by object name; bricks: bool [N, rows, columns], or None.
    """

    balls: NDArray[np.int64]
    centres: NDArray[np.float32]
    blobs: NDArray[np.int64]
    paddles: Mapping[str, Paddle]
    bricks: Mask | None = None

    @property
    def player(self) -> Paddle:
        """The paddle that the keys move."""
        return self.paddles["player"]


class Probe(ABC):
    """Finds one game's ball and paddles in pixels.

    shape: of the frames it knows; axis: 0 if paddles move along the rows, 1 along the columns; across: where each of
    them is on the other axis; span: the first and one past the last place on the axis that a paddle can reach; wall:
    rows and columns of a brick, and (y, x) of the first one's first pixel, or None where there are no bricks; scores:
    where each side's stands, see score_reader.py, and the sign of the reward that raises it; last: the one at the end.
    """

    shape: ClassVar[tuple[int, int, int]]
    axis: ClassVar[int]
    across: ClassVar[Mapping[str, float]]
    span: ClassVar[tuple[int, int]]
    wall: ClassVar[tuple[tuple[int, int], tuple[int, int]] | None] = None
    scores: ClassVar[Mapping[str, tuple[tuple[int, int, int, int], int]]] = {}
    last: ClassVar[int] = 0

    @property
    def object_names(self) -> tuple[str, ...]:
        """The columns of `table`."""
        return ("ball", *self.across)

    def detect(self, frames: Frames) -> Objects:
        """frames: uint8 [N, H, W, 3] → what is to be seen. Raises ValueError on frames of another shape."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != self.shape:
            height, width, _ = self.shape
            found = f"{frames.dtype} {list(frames.shape)}"
            raise ValueError(f"{type(self).__name__} needs uint8 [N, {height}, {width}, 3], found {found}")
        starts = range(0, max(len(frames), 1), CHUNK)
        return joined([self._detect(frames[start : start + CHUNK]) for start in starts])

    def table(self, seen: Objects) -> NDArray[np.float32]:
        """As an episode's objects: float32 [N, K, 3], (visible, y, x) of the first ball and the paddles."""
        out = np.zeros((len(seen.balls), 1 + len(self.across), 3), np.float32)
        out[:, 0, 0] = seen.balls > 0
        out[:, 0, 1:] = np.nan_to_num(seen.centres[:, 0])
        for column, (name, across) in enumerate(self.across.items(), 1):
            paddle = seen.paddles[name]
            out[:, column, 0] = paddle.visible
            out[:, column, 1 + self.axis] = np.where(paddle.visible, paddle.at, 0)
            out[:, column, 2 - self.axis] = np.where(paddle.visible, across, 0)
        return out

    def clear(self, paddle: Paddle, margin: int) -> Mask:
        """Whether a paddle is visible with at least so much room between it and each wall: bool [N]."""
        first, last = self.span
        return np.asarray(
            paddle.visible & (paddle.first - first >= margin) & (last - 1 - paddle.last >= margin), np.bool_
        )

    @abstractmethod
    def _detect(self, frames: Frames) -> Objects:
        """The same for at most CHUNK frames of the right shape."""


def balls_in(mask: Mask, top: int, gap: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Balls, their centres and blobs in masks [n, rows, columns]: all frames labelled as one tall image.

    top: the frame's row that is the mask's first; gap: 1 if pixels with one between them belong together, else 0.
    """
    n, rows, columns = mask.shape
    tall = np.zeros((n, rows + 2, columns + 1), np.uint8)
    tall[:, :rows, :columns] = mask
    # Pixels two apart touch once each has grown by one to the right and one down; pixels three apart do not.
    flat = tall.reshape(n * (rows + 2), columns + 1)
    grown = cv2.dilate(flat, np.ones((2, 2), np.uint8), anchor=(1, 1)) if gap else flat
    labels = cv2.connectedComponents(grown, connectivity=8)[1].reshape(tall.shape)
    frame, y, x = np.nonzero(tall)
    label = labels[frame, y, x]
    count = np.bincount(label, minlength=1)
    ids = np.flatnonzero(count)
    size = count[ids]
    home = (np.bincount(label, frame)[ids] / size).round().astype(np.int64)
    place = np.stack([np.bincount(label, y)[ids] / size + top, np.bincount(label, x)[ids] / size], 1)
    small = size <= LARGEST_BALL
    balls = np.bincount(home[small], minlength=n).astype(np.int64)
    blobs = np.bincount(home[~small], minlength=n).astype(np.int64)
    order = np.argsort(home[small], kind="stable")
    owner = home[small][order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    kept = rank < MAX_BALLS
    centres = np.full((n, MAX_BALLS, 2), np.nan, np.float32)
    centres[owner[kept], rank[kept]] = place[small][order][kept]
    return balls, centres, blobs


def paddle_in(line: Mask, first: int) -> Paddle:
    """The paddle that covers these places along its axis, bool [n, places], of which the first is `first`."""
    visible: Mask = np.asarray(line.any(1), np.bool_)
    start = np.where(visible, line.argmax(1) + first, -1)
    stop = np.where(visible, first + line.shape[1] - 1 - line[:, ::-1].argmax(1), -1)
    return Paddle(
        visible=visible,
        at=np.where(visible, (start + stop) / 2, np.nan).astype(np.float32),
        first=start.astype(np.int64),
        last=stop.astype(np.int64),
        length=line.sum(1, dtype=np.int64),
        pieces=(line[:, 1:] & ~line[:, :-1]).sum(1, dtype=np.int64) + line[:, 0],
    )


def probe_for(game: str, height: int | None = None, width: int | None = None) -> Probe | None:
    """The probe of a game, or None where there is none for it, or none for frames of that size."""
    from training.breakout_probe import BreakoutProbe  # these build on this module
    from training.pong_probe import PongProbe

    kinds: dict[str, type[Probe]] = {"pong": PongProbe, "breakout": BreakoutProbe}
    kind = kinds.get(game)
    if kind is None or (height or kind.shape[0], width or kind.shape[1]) != kind.shape[:2]:
        return None
    return kind()


def near(truth: Objects, guess: Objects, pixels: float = 2.0) -> NDArray[np.bool_]:
    """Whether `guess` shows a ball within so many pixels of the first ball of `truth`, frame by frame: bool [N]."""
    away = np.linalg.norm(guess.centres - truth.centres[:, :1], axis=-1)
    return np.asarray((np.nan_to_num(away, nan=np.inf) <= pixels).any(1), np.bool_)


def paddle_near(truth: Paddle, guess: Paddle, pixels: float = 2.0) -> NDArray[np.bool_]:
    """Whether both show the paddle and its centres are within so many pixels, frame by frame: bool [N]."""
    both = truth.visible & guess.visible
    return np.asarray(both & (np.abs(np.where(both, truth.at - guess.at, np.inf)) <= pixels), np.bool_)


def joined(parts: list[Objects]) -> Objects:
    """Several stretches of frames as one, in order; at least one part."""

    def paddle(name: str) -> Paddle:
        pieces = [part.paddles[name] for part in parts]
        return Paddle(**{f.name: np.concatenate([getattr(piece, f.name) for piece in pieces]) for f in fields(Paddle)})

    walls = [part.bricks for part in parts if part.bricks is not None]
    return Objects(
        balls=np.concatenate([part.balls for part in parts]),
        centres=np.concatenate([part.centres for part in parts]),
        blobs=np.concatenate([part.blobs for part in parts]),
        paddles={name: paddle(name) for name in parts[0].paddles},
        bricks=np.concatenate(walls) if walls else None,
    )
