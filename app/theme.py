"""Colours and lettering. Lit and unlit differ in brightness as well as in hue, so no one needs to tell red from green.

The hues are from Okabe and Ito's palette. pygame's bundled font has no arrows or symbols: words only.
"""

from __future__ import annotations

from functools import lru_cache

import pygame

Colour = tuple[int, int, int]

ROOM: Colour = (9, 11, 16)  # around the picture
PANEL: Colour = (22, 26, 35)  # bars
EDGE: Colour = (58, 66, 84)
CAP: Colour = (38, 44, 58)
INK: Colour = (236, 234, 226)
FAINT: Colour = (158, 166, 182)
DARK: Colour = (16, 16, 16)
LIT: Colour = (240, 180, 41)  # a pressed key, a badge
SKY: Colour = (86, 180, 233)  # names, the idle action
GUESS: Colour = (213, 94, 0)  # uncertainty


@lru_cache(maxsize=32)
def font(size: int) -> pygame.font.Font:
    """pygame's own font, which is bold already, in a pixel size."""
    return pygame.font.Font(pygame.font.get_default_font(), size)


@lru_cache(maxsize=512)
def text(words: str, size: int, colour: Colour = INK) -> pygame.Surface:
    """A line of words as a picture with a clear background."""
    return font(size).render(words, True, colour)


@lru_cache(maxsize=512)
def fitted(words: str, size: int, width: int, colour: Colour = INK, least: int = 9) -> pygame.Surface:
    """A line no wider than `width` pixels: smaller letters first, then cut off with two dots."""
    while size > least and font(size).size(words)[0] > width:
        size -= 1
    if font(size).size(words)[0] > width:
        while words and font(size).size(words + "..")[0] > width:
            words = words[:-1]
        words = words + ".." if words else ""
    return text(words, size, colour)
