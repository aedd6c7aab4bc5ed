"""The player's own actions in place of latent ones: nothing is learned, and nothing is read off frames.

With them a family shows what learning actions without labels costs it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from models.world import Window, WorldSpec

IDLE = ("NOOP", "STILL", "STAY", "NONE")
"""Names of doing nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RealActions:
    """The actions that were recorded. Which ones there are is the data's affair and stands in the spec."""

    kind: Literal["real"] = "real"


class GivenActions(nn.Module):
    """Stands where a LAM would."""


def with_actions(spec: WorldSpec, config: Any) -> WorldSpec:
    """A spec that names its actions: those of the game, or as many as the LAM of a config has codes.

    Raises ValueError where actions are real and nobody said which there are.
    """
    if spec.actions:
        return spec
    if isinstance(config, RealActions):
        raise ValueError(f"a world of {spec.game!r} under real actions needs their names; build it from recorded play")
    return replace(spec, actions=tuple(f"latent {code}" for code in range(config.codes)))


def actions_between(window: Window, world: Any) -> Tensor:
    """The actions of a window, int64 [B, T-1]: as given, else as the world reads them off the frames, else idle ones.

    A picture that somebody brings along has no past; that nothing was done in it is the best guess.
    """
    if window.actions is not None:
        return window.actions
    if hasattr(world, "infer_actions"):
        found: Tensor = world.infer_actions(window.frames)
        return found
    names = [name.upper() for name in world.spec.actions]
    idle = next((names.index(name) for name in IDLE if name in names), 0)
    batch, frames = window.frames.shape[:2]
    return window.frames.new_full((batch, frames - 1), idle).long()
