"""An episode of play, real or dreamed: what was seen, what was pressed, what came of it. Checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCES = ("real", "dream")


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """One stretch of play from a reset to an end or a cut, of T steps.

    frames: uint8 [T+1, H, W, 3]; actions: int64 [T], or float32 [T, A] where they are continuous; `actions[t]`
    turned `frames[t]` into `frames[t + 1]`; rewards: float32 [T]; ends: bool [T], true where the game itself was over;
    objects: float32 [T+1, K, 3], (visible, y, x) of each named object in pixels of the stored
    frame, or None; for scoring only. seed: the emulator's and the behaviour's seed, or a number that is the
    episode's own. latent: int64 [T], the latent action that was pressed or read off, -1 where nobody knows, or
    None; source: "real" or "dream"; world: the id of the world that dreamed it, "" for real play.

    In a dream nobody presses real actions: `actions` are then what a player of the real game would have pressed,
    see app/subjects.py.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    ends: NDArray[np.bool_]
    objects: NDArray[np.float32] | None = None
    seed: int = 0
    behaviour: str = ""
    latent: NDArray[np.int64] | None = None
    source: str = "real"
    world: str = ""

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps < 1:
            raise ValueError("an episode needs at least one step, found none")
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            found = f"{self.frames.dtype} {list(self.frames.shape)}"
            raise ValueError(f"episode frames must be uint8 [T+1, H, W, 3], found {found}")
        if len(self.frames) != steps + 1:
            raise ValueError(f"episode has {steps} actions and needs {steps + 1} frames, found {len(self.frames)}")
        if self.continuous and (self.actions.ndim != 2 or not np.isfinite(self.actions).all()):
            found = f"{self.actions.dtype} {list(self.actions.shape)}"
            raise ValueError(f"continuous episode actions must be finite float32 [{steps}, A], found {found}")
        for name, value, dtype in (
            *(() if self.continuous else (("actions", self.actions, np.int64),)),
            ("rewards", self.rewards, np.float32),
            ("ends", self.ends, np.bool_),
        ):
            if value.dtype != dtype or value.shape != (steps,):
                found = f"{value.dtype} {list(value.shape)}"
                raise ValueError(f"episode {name} must be {np.dtype(dtype)} [{steps}], found {found}")
        if self.objects is not None:
            shape = self.objects.shape
            if self.objects.dtype != np.float32 or len(shape) != 3 or shape[0] != steps + 1 or shape[2] != 3:
                found = f"{self.objects.dtype} {list(shape)}"
                raise ValueError(f"episode objects must be float32 [{steps + 1}, K, 3], found {found}")
        if self.latent is not None:
            if self.latent.dtype != np.int64 or self.latent.shape != (steps,):
                found = f"{self.latent.dtype} {list(self.latent.shape)}"
                raise ValueError(f"episode latent must be int64 [{steps}], found {found}")
            if self.latent.min() < -1:
                raise ValueError(f"episode latent must be ids, or -1 for unknown, found {self.latent.min()}")
        if self.source not in SOURCES:
            raise ValueError(f"episode source must be one of {', '.join(SOURCES)}, found {self.source!r}")

    @property
    def continuous(self) -> bool:
        """Whether actions are vectors of numbers instead of ids."""
        return bool(self.actions.dtype == np.float32)

    @property
    def steps(self) -> int:
        """Number of transitions, T."""
        return len(self.actions)
