"""Playing to see what was little seen: an expedition into a game.

An expedition is many stretches of play, each recorded as an episode. A stretch begins with a new game or goes back to
a kept moment of an earlier one. It goes on piece by piece: from where the game stands some pieces are tried, random
actions held for random times, the one that shows most news is kept and played on from, the others are forgotten.
News are patches and cells (see cells.py) that this expedition never saw. A stretch ends with its game, or when its
pieces show much less news than pieces usually do: then there is more to be seen elsewhere.

The moments between pieces are kept. One is gone back to the likelier the more news there was from it, and the less
often cells like its own were seen; new games compete with going back in the same way.

It begins knowing nothing and remembers nothing for the next one, so an expedition is a pure function of game and seed
like any other episode, whoever plays it and when. All of its episodes have its seed: they share places, and so belong
to the same split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collectors.cells import Grid, cells, fitting_grid
from collectors.episode import Episode
from collectors.fingerprints import fingerprints, patch_fingerprints
from collectors.games import Action, Game
from collectors.machines import Frame, Machine, Restorable

NAME = "novelty"
SHARE, MOST_STEPS = 4, 16_384  # an expedition is so many times the longest episode, and has at most so many steps
FIRST_LOOK = 128  # steps of a first stretch, from which the size of cells is found
FINE = Grid(rows=21, columns=16, levels=16)  # of the cells that are news
TRIES = 4  # pieces, of which one is kept
PIECE = 16  # steps
HOLDS = (2, 4, 8, 16)  # steps: the longest hold of an action, another one each try
SHORTEST = 64  # steps of a stretch that does not end with its game
LEAVE = 0.25  # of the usual news of a piece: a stretch ends below it. More is worse: what was left is seen again
FADE = 0.97  # how much of what is usual stays with every piece
MOST_MOMENTS = 256


@dataclass(slots=True)
class Moment:
    """A place to go on from. tried: pieces that began here; news: in them, see `Map.worth`."""

    cell: bytes
    snapshot: bytes
    tried: int = 0
    news: float = 0.0


@dataclass(slots=True)
class Piece:
    """Some steps of play, and what is needed to play on. news: see `Map.news`; after: the moment at its end."""

    frames: list[Frame] = field(default_factory=list)
    objects: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)
    after: bytes = b""

    def begin(self, frame: Frame, machine: Machine) -> None:
        """Where it starts; its frame is part of it."""
        self.frames.append(frame)
        if machine.objects is not None:
            self.objects.append(machine.objects)

    def step(self, action: Action, machine: Machine) -> None:
        """Play one step."""
        frame, reward, end = machine.step(action)
        self.begin(frame, machine)
        self.actions.append(action)
        self.rewards.append(reward)
        self.ends.append(end)

    @property
    def steps(self) -> int:
        """Steps in it."""
        return len(self.actions)

    @property
    def over(self) -> bool:
        """Whether the game is."""
        return bool(self.ends) and self.ends[-1]

    def extend(self, other: Piece) -> None:
        """Append a piece that goes on where this one ends."""
        for name in ("frames", "objects", "actions", "rewards", "ends"):
            getattr(self, name).extend(getattr(other, name))

    def episode(self, game: Game, seed: int) -> Episode:
        """All of it, as an episode; its first frame must be its own."""
        return Episode(
            frames=np.stack(self.frames),
            actions=np.array(self.actions, np.float32 if game.continuous else np.int64),
            rewards=np.array(self.rewards, np.float32),
            ends=np.array(self.ends, np.bool_),
            objects=np.stack(self.objects) if self.objects else None,
            seed=seed,
            behaviour=NAME,
        )


@dataclass(frozen=True, slots=True)
class News:
    """Fingerprints that were not known: of patches and of cells."""

    patches: frozenset[int]
    cells: frozenset[int]


class Map:
    """What an expedition has seen, and the moments that it can go back to."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.seen: Counter[bytes] = Counter()
        self.moments: dict[bytes, Moment] = {}
        self.fresh = Moment(b"", b"")  # stands for a new game
        self._patches, self._cells = set[int](), set[int]()
        self._usual = [1.0, 1.0]  # new patches and cells of a piece

    def begin(self, frames: NDArray[np.uint8]) -> None:
        """Note a first stretch, uint8 [T, H, W, 3]; it also says what is usual."""
        news = self.news(frames)
        self.note(news, frames)
        self._usual = [max(1.0, len(found) * PIECE / len(frames)) for found in (news.patches, news.cells)]

    def news(self, frames: NDArray[np.uint8]) -> News:
        """What is new in frames uint8 [T, H, W, 3]; nothing is noted."""
        patches = set(patch_fingerprints(frames).tolist())
        fine = set(fingerprints(cells(frames, FINE)).tolist())
        return News(frozenset(patches - self._patches), frozenset(fine - self._cells))

    def worth(self, news: News) -> float:
        """How much news, in units of what a piece usually shows of each kind; 1 is usual."""
        return 0.5 * (len(news.patches) / self._usual[0] + len(news.cells) / self._usual[1])

    def note(self, news: News, frames: NDArray[np.uint8]) -> bytes:
        """What was new is known from now on. Returns the cell of the last frame."""
        self._patches |= news.patches
        self._cells |= news.cells
        for place, found in enumerate((news.patches, news.cells)):
            self._usual[place] = max(0.1, FADE * self._usual[place] + (1 - FADE) * len(found))
        rows = [row.tobytes() for row in cells(frames, self.grid)]
        self.seen.update(rows)
        return rows[-1]

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
        tried, news = sum(one.tried for one in moments), sum(one.news for one in moments)
        new_game = (self.fresh.news + 1) / (self.fresh.tried + 1)
        going_back = (news + 1) / (tried + 1)
        if rng.random() < new_game / (new_game + going_back):
            return self.fresh
        scores = self._scores(moments)
        return moments[int(rng.choice(len(moments), p=scores / scores.sum()))]

    def _scores(self, moments: list[Moment]) -> NDArray[np.float64]:
        """How promising moments are: the news of a piece from there, the less the oftener its cell was seen."""
        visits = np.array([self.seen[one.cell] for one in moments], np.float64)
        tried = np.array([one.tried for one in moments], np.float64)
        news = np.array([one.news for one in moments], np.float64)
        return np.asarray((news + 1) / (tried + 1) / np.sqrt(np.maximum(visits, 1)), np.float64)


def check(machine: Machine, game: Game, levels: int) -> None:
    """Raise ValueError where no expedition is possible."""
    if not isinstance(machine, Restorable):
        raise ValueError(f"'{game.id}' cannot go back to a moment, which {NAME} needs; use --behaviour sticky")
    if levels:
        raise ValueError(f"{NAME} begins games with seeds of its own; leave out --levels, or use --behaviour sticky")


def steps_of(most_steps: int) -> int:
    """The length of an expedition where episodes are cut after `most_steps` steps."""
    return min(SHARE * most_steps, max(MOST_STEPS, most_steps))


def expedition(machine: Machine, game: Game, seed: int, rng: np.random.Generator, most_steps: int) -> Iterator[Episode]:
    """Play an expedition, stretch by stretch; most_steps: of one episode. Raises ValueError as `check` does."""
    check(machine, game, 0)
    assert isinstance(machine, Restorable), "checked"
    explorer, left = _Explorer(machine, game, rng), steps_of(most_steps)
    played = explorer.first_look(seed, min(FIRST_LOOK, most_steps))
    while True:
        left -= played.steps
        yield played.episode(game, seed)
        if left <= 0:
            return
        played = explorer.stretch(min(most_steps, left))


class _Explorer:
    """Plays the stretches of one expedition."""

    def __init__(self, machine: Restorable, game: Game, rng: np.random.Generator) -> None:
        self.machine, self.game, self.rng = machine, game, rng
        self.map: Map

    def first_look(self, seed: int, steps: int) -> Piece:
        """The game of the seed, with actions held by chance; it shows what cells to make."""
        piece = Piece()
        piece.begin(self.machine.reset(seed), self.machine)
        piece.extend(self._play(steps, HOLDS[2]))
        frames = np.stack(piece.frames)
        self.map = Map(fitting_grid(frames))
        self.map.begin(frames)
        return piece

    def stretch(self, most_steps: int) -> Piece:
        """One stretch from a chosen moment on."""
        machine, atlas, rng, whole = self.machine, self.map, self.rng, Piece()
        moment = atlas.choose(rng)
        fresh = moment is atlas.fresh
        whole.begin(machine.reset(int(rng.integers(2**31))) if fresh else machine.restore(moment.snapshot), machine)
        here = machine.snapshot() if fresh else moment.snapshot
        while whole.steps < most_steps and not whole.over:
            length = min(PIECE, most_steps - whole.steps)
            piece, news, worth = self._best(here, whole.frames[-1], length)
            whole.extend(piece)
            moment.tried += 1
            moment.news += worth
            cell = atlas.note(news, np.stack(piece.frames))
            if whole.over or (whole.steps >= SHORTEST and worth < LEAVE):
                break
            here, known = piece.after, atlas.moments.get(cell)
            moment = Moment(cell, here) if known is None else known
            if known is None:
                atlas.keep(moment)
        return whole

    def _best(self, here: bytes, last: Frame, length: int) -> tuple[Piece, News, float]:
        """Of some tries of so many steps the one that shows most news."""
        tries = list[tuple[Piece, News, float]]()
        for _ in range(TRIES):
            self.machine.restore(here)
            piece = self._play(length, HOLDS[int(self.rng.integers(len(HOLDS)))])
            if not piece.over:
                piece.after = self.machine.snapshot()
            news = self.map.news(np.stack([last, *piece.frames]))
            tries.append((piece, news, self.map.worth(news)))
        return max(tries, key=lambda one: one[2])

    def _play(self, steps: int, longest: int) -> Piece:
        """Random actions from where the game stands, each held for up to `longest` steps."""
        piece = Piece()
        while piece.steps < steps and not piece.over:
            action, hold = self.game.actions.draw(self.rng), int(self.rng.integers(1, longest + 1))
            for _ in range(min(hold, steps - piece.steps)):
                piece.step(action, self.machine)
                if piece.over:
                    break
        return piece
