"""What runs a game: the protocol that all emulators stand behind, and the table of those that there are.

A machine is reset with a seed and stepped with actions, and owes nothing to the episode before. Some can also be
brought back to a moment; those are `Restorable`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from collectors.games import Action, Game

Frame = NDArray[np.uint8]
NO_RAM: NDArray[np.uint8] = np.zeros(0, np.uint8)
DIGEST = 32  # bytes of a sha256


class Machine(Protocol):
    """One running game. `reset` comes first; after an end only `reset` (and `restore`) are allowed."""

    def reset(self, seed: int) -> Frame:
        """Start over; the seed decides all that is left to chance. Returns uint8 [H, W, 3]."""
        ...

    def step(self, action: Action) -> tuple[Frame, float, bool]:
        """Hold an action for one stored frame: the frame, the reward, and whether the game is over.

        Raises ValueError when it is not an action of this game.
        """
        ...

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]."""
        ...

    @property
    def ram(self) -> NDArray[np.uint8]:
        """The console's memory, uint8 [128]; uint8 [0] where a machine has none to show."""
        ...

    @property
    def objects(self) -> NDArray[np.float32] | None:
        """Where the named objects are, float32 [K, 3] of (visible, y, x); None where none are named."""
        ...


@runtime_checkable
class Restorable(Machine, Protocol):
    """A machine that can be brought back to a moment."""

    def snapshot(self) -> bytes:
        """The present: bytes that say nothing to anybody else, 20 to 250 kB."""
        ...

    def restore(self, snapshot: bytes) -> Frame:
        """Go back to a moment of the same game; what follows is what followed then. Returns its frame.

        Raises ValueError when the bytes are damaged or of another game. Emulators believe what they are given:
        do not restore what came from somebody you do not trust.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """Where the machines of a family come from. needs: the package that must be there; install: how to get it."""

    module: str
    needs: str
    install: str


MAKERS: dict[str, Maker] = {
    "atari": Maker(module="collectors.atari", needs="ale_py", install="pip install ale-py"),
    "procgen": Maker(
        module="collectors.procgen",
        needs="procgen",
        install="pip install procgen-mirror==0.10.7 (Linux x86_64, Python 3.11 or 3.12; --no-deps beside numpy 2)",
    ),
    "control": Maker(
        module="collectors.control",
        needs="dm_control",
        install="pip install dm-control, and apt-get install libegl1 libgles2 to draw without a display",
    ),
    "gymnasium": Maker(
        module="collectors.gymnasium_games", needs="gymnasium", install="pip install gymnasium[classic-control]"
    ),
}


def installed(family: str) -> bool:
    """Whether the package behind a family is there; it is not imported for that."""
    return importlib.util.find_spec(MAKERS[family].needs) is not None


def make_machine(game: Game) -> Machine:
    """A machine for a game. Raises ValueError with the line that installs what it needs."""
    machine: Machine = _module(game).make(game)
    return machine


def versions_of(game: Game) -> dict[str, str]:
    """What a game's pixels depend on besides its row: names of packages and their versions."""
    found: dict[str, str] = _module(game).versions()
    return found


def _module(game: Game) -> Any:
    maker = MAKERS[game.maker]
    if not installed(game.maker):
        raise ValueError(f"'{game.id}' needs the package {maker.needs}, which is not here; {maker.install}")
    return importlib.import_module(maker.module)


def checked_id(action: Action, actions: int) -> int:
    """An action as an id in [0, actions), or a ValueError."""
    if isinstance(action, np.ndarray) or not 0 <= action < actions:
        raise ValueError(f"action {action} is outside [0, {actions})")
    return int(action)


def checked_vector(action: Action, size: int) -> NDArray[np.float32]:
    """An action as float32 [A] in [-1, 1], or a ValueError."""
    vector = np.asarray(action, np.float32)
    if vector.shape != (size,) or not np.all(np.abs(vector) <= 1):
        raise ValueError(f"action must be {size} numbers in [-1, 1], found {np.asarray(action).tolist()}")
    return vector


def seal(game: Game, body: bytes) -> bytes:
    """A snapshot that `unseal` knows again, so that no emulator is fed what would take the process down."""
    return hashlib.sha256(game.rom.encode() + b"\0" + body).digest() + body


def unseal(game: Game, snapshot: bytes) -> bytes:
    """What was sealed. Raises ValueError when the bytes are damaged or of another game."""
    body = snapshot[DIGEST:]
    if seal(game, body)[:DIGEST] != snapshot[:DIGEST]:
        raise ValueError(f"the snapshot is damaged or not of '{game.id}'; go back to another moment")
    return body
