"""Tables of keys: what each does. Help pages and event handling are both read from them, so help cannot lie.

A scene has a table of its own: an enum of what its keys do, and bindings. A player may choose other keys in
`saves/keys.json`, as in `{"PLAY.PAUSE": ["p"], "MENU.OPEN": ["return", "space"]}`, with pygame's names of keys.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pygame

from app.places import saves


class Does(enum.Enum):
    """What a key can do while a world is played."""

    ACT = enum.auto()
    MOVE = enum.auto()
    PAUSE = enum.auto()
    STEP = enum.auto()
    RESTART = enum.auto()
    RESEED = enum.auto()
    MORE_STEPS = enum.auto()
    FEWER_STEPS = enum.auto()
    WARMER = enum.auto()
    COOLER = enum.auto()
    UNCERTAINTY = enum.auto()
    HEAL = enum.auto()
    BACK = enum.auto()
    TAKES = enum.auto()
    WHAT_IF = enum.auto()
    COMPARE = enum.auto()
    SWAP = enum.auto()
    SPLIT = enum.auto()
    PAINT = enum.auto()
    CALIBRATE = enum.auto()
    DIALS = enum.auto()
    WAIT = enum.auto()
    SLOWER = enum.auto()
    FASTER = enum.auto()
    FIT = enum.auto()
    QUICK_SAVE = enum.auto()
    QUICK_LOAD = enum.auto()
    SLOTS = enum.auto()
    CAPSULE = enum.auto()
    RECORD = enum.auto()
    VIDEO = enum.auto()
    SCREENSHOT = enum.auto()
    FULLSCREEN = enum.auto()
    HELP = enum.auto()
    QUIT = enum.auto()


@dataclass(frozen=True, slots=True)
class Key:
    """A key as pygame knows it, as it is printed, and what it stands for (an action id or a direction)."""

    code: int
    shown: str
    value: int | str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """Keys that do one kind of thing, and the line that explains them. Keys that carry a value stay as they are
    when a player chooses keys of their own."""

    does: enum.Enum
    text: str
    keys: tuple[Key, ...]

    @property
    def shown(self) -> str:
        """All keys of the line, for the help overlay."""
        return "  ".join(key.shown for key in self.keys)


ARROWS = (
    Key(pygame.K_UP, "Up", "UP"),
    Key(pygame.K_DOWN, "Down", "DOWN"),
    Key(pygame.K_LEFT, "Left", "LEFT"),
    Key(pygame.K_RIGHT, "Right", "RIGHT"),
    Key(pygame.K_w, "W", "UP"),
    Key(pygame.K_a, "A", "LEFT"),
    Key(pygame.K_s, "S", "DOWN"),
    Key(pygame.K_d, "D", "RIGHT"),
)
NUMBERS = tuple(Key(pygame.K_1 + number, str(number + 1), number) for number in range(8))

BINDINGS: tuple[Binding, ...] = (
    Binding(Does.ACT, "hold a learned action", NUMBERS),
    Binding(Does.MOVE, "hold the action that goes this way", ARROWS),
    Binding(Does.MOVE, "hold the action that fires", (Key(pygame.K_RETURN, "Enter", "FIRE"),)),
    Binding(Does.PAUSE, "pause, go on", (Key(pygame.K_SPACE, "Space"),)),
    Binding(Does.STEP, "pause and dream one frame", (Key(pygame.K_n, "N"), Key(pygame.K_PERIOD, "."))),
    Binding(Does.RESTART, "begin again from the next start frame", (Key(pygame.K_r, "R"),)),
    Binding(Does.RESEED, "go on with other luck: a new seed", (Key(pygame.K_g, "G"),)),
    Binding(
        Does.MORE_STEPS,
        "more sampling steps: better, slower",
        (Key(pygame.K_PLUS, "+"), Key(pygame.K_EQUALS, "="), Key(pygame.K_KP_PLUS, "Num +")),
    ),
    Binding(
        Does.FEWER_STEPS,
        "fewer sampling steps: worse, faster",
        (Key(pygame.K_MINUS, "-"), Key(pygame.K_KP_MINUS, "Num -")),
    ),
    Binding(Does.WARMER, "higher temperature: more surprise", (Key(pygame.K_RIGHTBRACKET, "]"),)),
    Binding(Does.COOLER, "lower temperature: more certain", (Key(pygame.K_LEFTBRACKET, "["),)),
    Binding(
        Does.BACK, "hold: run the dream backwards; let go: play on from there", (Key(pygame.K_BACKSPACE, "Backspace"),)
    ),
    Binding(Does.TAKES, "choose among the takes that going back has made", (Key(pygame.K_t, "T"),)),
    Binding(Does.WHAT_IF, "hold: what if? one dream for each action; a number enters it", (Key(pygame.K_TAB, "Tab"),)),
    Binding(Does.COMPARE, "the real game beside the dream", (Key(pygame.K_v, "V"),)),
    Binding(Does.SWAP, "another world of this game takes over, at the same state", (Key(pygame.K_x, "X"),)),
    Binding(Does.SPLIT, "another world of this game beside this one", (Key(pygame.K_y, "Y"),)),
    Binding(Does.PAINT, "paint on the frame, then dream on from it", (Key(pygame.K_p, "P"),)),
    Binding(Does.CALIBRATE, "what each action was found to do", (Key(pygame.K_c, "C"),)),
    Binding(Does.DIALS, "sliders for the mouse", (Key(pygame.K_o, "O"),)),
    Binding(Does.WAIT, "wait for key: the dream moves only when you do", (Key(pygame.K_k, "K"),)),
    Binding(Does.SLOWER, "slow motion", (Key(pygame.K_PAGEDOWN, "PageDown"), Key(pygame.K_COMMA, ","))),
    Binding(Does.FASTER, "fast motion", (Key(pygame.K_PAGEUP, "PageUp"), Key(pygame.K_SLASH, "/"))),
    Binding(Does.UNCERTAINTY, "show where the world guessed, and its health", (Key(pygame.K_u, "U"),)),
    Binding(Does.HEAL, "auto-heal: act when the dream is unsure of itself", (Key(pygame.K_j, "J"),)),
    Binding(Does.FIT, "picture at whole multiples, or as large as fits", (Key(pygame.K_z, "Z"),)),
    Binding(Does.QUICK_SAVE, "quick save", (Key(pygame.K_F5, "F5"),)),
    Binding(Does.QUICK_LOAD, "go on from the quick save", (Key(pygame.K_F9, "F9"),)),
    Binding(Does.SLOTS, "ten named places to save in", (Key(pygame.K_F6, "F6"),)),
    Binding(Does.CAPSULE, "write a replay capsule of this dream", (Key(pygame.K_F7, "F7"),)),
    Binding(Does.RECORD, "record into a data set, stop recording", (Key(pygame.K_F2, "F2"),)),
    Binding(Does.VIDEO, "film the game with its keys as MP4, stop filming", (Key(pygame.K_F10, "F10"),)),
    Binding(Does.SCREENSHOT, "save a screenshot", (Key(pygame.K_F12, "F12"),)),
    Binding(Does.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(Does.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(Does.QUIT, "quit", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)


class Keymap:
    """One scene's table. scene: its name in keys.json; chosen: what that file says of keys, see `chosen_keys`.

    Raises ValueError for a key or a command that is unknown, or a key that does two things.
    """

    def __init__(self, scene: str, bindings: Sequence[Binding], chosen: Mapping[str, Sequence[str]]) -> None:
        self.bindings = tuple(_rebound(scene, binding, chosen) for binding in bindings)
        names = {f"{scene}.{binding.does.name}" for binding in bindings}
        for name in chosen:
            if name.startswith(f"{scene}.") and name not in names:
                raise ValueError(f"keys.json: there is no '{name}'; there are {', '.join(sorted(names))}")
        self._lookup: dict[int, tuple[enum.Enum, int | str]] = {}
        for binding in self.bindings:
            for key in binding.keys:
                other = self._lookup.setdefault(key.code, (binding.does, key.value))
                if other[0] is not binding.does:
                    raise ValueError(f"keys.json: {key.shown} does both {other[0].name} and {binding.does.name}")

    def lookup(self, code: int) -> tuple[enum.Enum | None, int | str]:
        """What a pygame key does and what it stands for; (None, "") for a key that does nothing."""
        return self._lookup.get(code, (None, ""))

    def shown(self, does: enum.Enum) -> str:
        """The first key of a command as it is printed."""
        return next(binding.keys[0].shown for binding in self.bindings if binding.does is does)


def typed_digit(code: int) -> int | None:
    """The digit of a key in the upper row or on the number pad, else None."""
    if code in (pygame.K_0, pygame.K_KP_0):
        return 0
    if pygame.K_1 <= code <= pygame.K_9:
        return code - pygame.K_0
    return code - pygame.K_KP_1 + 1 if pygame.K_KP_1 <= code <= pygame.K_KP_9 else None


def chosen_keys(path: Path | None = None) -> dict[str, list[str]]:
    """The player's own keys from `saves/keys.json`, command → names of keys. Raises ValueError in one line."""
    path = saves() / "keys.json" if path is None else path
    if not path.is_file():
        return {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path} is not JSON: {problem}; mend it or delete it") from None
    fits = isinstance(found, dict) and all(
        isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys) for keys in found.values()
    )
    if not fits:
        raise ValueError(f'{path} must look like {{"PLAY.PAUSE": ["p"]}}; mend it or delete it')
    return dict(found)


def _rebound(scene: str, binding: Binding, chosen: Mapping[str, Sequence[str]]) -> Binding:
    wanted = chosen.get(f"{scene}.{binding.does.name}")
    if wanted is None or any(key.value != "" for key in binding.keys):
        return binding
    return replace(binding, keys=tuple(_named(name) for name in wanted))


def _named(name: str) -> Key:
    try:
        return Key(pygame.key.key_code(name), name.capitalize())
    except ValueError:
        raise ValueError(f"keys.json: there is no key '{name}'; see pygame's names of keys") from None
