"""How sure a dream is of itself, and a way to bring it back when it is not.

A world that says where it guessed (`ShowsUncertainty`) guesses little while the dream is like what it learned
from. What is usual differs from world to world and is measured on the first frames after a beginning from
real ones, when a dream is at its best.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.session import Session
from app.timeline import Origin
from models.world import Sampling

LEARN = 60  # frames from which the usual doubt is learned
RECENT = 15  # frames whose doubt counts as the present one
SICK, WELL = 0.35, 0.6  # health at which healing begins, and ends
COOLED = 0.5  # times the temperature, while healing
REST = 45  # frames until the next healing


@dataclass(frozen=True, slots=True)
class Healing:
    """What auto-heal just did, in words for the player; `over` when the dials are back."""

    words: str
    over: bool = False


class Health:
    """Watches one session. `value` in [0, 1]: 1 as sure as in the beginning, 0 lost; None before it is known."""

    def __init__(self) -> None:
        self._usual: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)

    @property
    def value(self) -> float | None:
        """Usual doubt against the present one; half as sure as usual, or worse, tends to 0."""
        if len(self._usual) < LEARN // 2 or len(self._recent) < RECENT:
            return None
        usual = statistics.fmean(self._usual)
        spread = max(statistics.pstdev(self._usual), 0.25 * usual, 1e-3)
        excess = (statistics.fmean(self._recent) - usual) / spread
        return float(np.clip(1.0 - (excess - 1.0) / 4.0, 0.0, 1.0))

    def saw(self, doubt: NDArray[np.float32]) -> None:
        """Note the doubt of a new frame, nats [rows, columns]."""
        total = float(np.nan_to_num(doubt).sum())
        if len(self._usual) < LEARN:
            self._usual.append(total)
        self._recent.append(total)

    def forget_recent(self) -> None:
        """The dream jumped: what was seen lately says nothing about what comes."""
        self._recent.clear()


class Healer:
    """Auto-heal: when a dream is unsure of itself, draw more carefully and read its last frames anew."""

    def __init__(self) -> None:
        self.on = False
        self._usual: Sampling | None = None
        self._rest = 0

    @property
    def healing(self) -> bool:
        """The temperature is lowered now."""
        return self._usual is not None

    def after_step(self, session: Session, health: Health) -> Healing | None:
        """Act if needed. Returns what was done, once, or None."""
        self._rest = max(0, self._rest - 1)
        value = health.value
        if self.healing and (not self.on or self._rest == 0 or (value is not None and value > WELL)):
            return self.stop(session)
        if not self.on or self.healing or self._rest or value is None or value > SICK:
            return None
        self._usual, self._rest = session.sampling, REST
        session.begin(Origin(session.recent(session.world.spec.context), "heal"))
        if self._usual is not None:
            session.set_sampling(replace(self._usual, temperature=COOLED * self._usual.temperature))
        health.forget_recent()
        return Healing("the dream was unsure: healing it, temperature halved")

    def stop(self, session: Session) -> Healing | None:
        """Put the dials back, if they were changed."""
        if self._usual is None:
            return None
        session.set_sampling(self._usual)
        self._usual, self._rest = None, REST
        return Healing("healed: temperature as before", over=True)
