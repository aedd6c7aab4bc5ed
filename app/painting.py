"""Painting on a dream's frame, and letting the dream go on from what was painted. No pygame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from app.session import Session
from app.timeline import Frame, Origin

MOST_UNDO = 50
Colour = tuple[int, int, int]


class Box(NamedTuple):
    """A rectangle of pixels: rows [top, bottom), columns [left, right)."""

    top: int
    left: int
    bottom: int
    right: int


class Canvas:
    """A frame that is being painted on: uint8 [H, W, 3]. Everything outside it is clipped."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame.copy()
        self._before = frame.copy()
        self._undo: list[Frame] = []

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Where it differs from the frame that it began with: bool [H, W]."""
        return np.asarray((self.frame != self._before).any(axis=-1))

    def remember(self) -> None:
        """Begin a stroke: `undo` goes back to here."""
        self._undo.append(self.frame.copy())
        del self._undo[:-MOST_UNDO]

    def undo(self) -> bool:
        """Take the last stroke back. False if there is none."""
        if not self._undo:
            return False
        self.frame = self._undo.pop()
        return True

    def pick(self, row: int, column: int) -> Colour:
        """The colour of a pixel."""
        height, width = self.frame.shape[:2]
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(f"pixel {row}, {column} is outside the frame of {height}x{width}")
        red, green, blue = (int(value) for value in self.frame[row, column])
        return red, green, blue

    def draw(self, start: tuple[int, int], stop: tuple[int, int], colour: Colour, size: int = 1) -> None:
        """A line from pixel to pixel (row, column), `size` pixels wide."""
        steps = max(abs(stop[0] - start[0]), abs(stop[1] - start[1]), 1)
        for row, column in np.linspace(start, stop, steps + 1).round().astype(int):
            top, left = row - (size - 1) // 2, column - (size - 1) // 2
            self.frame[max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)] = colour

    def copy(self, box: Box) -> Frame:
        """What a rectangle shows, uint8 [h, w, 3]; raises ValueError where it has no area inside the frame."""
        stamp = self.frame[max(0, box.top) : max(0, box.bottom), max(0, box.left) : max(0, box.right)].copy()
        if stamp.size == 0:
            raise ValueError(f"nothing to copy between rows {box.top}-{box.bottom}, columns {box.left}-{box.right}")
        return stamp

    def stamp(self, picture: Frame, row: int, column: int) -> None:
        """Put a copied region with its middle at a pixel; what hangs over the edge is cut."""
        height, width = picture.shape[:2]
        top, left = row - height // 2, column - width // 2
        inside = self.frame[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
        cut = (max(0, -top), max(0, -left))
        inside[...] = picture[cut[0] : cut[0] + inside.shape[0], cut[1] : cut[1] + inside.shape[1]]

    def origin(self, session: Session) -> Origin:
        """Frames to go on from: the last ones of the session, with what was painted in each of them.

        Painted in one frame only, a thing would be there for a moment and gone by the reckoning of a world
        that remembers; painted in all, it stands still until something moves it.
        """
        clip = session.recent(session.world.spec.context).clone()  # [T, C, H, W]
        mask = torch.from_numpy(self.changed)
        pixels = torch.from_numpy(self.frame).permute(2, 0, 1)[: clip.shape[1]]
        return Origin(torch.where(mask, pixels, clip), "paint")
