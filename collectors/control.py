"""A task of DeepMind Control, drawn by MuJoCo without a display: a vector in, an RGB frame out.

An action holds for `frame_skip` control steps and a task never runs out of time: an episode is cut where the
recording says so. The drawing is done by EGL or, where there is none, by OSMesa; different drivers paint a few
pixels differently, so the data set names its own.
"""

from __future__ import annotations

import math
import os
from ctypes.util import find_library
from importlib import metadata
from typing import Any

import numpy as np

from collectors.games import Action, Game
from collectors.machines import MAKERS, NO_RAM, Frame, checked_vector, seal, unseal

CAMERA = 0  # the camera that follows, in the tasks that have several


def _suite() -> Any:
    """dm_control's suite. Raises ValueError when nothing can draw here."""
    if "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY"):
        os.environ["MUJOCO_GL"] = "egl" if find_library("EGL") else "osmesa"
    try:
        from dm_control import suite
    except (ImportError, RuntimeError, AttributeError) as error:  # each driver has its own way of not being there
        raise ValueError(f"MuJoCo cannot draw here ({error}); {MAKERS['control'].install}") from error
    _forget_what_is_gone()
    return suite


def _forget_what_is_gone() -> None:
    """Take from dm_control's tables the fields (all of soft bodies) that the MuJoCo beside it has no more."""
    import mujoco
    from dm_control.mujoco.wrapper.mjbindings import sizes

    for table, structure in (("mjmodel", mujoco.MjModel), ("mjdata", mujoco.MjData)):
        fields = sizes.array_sizes[table]
        for name in [name for name in fields if not hasattr(structure, name)]:
            del fields[name]


def versions() -> dict[str, str]:
    """The physics and who draws them."""
    _suite()
    from dm_control import _render

    found = {"dm_control": metadata.version("dm-control"), "mujoco": metadata.version("mujoco")}
    return {**found, "drawn_by": str(_render.BACKEND)}


class ControlGame:
    """One running task; see `Machine`. Actions are float32 [A] in [-1, 1], one number a joint."""

    objects = None
    ram = NO_RAM

    def __init__(self, game: Game) -> None:
        self.game = game
        self._domain, _, self._task = game.rom.partition("-")
        self._suite = _suite()
        self._environment: Any = None
        self._frame: Frame = np.zeros((game.height, game.width, 3), np.uint8)

    def reset(self, seed: int) -> Frame:
        """Start over from a pose drawn from the seed. Returns uint8 [H, W, 3]."""
        from dm_control import mujoco

        if self._environment is not None:
            self._environment.physics.free()
        chance = {"random": seed % 2**32, "time_limit": math.inf}
        self._environment = self._suite.load(self._domain, self._task, task_kwargs=chance)
        physics = self._environment.physics
        assert physics.model.nu == len(self.game.action_names), "the row names every joint"
        self._environment.reset()
        self._camera = mujoco.Camera(physics, height=self.game.height, width=self.game.width, camera_id=CAMERA)
        return self._look()

    def step(self, action: Action) -> tuple[Frame, float, bool]:
        """Hold an action: frame uint8 [H, W, 3], the reward summed, and whether the task is over."""
        assert self._environment is not None, "reset comes first"
        vector, reward = checked_vector(action, len(self.game.action_names)), 0.0
        for _ in range(self.game.frame_skip):
            moment = self._environment.step(vector)
            reward += float(moment.reward or 0.0)
            if moment.last():
                break
        return self._look(), reward, bool(moment.last())

    @property
    def frame(self) -> Frame:
        """The present frame, uint8 [H, W, 3]."""
        return self._frame

    def snapshot(self) -> bytes:
        """The present, to come back to with `restore`."""
        import mujoco

        model, data = self._pointers()
        numbers = np.zeros(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(model, data, numbers, mujoco.mjtState.mjSTATE_INTEGRATION)
        return seal(self.game, numbers.tobytes())

    def restore(self, snapshot: bytes) -> Frame:
        """Go back to a snapshot of the same task. Raises ValueError when it is not one."""
        import mujoco

        numbers = np.frombuffer(unseal(self.game, snapshot))
        if self._environment is None:
            self.reset(0)
        model, data = self._pointers()
        mujoco.mj_setState(model, data, numbers, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_step1(model, data)  # what the suite leaves behind after each of its steps
        return self._look()

    def _pointers(self) -> tuple[Any, Any]:
        assert self._environment is not None, "reset comes first"
        physics = self._environment.physics
        return physics.model.ptr, physics.data.ptr

    def _look(self) -> Frame:
        self._frame = np.ascontiguousarray(self._camera.render(), np.uint8)
        return self._frame


make = ControlGame
