"""Is the ball still there, once, and are the paddles whole? Objects found in pixels, for scoring only.

A probe knows one game's colours and places and works on real, reconstructed and dreamed frames
alike, so thresholds lie half-way between colours. Games without a probe have no object rows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Mask = NDArray[np.bool_]

CHUNK = 512
"""Frames looked at together: bounds the memory of the label image."""

MAX_BALLS = 8
"""Centres kept for one frame; more balls than this are counted, not placed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paddle:
    """One paddle in N frames. Rows are those of the stored frame.

    visible: bool [N]; y: float32 [N], centre row, NaN where hidden; top, bottom: int64 [N], first
    and last row, -1 where hidden; length: int64 [N], rows covered; pieces: int64 [N], runs of rows.
    """

    visible: NDArray[np.bool_]
    y: NDArray[np.float32]
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    length: NDArray[np.int64]
    pieces: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PongObjects:
    """What is to be seen in N frames of Pong.

    balls: int64 [N]; centres: float32 [N, MAX_BALLS, 2], (y, x), NaN where there is none; blobs:
    int64 [N], white things in the play area that are too large for a ball; player, enemy: paddles.
    """

    balls: NDArray[np.int64]
    centres: NDArray[np.float32]
    blobs: NDArray[np.int64]
    player: Paddle
    enemy: Paddle

    @property
    def paddles(self) -> dict[str, Paddle]:
        """The paddles by object name."""
        return {"player": self.player, "enemy": self.enemy}

    def table(self) -> NDArray[np.float32]:
        """As an episode's objects: float32 [N, 3, 3], (visible, y, x) of ball (the first one), player, enemy."""
        out = np.zeros((len(self.balls), 3, 3), np.float32)
        out[:, 0, 0] = self.balls > 0
        out[:, 0, 1:] = np.nan_to_num(self.centres[:, 0])
        for column, (paddle, x) in ((1, (self.player, 70.5)), (2, (self.enemy, 8.5))):
            out[:, column, 0] = paddle.visible
            out[:, column, 1] = np.where(paddle.visible, paddle.y, 0)
            out[:, column, 2] = np.where(paddle.visible, x, 0)
        return out


class Probe(Protocol):
    """Finds a game's objects in pixels. `object_names` are the columns of `PongObjects.table`."""

    object_names: tuple[str, ...]
    play_rows: tuple[int, int]

    def detect(self, frames: Frames) -> PongObjects:
        """frames: uint8 [N, H, W, 3] → objects."""
        ...

    def clear(self, paddle: Paddle, margin: int) -> Mask:
        """Whether a paddle is visible with at least so many free rows between it and each wall: bool [N]."""
        ...


class PongProbe:
    """Pong at 104×80, every second pixel of the ALE screen from row 2: a white ball, a green and an orange paddle.

    Two raw frames are max-pooled when recording, so one fast ball may show as two dots with a gap
    of one pixel and a moving paddle as up to 14 rows with blended ends. Hence white pixels at most
    two apart are one ball, and the blend (144, 186, 92) is the player's green.
    """

    object_names: tuple[str, ...] = ("ball", "player", "enemy")
    play_rows: tuple[int, int] = (16, 96)
    shape = (104, 80, 3)
    largest_ball = 6
    places = {"player": (70, 71), "enemy": (8, 9)}  # noqa: RUF012 (a constant)

    def detect(self, frames: Frames) -> PongObjects:
        """frames: uint8 [N, 104, 80, 3] → what is to be seen."""
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != self.shape:
            raise ValueError(f"the Pong probe needs uint8 [N, 104, 80, 3], found {frames.dtype} {list(frames.shape)}")
        starts = range(0, max(len(frames), 1), CHUNK)
        return joined([self._detect(frames[start : start + CHUNK]) for start in starts])

    def clear(self, paddle: Paddle, margin: int) -> Mask:
        """Whether a paddle is visible with at least so many free rows between it and each wall: bool [N]."""
        first, last = self.play_rows
        return np.asarray(
            paddle.visible & (paddle.top - first >= margin) & (last - 1 - paddle.bottom >= margin), np.bool_
        )

    def _detect(self, frames: Frames) -> PongObjects:
        first, last = self.play_rows
        red, green, blue = (frames[:, first:last, :, channel] for channel in range(3))
        white = (blue >= 126) & (green >= 140) & (red >= 140)
        player = (green >= 130) & (red <= 178) & (blue < 126)
        enemy = (red > 178) & (green <= 175) & (blue < 126)
        balls, centres, blobs = self._balls(white)
        return PongObjects(
            balls=balls,
            centres=centres,
            blobs=blobs,
            player=self._paddle(player, white, *self.places["player"]),
            enemy=self._paddle(enemy, white, *self.places["enemy"]),
        )

    def _balls(self, white: Mask) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Balls, their centres and blobs in masks [n, rows, columns]: all frames labelled as one tall image."""
        n, rows, columns = white.shape
        tall = np.zeros((n, rows + 2, columns + 1), np.uint8)
        tall[:, :rows, :columns] = white
        # Pixels two apart touch once each has grown by one to the right and one down; pixels three apart do not.
        grown = cv2.dilate(tall.reshape(n * (rows + 2), columns + 1), np.ones((2, 2), np.uint8), anchor=(1, 1))
        labels = cv2.connectedComponents(grown, connectivity=8)[1].reshape(tall.shape)
        frame, y, x = np.nonzero(tall)
        label = labels[frame, y, x]
        count = np.bincount(label, minlength=1)
        ids = np.flatnonzero(count)
        size = count[ids]
        home = (np.bincount(label, frame)[ids] / size).round().astype(np.int64)
        place = np.stack([np.bincount(label, y)[ids] / size + self.play_rows[0], np.bincount(label, x)[ids] / size], 1)
        small = size <= self.largest_ball
        balls = np.bincount(home[small], minlength=n).astype(np.int64)
        blobs = np.bincount(home[~small], minlength=n).astype(np.int64)
        order = np.argsort(home[small], kind="stable")
        owner = home[small][order]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        kept = rank < MAX_BALLS
        centres = np.full((n, MAX_BALLS, 2), np.nan, np.float32)
        centres[owner[kept], rank[kept]] = place[small][order][kept]
        return balls, centres, blobs

    def _paddle(self, mask: Mask, white: Mask, left: int, right: int) -> Paddle:
        """A paddle in its columns, two either side allowed; a ball in front of it does not break it."""
        first = self.play_rows[0]
        rows = mask[:, :, left - 2 : right + 3].any(2)  # [n, rows]
        started = np.logical_or.accumulate(rows, 1)
        ending = np.logical_or.accumulate(rows[:, ::-1], 1)[:, ::-1]
        rows = rows | (white[:, :, left : right + 1].any(2) & started & ending)
        visible = rows.any(1)
        top = np.where(visible, rows.argmax(1) + first, -1)
        bottom = np.where(visible, first + rows.shape[1] - 1 - rows[:, ::-1].argmax(1), -1)
        return Paddle(
            visible=visible,
            y=np.where(visible, (top + bottom) / 2, np.nan).astype(np.float32),
            top=top.astype(np.int64),
            bottom=bottom.astype(np.int64),
            length=rows.sum(1, dtype=np.int64),
            pieces=(rows[:, 1:] & ~rows[:, :-1]).sum(1, dtype=np.int64) + rows[:, 0],
        )


PROBES: dict[str, type[PongProbe]] = {"pong": PongProbe}
"""Every game that has a probe, by id."""


def probe_for(game: str, height: int | None = None, width: int | None = None) -> Probe | None:
    """The probe of a game, or None where there is none for it, or none for frames of that size."""
    kind = PROBES.get(game)
    if kind is None or (height or kind.shape[0], width or kind.shape[1]) != kind.shape[:2]:
        return None
    return kind()


def near(truth: PongObjects, guess: PongObjects, pixels: float = 2.0) -> NDArray[np.bool_]:
    """Whether `guess` shows a ball within so many pixels of the first ball of `truth`, frame by frame: bool [N]."""
    away = np.linalg.norm(guess.centres - truth.centres[:, :1], axis=-1)
    return np.asarray((np.nan_to_num(away, nan=np.inf) <= pixels).any(1), np.bool_)


def paddle_near(truth: Paddle, guess: Paddle, pixels: float = 2.0) -> NDArray[np.bool_]:
    """Whether both show the paddle and its centres are within so many pixels, frame by frame: bool [N]."""
    both = truth.visible & guess.visible
    return np.asarray(both & (np.abs(np.where(both, truth.y - guess.y, np.inf)) <= pixels), np.bool_)


def joined(parts: list[PongObjects]) -> PongObjects:
    """Several stretches of frames as one, in order; at least one part."""

    def paddle(name: str) -> Paddle:
        pieces = [part.paddles[name] for part in parts]
        return Paddle(**{f.name: np.concatenate([getattr(piece, f.name) for piece in pieces]) for f in fields(Paddle)})

    return PongObjects(
        balls=np.concatenate([part.balls for part in parts]),
        centres=np.concatenate([part.centres for part in parts]),
        blobs=np.concatenate([part.blobs for part in parts]),
        player=paddle("player"),
        enemy=paddle("enemy"),
    )
