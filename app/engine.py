"""The clockwork of play: when a step is due, who thinks it, and what is on show meanwhile.

Steps are thought in a thread of their own while the previous picture stays on show, so that keys are never
waited for. Without a thread everything happens in the turn that asks for it, for tests and for headless use.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from app.session import Session, Thought
from app.thinker import Thinker
from app.timeline import Frame

SPEEDS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
SHOWN = 30  # frames in the running rate
REWIND = 2.0  # times the game's own rate
Choose = Callable[[], int | None]
"""Asked when a step is due: the action, or None to let the dream wait."""


class Engine:
    """Drives a session, which from now on thinks where the engine does. fps: steps a second, 0 for as many as
    possible; threaded: think in another thread.

    after_step: told in the thinking thread how long each step took, in seconds. `dreamed` counts every
    step of this evening, over all new starts; `late` those that were not on show within their own turn.
    """

    def __init__(
        self,
        session: Session,
        *,
        fps: float = 0.0,
        threaded: bool = False,
        after_step: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session, self.fps = session, fps
        self.paused, self.dreamed, self.late, self.speed = False, 0, 0, 1.0
        self.limit: int | None = None  # frames after which no step is begun
        self.cursor: int | None = None  # the step on show while the dream runs backwards
        self.thinker = Thinker(threaded)
        session.aside = self.thinker.ask
        self._step: Future[Thought] | None = None
        self._job: tuple[Future[Any], Callable[[Any], None]] | None = None
        self._after_step, self._clock = after_step, clock
        self._due, self._asked, self._single = 0.0, 0.0, False
        self._hurry: deque[int] = deque()
        self._shown: deque[float] = deque(maxlen=SHOWN)

    @property
    def frame(self) -> Frame:
        """What is on show: uint8 [H, W, 3]."""
        return self.session.frame if self.cursor is None else self.session.peek(self.cursor)

    @property
    def rate(self) -> float:
        """Dreamed frames a second of late."""
        if len(self._shown) < 2 or self._shown[-1] == self._shown[0]:
            return 0.0
        return (len(self._shown) - 1) / (self._shown[-1] - self._shown[0])

    @property
    def busy(self) -> bool:
        """A longer piece of work is under way, and no step is begun until it is done."""
        return self._job is not None

    @property
    def thinking(self) -> bool:
        """A step is being thought."""
        return self._step is not None

    @property
    def resting(self) -> bool:
        """Nothing will move by itself."""
        return (
            self.paused
            and not self._single
            and not self._hurry
            and not self.thinking
            and not self.busy
            and self.cursor is None
        )

    def turn(self, choose: Choose) -> bool:
        """One look at the clock: show what was thought, begin what is due. True if there is a new picture."""
        now = self._clock()
        new = self._collect(now)
        if self.cursor is not None:
            return self._run_back(now) or new
        if self.busy or self.thinking or (self.limit is not None and self.dreamed >= self.limit):
            return new
        hurried = bool(self._hurry)
        if not hurried and not self._single and (self.paused or now < self._due):
            return new
        action = self._hurry.popleft() if hurried else choose()
        if action is None:
            return new
        self._single = False
        self._asked = max(self._due, now - self._period())
        self._due = self._asked + self._period()
        plan = self.session.plan(action)
        self._step = self.thinker.submit(lambda: self._think(plan))
        return self._collect(self._clock()) or new

    def single(self) -> None:
        """Pause, and dream one frame."""
        self.paused, self._single = True, True

    def hurry(self, actions: Iterable[int]) -> None:
        """Dream these first, as fast as can be, even in a pause."""
        self._hurry.extend(actions)

    def settle(self) -> None:
        """Wait for the step that is being thought, and take it."""
        if self._step is not None:
            self._step.exception()
            self._collect(self._clock())

    def beside(self, job: Callable[[], Any]) -> Future[Any]:
        """Have something thought that does not concern the dream's course; the caller looks after it."""
        return self.thinker.submit(job)

    def faster(self, by: int) -> float:
        """So many notches faster, or slower where negative. Returns the speed, in times the game's own."""
        at = min(len(SPEEDS) - 1, max(0, SPEEDS.index(self.speed) + by))
        self.speed = SPEEDS[at]
        return self.speed

    def run_back(self) -> None:
        """Show earlier and earlier pictures until `release`."""
        if self.cursor is None and not self.busy:
            self.cursor = self.session.steps

    def release(self, then: Callable[[int], None] | None = None) -> None:
        """Go on from the picture on show, as a new take. then: told the step once that is done."""
        self.settle()  # a step that was under way is dropped
        step, self.cursor = self.cursor, None
        if step is None or step == self.session.steps:
            return

        def branch(state: Any) -> None:
            self.session.branch(step, state)
            if then is not None:
                then(step)

        self.work(lambda: self.session.recall(step), branch)

    def work(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do something longer in the thinking thread, then hand its result over in this one.

        `job` must not change the session. Raises RuntimeError while another one is under way.
        """
        if self.busy:
            raise RuntimeError("one piece of work at a time")
        self._job = (self.thinker.submit(job), then)
        self._collect(self._clock())

    def wait(self, seconds: float) -> None:
        """Sleep until there is something to show, at most so long."""
        pending = self._step if self._job is None else self._job[0]
        if pending is None:
            time.sleep(seconds)
            return
        try:
            pending.exception(timeout=seconds)
        except TimeoutError:
            return

    def close(self) -> None:
        """Let the thread end."""
        self.thinker.close()

    def _think(self, plan: Callable[[], Thought]) -> Thought:
        thought = plan()
        if self._after_step is not None:
            self._after_step(thought.seconds)
        return thought

    def _collect(self, now: float) -> bool:
        """Take what is finished. True if the picture on show is a new one."""
        new = False
        if self._step is not None and self._step.done():
            done, self._step = self._step, None
            thought = done.result()
            if self.cursor is None and self.session.accept(thought):
                self.dreamed += 1
                self._shown.append(now)
                self.late += self.fps > 0 and now - self._asked > 2 * self._period()
                new = True
        if self._job is not None and self._job[0].done():
            (finished, then), self._job = self._job, None
            then(finished.result())
            new = True
        return new

    def _run_back(self, now: float) -> bool:
        if self.cursor is None or now < self._due:
            return False
        self._due = max(self._due, now - self._period()) + self._period() / REWIND
        before, self.cursor = self.cursor, max(self.session.oldest, self.cursor - 1)
        return self.cursor != before

    def _period(self) -> float:
        return 1.0 / (self.fps * self.speed) if self.fps > 0 else 0.0
