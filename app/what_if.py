"""What would come of it: one dream for each action, from the present on, in one batch.

Every dream has the luck that the real one would have, so that they differ by the action alone, and entering
one shows what was seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from app.session import Session
from app.timeline import generator
from models.world import State, repeat


class Thought(NamedTuple):
    """All dreams at one step. ahead: how many steps they are ahead there; frames: uint8 [A, H, W, 3]."""

    state: State
    ahead: int
    frames: NDArray[np.uint8]


class WhatIf:
    """Dreams of every action held for `horizon` steps, again and again. The session itself stays where it is.

    frames: uint8 [A, H, W, 3], what each dream shows now; ahead: how many steps they are ahead.
    """

    def __init__(self, session: Session, horizon: int = 30) -> None:
        if horizon < 1:
            raise ValueError(f"horizon must be 1 or more, found {horizon}")
        self.session, self.horizon = session, horizon
        self.actions = len(session.world.spec.actions)
        self._source, self._step, self._seed = session.state, session.steps, session.seed
        self.begin_again()

    def begin_again(self) -> None:
        """All dreams back to the present."""
        self._state: State = repeat(self._source, self.actions)
        self.ahead = 0
        self.frames: NDArray[np.uint8] = np.repeat(self.session.frame[None], self.actions, axis=0)

    def think(self, before: Thought | None = None) -> Thought:
        """All dreams a step further than `before`, or than what is shown. Nothing changes: another thread may do it."""
        state, ahead = (self._state, self.ahead) if before is None else (before.state, before.ahead)
        device, at = self.session.device, self._step + ahead
        luck = [generator(self._seed, at) for _ in range(self.actions)]
        with torch.inference_mode():
            state = self.session.world.step(state, torch.arange(self.actions, device=device), luck)
            frames = self.session.world.render(state).permute(0, 2, 3, 1).cpu().numpy()
        return Thought(state, ahead + 1, np.ascontiguousarray(np.broadcast_to(frames, (*frames.shape[:3], 3))))

    def accept(self, thought: Thought) -> None:
        """Show what was thought."""
        self._state, self.ahead, self.frames = thought

    @property
    def over(self) -> bool:
        """The horizon is reached."""
        return self.ahead >= self.horizon

    def path(self, action: int) -> list[int]:
        """The actions that lead the session to what dream `action` shows now."""
        if not 0 <= action < self.actions:
            raise ValueError(f"action {action} is outside [0, {self.actions})")
        return [action] * self.ahead
