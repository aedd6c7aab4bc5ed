"""How near a dreamed picture is to the real one, and for how long. Frames are uint8 [H, W, 3].

For one frame and without torch, so that they can be shown while one plays. The PSNR is the scorecard's
(`training.metrics`); a test holds the two equal. The moving pixels are other ones. A scorecard scores all rows of a
table on the same pixels, those that the truth moves. Here one dream is followed, and what it moves alone counts
against it: or else a paddle that wanders off while the real one stands still would not be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from app.timeline import Frame

PSNR_CAP = 100.0  # decibels given to equal frames
THRESHOLD = 15.0  # decibels over the moving pixels below which a dream is somewhere else
PATIENCE = 3  # scored frames in a row that must be below it
ACCENT = (240, 180, 41)  # where the pictures differ
FULL = 128  # a difference of so much, of 255, gets the full accent


def psnr(truth: Frame, guess: Frame) -> float:
    """Peak signal-to-noise ratio, dB: 10 log10(1 / mse) on a scale of 0 to 1, at most PSNR_CAP."""
    return _decibels(float(_squares(truth, guess).mean()))


def moving_mask(before: Frame, truth: Frame, earlier: Frame, guess: Frame) -> NDArray[np.bool_]:
    """What this step changes, in the game (before → truth) or in the dream (earlier → guess): bool [H, W]."""
    return np.asarray((before != truth).any(-1) | (earlier != guess).any(-1), np.bool_)


def moving_psnr(before: Frame, truth: Frame, earlier: Frame, guess: Frame) -> float:
    """PSNR over the moving pixels, dB; NaN where nothing moved. A picture that never changes: earlier = guess."""
    mask = moving_mask(before, truth, earlier, guess)
    return _decibels(float(_squares(truth, guess)[mask].mean())) if mask.any() else math.nan


def difference(truth: Frame, guess: Frame) -> Frame:
    """The true picture in dark grey and, bright on it, every place where the guess is another: uint8 [H, W, 3]."""
    apart = np.abs(truth.astype(np.int16) - guess.astype(np.int16)).max(-1, keepdims=True)  # [H, W, 1]
    weight = np.minimum(apart / FULL, 1.0)
    grey = truth.mean(-1, keepdims=True) * 0.25
    return np.asarray(np.rint(grey * (1.0 - weight) + np.array(ACCENT) * weight), np.uint8)


class Hold:
    """How many frames a picture stays near the game, counted one score at a time.

    A score is the moving-pixel PSNR of one frame; NaN, where nothing moved, is no score and changes nothing. The
    picture is *lost* at the first frame from which on `patience` scores in a row are below `threshold`, and has
    *held* for the frames before that one. A run that has not come to its end yet does not count.
    """

    def __init__(self, threshold: float = THRESHOLD, patience: int = PATIENCE) -> None:
        self.threshold, self.patience = threshold, patience
        self.frames = 0  # seen so far
        self.held: int | None = None  # frames before it was lost; None as long as it is not
        self._run, self._first = 0, 0

    def saw(self, score: float) -> bool:
        """One more frame. True if it is the one that shows that the picture is lost."""
        self.frames += 1
        if self.held is not None or math.isnan(score):
            return False
        if score >= self.threshold:
            self._run = 0
            return False
        self._first = self.frames if self._run == 0 else self._first
        self._run += 1
        if self._run == self.patience:
            self.held = self._first - 1
        return self.held is not None


def held(scores: Iterable[float], threshold: float = THRESHOLD, patience: int = PATIENCE) -> int | None:
    """How many frames a whole run of scores held; None if it was never lost."""
    hold = Hold(threshold, patience)
    for score in scores:
        hold.saw(score)
    return hold.held


def _squares(truth: Frame, guess: Frame) -> NDArray[np.float64]:
    """Squared error of each pixel, mean over the channels, on a scale of 0 to 1: [H, W]."""
    if truth.shape != guess.shape or truth.ndim != 3:
        found = f"{list(truth.shape)} and {list(guess.shape)}"
        raise ValueError(f"frames must have one shape [H, W, 3], found {found}")
    apart = (truth.astype(np.float64) - guess.astype(np.float64)) / 255.0
    return np.asarray((apart * apart).mean(-1), np.float64)


def _decibels(error: float) -> float:
    return min(PSNR_CAP, -10.0 * math.log10(max(error, 1e-30)))
