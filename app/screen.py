"""The window: the only place that opens one, scales pixels, or saves what is on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pygame
from numpy.typing import NDArray

from app import theme

SMALLEST = (320, 240)
LARGEST_SCALE = 8
USUAL_WIDTH, MARGIN = 640, 16


def fit(width: int, height: int, area: pygame.Rect, whole: bool = True) -> pygame.Rect:
    """The largest multiple of a picture inside an area, centred: a whole one, once its size where the area is too
    small; or, with `whole` off, any."""
    scale = min(area.width / width, area.height / height)
    scale = max(1, int(scale)) if whole else max(0.1, scale)
    rect = pygame.Rect(0, 0, round(width * scale), round(height * scale))
    rect.center = area.center
    return rect


def window_size(
    width: int, height: int, bars: Callable[[int], int], scale: int | None, desktop: tuple[int, int]
) -> tuple[int, int]:
    """A window for a picture and its bars; scale None takes the largest that fits the desktop.

    bars: pixels that the bars above and below need in a window of some width.
    """
    for times in [scale] if scale else range(LARGEST_SCALE, 0, -1):
        across = max(USUAL_WIDTH, width * times + MARGIN)
        size = (across, max(SMALLEST[1], height * times + bars(across) + MARGIN))
        if size[0] <= desktop[0] * 0.95 and size[1] <= desktop[1] * 0.9:
            break
    return size


class Screen:
    """A resizable window that shows frames at whole multiples of their size, letterboxed, unsmoothed."""

    def __init__(
        self, width: int, height: int, *, bars: Callable[[int], int], scale: int | None = None, title: str = "Dreamcade"
    ):
        """width, height: of the frames to come; bars: see window_size. Raises pygame.error without a display."""
        pygame.display.init()
        pygame.font.init()
        size = window_size(width, height, bars, scale, _desktop())
        pygame.display.set_caption(title)
        pygame.display.set_mode(size, pygame.RESIZABLE)
        self._windowed = size
        self._full = False
        self.whole = True  # pictures at whole multiples of their size

    @property
    def surface(self) -> pygame.Surface:
        """What is drawn on; a new one after each change of size."""
        return pygame.display.get_surface()

    @property
    def driver(self) -> str:
        """SDL's name of the display: x11, wayland, windows, cocoa, dummy."""
        return str(pygame.display.get_driver())

    def clear(self) -> None:
        """Paint the room behind everything."""
        self.surface.fill(theme.ROOM)

    def show(self, frame: NDArray[np.uint8], area: pygame.Rect) -> pygame.Rect:
        """Draw a frame, uint8 [H, W, 3], into an area. Returns where it landed."""
        height, width = frame.shape[:2]
        rect = fit(width, height, area, self.whole)
        picture = pygame.image.frombuffer(frame.tobytes(), (width, height), "RGB")
        self._blit(picture, rect, area)
        return rect

    def overlay(self, values: NDArray[np.float32], rect: pygame.Rect, full: float) -> None:
        """Tint a drawn frame: values [rows, columns] from 0 (clear) to `full` (strongest)."""
        rows, columns = values.shape
        alpha = (np.clip(np.nan_to_num(values) / full, 0.0, 1.0) * 160).astype(np.uint8)
        colour = np.broadcast_to(np.array(theme.GUESS, np.uint8), (rows, columns, 3))
        tint = np.concatenate([colour, alpha[..., None]], axis=-1)
        self._blit(pygame.image.frombuffer(tint.tobytes(), (columns, rows), "RGBA"), rect, rect)

    def flip(self) -> None:
        """Show what was drawn."""
        pygame.display.flip()

    def toggle_fullscreen(self) -> None:
        """From window to full screen and back to the size it had."""
        if self._full:
            pygame.display.set_mode(self._windowed, pygame.RESIZABLE)
        else:
            self._windowed = self.surface.get_size()
            pygame.display.set_mode(_desktop(), pygame.FULLSCREEN)
        self._full = not self._full

    def save(self, path: Path) -> Path:
        """Write what is on the screen as a PNG, whole or not at all."""
        draft = path.with_name(f".{path.stem}.draft.png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pygame.image.save(self.surface, str(draft))
            os.replace(draft, path)
        except (pygame.error, OSError) as problem:
            if draft.exists():
                draft.unlink()
            reason = getattr(problem, "strerror", None) or problem
            raise OSError(f"cannot write {path}: {reason}") from None
        return path

    def close(self) -> None:
        """Take the window away."""
        pygame.display.quit()

    def _blit(self, picture: pygame.Surface, rect: pygame.Rect, area: pygame.Rect) -> None:
        surface = self.surface
        surface.set_clip(area)
        surface.blit(pygame.transform.scale(picture, rect.size), rect)
        surface.set_clip(None)


def _desktop() -> tuple[int, int]:
    """Size of the desktop in pixels; 1280 x 800 where the driver has none."""
    sizes = pygame.display.get_desktop_sizes()
    width, height = sizes[0] if sizes else (0, 0)
    return (width, height) if width >= SMALLEST[0] and pygame.display.get_driver() != "dummy" else (1280, 800)
