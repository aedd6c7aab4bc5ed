"""A block that goes up and down as a real game and as the world that dreams it: doubles for tests of compare."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from app.timeline import Frame
from models.world import ActionTable, Luck, State, Window, WorldSpec, check_action

HEIGHT, WIDTH, CONTEXT, TOP, STRIDE = 48, 40, 3, 20, 2
BUTTONS = ("NOOP", "FIRE", "RIGHT", "LEFT")
BUTTON_MOVES = (0, 0, -STRIDE, STRIDE)  # as in Pong, RIGHT goes up
LABELS = ("DOWN", "STILL", "UP", "UNUSED")
CODE_MOVES = (STRIDE, 0, -STRIDE, 0)


def spec(lag: int = 1) -> WorldSpec:
    """Four latent codes with their table; the real game answers `lag` steps late."""
    counts = ((0, 0, 1, 40), (70, 50, 3, 3), (0, 0, 60, 2), (0, 0, 0, 0))
    blurred = tuple(tuple(10 for _ in BUTTONS) for _ in LABELS)
    table = ActionTable(
        real_actions=BUTTONS,
        counts=tuple(counts if step == lag else blurred for step in range(lag + 2)),
        best_lag=lag,
        mutual_information=tuple(0.9 if step == lag else 0.0 for step in range(lag + 2)),
        usage=(0.25, 0.5, 0.25, 0.0),
        moves=tuple({"block": (float(move), 0.0)} for move in CODE_MOVES),
        labels=LABELS,
        agreement=(1.0, 1.0, 1.0, 0.0),
    )
    names = tuple(f"latent {code}" for code in range(4))
    return WorldSpec(game="block", height=HEIGHT, width=WIDTH, context=CONTEXT, actions=names, table=table)


def drawn(top: int) -> Frame:
    """The block with its upper edge on a row."""
    frame = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    frame[top : top + 8, 16:24] = 250
    return frame


def top_of(frame: Frame) -> int:
    """The row of the block's upper edge."""
    return int((frame[:, 16, 0] > 100).argmax())


def moved(top: int, by: int) -> int:
    return min(HEIGHT - 8, max(0, top + by))


class BlockWorld:
    """Sees where the block is and moves it as the code says: a dream without a fault, unless it is `deaf`."""

    def __init__(self, made: WorldSpec | None = None, deaf: bool = False) -> None:
        self.spec, self.deaf = spec() if made is None else made, deaf

    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        shown = window.frames[:, -1].permute(0, 2, 3, 1).numpy()
        return {"top": torch.tensor([top_of(frame) for frame in shown])}

    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        check_action(action, 4, len(state["top"]))
        moves = [0 if self.deaf else CODE_MOVES[int(code)] for code in action]
        return {"top": torch.tensor([moved(int(top), by) for top, by in zip(state["top"], moves, strict=True)])}

    def render(self, state: State) -> Tensor:
        return torch.stack([torch.from_numpy(drawn(int(top))).permute(2, 0, 1) for top in state["top"]])


class ReadingWorld(BlockWorld):
    """The same, and it reads the code off two frames."""

    def infer_actions(self, frames: Tensor) -> Tensor:
        tops = torch.tensor([[top_of(f.permute(1, 2, 0).numpy()) for f in row] for row in frames])
        way = (tops[:, 1:] - tops[:, :-1]).sign()
        return torch.where(way > 0, 0, torch.where(way < 0, 2, 1))


class BlockGame:
    """The real game: a button takes effect `lag` steps after it was pressed. length: steps until it is over."""

    obeys = True
    planned: int | None = None
    actions = BUTTONS

    def __init__(self, lag: int = 1, length: int = 10**6) -> None:
        self.lag, self.length, self.games = lag, length, 0
        self.pressed: list[int] = []
        self.restart()

    @property
    def frame(self) -> Frame:
        return drawn(self.top)

    @property
    def over(self) -> bool:
        return len(self.pressed) >= self.length

    def step(self, action: int) -> Frame:
        assert not self.over
        self.pressed.append(action)
        at = len(self.pressed) - 1 - self.lag
        self.top = moved(self.top, BUTTON_MOVES[self.pressed[at]] if at >= 0 else 0)
        return self.frame

    def restart(self) -> bool:
        self.top, self.pressed, self.games = TOP, [], self.games + 1
        return True


def start() -> Tensor:
    """A start clip for a session: the block in its first place."""
    return torch.from_numpy(drawn(TOP)).permute(2, 0, 1).expand(CONTEXT, -1, -1, -1).contiguous()
