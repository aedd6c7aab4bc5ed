"""What can be recorded, a dream or a real game, in the words of a data set.

Nobody presses real actions in a dream, but data sets have them. So the real action of a dreamed step is the one that
went most often with the latent action in the world's table, or 0 where the world has no table. The real game answers
late, by the table's `best_lag`, and the real action stands so many steps before the latent one, as if it had been
pressed in time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collectors.games import GAMES, Game, game_named

if TYPE_CHECKING:
    from models.world import WorldSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is recorded. likely: the real action for each latent one, lag: how many steps earlier it is pressed."""

    game: str
    height: int
    width: int
    fps: float
    frame_skip: int
    pooled: int
    action_names: tuple[str, ...]
    object_names: tuple[str, ...] = ()
    latent_names: tuple[str, ...] = ()
    likely: tuple[int, ...] = ()
    lag: int = 0
    source: str = "real"


def dreamed(spec: WorldSpec) -> Subject:
    """A world as something to record. Its data mix with the play that the world was trained on."""
    row = GAMES.get(spec.game)
    names = row.action_names if row else ("NOOP",)
    if spec.table is not None:
        names = spec.table.real_actions
    elif row is None:
        with suppress(ValueError):  # not an Atari game: no names but one
            names = game_named(spec.game).action_names
    return Subject(
        game=spec.game,
        height=spec.height,
        width=spec.width,
        fps=spec.fps,
        frame_skip=row.frame_skip if row else 4,
        pooled=row.pooled if row else 2,
        action_names=names,
        latent_names=spec.actions,
        likely=likely_actions(spec, names),
        lag=0 if spec.table is None else spec.table.best_lag,
        source="dream",
    )


def real(game: Game) -> Subject:
    """A real game as something to record."""
    return Subject(
        game=game.id,
        height=game.height,
        width=game.width,
        fps=game.fps,
        frame_skip=game.frame_skip,
        pooled=game.pooled,
        action_names=game.action_names,
        object_names=game.object_names,
    )


def likely_actions(spec: WorldSpec, names: tuple[str, ...]) -> tuple[int, ...]:
    """For each action of a world the real one, of these names, that it went with most often; 0 where nothing is known.

    A world whose own actions are real ones has no table; there the names are compared.
    """
    if spec.table is None:
        return tuple(names.index(action) if action in names else 0 for action in spec.actions)
    counts = np.asarray(spec.table.counts[spec.table.best_lag])
    return tuple(int(row.argmax()) for row in counts)
