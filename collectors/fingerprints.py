"""Counting different things in much data: a number for each, and a count of the numbers in bounded memory."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WORD = 8  # bytes
PATCH = 8  # pixels
ROOM = 1 << 17  # fingerprints that a count holds before it goes over to a sample
STIR, SETTLE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, so that no two products are equal


def fingerprints(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A number for each row of bytes: rows uint8 [N, bytes] → uint64 [N].

    Equal rows have equal numbers. Others differ, but for about one pair in 2**64.
    """
    count, width = rows.shape
    padded = np.zeros((count, -(-width // WORD) * WORD), np.uint8)
    padded[:, :width] = rows
    words = padded.view(np.uint64)
    # Each word is scrambled in a way of its own, one to one, so that the sum tells the places of words apart.
    mixed = (words ^ (words >> np.uint64(32))) * _keys(words.shape[1])
    mixed ^= mixed >> np.uint64(29)
    mixed *= STIR
    mixed ^= mixed >> np.uint64(32)
    total = mixed.sum(axis=1, dtype=np.uint64)
    total ^= total >> np.uint64(31)
    total *= SETTLE
    return np.asarray(total ^ (total >> np.uint64(32)), np.uint64)


@lru_cache(maxsize=64)
def _keys(words: int) -> NDArray[np.uint64]:
    """An odd number for each place in a row."""
    return np.random.default_rng(words).integers(2**63, size=words, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def patch_fingerprints(frames: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Fingerprints of the patches of frames uint8 [T, H, W, 3]; of those that stay from frame to frame only one.

    Frames that are no multiple of a patch are filled up with black at the right and at the bottom.
    """
    count, height, width, _ = frames.shape
    down, across = -height % PATCH, -width % PATCH
    if down or across:
        frames = np.pad(frames, ((0, 0), (0, down), (0, across), (0, 0)))
    tall, wide = (height + down) // PATCH, (width + across) // PATCH
    blocks = frames.reshape(count, tall, PATCH, wide, PATCH * 3).transpose(0, 1, 3, 2, 4)
    rows = np.ascontiguousarray(blocks).reshape(count, tall * wide, PATCH * PATCH * 3)
    words = rows.view(np.uint64)
    changed = np.ones(words.shape[:2], np.bool_)
    changed[1:] = (words[1:] != words[:-1]).any(axis=-1)
    return fingerprints(rows[changed])


class Distinct:
    """How many different fingerprints there were.

    Exact while there are at most `room` of them. Then only those go on being held whose lowest bit is 0, half of
    them, then a quarter, and so on; the count is scaled up, and is off by about 1 / sqrt(room / 2) of itself. What is
    held depends only on what was added, neither on its order nor on how often.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._held = np.empty(0, np.uint64)
        self._halvings = 0

    def add(self, found: NDArray[np.uint64]) -> None:
        """Take notice of fingerprints, uint64 [N]."""
        self._held = np.union1d(self._held, self._sampled(found))
        while len(self._held) > self.room:
            self._halvings += 1
            self._held = self._sampled(self._held)

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self._held) << self._halvings

    @property
    def exact(self) -> bool:
        """Whether all of them are held."""
        return self._halvings == 0

    def _sampled(self, found: NDArray[np.uint64]) -> NDArray[np.uint64]:
        mask = np.uint64((1 << self._halvings) - 1)
        return found[(found & mask) == 0]
