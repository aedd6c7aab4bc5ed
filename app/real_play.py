"""A person plays the real game, one game after the other, and a tape records it. No pygame in here."""

from __future__ import annotations

from app.names import HORIZONTAL, VERTICAL, ActionNames
from app.tape import Tape
from collectors.games import Game
from collectors.machines import Machine
from models.world import WorldSpec


class Buttons(ActionNames):
    """The actions of a game by name. In one that only knows left and right, up is right and down is left.

    So is it on the paddle of Pong, whose RIGHT goes up. In Procgen the button that fires is called D.
    """

    def __init__(self, game: Game) -> None:
        super().__init__(
            WorldSpec(game=game.id, height=game.height, width=game.width, fps=game.fps, actions=game.action_names)
        )

    def find(self, label: str) -> int | None:
        """The id of this name, or of the one that stands for it."""
        own = super().find("D") if label == "FIRE" and "FIRE" not in self.labels else super().find(label)
        for way, other in zip(VERTICAL, reversed(HORIZONTAL), strict=True):
            if own is None and label.startswith(way):
                own = super().find(other + label.removeprefix(way))
        return own


class RealPlay:
    """Games on a tape that runs already. The first has `seed`, the next one seed + 1.

    games, steps: begun and played so far, over all games; score: of the present one; last: the last action.
    """

    def __init__(self, game: Game, machine: Machine, tape: Tape, seed: int) -> None:
        self.game, self.tape = game, tape
        self.games, self.steps = 0, 0
        self._machine, self._seed = machine, seed
        self.restart()

    @property
    def seed(self) -> int:
        """Of the present game."""
        return self._seed + self.games - 1

    def restart(self) -> None:
        """Begin a new game; what was played of the present one stays on tape."""
        self.games += 1
        self.score, self.over, self.last = 0.0, False, 0
        self.frame = self._machine.reset(self.seed)
        self.tape.begin(self.frame, seed=self.seed, objects=self._machine.objects)

    def step(self, action: int) -> None:
        """Play one frame, and begin a new game where this one is over."""
        if self.over:
            self.restart()
            return
        self.frame, reward, self.over = self._machine.step(action)
        self.score += reward
        self.steps += 1
        self.last = action
        objects = self._machine.objects
        self.tape.add(self.frame, action=action, reward=reward, end=self.over, objects=objects)
