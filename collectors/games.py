"""The table of games: id → who runs it, frame size, action names, object labels, who plays it while we record.

Pong has a row of its own because a learned world lives or dies by its ball. Every other Atari game
that ale-py brings is found by name and gets the generic row. Procgen, DeepMind Control and Gymnasium have a row a
game; another one of them is one more row.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from collectors.cartridges import action_names

Size = tuple[int, int]
Action: TypeAlias = "int | NDArray[np.float32]"
"""An id, or float32 [A] with every number in [-1, 1]."""

DEFAULT_SIZE: Size = (104, 80)
SMALLEST_SIDE, LARGEST_SIDE = 8, 512


@dataclass(frozen=True, slots=True)
class Actions:
    """What can be done at a step: one of `size` ids or, where continuous, `size` numbers in [-1, 1]."""

    size: int
    continuous: bool = False

    def draw(self, rng: np.random.Generator) -> Action:
        """Any of them, all equally likely."""
        if self.continuous:
            return rng.uniform(-1.0, 1.0, self.size).astype(np.float32)
        return int(rng.integers(self.size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Game:
    """How one game is recorded. Everything a shard's pixels depend on is in here.

    native: the Gymnasium id; maker: who runs it, see machines.py; rom: what its maker calls it, for Atari the name
    of the cartridge; height, width: pixels of a stored frame; frame_skip: raw frames a step; fps: steps a second;
    object_names: things whose places are recorded; costly_names: others, whose places take long to tell;
    scripted: the name of the scripted player, or None where there is none; continuous: an action is a number in
    [-1, 1] for each of `action_names` instead of the id of one; gray: frames have no colours, only their brightness in
    three equal channels.

    Of Atari alone: crop: first and one-past-last raw row that is kept (of 210); downscale: "nearest" takes
    every second pixel, "area" averages; pooled: how many of the last raw frames are merged, the brighter pixel
    winning, 1 or 2.
    """

    id: str
    native: str
    rom: str
    title: str
    height: int
    width: int
    action_names: tuple[str, ...]
    crop: tuple[int, int] = (2, 210)
    downscale: Literal["nearest", "area"] = "area"
    frame_skip: int = 4
    pooled: int = 2
    fps: float = 15.0
    object_names: tuple[str, ...] = ()
    costly_names: tuple[str, ...] = ()
    scripted: str | None = None
    maker: str = "atari"
    continuous: bool = False
    gray: bool = False

    @property
    def actions(self) -> Actions:
        """What can be done at a step."""
        return Actions(len(self.action_names), self.continuous)


# 104x80 is exactly every second pixel of the 208x160 that the crop leaves. The ball is 4 raw rows by 2
# raw columns: whatever row and column it is on, decimation keeps 2x1 of its pixels at full brightness,
# where averaging would mix them with the ground.
# Nothing flickers in Pong, and merging two raw frames smears what moves: a paddle of 8 pixels becomes up
# to 14 long and the ball two dots. So the last raw frame alone is stored.
PONG = Game(
    id="pong",
    native="ALE/Pong-v5",
    rom="pong",
    title="Pong",
    height=104,
    width=80,
    downscale="nearest",
    pooled=1,
    action_names=("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"),
    object_names=("ball", "player", "enemy"),
    scripted="pong",
)

# The ball of Breakout is as large as that of Pong, and nothing flickers here either.
BREAKOUT = Game(
    id="breakout",
    native="ALE/Breakout-v5",
    rom="breakout",
    title="Breakout",
    height=104,
    width=80,
    downscale="nearest",
    pooled=1,
    action_names=("NOOP", "FIRE", "RIGHT", "LEFT"),
    object_names=("ball", "player"),
    scripted="breakout",
)

PROCGEN_GAMES = (
    *("bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot", "heist", "jumper"),
    *("leaper", "maze", "miner", "ninja", "plunder", "starpilot"),
)
PROCGEN_PLAYERS = ("coinrun",)  # games with a scripted player, and where it can be told where the player is
PROCGEN_ACTIONS = (
    *("DOWNLEFT", "LEFT", "UPLEFT", "DOWN", "NOOP", "UP", "DOWNRIGHT", "RIGHT", "UPRIGHT"),
    *("D", "A", "W", "S", "Q", "E"),  # what these do is each game's own affair: jump, shoot, or nothing
)
WALKER_JOINTS = tuple(f"{side}_{joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle"))
CHEETAH_JOINTS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
HUMANOID_JOINTS = (
    *("abdomen_y", "abdomen_z", "abdomen_x"),
    *(f"right_{joint}" for joint in ("hip_x", "hip_z", "hip_y", "knee", "ankle_x", "ankle_y")),
    *(f"left_{joint}" for joint in ("hip_x", "hip_z", "hip_y", "knee", "ankle_x", "ankle_y")),
    *(f"{side}_{joint}" for side in ("right", "left") for joint in ("shoulder1", "shoulder2", "elbow")),
)


def _procgen(name: str) -> Game:
    """A game of Procgen: 64x64, hard mode, one level an episode."""
    return Game(
        id=name,
        native=f"procgen-{name}-v0",
        rom=name,
        title=name.capitalize(),
        height=64,
        width=64,
        action_names=PROCGEN_ACTIONS,
        frame_skip=1,
        pooled=1,
        costly_names=("player",) if name in PROCGEN_PLAYERS else (),
        scripted=name if name in PROCGEN_PLAYERS else None,
        maker="procgen",
    )


def _control(task: str, action_names: tuple[str, ...], frame_skip: int, fps: float) -> Game:
    """A task of DeepMind Control, its action held for `frame_skip` control steps."""
    return Game(
        id=task,
        native=f"dm_control/{task}-v0",
        rom=task,
        title=task.replace("-", " ").title(),
        height=64,
        width=64,
        action_names=action_names,
        frame_skip=frame_skip,
        pooled=1,
        fps=fps,
        maker="control",
        continuous=True,
    )


def _gymnasium(native: str, action_names: tuple[str, ...], fps: float, continuous: bool = False) -> Game:
    """An environment of Gymnasium, as it draws itself."""
    bare = native.rpartition("-v")[0]
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", bare)
    return Game(
        id=title.lower().replace(" ", "_"),
        native=native,
        rom=native,
        title=title,
        height=64,
        width=96,
        action_names=action_names,
        frame_skip=1,
        pooled=1,
        fps=fps,
        maker="gymnasium",
        continuous=continuous,
    )


ROWS: tuple[Game, ...] = (
    PONG,
    BREAKOUT,
    *(_procgen(name) for name in PROCGEN_GAMES),
    _control("cartpole-swingup", ("slide",), 4, 25.0),
    _control("cheetah-run", CHEETAH_JOINTS, 4, 25.0),
    _control("humanoid-walk", HUMANOID_JOINTS, 2, 20.0),
    _control("walker-walk", WALKER_JOINTS, 2, 20.0),
    _gymnasium("CartPole-v1", ("LEFT", "RIGHT"), 50.0),
    _gymnasium("MountainCar-v0", ("LEFT", "NOOP", "RIGHT"), 30.0),
    _gymnasium("Pendulum-v1", ("torque",), 20.0, continuous=True),
)
GAMES: dict[str, Game] = {row.id: row for row in ROWS}
FOR_TWO = {"combat", "joust", "maze_craze", "warlords"}  # nobody can play these alone: ALE ends the process
PREFIXES = {"ale": "atari", "dm_control": "control", "gym": "gymnasium"}  # other words for families


def _key(name: str) -> str:
    """`ALE/MsPacman-v5`, `ms_pacman` and `Ms Pacman` are the same game: mspacman."""
    bare = re.sub(r"-v\d+$", "", name.strip().rsplit("/", 1)[-1]).removeprefix("procgen-")
    return re.sub(r"[^a-z0-9]", "", bare.lower())


def game_ids(family: str | None = None) -> tuple[str, ...]:
    """Every game that `game_named` knows, sorted; of one maker only where one is named."""
    rows = {row.id: row.maker for row in ROWS} | dict.fromkeys(_cartridges(), "atari")
    return tuple(sorted(known for known, maker in rows.items() if family in (None, maker)))


def _cartridges() -> tuple[str, ...]:
    from ale_py import roms

    return tuple(rom for rom in roms.get_all_rom_ids() if rom not in FOR_TWO)


def families() -> tuple[str, ...]:
    """The makers that have games, sorted."""
    return tuple(sorted({row.maker for row in ROWS}))


def scripted_games() -> tuple[str, ...]:
    """The games that have a scripted player."""
    return tuple(game.id for game in GAMES.values() if game.scripted)


def game_named(name: str, size: Size | None = None, pooled: int | None = None, labels: bool = False) -> Game:
    """The row of a game, by id, title or Gymnasium id; `size` (height, width) and `pooled` override the row's.

    labels: name also the things whose places take long to tell.

    `procgen:coinrun` looks in one family only; `coinrun-gray` is a game of Procgen without colours, at 84x84. Another
    size is reached by averaging areas. Raises ValueError naming the nearest games when the name is unknown, when a side
    is not in [8, 512], and when there is nothing to pool.
    """
    game = _row(name)
    if pooled is not None:
        if pooled not in (1, 2):
            raise ValueError(f"pool must be 1 or 2 raw frames, found {pooled}")
        if game.maker != "atari":
            raise ValueError(f"'{game.id}' has no raw frames to merge, only Atari games have; leave --pool out")
        game = replace(game, pooled=pooled)
    if labels:
        if not (game.object_names or game.costly_names):
            raise ValueError(f"nobody can tell where things are in '{game.id}'; leave --labels out")
        game = replace(game, object_names=game.object_names + game.costly_names, costly_names=())
    if size is None or size == (game.height, game.width):
        return game
    check_size(size)
    return replace(game, height=size[0], width=size[1], downscale="area")


def _row(name: str) -> Game:
    """The row of a game as it stands in the table, or the generic one of an Atari game."""
    word, colon, rest = name.rpartition(":")
    family = PREFIXES.get(word.strip().lower(), word.strip().lower()) if colon else None
    if family is not None and family not in families():
        raise ValueError(f"unknown family '{word}' in '{name}'; known: {', '.join(families())}")
    by_key = {_key(known): known for known in game_ids(family)}
    known = by_key.get(_key(rest))
    if known is None and (plain := by_key.get(_key(rest).removesuffix("gray"))) in PROCGEN_GAMES:
        row = GAMES[str(plain)]
        return replace(row, id=f"{row.id}-gray", title=f"{row.title}, gray", height=84, width=84, gray=True)
    if known is None:
        near = [by_key[key] for key in difflib.get_close_matches(_key(rest), by_key, n=3, cutoff=0.5)]
        hint = f"did you mean {', '.join(near)}?" if near else "try pong, breakout or ms_pacman"
        raise ValueError(f"unknown game '{name}'; {hint}")
    return GAMES.get(known) or _generic(known)


def check_size(size: Size) -> None:
    """Raise ValueError unless both sides, in pixels, are in [8, 512]."""
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        found = f"{size[0]}x{size[1]}"
        raise ValueError(f"frame size must be HxW with sides in [{SMALLEST_SIDE}, {LARGEST_SIDE}], found {found}")


def _generic(rom: str) -> Game:
    """The row of any Atari game. A cartridge that the table of actions does not know is asked."""
    names = action_names(rom)
    if names is None:
        from collectors.atari import minimal_action_names

        names = minimal_action_names(rom)
    words = rom.title().split("_")
    return Game(
        id=rom,
        native=f"ALE/{''.join(words)}-v5",
        rom=rom,
        title=" ".join(words),
        height=DEFAULT_SIZE[0],
        width=DEFAULT_SIZE[1],
        action_names=names,
    )
