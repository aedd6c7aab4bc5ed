"""An environment of Gymnasium, recorded as it draws itself: an action in, an RGB frame of the stored size out.

Time limits of the registry are taken off: an episode is cut where the recording says so, and `ends` is kept for
games that are over. Gymnasium has no way back to a moment, so these machines are not `Restorable`.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import cv2
import gymnasium
import numpy as np

from collectors.games import Action, Game
from collectors.machines import MAKERS, NO_RAM, Frame, checked_id, checked_vector


def versions() -> dict[str, str]:
    """The environments, and what most of them draw with."""
    return {"gymnasium": metadata.version("gymnasium")}


class GymnasiumGame:
    """One running environment; see `Machine`. A vector in [-1, 1] is stretched to the bounds of its action space."""

    objects = None
    ram = NO_RAM

    def __init__(self, game: Game) -> None:
        self.game = game
        self._frame: Frame = np.zeros((game.height, game.width, 3), np.uint8)
        try:
            self._environment: Any = gymnasium.make(game.native, render_mode="rgb_array", max_episode_steps=-1)
        except gymnasium.error.Error as error:
            raise ValueError(f"'{game.id}' does not start ({error}); {MAKERS['gymnasium'].install}") from error

    def reset(self, seed: int) -> Frame:
        """Start over from what the seed draws. Returns uint8 [H, W, 3]."""
        self._environment.reset(seed=seed)
        return self._look()

    def step(self, action: Action) -> tuple[Frame, float, bool]:
        """Hold an action for `frame_skip` steps: frame uint8 [H, W, 3], the reward summed, whether it is over."""
        told, reward, over = self._told(action), 0.0, False
        for _ in range(self.game.frame_skip):
            _, gained, ended, cut, _ = self._environment.step(told)
            reward, over = reward + float(gained), bool(ended or cut)
            if over:
                break
        return self._look(), reward, over

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]."""
        return self._frame

    def _told(self, action: Action) -> Any:
        space, size = self._environment.action_space, len(self.game.action_names)
        if not self.game.continuous:
            return checked_id(action, size) + int(space.start)
        share = (checked_vector(action, size) + 1) / 2
        return (space.low + share * (space.high - space.low)).astype(space.dtype)

    def _look(self) -> Frame:
        size = (self.game.width, self.game.height)
        self._frame = np.asarray(cv2.resize(self._environment.render(), size, interpolation=cv2.INTER_AREA), np.uint8)
        return self._frame


make = GymnasiumGame
