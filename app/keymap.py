"""The one table of keys: what each does. The help overlay and the event handling are both read from it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import pygame


class Does(enum.Enum):
    """What a key can do."""

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
    """Keys that do one kind of thing, and the line that explains them."""

    does: Does
    text: str
    keys: tuple[Key, ...]

    @property
    def shown(self) -> str:
        """All keys of the line, for the help overlay."""
        return "  ".join(key.shown for key in self.keys)


BINDINGS: tuple[Binding, ...] = (
    Binding(
        Does.ACT,
        "hold a learned action",
        tuple(Key(pygame.K_1 + number, str(number + 1), number) for number in range(8)),
    ),
    Binding(
        Does.MOVE,
        "hold the action that goes this way",
        (
            Key(pygame.K_UP, "Up", "UP"),
            Key(pygame.K_DOWN, "Down", "DOWN"),
            Key(pygame.K_LEFT, "Left", "LEFT"),
            Key(pygame.K_RIGHT, "Right", "RIGHT"),
            Key(pygame.K_w, "W", "UP"),
            Key(pygame.K_a, "A", "LEFT"),
            Key(pygame.K_s, "S", "DOWN"),
            Key(pygame.K_d, "D", "RIGHT"),
        ),
    ),
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
    Binding(Does.UNCERTAINTY, "show where the world guessed", (Key(pygame.K_u, "U"),)),
    Binding(Does.SCREENSHOT, "save a screenshot", (Key(pygame.K_F12, "F12"),)),
    Binding(Does.FULLSCREEN, "full screen, window", (Key(pygame.K_F11, "F11"),)),
    Binding(Does.HELP, "show or hide this page", (Key(pygame.K_h, "H"), Key(pygame.K_F1, "F1"))),
    Binding(Does.QUIT, "quit", (Key(pygame.K_ESCAPE, "Esc"), Key(pygame.K_q, "Q"))),
)
_LOOKUP: dict[int, tuple[Does, int | str]] = {
    key.code: (binding.does, key.value) for binding in BINDINGS for key in binding.keys
}


def lookup(code: int) -> tuple[Does | None, int | str]:
    """What a pygame key does and what it stands for; (None, "") for a key that does nothing."""
    return _LOOKUP.get(code, (None, ""))
