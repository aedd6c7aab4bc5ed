"""A live game from end to end: opens the window, tunes the threads under way, counts the frames."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pygame

from app import threads as crew
from app.engine import Engine
from app.follow import Follower
from app.game import Game
from app.gamepad import Gamepads
from app.hud import Stats, bars
from app.places import Places
from app.scenes.play import PlayScene
from app.screen import Screen
from app.session import Session

SWITCH_S = (
    2e-4  # after which Python's threads take turns: a step is many short operations that drawing must not hold up
)
TURNS = 60.0  # of the loop a second: how soon a key is heard and a new picture shown
PATIENCE_S = 0.02  # how long a loop without a limit waits for a picture before it listens for keys again


class NoWindow(RuntimeError):
    """The display would not open a window."""


class Live:
    """One evening with one world. fps None takes the game's own rate; raises NoWindow without a display.

    screen: a window that is there already and stays; None opens one, and closes it in the end. pads: gamepads, None
    looks for some. follower: where newer weights come from while one plays. threads: of the CPU, for the thread that
    thinks; None leaves them as they are.
    """

    def __init__(
        self,
        session: Session,
        *,
        title: str,
        places: Places,
        scale: int | None = None,
        fps: float | None = None,
        screen: Screen | None = None,
        pads: Gamepads | None = None,
        follower: Follower | None = None,
        threads: int | None = None,
    ) -> None:
        spec, stats = session.world.spec, Stats()
        self._keeps_window = screen is not None
        try:
            self.screen = screen or Screen(
                spec.width, spec.height, bars=bars, scale=scale, title=f"{title} - Dreamcade"
            )
        except pygame.error as problem:
            raise NoWindow(str(problem)) from None
        self.session = session
        self._pads = pads or Gamepads()
        self._keeps_pads = pads is not None
        rate = spec.fps if fps is None else fps
        self.engine = Engine(session, fps=rate, threaded=True, after_step=self._after_step)
        if threads is not None:
            self.engine.thinker.use(threads)
        self.scene = PlayScene(
            self.engine, self.screen, stats, title=title, places=places, pads=self._pads, follower=follower
        )
        turns = max(TURNS, rate) if rate > 0 else 0.0
        self.game = Game(self.screen, self.scene, stats, fps=turns, after_turn=self._after_turn)
        sys.setswitchinterval(SWITCH_S)
        self._first: Callable[[], None] | None = None
        self._tune, self._watch = False, crew.Watch(1, 1.0)
        self._say: Callable[[str], None] = _silent
        self._seconds, self._slowed = 0.0, False

    @property
    def driver(self) -> str:
        """SDL's name of the display."""
        return self.screen.driver

    @property
    def dreamed(self) -> int:
        """Frames dreamed so far, over all new starts."""
        return self.scene.dreamed

    @property
    def rate(self) -> float:
        """Dreamed frames a second from the first one on, time in pause included."""
        return self.dreamed / self._seconds if self._seconds > 0 else 0.0

    def play(
        self, *, max_frames: int | None, tune: bool, first: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        """Run until the player quits or max_frames were dreamed.

        tune: choose the number of threads by timing, once the first frame is on the screen.
        first: called when that frame is shown. say: told what the tuning found.
        """
        self.engine.limit, self._tune, self._first, self._say = max_frames, tune, first, say
        began = time.perf_counter()
        try:
            self.game.run()
        finally:
            self._seconds = time.perf_counter() - began
            self.close()

    def close(self) -> None:
        """Finish what is being recorded, end the thread, and take away what was opened here."""
        self.scene.close()
        self.engine.close()
        if not self._keeps_pads:
            self._pads.close()
        if not self._keeps_window:
            self.screen.close()

    def _after_turn(self) -> bool:
        if self.dreamed and self._first is not None:
            self._first()
            self._first = None
            if self._tune:
                self.engine.work(lambda: crew.settle(self.session.rehearse), self._settled)
        if self._slowed:
            self._slowed = False
            self._say("steps became slow with 2 threads: going on with 1")
        if self.game.fps == 0:
            self.engine.wait(PATIENCE_S)
        return self.engine.limit is None or self.dreamed < self.engine.limit

    def _after_step(self, seconds: float) -> None:
        """In the thinking thread, whose number of threads this is about."""
        if self._tune and self._watch.saw(1000.0 * seconds):
            self._slowed = True

    def _settled(self, found: tuple[int, dict[int, float]]) -> None:
        best, took = found
        self._watch = crew.Watch(best, took[best])
        times = ", ".join(f"{count}: {ms:.1f} ms" for count, ms in took.items())
        busy = "" if len(took) > 1 else "; the other cores are busy"
        self._say(f"CPU threads: {best} (a step with {times}{busy})")


def _silent(words: str) -> None:
    """Say nothing."""
