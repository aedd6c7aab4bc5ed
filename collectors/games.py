"""The table of games: id → native name, frame size, action names, object labels, who plays it while we record.

Pong has a row of its own because a learned world lives or dies by its ball. Every other Atari game
that ale-py brings is found by name and gets the generic row.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

Size = tuple[int, int]

DEFAULT_SIZE: Size = (104, 80)
SMALLEST_SIDE, LARGEST_SIDE = 8, 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Game:
    """How one game is recorded. Everything a shard's pixels depend on is in here.

    native: the Gymnasium id; rom: ale-py's name of the cartridge; height, width: pixels of a stored
    frame; crop: first and one-past-last raw row that is kept (of 210); downscale: "nearest" takes
    every second pixel, "area" averages; frame_skip: raw frames a step;
    pooled: how many of the last raw frames are merged, the brighter pixel winning, 1 or 2; fps: steps a second;
    scripted: the name of the scripted player, or None where there is none.
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
    scripted: str | None = None
    maker: str = "atari"


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
    scripted="follow_ball",
)

GAMES: dict[str, Game] = {PONG.id: PONG}


def _key(name: str) -> str:
    """`ALE/MsPacman-v5`, `ms_pacman` and `Ms Pacman` are the same game: mspacman."""
    bare = re.sub(r"-v\d+$", "", name.strip().rsplit("/", 1)[-1])
    return re.sub(r"[^a-z0-9]", "", bare.lower())


def game_ids() -> tuple[str, ...]:
    """Every game that `game_named` knows, sorted."""
    from ale_py import roms

    return tuple(sorted({*GAMES, *roms.get_all_rom_ids()}))


def scripted_games() -> tuple[str, ...]:
    """The games that have a scripted player."""
    return tuple(game.id for game in GAMES.values() if game.scripted)


def game_named(name: str, size: Size | None = None, pooled: int | None = None) -> Game:
    """The row of a game, by id, title or Gymnasium id; `size` (height, width) and `pooled` override the row's.

    Another size is reached by averaging areas. Raises ValueError naming the nearest games when the
    name is unknown, and when a side is not in [8, 512].
    """
    by_key = {_key(known): known for known in game_ids()}
    known = by_key.get(_key(name))
    if known is None:
        near = [by_key[key] for key in difflib.get_close_matches(_key(name), by_key, n=3, cutoff=0.5)]
        hint = f"did you mean {', '.join(near)}?" if near else "try pong, breakout or ms_pacman"
        raise ValueError(f"unknown game '{name}'; {hint}")
    game = GAMES.get(known) or _generic(known)
    if pooled is not None:
        if pooled not in (1, 2):
            raise ValueError(f"pool must be 1 or 2 raw frames, found {pooled}")
        game = replace(game, pooled=pooled)
    if size is None or size == (game.height, game.width):
        return game
    check_size(size)
    return replace(game, height=size[0], width=size[1], downscale="area")


def check_size(size: Size) -> None:
    """Raise ValueError unless both sides, in pixels, are in [8, 512]."""
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        found = f"{size[0]}x{size[1]}"
        raise ValueError(f"frame size must be HxW with sides in [{SMALLEST_SIDE}, {LARGEST_SIDE}], found {found}")


def _generic(rom: str) -> Game:
    """The row of any Atari game: the emulator is asked for its action names."""
    from collectors.atari import minimal_action_names

    words = [word.capitalize() for word in rom.split("_")]
    return Game(
        id=rom,
        native=f"ALE/{''.join(words)}-v5",
        rom=rom,
        title=" ".join(words),
        height=DEFAULT_SIZE[0],
        width=DEFAULT_SIZE[1],
        action_names=minimal_action_names(rom),
    )
