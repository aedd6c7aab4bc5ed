"""Who plays while we record: random, sticky, scripted, an agent from outside, and mixes of them.

A behaviour sees what an episode has shown so far and answers with an action id. Everything it does
comes from the generator it is given, so that an episode can be played again from its seed.

Two names stand for more than somebody who answers: `novelty` plays many episodes at once, see novelty.py, and
`human` needs a window, which is not opened in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from collectors import breakout, coinrun, novelty, pong
from collectors.games import Action, Actions, Game, scripted_games

Rule = Callable[[NDArray[np.uint8], np.random.Generator], int]
"""What a scripted player does: from the console's memory, empty where there is none, and chance to an action id."""

LONGEST_HOLD = 8  # steps
LONGEST_MOVE = 1  # steps a scripted player keeps a direction
MIX = {"random": 0.4, "sticky": 0.3, "scripted": 0.3}
SCRIPTS: dict[str, tuple[Rule, float]] = {
    "pong": (lambda ram, _: pong.follow_ball(ram), 0.15),
    "breakout": (lambda ram, _: breakout.follow_ball(ram), 0.04),
    "coinrun": (coinrun.run_right, 0.1),
}
"""Rules, and the share of decisions that are random holds instead: a missed ball costs much more in Breakout."""
AGENT, HUMAN = "agent:", "human"  # what follows a colon says which agent
KNOWN = "random, sticky, scripted, novelty, agent:WHICH, human, mix, or weights as random:1,sticky:3"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a player may look at. frame: uint8 [H, W, 3]; ram: the console's memory, uint8 [128], or [0] without one."""

    frame: NDArray[np.uint8]
    ram: NDArray[np.uint8]


class Behaviour(Protocol):
    """Somebody who plays."""

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the last episode; everything random from now on comes from `rng`."""
        ...

    def act(self, seen: Seen) -> Action:
        """The next action."""
        ...


class Random:
    """Every step another action, all equally likely."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode."""
        self._rng = rng

    def act(self, seen: Seen) -> Action:
        """A random action."""
        return self.actions.draw(self._rng)


class Sticky:
    """A random action, held for 1 to 8 steps, all equally likely; then the next."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode."""
        self._rng, self._left = rng, 0

    def act(self, seen: Seen) -> Action:
        """The held action, or a new one."""
        if self._left == 0:
            self._choose(seen)
        self._left -= 1
        return self._action

    def _choose(self, seen: Seen) -> None:
        self._action = self.actions.draw(self._rng)
        self._left = int(self._rng.integers(1, LONGEST_HOLD + 1))


class Scripted(Sticky):
    """Plays by a rule, asked anew each step; some of its decisions are random holds as in Sticky."""

    def __init__(self, game: Game) -> None:
        super().__init__(game.actions)
        if game.scripted is None:
            raise ValueError(f"no scripted player for '{game.id}'; games that have one: {', '.join(scripted_games())}")
        self._rule, self._noise = SCRIPTS[game.scripted]

    def _choose(self, seen: Seen) -> None:
        if self._rng.random() < self._noise:
            super()._choose(seen)
        else:
            self._action = self._rule(seen.ram, self._rng)
            self._left = int(self._rng.integers(1, LONGEST_MOVE + 1))


def behaviour_named(name: str, game: Game) -> Behaviour:
    """Make one player by name. Raises ValueError when the game has no such player."""
    if name == "random":
        return Random(game.actions)
    if name == "sticky":
        return Sticky(game.actions)
    if name == "scripted":
        return Scripted(game)
    if name.startswith(AGENT):
        from collectors.agents import Agent  # which builds on this module

        return Agent(name.removeprefix(AGENT), game)
    raise ValueError(f"unknown behaviour '{name}'; known: {KNOWN}")


def weights_of(text: str, game: Game) -> dict[str, float]:
    """`sticky`, `mix` or `random:1,sticky:3` → the share of tasks that each player gets; they sum to 1.

    A task is an episode, or an expedition of `novelty`, which is as long as some episodes and so is chosen less
    often. `mix` is random 0.4, sticky 0.3, scripted 0.3, without the scripted share where a game has no
    scripted player. Raises ValueError on unknown names and on weights that are not positive numbers.
    """
    if text == "mix":
        found = {name: share for name, share in MIX.items() if name != "scripted" or game.scripted}
    else:
        found = {}
        for part in text.split(","):
            name, weight = _name_and_weight(part)
            if name in found:
                raise ValueError(f"behaviour '{name}' is named twice in '{text}'")
            found[name] = weight
    for name in found:
        if name == HUMAN:
            raise ValueError(f"'{HUMAN}' plays alone, in a window: --behaviour {HUMAN}, with an --out of its own")
        if name == novelty.NAME:
            found[name] /= novelty.SHARE
        else:
            behaviour_named(name, game)
    total = sum(found.values())
    return {name: weight / total for name, weight in found.items()}


def _name_and_weight(part: str) -> tuple[str, float]:
    """`sticky:3` → ("sticky", 3.0); of an agent only what follows the last colon can be a weight."""
    part = part.strip()
    if not part.startswith(AGENT):
        name, colon, number = part.partition(":")
        return name, _weight(number, part) if colon else 1.0
    name, _, number = part.rpartition(":")
    if name.startswith(AGENT) and number.replace(".", "", 1).isdigit():
        return name, _weight(number, part)
    return part, 1.0


def _weight(number: str, part: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not 0.0 < weight < 1e6:
        raise ValueError(f"behaviour weight must be a positive number as in random:1, found '{part}'")
    return weight


def choose(weights: dict[str, float], rng: np.random.Generator) -> str:
    """The name of the player of one episode, drawn with the weights."""
    names = list(weights)
    return names[int(rng.choice(len(names), p=list(weights.values())))]
