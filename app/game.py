"""The main loop: events, update, draw, tick. It knows scenes and knows nothing of what they show."""

from __future__ import annotations

import time
from collections.abc import Callable

import pygame

from app.hud import Stats
from app.scenes.scene import Scene
from app.screen import Screen

REDRAW_S = 0.2  # after which a scene that says that nothing changed is drawn all the same: notices fade
IDLE_FPS = 60.0  # how often a loop without a limit turns while nothing is dreamed


class Game:
    """A stack of scenes on a screen.

    fps: turns a second, 0 for as many as possible. after_turn: called after each turn, with the
    frame on the screen; what it returns says whether to go on.
    """

    def __init__(
        self,
        screen: Screen,
        scene: Scene,
        stats: Stats,
        *,
        fps: float,
        after_turn: Callable[[], bool] | None = None,
    ) -> None:
        self.screen, self.stack, self.stats, self.fps = screen, [scene], stats, fps
        self._after_turn = after_turn
        self._clock = pygame.time.Clock()
        self._drawn = 0.0

    def run(self) -> None:
        """Turn until the last scene is done, the window is closed, or after_turn says so."""
        while self.stack:
            self.turn()
            if self._after_turn is not None and not self._after_turn():
                break

    def turn(self) -> None:
        """One turn of the loop."""
        heard = self._events()
        if not self.stack:
            return
        self.stack[-1].update()
        began = time.perf_counter()
        if heard or getattr(self.stack[-1], "stale", True) or began - self._drawn > REDRAW_S:
            for scene in self.stack:
                scene.draw(self.screen)
            self.screen.flip()
            self._drawn = began
            self.stats.draw_ms += 0.1 * ((time.perf_counter() - began) * 1000.0 - self.stats.draw_ms)
        self._tick()

    def _events(self) -> bool:
        """Hand events to the scene on top. True if there were any."""
        events = pygame.event.get()
        for event in events:
            if event.type == pygame.QUIT:
                self.stack.clear()
                return True
            above = self.stack[-1].handle(event)
            if above is not None:
                self.stack.append(above)
            if self.stack[-1].done:
                self.stack.pop()
            if not self.stack:
                return True
        return bool(events)

    def _tick(self) -> None:
        """Wait for the next turn: a scene in which nothing moves needs no more than the idle rate."""
        idle = IDLE_FPS if self.stack[-1].waiting else 0
        self._clock.tick(self.fps if self.fps > 0 else idle)
        self.stats.turns = self._clock.get_fps()
