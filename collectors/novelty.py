"""Playing to see what was little seen: an expedition into a game.

An expedition is many short stretches of play, each recorded as an episode. It counts the cells (see cells.py) that
frames fall into, keeps moments of the game at which cells were new, and begins each stretch either with a new game
or by going back to such a moment: the seldomer seen and the more that was found from there, the likelier. A stretch
ends when the game does, or when nothing new was seen for a while.

It begins knowing nothing and remembers nothing for the next one, so an expedition is a pure function of game and seed
like any other episode, whoever plays it and when. All of its episodes have its seed: they share places, and so belong
to the same split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from collectors.cells import Grid, cells, fitting_grid
from collectors.episode import Episode

Frame = NDArray[np.uint8]

NAME = "novelty"
SHARE, MOST_STEPS = 4, 16_384  # an expedition is so many times the longest episode, and has at most so many steps
FIRST_LOOK = 256  # steps of a first stretch, from which the size of cells is found
SHORTEST, PATIENCE = 32, 24  # steps of a stretch; steps without a new cell after which it ends
SURVIVED = 12  # steps that a game must have gone on after a moment for it to be worth going back to
APART = 4  # steps between moments of one stretch
MOST_MOMENTS = 256
HOLDS = (4, 8, 16)  # steps: the longest hold of an action, another one each stretch


class Machine(Protocol):
    """A game that can be brought back to where it was. What a snapshot is, is the machine's own affair."""

    def reset(self, seed: int) -> Frame:
        """A new game."""
        ...

    def step(self, action: int) -> tuple[Frame, float, bool]:
        """Frame, reward, and whether the game is over."""
        ...

    @property
    def objects(self) -> NDArray[np.float32] | None:
        """Where things are, or None."""
        ...

    def snapshot(self) -> Any:
        """The present."""
        ...

    def restore(self, snapshot: Any) -> Frame:
        """Go back to a snapshot; returns its frame."""
        ...


@dataclass(slots=True)
class Moment:
    """A place to go on from. tried: stretches that began here; found: new cells in them."""

    cell: bytes
    snapshot: Any
    tried: int = 0
    found: int = 0


class Stretch:
    """An episode while it is played."""

    def __init__(self, frame: Frame, machine: Machine) -> None:
        self.frames, self.objects = [frame], [machine.objects]
        self.actions, self.rewards, self.ends = list[int](), list[float](), list[bool]()
        self.new = 0  # cells
        self.news_at = 0  # the step of the last of them

    def add(self, action: int, frame: Frame, reward: float, end: bool, machine: Machine) -> None:
        """One step."""
        self.frames.append(frame)
        self.objects.append(machine.objects)
        self.actions.append(action)
        self.rewards.append(reward)
        self.ends.append(end)

    @property
    def steps(self) -> int:
        """Steps so far."""
        return len(self.actions)

    def episode(self, seed: int) -> Episode:
        """What was played."""
        labels = [found for found in self.objects if found is not None]
        return Episode(
            frames=np.stack(self.frames),
            actions=np.array(self.actions, np.int64),
            rewards=np.array(self.rewards, np.float32),
            ends=np.array(self.ends, np.bool_),
            objects=np.stack(labels) if labels else None,
            seed=seed,
            behaviour=NAME,
        )


class Map:
    """What an expedition has seen, and the moments that it can go back to."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.seen: Counter[bytes] = Counter()
        self.moments: dict[bytes, Moment] = {}
        self.fresh = Moment(b"", None)  # stands for a new game

    def visit(self, frame: Frame) -> tuple[bytes, bool]:
        """Count the cell of a frame. Returns it, and whether it is new."""
        cell = cells(frame[None], self.grid).tobytes()
        self.seen[cell] += 1
        return cell, self.seen[cell] == 1

    def keep(self, moment: Moment) -> None:
        """Make it possible to go back to a moment. Where there are too many, the least promising one goes."""
        self.moments[moment.cell] = moment
        if len(self.moments) > MOST_MOMENTS:
            scores = self._scores(list(self.moments.values()))
            del self.moments[list(self.moments)[int(scores.argmin())]]

    def choose(self, rng: np.random.Generator) -> Moment:
        """Where to begin next; `fresh` for a new game."""
        moments = list(self.moments.values())
        if not moments:
            return self.fresh
        tried, found = sum(one.tried for one in moments), sum(one.found for one in moments)
        new_game = (self.fresh.found + 1) / (self.fresh.tried + 1)
        going_back = (found + 1) / (tried + 1)
        if rng.random() < new_game / (new_game + going_back):
            return self.fresh
        scores = self._scores(moments)
        return moments[int(rng.choice(len(moments), p=scores / scores.sum()))]

    def _scores(self, moments: list[Moment]) -> NDArray[np.float64]:
        """How promising moments are: what was found from there each time, the less the oftener it was seen."""
        visits = np.array([self.seen[one.cell] for one in moments], np.float64)
        tried = np.array([one.tried for one in moments], np.float64)
        found = np.array([one.found for one in moments], np.float64)
        return np.asarray((found + 1) / (tried + 1) / np.sqrt(visits), np.float64)


def steps_of(most_steps: int) -> int:
    """The length of an expedition where episodes are cut after `most_steps` steps."""
    return min(SHARE * most_steps, max(MOST_STEPS, most_steps))


def expedition(
    machine: Machine, actions: int, seed: int, rng: np.random.Generator, most_steps: int
) -> Iterator[Episode]:
    """Play an expedition, stretch by stretch. actions: how many ids there are; most_steps: of one episode."""
    left, frames = steps_of(most_steps), _first_look(machine, actions, seed, rng, most_steps)
    yield frames.episode(seed)
    left -= frames.steps
    atlas = Map(fitting_grid(np.stack(frames.frames)))
    for frame in frames.frames:
        atlas.visit(frame)
    while left > 0:
        moment = atlas.choose(rng)
        stretch = _play(machine, atlas, moment, actions, rng, min(most_steps, left))
        moment.tried += 1
        moment.found += stretch.new
        left -= stretch.steps
        yield stretch.episode(seed)


def _first_look(machine: Machine, actions: int, seed: int, rng: np.random.Generator, most_steps: int) -> Stretch:
    """The game of the seed, with actions held by chance."""
    stretch = Stretch(machine.reset(seed), machine)
    longest = HOLDS[1]
    while stretch.steps < min(FIRST_LOOK, most_steps):
        action = int(rng.integers(actions))
        for _ in range(int(rng.integers(1, longest + 1))):
            stretch.add(action, *machine.step(action), machine)
            if stretch.ends[-1]:
                return stretch
            if stretch.steps == min(FIRST_LOOK, most_steps):
                break
    return stretch


def _play(
    machine: Machine, atlas: Map, moment: Moment, actions: int, rng: np.random.Generator, most_steps: int
) -> Stretch:
    """One stretch from a moment on; what is new in it is noted on the map."""
    fresh = moment is atlas.fresh
    frame = machine.reset(int(rng.integers(2**31))) if fresh else machine.restore(moment.snapshot)
    stretch, waiting = Stretch(frame, machine), list[tuple[int, Moment]]()
    cell, new = atlas.visit(frame)
    stretch.new += new
    longest, left, action = HOLDS[int(rng.integers(len(HOLDS)))], 0, 0
    while stretch.steps < most_steps:
        if left == 0:
            action, left = int(rng.integers(actions)), int(rng.integers(1, longest + 1))
        left -= 1
        frame, reward, end = machine.step(action)
        stretch.add(action, frame, reward, end, machine)
        cell, new = atlas.visit(frame)
        if new:
            stretch.new, stretch.news_at = stretch.new + 1, stretch.steps
            if not end and (not waiting or stretch.steps - waiting[-1][0] >= APART):
                waiting.append((stretch.steps, Moment(cell, machine.snapshot())))
        if end or (stretch.steps >= SHORTEST and stretch.steps - stretch.news_at >= PATIENCE):
            break
    for step, found in waiting:
        if stretch.steps - step >= SURVIVED:
            atlas.keep(found)
    return stretch
