"""The real game beside the dreamed one, step by step. No window in here.

Three ways to keep them together, of which only the first needs no table of what the codes do:

    codes  the real game leads: the world reads a code off each real transition, and the dream follows with it
    keys   a key is a code; the real game gets the button that goes with it. A console answers `best_lag` steps
           late, so the dream is told the code as much later, and both answer at once
    lead   the dream leads: it is told the code at once, the real game follows with the button, late as it is
"""

from __future__ import annotations

import enum
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app import subjects
from app.closeness import PATIENCE, THRESHOLD, Hold, difference, moving_psnr, psnr
from app.matching import Buttons, button_for, code_for, has_table
from app.names import ActionNames
from app.real import LiveGame, RealGame, pixels
from app.session import Session
from app.tape import Tape
from app.timeline import Frame, Origin
from models.world import InfersActions

CURVE = 600  # turns that are remembered for drawing
SPANS = 100  # spans from one sync to the loss of the game that are remembered
GAP, GAP_SHADE = 2, 60  # pixels between the panes of a picture, and how bright they are


class Mode(enum.Enum):
    """Who follows whom, see the head of this file."""

    CODES = "codes"
    KEYS = "keys"
    LEAD = "lead"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One step of both games.

    since: frames since the dream was last put on the real game, from 1; button: the real action; code: what the
    dream was told. psnr, moving, copy: dB of the dreamed frame, of its moving pixels, and of the moving pixels of
    the frame that was there at the last sync and never changed; the last two are NaN where nothing moved.
    """

    since: int
    button: int
    code: int
    real: Frame
    dream: Frame
    psnr: float
    moving: float
    copy: float

    @property
    def difference(self) -> Frame:
        """Where the two pictures differ: uint8 [H, W, 3]."""
        return difference(self.real, self.dream)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What is kept of a turn for the curve."""

    since: int
    psnr: float
    moving: float
    copy: float


class Comparison:
    """A real game and a session of the world that dreams it, turn by turn.

    threshold, patience: when a dream is lost, see `closeness.Hold`; auto: put it back on the real game then.
    delay: steps that a code is held back in mode keys; the table's `best_lag` if None. The real game is played up
    to `context` frames first, and the dream begins there.
    """

    def __init__(
        self,
        session: Session,
        real: RealGame,
        *,
        mode: Mode = Mode.CODES,
        threshold: float = THRESHOLD,
        patience: int = PATIENCE,
        auto: bool = False,
        delay: int | None = None,
    ) -> None:
        self.session, self.real, self.auto = session, real, auto
        self.threshold, self.patience = threshold, patience
        self.spec = spec = session.world.spec
        size = (spec.height, spec.width, spec.channels)
        if real.frame.shape != size:
            raise ValueError(f"'{spec.game}' dreams frames of {list(size)}, the real game has {list(real.frame.shape)}")
        lag = spec.table.best_lag if spec.table is not None else 0
        self.delay = lag if delay is None else delay
        self.dreamt, self.buttons = ActionNames(spec), Buttons(spec, real.actions)
        self.curve: deque[Point] = deque(maxlen=CURVE)
        self.spans: deque[int] = deque(maxlen=SPANS)
        self.turns, self.syncs = 0, 0
        self.last: Turn | None = None
        self.tape: Tape | None = None
        self._seen: deque[Tensor] = deque(maxlen=spec.context + 1)
        self._pressed: deque[int] = deque(maxlen=spec.context)
        self._late: deque[int] = deque()
        self.set_mode(mode)
        self._approach()

    @property
    def modes(self) -> list[Mode]:
        """The modes that this world and this real game allow."""
        return [mode for mode in Mode if not self.why_not(mode)]

    @property
    def hears(self) -> ActionNames:
        """The names of what `turn` takes: buttons in mode codes, else the world's own actions."""
        return self.buttons if self.mode is Mode.CODES else self.dreamt

    @property
    def over(self) -> bool:
        """The recording has come to its end; no turn can follow. A running game begins anew by itself."""
        return self.real.over and not self.real.obeys

    @property
    def median_held(self) -> float | None:
        """Median of the frames that the dream held, over the times it was lost; None before the first."""
        return statistics.median(self.spans) if self.spans else None

    def why_not(self, mode: Mode) -> str:
        """Why a mode cannot be had, or an empty text."""
        same = self.spec.actions == self.real.actions
        if mode is Mode.CODES:
            able = same or isinstance(self.session.world, InfersActions)
            return "" if able else f"world '{self.spec.game}' cannot read its actions off real frames"
        if mode is Mode.LEAD and not self.real.obeys:
            return "a recorded episode cannot follow a dream"
        return "" if has_table(self.spec, self.real.actions) else f"world '{self.spec.game}' has no table of its codes"

    def set_mode(self, mode: Mode) -> None:
        """Let another one lead. Raises ValueError where that cannot be."""
        if self.why_not(mode):
            allowed = ", ".join(mode.value for mode in self.modes) or "none"
            raise ValueError(f"mode {mode.value} is not possible: {self.why_not(mode)}; possible: {allowed}")
        self.mode = mode
        self._late = deque([self.dreamt.idle] * self.delay)

    def turn(self, action: int | None = None) -> Turn:
        """One step of both. action: an id of `hears`, None for the idle one; a recording goes its own way.

        Raises ValueError when the recording is over or there is no such action.
        """
        hears = self.hears
        if action is not None and not 0 <= action < len(hears.labels):
            raise ValueError(f"action {action} is outside [0, {len(hears.labels)})")
        if self.over:
            raise ValueError(f"the recorded episode is over after {self.turns} turns")
        if self.real.over:
            self.real.restart()
            self._record_from_here()
            self._approach()
        chosen = hears.idle if action is None else action
        before, button = self.real.frame, self._button(chosen)
        real = self._advance(button)
        code = self._code(chosen, button)
        self._record(button, code)
        earlier = self.session.frame
        dream = self.session.step(code)
        self.since += 1
        self.turns += 1
        self.last = turn = Turn(
            since=self.since,
            button=button,
            code=code,
            real=real,
            dream=dream,
            psnr=psnr(real, dream),
            moving=moving_psnr(before, real, earlier, dream),
            copy=moving_psnr(before, real, self._start, self._start),
        )
        self._note(turn)
        return turn

    def resync(self) -> None:
        """Put the dream back on the real game: it begins anew from the last real frames."""
        context = self.spec.context
        clip = torch.stack(list(self._seen)[-context:])
        infers = isinstance(self.session.world, InfersActions)
        actions = None if infers else torch.tensor(list(self._pressed)[-(context - 1) :] if context > 1 else [])
        self.session.begin(Origin(clip, "sync", None if actions is None else actions.to(torch.int64)))
        self._start = self.real.frame
        self.since = 0
        self.syncs += 1
        self.hold, self.copy_hold = (Hold(self.threshold, self.patience) for _ in range(2))

    def _approach(self) -> None:
        """Play the real game until there are frames enough to dream from, and begin there."""
        self._seen.clear()
        self._pressed.clear()
        self._seen.append(pixels(self.real.frame))
        while len(self._seen) < self.spec.context:
            if self.real.over:
                found, need = len(self._seen), self.spec.context
                raise ValueError(f"the real game is over after {found} frames but '{self.spec.game}' needs {need}")
            button = self.buttons.idle if self.real.planned is None else self.real.planned
            self._advance(button)
            self._record(button)
        self.resync()

    def toggle_tape(self, root: Path, say: Callable[[str], None]) -> None:
        """Record the real game into a new data set below `root`, with the codes that the dream was told; or stop."""
        if not isinstance(self.real, LiveGame):
            say("this is a recording already")
            return
        if self.tape is None:
            subject = replace(subjects.real(self.real.game), latent_names=self.spec.actions)
            self.tape = Tape(root, subject, say=say)
        self.tape.toggle()
        self._record_from_here()

    def close(self) -> None:
        """Finish what is being recorded."""
        if self.tape is not None:
            self.tape.stop()

    def _record_from_here(self) -> None:
        if self.tape is not None and isinstance(self.real, LiveGame):
            self.tape.begin(self.real.frame, world=self.session.world_id, objects=self.real.objects)

    def _record(self, button: int, code: int = -1) -> None:
        """The last real step on tape, and what it was read as; -1: it was not."""
        if self.tape is not None and self.tape.recording and isinstance(self.real, LiveGame):
            real = self.real
            self.tape.add(
                real.frame, action=button, latent=code, reward=real.reward, end=real.over, objects=real.objects
            )

    def _advance(self, button: int) -> Frame:
        frame = self.real.step(button)
        self._seen.append(pixels(frame))
        self._pressed.append(button)
        return frame

    def _button(self, chosen: int) -> int:
        if self.real.planned is not None:
            return self.real.planned
        return chosen if self.mode is Mode.CODES else button_for(self.spec, chosen, self.real.actions)

    def _code(self, chosen: int, button: int) -> int:
        if self.mode is Mode.CODES:
            return self._read(button)
        if self.mode is Mode.LEAD:
            return chosen
        self._late.append(chosen if self.real.obeys else code_for(self.spec, button, self.real.actions))
        return self._late.popleft()

    def _read(self, button: int) -> int:
        """The code of the last real transition; the button itself where the world's ids are the game's."""
        world = self.session.world
        if not isinstance(world, InfersActions):
            return button
        frames = torch.stack(list(self._seen))[None].to(self.session.device)  # [B, T, C, H, W]
        with torch.inference_mode():
            return int(world.infer_actions(frames)[0, -1])

    def _note(self, turn: Turn) -> None:
        self.curve.append(Point(since=turn.since, psnr=turn.psnr, moving=turn.moving, copy=turn.copy))
        self.copy_hold.saw(turn.copy)
        if self.hold.saw(turn.moving):
            assert self.hold.held is not None
            self.spans.append(self.hold.held)
            if self.auto:
                self.resync()


def panes(turn: Turn) -> Frame:
    """Real, dreamed and different side by side: uint8 [H, 3 W + 2 gaps, 3]."""
    gap = np.full((turn.real.shape[0], GAP, 3), GAP_SHADE, np.uint8)
    return np.concatenate([turn.real, gap, turn.dream, gap, turn.difference], axis=1)
