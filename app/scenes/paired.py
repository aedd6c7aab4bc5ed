"""What scenes share that show two games side by side: when a turn is due, who thinks it, keys, notices, screenshots."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from app.controllers import Human
from app.screen import Screen
from app.thinker import Thinker

NOTICE_S = 2.0


class Paired:
    """A turn of both is thought while the last one stays on show.

    fps: turns a second, 0 for one whenever the loop comes round. thinker: where they are thought; None: here.
    """

    human: Human

    def __init__(self, *, captures: Path, fps: float, thinker: Thinker | None) -> None:
        self.captures, self.fps, self.thinker = captures, fps, thinker or Thinker()
        self.done, self.paused = False, False
        self.stale = True  # there is something new to draw
        self.notice, self._until = "", 0.0
        self._single, self._shot, self._due = False, False, 0.0
        self._turn: Future[Any] | None = None
        self._times: deque[float] = deque(maxlen=30)

    @property
    def waiting(self) -> bool:
        """Paused: nothing moves by itself."""
        return self.paused

    def say(self, words: str) -> None:
        """Show a line over the pictures for a moment."""
        self.notice, self._until = words, time.monotonic() + NOTICE_S

    def begins(self) -> bool:
        """Whether a turn is to be begun now; then the clock counts it as begun."""
        now = time.monotonic()
        if self._turn is not None or (not self._single and (self.paused or now < self._due)):
            return False
        self._single = False
        if self.fps > 0:
            self._due = max(self._due, now - 1.0 / self.fps) + 1.0 / self.fps
        self._times.append(now)
        return True

    def finished(self, wait: bool = False) -> Future[Any] | None:
        """The turn that was thought, once, if it is done; wait: until it is."""
        if self._turn is None or not (wait or self._turn.done()):
            return None
        done, self._turn = self._turn, None
        return done

    def rate(self) -> float:
        """Turns a second of late."""
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        return (len(self._times) - 1) / span if span > 0 else 0.0

    def _action_key(self, value: int | str, down: bool) -> None:
        if not down:
            self.human.release(value)
        elif not self.human.press(value):
            known = ", ".join(self.human.names.distinct()) or "only numbers"
            wanted = f"action {value + 1}" if isinstance(value, int) else value
            self.say(f"no {wanted} here: {known}")

    def _pause(self) -> None:
        self.paused = not self.paused

    def _one_step(self) -> None:
        self.paused, self._single = True, True

    def _ask_shot(self) -> None:
        self._shot = True

    def _save_shot(self, screen: Screen, title: str, turns: int) -> None:
        """Write what is on the screen, if it was asked for."""
        if not self._shot:
            return
        self._shot = False
        path = self.captures / f"{title}-{time.strftime('%Y%m%d-%H%M%S')}-{turns:06d}.png"
        try:
            self.say(f"saved {screen.save(path).name}")
        except OSError as problem:
            self.say(str(problem))
