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
from collectors.atari import AtariGame, Snapshot
from collectors.episode import Episode
from collectors.games import Game
from models.world import Luck, State, Window, WorldSpec, check_action

PAGE = 4096  # the room for the console's bytes is a whole number of these


class RealWorld:
    """A game of the emulator behind the protocol that dreams have. Its ids are the real actions.

    State: `console` uint8 [B, K], ALE's bytes, of which the first `length` int64 [B] are meant; `screens` uint8
    [B, 2, h, 160, 3] and `rams` uint8 [B, 2, 128] of the last two raw frames; `frame` uint8 [B, C, H, W], the
    present one as it is stored; `reward` float [B], of the last step; `end` bool [B]. A game that is over stands
    still.

    Never step from a state that came in a file of somebody else: ALE does not check its bytes.
    """

    def __init__(self, game: Game) -> None:
        self.spec = WorldSpec(
            game=game.id,
            height=game.height,
            width=game.width,
            context=1,
            fps=game.fps,
            actions=game.action_names,
        )
        self._machine = AtariGame(game)
        self._machine.reset(0)
        self._room = PAGE * -(-2 * len(self._machine.snapshot().state) // PAGE)

    def reset(self, window: Window, rng: torch.Generator | None = None) -> State:
        """A new game a row. The window only says how many; `rng` which ones, without it all have seed 0."""
        batch = len(window.frames)
        return self.begin([0] * batch if rng is None else torch.randint(2**31, (batch,), generator=rng).tolist())

    def begin(self, seeds: Sequence[int]) -> State:
        """A new game for each seed."""
        begun = []
        for seed in seeds:
            frame = self._machine.reset(seed)
            begun.append((self._machine.snapshot(), frame, 0.0))
        return self._packed(begun)

    def step(self, state: State, action: Tensor, rng: Luck = None) -> State:
        """Hold an action for one stored frame. action: int64 [B]. Nothing in here is left to luck."""
        check_action(action, len(self.spec.actions), len(state["length"]))
        after = []
        for row, held in enumerate(action.tolist()):
            snapshot = _snapshot(state, row)
            frame, reward = self._machine.restore(snapshot), 0.0
            if not snapshot.end:
                frame, reward, _ = self._machine.step(held)
                snapshot = self._machine.snapshot()
            after.append((snapshot, frame, reward))
        return self._packed(after)

    def render(self, state: State) -> Tensor:
        """The present frame: uint8 [B, C, H, W]."""
        return state["frame"]

    def objects(self, state: State) -> NDArray[np.float32] | None:
        """Where the named objects of the first game are: float32 [K, 3], see `AtariGame`; None without names."""
        self._machine.restore(_snapshot(state, 0))
        return self._machine.objects

    def _packed(self, moments: Sequence[tuple[Snapshot, Frame, float]]) -> State:
        snapshots = [snapshot for snapshot, _, _ in moments]
        console = torch.zeros(len(moments), self._room, dtype=torch.uint8)
        for row, snapshot in enumerate(snapshots):
            length = len(snapshot.state)
            if length > self._room:
                raise ValueError(f"the state of '{self.spec.game}' has {length} bytes, there is room for {self._room}")
            console[row, :length] = torch.frombuffer(bytearray(snapshot.state), dtype=torch.uint8)
        return {
            "console": console,
            "length": torch.tensor([len(snapshot.state) for snapshot in snapshots]),
            "screens": torch.from_numpy(np.stack([np.stack(snapshot.screens) for snapshot in snapshots])),
            "rams": torch.from_numpy(np.stack([np.stack(snapshot.rams) for snapshot in snapshots])),
            "frame": torch.stack([pixels(frame) for _, frame, _ in moments]),
            "reward": torch.tensor([reward for _, _, reward in moments]),
            "end": torch.tensor([snapshot.end for snapshot in snapshots]),
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


def _snapshot(state: State, row: int) -> Snapshot:
    screens, rams = state["screens"][row].cpu().numpy(), state["rams"][row].cpu().numpy()
    return Snapshot(
        state=state["console"][row, : int(state["length"][row])].cpu().numpy().tobytes(),
        screens=(screens[0], screens[1]),
        rams=(rams[0], rams[1]),
        end=bool(state["end"][row]),
    )
