"""Sliders over the running game: sampling steps, temperature, speed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pygame

from app import hud, theme
from app.engine import SPEEDS, Engine
from app.keymap import Does, Keymap
from app.scenes.scene import Scene
from app.screen import Screen
from app.widgets import Slider


class DialsScene:
    """A panel at the right. The game below goes on and hears every key but the ones that close the panel."""

    def __init__(self, engine: Engine, below: Scene, keymap: Keymap) -> None:
        self.done, self.engine, self.below, self.keymap = False, engine, below, keymap
        self._world = engine.session.world_id
        self.sliders = [Slider("speed", 0, len(SPEEDS) - 1, 1, self._notch, self._set_notch, _times)]
        if engine.session.sampling is not None:
            self.sliders += [
                Slider("sampling steps", 1, 32, 1, lambda: self._now().steps, self._set_steps),
                Slider("temperature", 0.0, 2.0, 0.05, lambda: self._now().temperature, self._set_temperature),
            ]

    @property
    def waiting(self) -> bool:
        """As the game below."""
        return self.below.waiting

    def handle(self, event: Any) -> Scene | None:
        """Sliders first, then the game."""
        if any(slider.handle(event) for slider in self.sliders):
            return None
        if event.type == pygame.KEYDOWN and self.keymap.lookup(event.key)[0] in (Does.DIALS, Does.QUIT):
            self.done = True
            return None
        door = self.below.handle(event)
        self.done = self.engine.session.world_id != self._world  # another one took over, with other dials
        return door

    def update(self) -> None:
        """The game goes on."""
        self.below.update()

    def draw(self, screen: Screen) -> None:
        """The panel, over the picture's right edge."""
        if self.done:
            return
        surface = screen.surface
        at = hud.layout(surface.get_size())
        width, height = min(at.picture.width, at.letters * 15), at.letters * 3
        panel = pygame.Rect(0, 0, width, len(self.sliders) * (height + at.letters) + at.letters)
        panel.topright = (at.picture.right - 4, at.picture.top + 4)
        pygame.draw.rect(surface, theme.PANEL, panel, border_radius=6)
        pygame.draw.rect(surface, theme.EDGE, panel, 1, border_radius=6)
        for row, slider in enumerate(self.sliders):
            top = panel.top + at.letters // 2 + row * (height + at.letters)
            slider.draw(surface, pygame.Rect(panel.left + at.letters, top, width - 2 * at.letters, height), at.letters)

    def _now(self) -> Any:
        return self.engine.session.sampling

    def _notch(self) -> float:
        return SPEEDS.index(self.engine.speed)

    def _set_notch(self, value: float) -> None:
        self.engine.speed = SPEEDS[int(value)]

    def _set_steps(self, value: float) -> None:
        self.engine.session.set_sampling(replace(self._now(), steps=int(value)))

    def _set_temperature(self, value: float) -> None:
        self.engine.session.set_sampling(replace(self._now(), temperature=round(value, 2)))


def _times(notch: float) -> str:
    return f"{SPEEDS[int(notch)]:g} x"
