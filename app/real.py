"""The real game: the emulator as a `World`, and real frames one by one, from a running game or from a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.session import picture
from app.timeline import Frame
from collectors.episode import Episode
from collectors.games import Game
from collectors.machines import Restorable, make_machine
from models.world import Luck, State, Window, WorldSpec, check_action

PAGE = 4096  # the room for a machine's bytes is a whole number of these


class RealWorld:
    """A game of the emulator behind the protocol that dreams have. Its ids are the real actions.

    State: `console` uint8 [B, K], a machine's snapshot, of which the first `length` int64 [B] bytes are meant;
    `frame` uint8 [B, C, H, W], the present one as it is stored; `reward` float [B], of the last step; `end` bool [B].
    A game that is over stands still.

    Never step from a state that came in a file of somebody else: emulators believe what they are given. Raises
    ValueError for a game that takes no ids, cannot go back to a moment, or is not installed.
    """

    def __init__(self, game: Game) -> None:
        if game.continuous:
            raise ValueError(f"'{game.id}' is not played with keys: an action is {len(game.action_names)} numbers")
        self.spec = WorldSpec(
            game=game.id,
            height=game.height,
            width=game.width,
            context=1,
            fps=game.fps,
            actions=game.action_names,
        )
        machine = make_machine(game)
        if not isinstance(machine, Restorable):
            raise ValueError(f"'{game.id}' cannot go back to a moment, so it is not shown beside a dream")
        self._machine = machine
        machine.reset(0)
        self._room = PAGE * (16 - -2 * len(machine.snapshot()) // PAGE)

    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """A new game a row. The window only says how many; `rng` which ones, without it all have seed 0."""
        batch = len(window.frames)
        return self.begin([0] * batch if rng is None else torch.randint(2**31, (batch,), generator=rng).tolist())

    def begin(self, seeds: Sequence[int]) -> State:
        """A new game for each seed."""
        begun = []
        for seed in seeds:
            frame = self._machine.reset(seed)
            begun.append((self._machine.snapshot(), pixels(frame), False, 0.0))
        return self._packed(begun)

    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Hold an action for one stored frame. action: int64 [B]. Nothing in here is left to luck."""
        check_action(action, len(self.spec.actions), len(state["length"]))
        after = []
        for row, held in enumerate(action.tolist()):
            snapshot, frame, end = _snapshot(state, row), state["frame"][row], bool(state["end"][row])
            reward = 0.0
            if not end:
                self._machine.restore(snapshot)
                shown, reward, end = self._machine.step(held)
                snapshot, frame = self._machine.snapshot(), pixels(shown)
            after.append((snapshot, frame, end, reward))
        return self._packed(after)

    def render(self, state: State) -> Tensor:
        """The present frame: uint8 [B, C, H, W]."""
        return state["frame"]

    def objects(self, state: State) -> NDArray[np.float32] | None:
        """Where the named objects of the first game are: float32 [K, 3], see `Machine`; None without names."""
        self._machine.restore(_snapshot(state, 0))
        return self._machine.objects

    def _packed(self, moments: Sequence[tuple[bytes, Tensor, bool, float]]) -> State:
        console = torch.zeros(len(moments), self._room, dtype=torch.uint8)
        for row, (snapshot, _, _, _) in enumerate(moments):
            length = len(snapshot)
            if length > self._room:
                raise ValueError(f"the state of '{self.spec.game}' has {length} bytes, there is room for {self._room}")
            console[row, :length] = torch.frombuffer(bytearray(snapshot), dtype=torch.uint8)
        return {
            "console": console,
            "length": torch.tensor([len(snapshot) for snapshot, _, _, _ in moments]),
            "frame": torch.stack([frame for _, frame, _, _ in moments]),
            "reward": torch.tensor([reward for _, _, _, reward in moments]),
            "end": torch.tensor([end for _, _, end, _ in moments]),
        }


class RealGame(Protocol):
    """Real play, frame by frame. `obeys`: whether it does what it is told, or goes its own way."""

    @property
    def obeys(self) -> bool:
        """Whether `step` heeds its action."""
        ...

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of the real actions."""
        ...

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]."""
        ...

    @property
    def over(self) -> bool:
        """Nothing follows the present frame."""
        ...

    @property
    def planned(self) -> int | None:
        """The action that comes next whatever is asked for, or None."""
        ...

    def step(self, action: int) -> Frame:
        """The next frame."""
        ...

    def restart(self) -> bool:
        """Begin another game. False where there is none."""
        ...


class LiveGame:
    """A running game; each new one has the next seed."""

    obeys = True
    planned: int | None = None

    def __init__(self, game: Game, seed: int = 0) -> None:
        self.game, self.world, self.seed = game, RealWorld(game), seed
        self.actions = game.action_names
        self.state = self.world.begin([seed])

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]."""
        return picture(self.world.render(self.state))

    @property
    def over(self) -> bool:
        """The game has come to its end."""
        return bool(self.state["end"][0])

    @property
    def reward(self) -> float:
        """What the last step gained."""
        return float(self.state["reward"][0])

    @property
    def objects(self) -> NDArray[np.float32] | None:
        """Where the named objects are: float32 [K, 3], or None."""
        return self.world.objects(self.state)

    def step(self, action: int) -> Frame:
        """Play one frame and return it."""
        self.state = self.world.step(self.state, torch.tensor([action]))
        return self.frame

    def restart(self) -> bool:
        """Begin the game of the next seed."""
        self.seed += 1
        self.state = self.world.begin([self.seed])
        return True


class RecordedGame:
    """An episode as it was recorded: it shows what came, whatever is asked for. actions: names of its ids."""

    obeys = False

    def __init__(self, episode: Episode, actions: Sequence[str]) -> None:
        self.actions = tuple(actions)
        self._episode, self._at = episode, 0

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]."""
        return self._episode.frames[self._at]

    @property
    def over(self) -> bool:
        """The last frame is shown."""
        return self._at == self._episode.steps

    @property
    def planned(self) -> int | None:
        """The recorded action between this frame and the next."""
        return None if self.over else int(self._episode.actions[self._at])

    def step(self, action: int) -> Frame:
        """The next recorded frame. Raises ValueError at the end."""
        if self.over:
            raise ValueError(f"the recorded episode is over: it has {self._episode.steps} steps")
        self._at += 1
        return self.frame

    def restart(self) -> bool:
        """There is no other game in a recording."""
        return False


def pixels(frame: Frame) -> Tensor:
    """A picture uint8 [H, W, 3] as worlds have it: uint8 [C, H, W]."""
    return torch.from_numpy(frame.transpose(2, 0, 1).copy())


def _snapshot(state: State, row: int) -> bytes:
    return state["console"][row, : int(state["length"][row])].cpu().numpy().tobytes()
