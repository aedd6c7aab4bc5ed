"""An Atari game through the plain ALE: an action in, an RGB frame of the stored size out.

Nothing is random once the seed is set: sticky actions are off and the only chance is the number of
no-ops (1 to 30 raw frames) that open an episode.
"""

from __future__ import annotations

import struct
from importlib import metadata

import ale_py
import cv2
import numpy as np
from ale_py import roms
from numpy.typing import NDArray

from collectors import breakout, labels, pong
from collectors.games import Action, Game
from collectors.machines import Frame, checked_id, seal, unseal

LABELS = {"pong": pong.boxes, "breakout": breakout.boxes}  # where the memory says that the named objects are
MOST_NOOPS = 30
HEAD = "<?HI"  # of a snapshot: whether the game is over, rows of a screen, bytes of the console's state


def versions() -> dict[str, str]:
    """The emulator, which brings the cartridges too."""
    return {"ale_py": metadata.version("ale-py")}


def _console(rom: str) -> ale_py.ALEInterface:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    console = ale_py.ALEInterface()
    console.setInt("random_seed", 0)  # of sticky actions, of which there are none
    console.setFloat("repeat_action_probability", 0.0)
    console.loadROM(roms.get_rom_path(rom))
    return console


def minimal_action_names(rom: str) -> tuple[str, ...]:
    """The names of the actions that do something in a game, in the order of their ids."""
    return tuple(action.name for action in _console(rom).getMinimalActionSet())


class AtariGame:
    """One running Atari game; see `Machine`."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self._console: ale_py.ALEInterface | None = None
        self._screens: tuple[Frame, Frame] = (np.zeros((210, 160, 3), np.uint8),) * 2
        self._rams: tuple[Frame, Frame] = (np.zeros(128, np.uint8),) * 2

    def reset(self, seed: int) -> Frame:
        """Start over and play 1 to 30 no-op raw frames, drawn from the seed. Returns uint8 [H, W, 3]."""
        rng = np.random.default_rng([seed, 0])
        if self._console is None:
            self._console = _console(self.game.rom)
            self._actions = self._console.getMinimalActionSet()
            self._fresh = self._console.cloneState(include_rng=True)
        # Putting a cartridge in takes as long as hundreds of steps. Going back to that moment, luck and all, is the
        # same: an episode owes nothing to the last one.
        console = self._console
        console.restoreState(self._fresh)
        console.reset_game()
        self._screens = (console.getScreenRGB(),) * 2
        self._rams = (console.getRAM(),) * 2
        noops = int(rng.integers(1, MOST_NOOPS + 1))
        for left in reversed(range(noops)):
            console.act(ale_py.Action.NOOP)
            if left < 2:  # only the last two are merged
                self._look()
        return self.frame

    def step(self, action: Action) -> tuple[Frame, float, bool]:
        """Hold an action for `frame_skip` raw frames.

        Returns the frame uint8 [H, W, 3], the reward summed over them, and whether the game is over.
        Raises ValueError when the action is not an id of this game.
        """
        console = self._running()
        assert not console.game_over(), "step after the end of a game"
        held = self._actions[checked_id(action, len(self._actions))]
        reward, skip, pooled = 0.0, self.game.frame_skip, self.game.pooled
        for raw in range(skip):
            reward += console.act(held)
            over = bool(console.game_over())
            if raw >= skip - pooled or over:
                self._look()
            if over:
                break
        return self.frame, reward, over

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]: the brighter of the last `pooled` raw frames, cropped, made smaller."""
        game = self.game
        merged = np.maximum(*self._screens) if game.pooled == 2 else self._screens[1]
        if merged.shape[0] == 210:  # cartridges for other television sets show more rows; those are kept whole
            merged = merged[game.crop[0] : game.crop[1]]
        if game.downscale == "nearest":
            return np.ascontiguousarray(merged[::2, ::2])
        return np.asarray(cv2.resize(merged, (game.width, game.height), interpolation=cv2.INTER_AREA), np.uint8)

    @property
    def ram(self) -> NDArray[np.uint8]:
        """The console's memory, uint8 [128]."""
        return self._rams[1]

    @property
    def objects(self) -> NDArray[np.float32] | None:
        """Where the named objects are: float32 [K, 3] of (visible, y, x) in pixels of the frame, or None."""
        if not self.game.object_names:
            return None
        game = self.game
        rams = self._rams if game.pooled == 2 else self._rams[1:]
        shown = [LABELS[game.rom](ram) for ram in rams]
        return labels.objects(shown, game.crop, game.height, game.width, game.downscale == "nearest")

    def snapshot(self) -> bytes:
        """The present, to come back to with `restore`."""
        console = self._running()
        state = console.cloneState(include_rng=True).serialize()
        head = struct.pack(HEAD, console.game_over(), len(self._screens[0]), len(state))
        return seal(self.game, head + state + np.stack(self._screens).tobytes() + np.stack(self._rams).tobytes())

    def restore(self, snapshot: bytes) -> Frame:
        """Go back to a snapshot of the same game. Raises ValueError when it is not one."""
        body = unseal(self.game, snapshot)
        if self._console is None:
            self.reset(0)
        _, rows, length = struct.unpack_from(HEAD, body)
        seen = struct.calcsize(HEAD) + length
        known = seen + 2 * rows * 160 * 3
        self._running().restoreState(ale_py.ALEState(body[seen - length : seen]))
        screens = np.frombuffer(body[seen:known], np.uint8).reshape(2, rows, 160, 3)
        rams = np.frombuffer(body[known:], np.uint8).reshape(2, 128)
        self._screens, self._rams = (screens[0], screens[1]), (rams[0], rams[1])
        return self.frame

    def _running(self) -> ale_py.ALEInterface:
        assert self._console is not None, "reset comes first"
        return self._console

    def _look(self) -> None:
        console = self._running()
        self._screens = (self._screens[1], console.getScreenRGB())
        self._rams = (self._rams[1], console.getRAM())


make = AtariGame
